//! The control database goes away under a real driver: for less than a lease it stops nothing; for longer,
//! the driver leaves the deployment alone, and the work is taken up when it is back. Told to end, a driver ends
//! whatever is away.

mod deployment;
mod support;

use std::process::Stdio;
use std::time::Duration;

use deployment::Deployment;
use lockkeeper::config::ConnectionSettings;
use lockkeeper::server::{Server, ServerOptions};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use support::{PATIENCE, Running, eventually};

const ROWS: u32 = 30_000;

fn driver(control: &ConnectionSettings, db: &Deployment, log: &tempfile::NamedTempFile) -> Running {
    let driver = support::program()
        .args(["drive", "--end-seconds", "5"])
        .env("LOCKKEEPER_URL", control.url().expose())
        .env("LOCKKEEPER_DEPLOYMENT_USER", &db.settings.credentials.user)
        .env(
            "LOCKKEEPER_DEPLOYMENT_PASSWORD",
            db.settings.credentials.password.expose(),
        )
        .stderr(Stdio::from(log.reopen().expect("the file")))
        .spawn();
    Running(driver.expect("the program runs"))
}

struct Stage {
    control: Server,
    schema: ConnectionSettings,
    db: Deployment,
    driver: Running,
    /// What the driver has written.
    log: tempfile::NamedTempFile,
}

impl Stage {
    /// A copy under way, slowly.
    async fn copying(lease_seconds: u32) -> Self {
        Self::copying_on(Deployment::fresh().await, lease_seconds).await
    }

    async fn copying_on(mut db: Deployment, lease_seconds: u32) -> Self {
        let control = Server::start(ServerOptions::relaxed("control"))
            .await
            .expect("a control server");
        let schema = control.administrator().clone().with_schema("lockkeeper");
        lockkeeper::install::install(&schema)
            .await
            .expect("installed");
        db.run(&format!(
            "CREATE TABLE orders (id INT PRIMARY KEY, n INT, note TEXT); \
             SET SESSION cte_max_recursion_depth = 100000; \
             INSERT INTO orders WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
             SELECT i, i, REPEAT('x', 50) FROM n"
        ))
        .await;
        let mut session = schema.connect().await.expect("a session");
        for statement in [
            format!(
                "CALL deployment_register('d0', 0, '{}', {}, NULL)",
                db.settings.host, db.settings.port
            ),
            "CALL setting_set('poll_seconds', '1')".to_owned(),
            format!("CALL setting_set('lease_ttl_seconds', '{lease_seconds}')"),
            format!(
                "CALL apply_submit('{}', 'ALTER TABLE orders MODIFY id BIGINT NOT NULL', \
                 '{{\"engine\": {{\"chunk_seconds\": 0.01, \"copy_threads\": 1}}}}')",
                db.schema
            ),
            "CALL apply_throttle(1, 9, 'a test')".to_owned(),
        ] {
            session
                .execute(AssertSqlSafe(statement))
                .await
                .expect("prepared");
        }
        let log = tempfile::NamedTempFile::new().expect("a file");
        let driver = driver(&schema, &db, &log);
        let mut stage = Self {
            control,
            schema,
            db,
            driver,
            log,
        };
        eventually("the copy has begun", PATIENCE, async || {
            stage.copied().await > 0
        })
        .await;
        stage
    }

    /// Rows of the shadow; none while it comes and goes.
    async fn copied(&mut self) -> u64 {
        let tables = self.db.tables().await;
        let Some(shadow) = tables.iter().find(|name| name.ends_with("_new")) else {
            return 0;
        };
        let count =
            sqlx::query_scalar::<_, i64>(AssertSqlSafe(format!("SELECT COUNT(*) FROM `{shadow}`")))
                .fetch_one(&mut self.db.root);
        count.await.map_or(0, |count| count as u64)
    }

    /// Sessions of the driver on the deployment.
    async fn sessions(&mut self) -> String {
        let tables = self.db.tables().await;
        let fence = tables.iter().find(|name| name.ends_with("_fence"));
        let operation = fence.and_then(|name| name.strip_suffix("fence"));
        let operation = operation.expect("the fence");
        self.db
            .text(&format!(
                "SELECT COUNT(*) FROM performance_schema.metadata_locks \
                  WHERE OBJECT_TYPE = 'USER LEVEL LOCK' AND LEFT(OBJECT_NAME, {}) = '{operation}'",
                operation.len()
            ))
            .await
    }

    /// The operation's state, and its latest lease epoch.
    async fn state(&self) -> (String, u64) {
        let mut session = self.schema.connect().await.expect("a session");
        let row = session
            .fetch_one(
                "SELECT CAST(o.state AS CHAR), \
                        (SELECT MAX(e.lease_epoch) FROM event_log AS e) \
                   FROM operation_status AS o",
            )
            .await
            .expect("the operation");
        let epoch: i64 = row.try_get_unchecked(1).expect("an epoch");
        (row.try_get_unchecked(0).expect("a state"), epoch as u64)
    }

    async fn throttle(&self, level: u8) {
        let mut session = self.schema.connect().await.expect("a session");
        session
            .execute(AssertSqlSafe(format!(
                "CALL apply_throttle(1, {level}, 'a test')"
            )))
            .await
            .expect("another pace");
    }

    /// Until the change is made; then the table must hold what was written.
    async fn completes(mut self, expected: &str) -> u64 {
        self.throttle(0).await;
        eventually("the change is made", PATIENCE, async || {
            let (state, _) = self.state().await;
            assert!(state != "failed" && state != "cancelled", "{state}");
            state == "completed"
        })
        .await;
        assert_eq!(self.db.text(CONTENT).await, expected);
        let id = "SELECT CAST(DATA_TYPE AS CHAR) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'orders' AND COLUMN_NAME = 'id'";
        assert_eq!(self.db.text(id).await, "bigint");
        self.state().await.1
    }
}

const CONTENT: &str =
    "SELECT CONCAT_WS(' ', COUNT(*), SUM(id), SUM(CRC32(CONCAT_WS('|', id, n, note)))) FROM orders";

const WRITES: &str = "UPDATE orders SET n = n + 1 WHERE id % 3 = 0; DELETE FROM orders WHERE id % 7 = 0; \
    INSERT INTO orders VALUES (-5, 1, 'new')";

async fn the_control_database_is_away_for_longer_than_the_lease(frozen: bool) {
    let mut stage = Stage::copying(5).await;
    match frozen {
        true => stage.control.freeze().await.expect("frozen"),
        false => stage.control.kill().await.expect("killed"),
    }
    eventually("the driver's sessions are gone", PATIENCE, async || {
        stage.sessions().await == "0"
    })
    .await;
    stage.db.run(WRITES).await;
    let expected = stage.db.text(CONTENT).await;
    match frozen {
        true => stage.control.thaw().await.expect("thawed"),
        false => stage.control.restart().await.expect("the same data again"),
    }
    let epoch = stage.completes(&expected).await;
    assert!(epoch >= 2, "claimed once only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_leaves_the_deployment_alone_when_its_control_database_is_silent_too_long() {
    the_control_database_is_away_for_longer_than_the_lease(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_leaves_the_deployment_alone_when_its_control_database_is_gone_too_long() {
    the_control_database_is_away_for_longer_than_the_lease(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_whose_control_database_is_away_for_less_than_its_lease_goes_on_copying() {
    let mut stage = Stage::copying(600).await;
    stage.control.freeze().await.expect("frozen");
    // More than the rows of a copy need sessions: the verification opens its own.
    eventually("all is copied", PATIENCE, async || {
        stage.copied().await == u64::from(ROWS)
    })
    .await;
    stage.db.run(WRITES).await;
    let expected = stage.db.text(CONTENT).await;
    stage.control.thaw().await.expect("thawed");
    let epoch = stage.completes(&expected).await;
    assert_eq!(epoch, 1);
}

/// SPEC.md section 11: drivers ride through a failover of the primary. The former one is read-only, then lets nobody in, and what
/// comes after it is the same to a driver.
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_rides_through_a_failover_of_its_control_database() {
    let mut stage = Stage::copying(600).await;
    let mut root = stage.schema.connect().await.expect("a session");
    root.execute("SET GLOBAL super_read_only = ON")
        .await
        .expect("read-only");
    stage.db.run(WRITES).await;
    let expected = stage.db.text(CONTENT).await;
    eventually("a call was refused", PATIENCE, async || {
        let said = std::fs::read_to_string(stage.log.path()).expect("its log");
        said.contains("no heartbeat")
    })
    .await;
    for statement in [
        "SET GLOBAL offline_mode = ON",
        "SET GLOBAL super_read_only = OFF",
        "SET GLOBAL read_only = OFF",
        "SET GLOBAL offline_mode = OFF",
    ] {
        root.execute(statement).await.expect("a failover's step");
    }
    assert_eq!(stage.completes(&expected).await, 1, "it kept its lease");
}

/// A killed call leaves its transaction open: on a session that is used again, the next call would be refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_a_driver_that_is_killed_is_made_again_on_another_session() {
    let mut stage = Stage::copying(600).await;
    let expected = stage.db.text(CONTENT).await;
    stage.throttle(0).await;
    let mut holder = stage.schema.connect().await.expect("a session");
    for statement in ["START TRANSACTION", "SELECT apply_id FROM apply FOR UPDATE"] {
        holder.execute(statement).await.expect("held");
    }

    let mut dba = stage.schema.connect().await.expect("a session");
    let mut waiting = None;
    eventually("the arrival waits for the apply's row", PATIENCE, async || {
        let waits = "SELECT t.PROCESSLIST_ID
                       FROM performance_schema.data_lock_waits AS w
                       JOIN performance_schema.threads         AS t ON t.THREAD_ID = w.REQUESTING_THREAD_ID";
        waiting = sqlx::query_scalar::<_, u64>(waits)
            .fetch_optional(&mut dba)
            .await
            .expect("who waits");
        waiting.is_some()
    })
    .await;
    let id = waiting.expect("one that waits");
    dba.execute(AssertSqlSafe(format!("KILL QUERY {id}")))
        .await
        .expect("killed");
    eventually("its session ends", PATIENCE, async || {
        let count = "SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_ID = ?";
        let count = sqlx::query_scalar::<_, i64>(count).bind(id);
        count.fetch_one(&mut dba).await.expect("a count") == 0
    })
    .await;
    holder.execute("ROLLBACK").await.expect("let go");
    assert_eq!(stage.completes(&expected).await, 1);
}

impl Stage {
    /// As a person does who knows that the former one is gone.
    async fn next_driver(&mut self) {
        let mut session = self.schema.connect().await.expect("a session");
        session
            .execute("CALL operation_release_lease(1, 'a test')")
            .await
            .expect("released");
        self.driver = driver(&self.schema, &self.db, &self.log);
    }

    /// Its exit code, and what it said.
    async fn told_to_end(&mut self) -> (Option<i32>, String) {
        let told = kill_process(Pid::from_child(&self.driver.0), Signal::TERM);
        told.expect("a driver that runs");
        let mut ended = None;
        eventually("the driver ends", LONGEST_END, async || {
            ended = self.driver.0.try_wait().expect("its end");
            ended.is_some()
        })
        .await;
        let said = std::fs::read_to_string(self.log.path()).expect("its log");
        (ended.and_then(|ended| ended.code()), said)
    }
}

/// The limit that the driver was given, and some time for a busy machine.
const LONGEST_END: Duration = Duration::from_secs(25);

fn is_left((code, said): (Option<i32>, String)) {
    assert_eq!(code, Some(130), "{said}");
    for part in ["operation 1 on d0", "runs out by itself", "nothing is lost"] {
        let said = said.replace('\n', " ");
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_told_to_end_ends_though_its_control_database_does_not_answer() {
    let mut stage = Stage::copying(600).await;
    let expected = stage.db.text(CONTENT).await;
    stage.control.freeze().await.expect("frozen");
    is_left(stage.told_to_end().await);
    stage.control.thaw().await.expect("thawed");
    stage.next_driver().await;
    stage.completes(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_told_to_end_ends_though_its_deployment_does_not_answer() {
    let server = Server::start(ServerOptions::relaxed("deployment"))
        .await
        .expect("a server");
    let db = Deployment::on(server.administrator().clone()).await;
    let mut stage = Stage::copying_on(db, 5).await;
    let expected = stage.db.text(CONTENT).await;
    server.freeze().await.expect("frozen");
    let (code, said) = stage.told_to_end().await;
    // With no statement of its own under way it waits for nobody, and gives its lease back.
    let gave_back = code == Some(0);
    if !gave_back {
        is_left((code, said));
    }
    server.thaw().await.expect("thawed");
    match gave_back {
        true => stage.driver = driver(&stage.schema, &stage.db, &stage.log),
        false => stage.next_driver().await,
    }
    stage.completes(&expected).await;
}
