//! The operations to claim from, stored by whole sets: through `apply_submit` a million would take an hour.

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _};

/// How many operations an apply has; a third of all operations each.
const SHAPES: [u64; 3] = [1, 8, 64];
/// Applies stored by one statement hold about so many operations.
const CHUNK: u64 = 50_000;

/// `size` operations, 95 % of them settled; of the others, the first of each apply is claimable and the rest wait
/// behind it (rolling). Besides, the plain form's table with the same operations, and the floor's.
pub(super) async fn fill(session: &mut MySqlConnection, size: u64) -> Result<(), sqlx::Error> {
    session.execute("SET sql_log_bin = 0").await?;
    session
        .execute("SET SESSION cte_max_recursion_depth = 1000000")
        .await?;
    for statement in SETUP {
        session.execute(AssertSqlSafe(*statement)).await?;
    }
    let live = (size / 20).max(3);
    let mut next = Next::default();
    for (share, settled) in [(size - live, true), (live, false)] {
        for shape in SHAPES {
            let mut applies = (share / 3 / shape).max(u64::from(!settled));
            while applies > 0 {
                let count = applies.min((CHUNK / shape).max(1));
                next.store(session, count, shape, settled).await?;
                applies -= count;
            }
        }
    }
    session.execute(PLAIN_ROWS).await?;
    session
        .execute("ANALYZE TABLE apply, operation, operation_live, event, plain_operation")
        .await?;
    Ok(())
}

/// Adds `count` lone applies whose operation is claimable, newer than all others.
pub(super) async fn queue(session: &mut MySqlConnection, count: u64) -> Result<(), sqlx::Error> {
    session.execute("SET sql_log_bin = 0").await?;
    let (apply, operation): (u64, u64) = sqlx::query_as(
        "SELECT (SELECT CAST(COALESCE(MAX(a.apply_id), 0) AS UNSIGNED) FROM apply AS a),
                (SELECT CAST(COALESCE(MAX(o.operation_id), 0) AS UNSIGNED) FROM operation AS o)",
    )
    .fetch_one(&mut *session)
    .await?;
    let mut next = Next { apply, operation };
    let mut left = count;
    while left > 0 {
        let now = left.min(CHUNK);
        next.store(session, now, 1, false).await?;
        left -= now;
    }
    Ok(())
}

/// The ids that were given last.
#[derive(Default)]
struct Next {
    apply: u64,
    operation: u64,
}

impl Next {
    async fn store(
        &mut self,
        session: &mut MySqlConnection,
        applies: u64,
        shape: u64,
        settled: bool,
    ) -> Result<(), sqlx::Error> {
        let (apply, operation) = (self.apply + 1, self.operation + 1);
        let state = if settled { "'completed'" } else { "NULL" };
        let at = if settled {
            "UTC_TIMESTAMP(6) - INTERVAL 9 DAY"
        } else {
            "NULL"
        };
        let members = format!(
            "bench_number AS a JOIN bench_number AS p ON p.n < {shape} WHERE a.n < {applies}"
        );
        let id = format!("{operation} + a.n * {shape} + p.n");
        let deployment = "CONCAT('d', (a.n + p.n) MOD 64)";
        let mut statements = vec![
            format!(
                "INSERT INTO apply (apply_id, request_sha256, schema_name, operations, cutover_policy, cutover_gate, on_failure,
                                    defer_cutover, revert_window_seconds, revert_scope, submitted_by, submitted_at, finished_at)
                 SELECT {apply} + a.n, REPEAT('0', 64), 'shop', {shape}, 'rolling', 'in_order', 'halt', FALSE, 0, 'operation',
                        'bench@localhost', UTC_TIMESTAMP(6) - INTERVAL 10 DAY, {at}
                   FROM bench_number AS a WHERE a.n < {applies}"
            ),
            format!(
                "INSERT INTO operation (operation_id, apply_id, position, deployment, state, started_at, completed_at, attempt,
                                        driver, lease_epoch)
                 SELECT {id}, {apply} + a.n, p.n, {deployment}, {state}, {at}, {at},
                        IF({settled}, 0, NULL), IF({settled}, 'd1', NULL), IF({settled}, 1, NULL)
                   FROM {members}"
            ),
            format!(
                "INSERT INTO task (operation_id, position, statement, table_name)
                 SELECT {id}, 0, 'ALTER TABLE orders ADD KEY (created_at)', 'orders' FROM {members}"
            ),
        ];
        if settled {
            statements.push(format!(
                "INSERT INTO event (occurred_at, apply_id, operation_id, deployment, actor, event, from_state, to_state, lease_epoch)
                 SELECT UTC_TIMESTAMP(6) - INTERVAL 9 DAY, {apply} + a.n, {id}, 'd1', 'd1', 'moved', 'cutting_over', 'completed', 1
                   FROM {members}"
            ));
        } else {
            statements.push(format!(
                "INSERT INTO operation_live (operation_id, apply_id, position, deployment, claim, claimable_at, {LIVE_COLUMNS})
                 SELECT {id}, {apply} + a.n, p.n, {deployment}, IF(p.n = 0, 'copy', NULL),
                        IF(p.n = 0, UTC_TIMESTAMP(6) - INTERVAL 1 HOUR + INTERVAL ({id}) * 10 MICROSECOND, NULL), {LIVE_VALUES}
                   FROM {members}"
            ));
        }
        for statement in statements {
            session.execute(AssertSqlSafe(statement)).await?;
        }
        self.apply += applies;
        self.operation += applies * shape;
        Ok(())
    }
}

/// What submit would store besides; with leases that no measurement outlasts, as nobody beats for them.
const LIVE_COLUMNS: &str =
    "state, is_capped, lease_ttl_seconds, move_actor, host, port, schema_name, tasks, options";
const LIVE_VALUES: &str = "'pending', FALSE, 3600, 'bench@localhost', '127.0.0.1', 3306, 'shop',
    JSON_ARRAY(JSON_OBJECT('task_id', 1, 'position', 0, 'statement', 'ALTER TABLE orders ADD KEY (created_at)', 'state', 'pending')),
    JSON_OBJECT('cutover_policy', 'rolling', 'cutover_gate', 'in_order', 'on_failure', 'halt', 'max_copies', NULL, 'defer_cutover',
                FALSE, 'defer_timeout_seconds', NULL, 'revert_window_seconds', 0, 'revert_scope', 'operation', 'engine', NULL)";

const SETUP: &[&str] = &[
    "CREATE TABLE bench_number (n INT UNSIGNED PRIMARY KEY) AS
       WITH RECURSIVE k (n) AS (SELECT 0 UNION ALL SELECT k.n + 1 FROM k WHERE k.n < 50000) SELECT n FROM k",
    "INSERT INTO deployment (deployment, position, host, port, labels, registered_by, registered_at)
     SELECT CONCAT('d', k.n), k.n, '127.0.0.1', 3306, JSON_OBJECT('region', CONCAT('r', k.n MOD 8)), 'bench@localhost',
            UTC_TIMESTAMP(6)
       FROM bench_number AS k WHERE k.n < 64",
    "CREATE TABLE floor_row (id BIGINT UNSIGNED PRIMARY KEY, state VARCHAR(32) NOT NULL, token CHAR(36), heartbeat_at DATETIME(6))",
    "INSERT INTO floor_row SELECT k.n, 'pending', NULL, NULL FROM bench_number AS k",
    "CREATE PROCEDURE floor_update (IN in_id BIGINT UNSIGNED)
     BEGIN
         START TRANSACTION;
         UPDATE floor_row AS f SET f.state = 'running', f.token = UUID(), f.heartbeat_at = UTC_TIMESTAMP(6) WHERE f.id = in_id;
         COMMIT;
     END",
    // What a claim stores, for an operation whose id is known: the trigger, the event and the indexes cost as much here.
    "CREATE PROCEDURE move_by_key (IN in_operation_id BIGINT UNSIGNED)
     BEGIN
         START TRANSACTION;
         UPDATE operation_live AS l
            SET l.claim = NULL, l.claimable_at = NULL, l.started_at = UTC_TIMESTAMP(6), l.lease_driver = 'driver-1',
                l.lease_token = UUID(), l.lease_epoch = l.lease_epoch + 1, l.lease_heartbeat_at = UTC_TIMESTAMP(6),
                l.lease_expires_at = UTC_TIMESTAMP(6) + INTERVAL 60 SECOND,
                l.lease_check_at = UTC_TIMESTAMP(6) + INTERVAL 60 SECOND, l.move_serial = l.move_serial + 1,
                l.move_actor = 'driver-1', l.move_reason = 'claimed', l.state = 'running'
          WHERE l.operation_id = in_operation_id;
         COMMIT;
     END",
    "CREATE PROCEDURE empty_call () BEGIN END",
    "CREATE TABLE plain_operation (
         operation_id BIGINT UNSIGNED PRIMARY KEY, apply_id BIGINT UNSIGNED NOT NULL, position INT UNSIGNED NOT NULL,
         state VARCHAR(32) NOT NULL, created_at DATETIME(6) NOT NULL, token CHAR(36), heartbeat_at DATETIME(6),
         UNIQUE KEY plain_order (apply_id, position), KEY plain_state (state))",
    "CREATE PROCEDURE plain_claim ()
     BEGIN
         DECLARE v_id BIGINT UNSIGNED;
         DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;
         SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
         START TRANSACTION;
         SELECT o.operation_id
           INTO v_id
           FROM plain_operation AS o
          WHERE (   (o.state = 'pending' AND NOT EXISTS (SELECT 1
                                                           FROM plain_operation AS s
                                                          WHERE s.apply_id = o.apply_id
                                                            AND s.position < o.position
                                                            AND s.state   <> 'completed'))
                 OR (o.state = 'running' AND o.heartbeat_at < UTC_TIMESTAMP(6) - INTERVAL 60 SECOND))
          ORDER BY o.created_at, o.operation_id
          LIMIT 1
            FOR UPDATE OF o SKIP LOCKED;
         UPDATE plain_operation AS o
            SET o.state = 'running', o.token = UUID(), o.heartbeat_at = UTC_TIMESTAMP(6)
          WHERE o.operation_id = v_id;
         COMMIT;
         SELECT v_id;
     END",
    "CREATE PROCEDURE bench_restore (IN in_operation_id BIGINT UNSIGNED)
     BEGIN
         CREATE TEMPORARY TABLE IF NOT EXISTS bench_kept AS SELECT * FROM operation_live LIMIT 0;
         DELETE FROM bench_kept;
         INSERT INTO bench_kept (operation_id, apply_id, position, deployment, state, is_capped, lease_ttl_seconds, move_actor,
                                 lease_epoch, host, port, schema_name, tasks, options)
         SELECT operation_id, apply_id, position, deployment, 'pending', is_capped, lease_ttl_seconds, move_actor, lease_epoch,
                host, port, schema_name, tasks, options
           FROM operation_live WHERE operation_id = in_operation_id;
         START TRANSACTION;
         DELETE FROM operation_live WHERE operation_id = in_operation_id;
         INSERT INTO operation_live (operation_id, apply_id, position, deployment, state, claim, claimable_at, is_capped,
                                     lease_ttl_seconds, move_actor, lease_epoch, host, port, schema_name, tasks, options)
         SELECT operation_id, apply_id, position, deployment, 'pending', 'copy', UTC_TIMESTAMP(6), is_capped, lease_ttl_seconds,
                move_actor, lease_epoch, host, port, schema_name, tasks, options
           FROM bench_kept;
         COMMIT;
     END",
];

const PLAIN_ROWS: &str = "INSERT INTO plain_operation (operation_id, apply_id, position, state, created_at)
    SELECT o.operation_id, o.apply_id, o.position, COALESCE(l.state, o.state), UTC_TIMESTAMP(6) - INTERVAL 10 DAY
      FROM operation AS o LEFT JOIN operation_live AS l ON l.operation_id = o.operation_id";
