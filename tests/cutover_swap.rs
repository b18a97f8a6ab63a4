//! The swap: short, fenced, all tables at once, and settled by looking at the tables.

mod deployment;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deployment::Deployment;
use futures_util::future::BoxFuture;
use lockkeeper::engine::cutover::Cutover;
use lockkeeper::engine::cutover::swap::SwapOutcome;
use lockkeeper::engine::names::{Owner, Role};
use lockkeeper::engine::options::Options;
use lockkeeper::engine::session::Session;
use lockkeeper::engine::state::artifact;
use lockkeeper::engine::state::fence::Fence;
use lockkeeper::engine::stream::drain::Drain;
use lockkeeper::engine::table::TablePlan;
use lockkeeper::engine::{EngineError, ErrorKind, Operation, plan};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use support::{PATIENCE, eventually};

/// Carries over everything under the lock: a copy in one step, which no test of the swap cares about.
struct CopyAll {
    pairs: Vec<(String, String)>,
    /// Those that are carried, where not all are.
    columns: Option<&'static str>,
    /// Runs after the rows, still under the lock.
    then: Option<BoxFuture<'static, ()>>,
    /// Gives up after the rows, which are not committed.
    gives_up: bool,
}

impl Drain for CopyAll {
    fn prepare<'a>(
        &'a mut self,
        _session: &'a mut MySqlConnection,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async { Ok(()) })
    }

    fn tables(&self) -> Vec<String> {
        Vec::new()
    }

    fn prepared(&self) -> Option<(String, Duration)> {
        None
    }

    fn yields(&self, _reason: &str) {}

    fn gather<'a>(&'a mut self, _deadline: Instant) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async { Ok(()) })
    }

    fn drain<'a>(
        &'a mut self,
        session: &'a mut MySqlConnection,
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            if self.gives_up {
                let not_yet = session.execute("SET autocommit = 0").await;
                not_yet.map_err(EngineError::while_doing("draining"))?;
            }
            let (into, columns) = match self.columns {
                Some(columns) => (format!("({columns})"), columns),
                None => (String::new(), "*"),
            };
            for (from, to) in &self.pairs {
                for statement in [
                    format!("DELETE FROM {to}"),
                    format!("INSERT INTO {to} {into} SELECT {columns} FROM {from}"),
                ] {
                    session
                        .execute(AssertSqlSafe(statement))
                        .await
                        .map_err(EngineError::while_doing("draining"))?;
                }
            }
            if let Some(then) = self.then.take() {
                then.await;
            }
            if self.gives_up {
                return Err(EngineError::retryable("out of time"));
            }
            Ok(())
        })
    }
}

struct Change {
    operation: Operation,
    plans: Vec<TablePlan>,
}

impl Change {
    async fn planned(
        db: &Deployment,
        epoch: u64,
        statements: &[&str],
        options: serde_json::Value,
    ) -> Self {
        let sessions = db.sessions(epoch);
        let mut session = sessions.open().await.unwrap();
        let fence = Fence::take_over(&sessions, &mut session, &db.schema)
            .await
            .unwrap();
        let mut job = db.job(statements);
        job.lease_epoch = epoch;
        job.options = options;
        let options = Options::read(&job.options).unwrap();
        let plans = plan::plan(&mut session, &job, sessions.owner())
            .await
            .unwrap();
        session.close().await;
        let operation = Operation {
            job,
            options,
            sessions,
            fence,
        };
        Self { operation, plans }
    }

    /// The same change in the hands of another driver.
    async fn taken_over(&self, db: &Deployment, epoch: u64) -> Self {
        let sessions = db.sessions(epoch);
        let mut session = sessions.open().await.unwrap();
        let fence = Fence::take_over(&sessions, &mut session, &db.schema)
            .await
            .unwrap();
        session.close().await;
        let operation = Operation {
            job: self.operation.job.clone(),
            options: self.operation.options.clone(),
            sessions,
            fence,
        };
        Self {
            operation,
            plans: self.plans.clone(),
        }
    }

    fn cutover(&self) -> Cutover<'_> {
        Cutover::new(&self.operation, &self.plans)
    }

    fn drain(&self, back: bool) -> CopyAll {
        let pairs = self
            .plans
            .iter()
            .filter_map(|plan| {
                let schema = &self.operation.job.schema_name;
                let live = plan.original.as_ref()?.quoted();
                let role = if back {
                    Role::Old(plan.task.position)
                } else {
                    Role::Shadow(plan.task.position)
                };
                plan.shadow.as_ref()?;
                Some((
                    live,
                    format!(
                        "`{schema}`.`{}`",
                        self.operation.sessions.owner().table(role)
                    ),
                ))
            })
            .collect();
        CopyAll {
            pairs,
            columns: None,
            then: None,
            gives_up: false,
        }
    }

    async fn session(&self) -> Session {
        self.operation.sessions.open().await.unwrap()
    }
}

/// Removes all that a change left, old tables too.
async fn clean_up(session: &mut Session, schema: &str, owner: &Owner) {
    artifact::hold_tables(session, schema, owner, "_old", 0)
        .await
        .unwrap();
    artifact::remove_working(session, schema, owner)
        .await
        .unwrap();
    artifact::remove_due(session, &owner.installation)
        .await
        .unwrap();
}

const NO_OPTIONS: serde_json::Value = serde_json::Value::Null;

#[tokio::test]
async fn tables_swap_in_one_statement_and_swap_back() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, n INT); CREATE TABLE b (id INT PRIMARY KEY, n INT); \
            INSERT INTO a VALUES (1, 1), (50, 2); DELETE FROM a WHERE id = 50; INSERT INTO b VALUES (5, 5)").await;
    let change = Change::planned(
        &db,
        1,
        &[
            "ALTER TABLE a MODIFY n BIGINT",
            "ALTER TABLE b MODIFY n BIGINT",
        ],
        NO_OPTIONS,
    )
    .await;
    let mut session = change.session().await;
    assert_eq!(change.cutover().outcome(&mut session).await.unwrap(), None);

    let swapped = change
        .cutover()
        .run(Some(&mut change.drain(false)))
        .await
        .unwrap();
    assert_eq!(swapped.gave_way, 0);
    assert_eq!(
        change.cutover().outcome(&mut session).await.unwrap(),
        Some(SwapOutcome::Swapped)
    );
    for table in ["a", "b"] {
        assert_eq!(db.column_type(table, "n").await, "bigint");
    }
    // A number that was given away is not given again.
    db.run("INSERT INTO a (n) VALUES (3)").await;
    assert_eq!(db.text("SELECT MAX(id) FROM a").await, "51");

    // A second call finds that all is done.
    let again = change
        .cutover()
        .run(Some(&mut change.drain(false)))
        .await
        .unwrap();
    assert_eq!(again.locked_for, Duration::ZERO);

    change
        .cutover()
        .revert(&mut change.drain(true))
        .await
        .unwrap();
    assert_eq!(db.column_type("a", "n").await, "int");
    assert_eq!(db.text("SELECT MAX(id) FROM a").await, "51");
    // Repeating the revert is a success; a cutover after it is refused.
    change
        .cutover()
        .revert(&mut change.drain(true))
        .await
        .unwrap();
    let error = change
        .cutover()
        .run(Some(&mut change.drain(false)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_write_is_in_the_new_table() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, n INT)")
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut locked = Vec::new();
    let mut writers = Vec::new();
    for writer in 0..8u64 {
        let (settings, schema) = (db.settings.clone(), db.schema.clone());
        let stop = stop.clone();
        writers.push(tokio::spawn(async move {
            let mut session = settings.connect().await.unwrap();
            let mut written = 0u64;
            let mut pace = tokio::time::interval(Duration::from_millis(4));
            while !stop.load(Ordering::SeqCst) {
                let id = writer * 1_000_000 + written;
                session
                    .execute(AssertSqlSafe(format!(
                        "INSERT INTO `{schema}`.t VALUES ({id}, 1)"
                    )))
                    .await
                    .expect("no write fails");
                written += 1;
                pace.tick().await;
            }
            written
        }));
    }
    for round in 0..8 {
        let kind = if round % 2 == 0 { "BIGINT" } else { "INT" };
        let change = Change::planned(
            &db,
            round + 1,
            &[&format!("ALTER TABLE t MODIFY n {kind}")],
            NO_OPTIONS,
        )
        .await;
        let swapped = change
            .cutover()
            .run(Some(&mut change.drain(false)))
            .await
            .unwrap();
        locked.push(swapped.locked_for);
        let mut session = change.session().await;
        clean_up(&mut session, &db.schema, change.operation.sessions.owner()).await;
        change.operation.fence.remove(&mut session).await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    assert_eq!(db.text("SELECT COUNT(*) FROM t").await, written.to_string());
    println!("{written} writes, locked {locked:?}");
}

#[tokio::test]
async fn a_long_transaction_is_given_way_to_and_nobody_queues_behind_it() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1)")
        .await;
    let change = Change::planned(
        &db,
        1,
        &["ALTER TABLE t MODIFY n BIGINT"],
        serde_json::json!({"cutover_lock_wait_ms": 200, "cutover_give_up_seconds": 2}),
    )
    .await;
    db.run("START TRANSACTION; SELECT * FROM t").await;
    let (settings, schema) = (db.settings.clone(), db.schema.clone());
    let done = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    let (stop, counter) = (done.clone(), reads.clone());
    let reader = tokio::spawn(async move {
        let mut session = settings.connect().await.unwrap();
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        while !stop.load(Ordering::SeqCst) {
            session
                .execute(AssertSqlSafe(format!("SELECT * FROM `{schema}`.t")))
                .await
                .unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            pace.tick().await;
        }
    });
    support::eventually("somebody reads", Duration::from_secs(120), || async {
        reads.load(Ordering::SeqCst) > 0
    })
    .await;
    let before = reads.load(Ordering::SeqCst);
    let error = change
        .cutover()
        .run(Some(&mut change.drain(false)))
        .await
        .unwrap_err();
    let meanwhile = reads.load(Ordering::SeqCst) - before;
    done.store(true, Ordering::SeqCst);
    assert_eq!(error.kind(), ErrorKind::Retryable);
    assert!(error.message().contains("session"), "{}", error.message());
    reader.await.unwrap();
    // Behind a lock that waits as long as the cutover does, there would be one.
    assert!(meanwhile > 3, "{meanwhile} reads");
    db.run("COMMIT").await;
    change
        .cutover()
        .run(Some(&mut change.drain(false)))
        .await
        .unwrap();
}

#[tokio::test]
async fn only_an_ordinary_session_is_killed_and_only_if_asked_for() {
    let cases = [
        ("START TRANSACTION; SELECT * FROM t", "ROLLBACK", true),
        (
            "XA START 'x'; INSERT INTO t VALUES (9, 9)",
            "XA END 'x'; XA ROLLBACK 'x'",
            false,
        ),
        (
            "SELECT GET_LOCK('other_tool', 0); START TRANSACTION; SELECT * FROM t",
            "ROLLBACK; DO RELEASE_ALL_LOCKS()",
            false,
        ),
        (
            "START TRANSACTION; SELECT * FROM t; SELECT /* gh-ost */ * FROM t",
            "ROLLBACK",
            false,
        ),
        ("LOCK TABLES t READ", "UNLOCK TABLES", false),
        (
            "XA START 'y'; INSERT INTO t VALUES (8, 8); XA END 'y'; XA PREPARE 'y'",
            "XA ROLLBACK 'y'",
            false,
        ),
        // The server still says that the lock is this session's.
        (
            "CREATE TABLE IF NOT EXISTS u (id INT); XA START 'z'; INSERT INTO t VALUES (7, 7); XA END 'z'; \
             XA PREPARE 'z'; START TRANSACTION; SELECT * FROM u",
            "COMMIT; XA ROLLBACK 'z'",
            false,
        ),
        // The transaction begins within its first statement.
        (
            "SET SESSION autocommit = 0; SELECT * FROM t; SELECT 1",
            "ROLLBACK",
            true,
        ),
    ];
    futures_util::future::join_all(cases.map(blocked_by)).await;
}

async fn blocked_by((blocking, unblocking, killed): (&str, &'static str, bool)) {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1)")
        .await;
    // Who is not to be killed is met when it is old enough for that, too.
    let give_up = if killed { 60 } else { 2 };
    let change = Change::planned(&db, 1, &["ALTER TABLE t MODIFY n BIGINT"],
            serde_json::json!({"cutover_lock_wait_ms": 200, "cutover_give_up_seconds": give_up, "kill_blockers_after_seconds": 1})).await;
    let mut session = db.settings.connect().await.unwrap();
    session
        .execute(AssertSqlSafe(format!("USE `{}`; {blocking}", db.schema)))
        .await
        .unwrap();
    let result = change.cutover().run(Some(&mut change.drain(false))).await;
    if killed {
        result.unwrap();
        assert!(session.execute("DO 0").await.is_err(), "{blocking}");
        change
            .cutover()
            .revert(&mut change.drain(true))
            .await
            .unwrap();
    } else {
        let error = result.expect_err(blocking);
        assert_eq!(error.kind(), ErrorKind::Retryable, "{blocking}");
        let why = error.message();
        assert!(why.contains("never killed"), "{blocking}: {why}");
        session
            .execute(unblocking)
            .await
            .unwrap_or_else(|e| panic!("{blocking}: {e}"));
    }
    let mut ours = change.session().await;
    clean_up(&mut ours, &db.schema, change.operation.sessions.owner()).await;
    change.operation.fence.remove(&mut ours).await.unwrap();
}

#[tokio::test]
async fn a_driver_whose_epoch_is_over_swaps_nothing() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1)")
        .await;
    let late = Change::planned(&db, 1, &["ALTER TABLE t MODIFY n BIGINT"], NO_OPTIONS).await;
    let next = late.taken_over(&db, 2).await;
    // The late driver's plan names the shadow of its own epoch.
    let error = late
        .cutover()
        .run(Some(&mut late.drain(false)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
    next.cutover()
        .run(Some(&mut next.drain(false)))
        .await
        .unwrap();
    let error = late
        .cutover()
        .run(Some(&mut late.drain(false)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    let error = late
        .cutover()
        .revert(&mut late.drain(true))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
}

#[tokio::test]
async fn a_take_over_in_the_middle_of_a_swap_ends_it_before_the_rename() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1)")
        .await;
    let first = Change::planned(&db, 1, &["ALTER TABLE t MODIFY n BIGINT"], NO_OPTIONS).await;
    let mut drain = first.drain(false);
    let successor = db.sessions(2);
    let schema = db.schema.clone();
    let taken = Arc::new(AtomicBool::new(false));
    let (in_drain, took) = (successor.clone(), taken.clone());
    // Under the first driver's lock its successor raises the epoch and kills its sessions.
    drain.then = Some(Box::pin(async move {
        let mut session = in_drain.open().await.unwrap();
        Fence::take_over(&in_drain, &mut session, &schema)
            .await
            .unwrap();
        took.store(true, Ordering::SeqCst);
    }));
    let error = first.cutover().run(Some(&mut drain)).await.unwrap_err();
    assert!(taken.load(Ordering::SeqCst));
    assert!(
        matches!(
            error.kind(),
            ErrorKind::LeaseLost | ErrorKind::SwapUnknown | ErrorKind::Retryable
        ),
        "{error}"
    );
    assert_eq!(db.column_type("t", "n").await, "int");
    let next = first.taken_over(&db, 3).await;
    next.cutover()
        .run(Some(&mut next.drain(false)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_table_that_somebody_changed_is_not_swapped_away() {
    let mut db = Deployment::fresh().await;
    for meddling in [
        "ALTER TABLE t ADD COLUMN late INT",
        "ALTER TABLE t RENAME INDEX by_n TO by_m",
        "DROP TABLE t",
        "TRUNCATE t; ALTER TABLE t COMMENT 'x'",
    ] {
        db.run("DROP TABLE IF EXISTS t; CREATE TABLE t (id INT PRIMARY KEY, n INT, KEY by_n (n)); INSERT INTO t VALUES (1, 1)").await;
        let change = Change::planned(&db, 1, &["ALTER TABLE t MODIFY n BIGINT"], NO_OPTIONS).await;
        db.run(meddling).await;
        let error = change
            .cutover()
            .run(Some(&mut change.drain(false)))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent, "{meddling}: {error}");
        let mut ours = change.session().await;
        clean_up(&mut ours, &db.schema, change.operation.sessions.owner()).await;
        change.operation.fence.remove(&mut ours).await.unwrap();
    }
}

#[tokio::test]
async fn an_unanswered_rename_is_settled_by_the_identity_of_the_tables() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1)")
        .await;
    let change = Change::planned(&db, 1, &["ALTER TABLE t MODIFY n BIGINT"], NO_OPTIONS).await;
    change
        .cutover()
        .run(Some(&mut change.drain(false)))
        .await
        .unwrap();
    let owner = db.owner(1);
    let (new, old) = (owner.table(Role::Shadow(0)), owner.table(Role::Old(0)));
    let mut session = change.session().await;
    for (meddling, expected) in [
        (
            format!("RENAME TABLE t TO `{new}`, `{old}` TO t"),
            Some(SwapOutcome::NotSwapped),
        ),
        (
            format!("RENAME TABLE t TO `{old}`, `{new}` TO t"),
            Some(SwapOutcome::Swapped),
        ),
        // The application's own; the other one tells.
        ("TRUNCATE t".to_owned(), Some(SwapOutcome::Swapped)),
        (format!("TRUNCATE `{old}`"), None),
        // What is aside tells, whatever has become of the other one.
        ("DROP TABLE t".to_owned(), Some(SwapOutcome::Swapped)),
        (format!("CREATE TABLE t LIKE `{old}`"), None),
    ] {
        db.run(&meddling).await;
        let outcome = change
            .cutover()
            .outcome(&mut session)
            .await
            .unwrap()
            .unwrap();
        match expected {
            Some(expected) => assert_eq!(outcome, expected, "{meddling}"),
            None => assert!(
                matches!(outcome, SwapOutcome::Unknown(_)),
                "{meddling}: {outcome:?}"
            ),
        }
    }
}

/// UNLOCK TABLES commits what there is.
#[tokio::test]
async fn a_drain_that_runs_out_of_time_leaves_nothing_of_its_batch() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1)")
        .await;
    let options = serde_json::json!({ "cutover_give_up_seconds": 1 });
    let change = Change::planned(&db, 1, &["ALTER TABLE t MODIFY n BIGINT"], options).await;
    let mut drain = change.drain(false);
    drain.gives_up = true;
    let error = change.cutover().run(Some(&mut drain)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    let shadow = db.owner(1).table(Role::Shadow(0));
    assert_eq!(
        db.text(&format!("SELECT COUNT(*) FROM `{shadow}`")).await,
        "0"
    );
}

/// The parent that a key of an empty copy points at is an empty copy too.
#[tokio::test]
async fn statements_of_tables_with_foreign_keys_are_known_again() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE p (id INT PRIMARY KEY); \
         CREATE TABLE c (id INT PRIMARY KEY, p INT, KEY by_p (p), FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE); \
         CREATE TABLE d LIKE c; ALTER TABLE d ADD CONSTRAINT to_p FOREIGN KEY (p) REFERENCES p (id)",
    )
    .await;
    let statements = [
        "ALTER TABLE c ADD COLUMN n INT DEFAULT 4",
        "ALTER TABLE d DROP FOREIGN KEY to_p",
    ];
    let options = serde_json::json!({ "cutover_give_up_seconds": 1, "cutover_lock_wait_ms": 200 });
    let change = Change::planned(&db, 1, &statements, options).await;
    // What it will be is written down, but the table is in use.
    let mut reader = db
        .settings
        .clone()
        .with_schema(&db.schema)
        .connect()
        .await
        .unwrap();
    reader.execute("BEGIN; SELECT * FROM c").await.unwrap();
    let error = change.cutover().run(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    reader.execute("COMMIT").await.unwrap();
    db.run("ALTER TABLE c COMMENT 'of somebody else'").await;
    let error = change.cutover().run(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.message().contains("somebody else"), "{error}");

    db.run("ALTER TABLE c COMMENT ''").await;
    change.cutover().run(None).await.unwrap();
    // The driver died before it could note the steps as done.
    db.run(&format!(
        "UPDATE `{}` SET swap = JSON_SET(swap, '$.steps[0].done', FALSE, '$.steps[1].done', FALSE)",
        db.owner(1).fence()
    ))
    .await;
    let next = change.taken_over(&db, 2).await;
    next.cutover().run(None).await.unwrap();
    let shape = "SELECT CONCAT_WS(' ', \
        (SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'c'), \
        (SELECT COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = DATABASE()))";
    assert_eq!(db.text(shape).await, "3 1");
}

/// The server spells an expression anew with a later ALTER.
#[tokio::test]
async fn statements_of_tables_with_expressions_are_known_again() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE t (id INT PRIMARY KEY, n INT, CHECK (n > -5), CONSTRAINT named CHECK (n IN (-1, 2) OR n IS NULL), \
          g INT AS (n - -3) VIRTUAL, s VARCHAR(20) AS (CONCAT(_latin1'x', n)) STORED, \
          d VARCHAR(20) DEFAULT (CONCAT('a', _utf8mb3'b')), KEY by_f ((n * -2))); \
         CREATE TABLE u LIKE t; ALTER TABLE u FORCE; CREATE TABLE v LIKE u; ALTER TABLE v COMMENT 'v', FORCE",
    )
    .await;
    let statements = [
        "ALTER TABLE t ADD COLUMN c INT DEFAULT 4",
        "ALTER TABLE u ADD COLUMN c INT DEFAULT 4, ADD COLUMN h INT AS (id + -1) VIRTUAL",
        "ALTER TABLE v DROP CONSTRAINT v_chk_2, ALTER COLUMN d SET DEFAULT ('c')",
    ];
    let change = Change::planned(&db, 1, &statements, NO_OPTIONS).await;
    change.cutover().run(None).await.unwrap();
    // The driver died before it could note the steps as done.
    db.run(&format!("UPDATE `{}` SET swap = JSON_SET(swap, '$.steps[0].done', FALSE, '$.steps[1].done', FALSE, '$.steps[2].done', FALSE)", db.owner(1).fence())).await;
    let next = change.taken_over(&db, 2).await;
    next.cutover().run(None).await.unwrap();
}

/// The server itself refuses such a DROP, but not the RENAME that stands for it; and it drops a column that a trigger names.
#[tokio::test]
async fn what_has_come_to_a_table_since_the_plan_is_not_broken_by_a_statement() {
    for (statement, comes, name) in [
        (
            "DROP TABLE p",
            "CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id))",
            "child",
        ),
        (
            "ALTER TABLE p DROP COLUMN n",
            "CREATE TRIGGER sets_n BEFORE INSERT ON p FOR EACH ROW SET NEW.n = 1",
            "sets_n",
        ),
    ] {
        let mut db = Deployment::fresh().await;
        db.run("CREATE TABLE p (id INT PRIMARY KEY, n INT)").await;
        let change = Change::planned(&db, 1, &[statement], NO_OPTIONS).await;
        db.run(comes).await;
        let error = change.cutover().run(None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
        assert!(error.message().contains(name), "{error}");
        db.run("INSERT INTO p (id) VALUES (1)").await;
    }
}

/// It was in the queue for the table before the cutover was.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_comes_while_a_drop_waits_for_its_lock_keeps_the_table() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE p (id INT PRIMARY KEY)").await;
    let options = serde_json::json!({ "cutover_lock_wait_ms": 60_000 });
    let change = Change::planned(&db, 1, &["DROP TABLE p"], options).await;
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut reader = settings.connect().await.unwrap();
    reader.execute("BEGIN; SELECT * FROM p").await.unwrap();
    let mut creator = settings.connect().await.unwrap();
    let create =
        "CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id))";
    let creating = tokio::spawn(async move { creator.execute(create).await.map(drop) });
    let waiting = format!(
        "SELECT COUNT(*) FROM performance_schema.metadata_locks AS l \
          WHERE l.OBJECT_SCHEMA = '{}' AND l.OBJECT_NAME = 'p' AND l.LOCK_STATUS = 'PENDING'",
        db.schema
    );
    eventually("the child waits", PATIENCE, async || {
        db.text(&waiting).await == "1"
    })
    .await;
    let looking = async {
        eventually("the drop waits behind it", PATIENCE, async || {
            db.text(&waiting).await == "2"
        })
        .await;
        reader.execute("COMMIT").await.unwrap();
    };
    let cutover = change.cutover();
    let (dropped, ()) = tokio::join!(cutover.run(None), looking);
    creating.await.unwrap().expect("the child");
    let error = dropped.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.message().contains("child"), "{error}");
    db.run("INSERT INTO p VALUES (1); INSERT INTO child VALUES (1, 1)")
        .await;
}

#[tokio::test]
async fn statements_without_a_copy_are_executed_once_and_in_their_turn() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT, KEY by_n (n)); CREATE TABLE u (id INT PRIMARY KEY, n INT); CREATE TABLE gone (id INT); INSERT INTO u VALUES (1, 1)").await;
    let change = Change::planned(
        &db,
        1,
        &[
            "ALTER TABLE t ADD COLUMN c INT DEFAULT 4, RENAME COLUMN n TO m",
            "ALTER TABLE u MODIFY n BIGINT",
            "CREATE TABLE fresh (id INT PRIMARY KEY, CHECK (id > 0))",
            "DROP TABLE gone",
        ],
        NO_OPTIONS,
    )
    .await;
    change
        .cutover()
        .run(Some(&mut change.drain(false)))
        .await
        .unwrap();
    let tables = db.tables().await;
    assert!(tables.contains("fresh") && !tables.contains("gone"));
    assert!(tables.iter().any(|name| name.contains("_drop3_")));
    assert_eq!(db.text("SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 't'").await, "3");
    // The driver died before it could note the steps as done.
    db.run(&format!("UPDATE `{}` SET swap = JSON_SET(swap, '$.steps[0].done', FALSE, '$.steps[1].done', FALSE, '$.steps[2].done', FALSE)", db.owner(1).fence())).await;
    let next = change.taken_over(&db, 2).await;
    next.cutover()
        .run(Some(&mut next.drain(false)))
        .await
        .unwrap();
    assert_eq!(db.text("SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 't'").await, "3");
    let error = next
        .cutover()
        .revert(&mut next.drain(true))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
}

#[tokio::test]
async fn a_column_added_without_a_default_gets_the_servers_own_value_and_no_default_in_the_end() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1)")
        .await;
    let change = Change::planned(&db, 1, &["ALTER TABLE t MODIFY n BIGINT, ADD a INT NOT NULL, ADD b ENUM('x','y') NOT NULL, ADD c TEXT NOT NULL, ADD d INT NOT NULL DEFAULT 7, ADD j JSON NOT NULL"], NO_OPTIONS).await;
    let mut drain = change.drain(false);
    // As the engine copies: only the carried columns are named.
    drain.columns = Some("id, n");
    change.cutover().run(Some(&mut drain)).await.unwrap();
    assert_eq!(
        db.text("SELECT CONCAT_WS('|', a, b, c, d, j) FROM t").await,
        "0|x||7|null"
    );
    let definition = db.text("SELECT GROUP_CONCAT(COLUMN_NAME, ' ', COALESCE(COLUMN_DEFAULT, '-') ORDER BY ORDINAL_POSITION) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 't'").await;
    assert_eq!(definition, "id -,n -,a -,b -,c -,d 7,j -");
}

#[tokio::test]
async fn statistics_and_histograms_are_there_at_the_swap() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT, KEY by_n (n)); INSERT INTO t VALUES (1, 1), (2, 2), (3, 2); ANALYZE TABLE t UPDATE HISTOGRAM ON n WITH 17 BUCKETS").await;
    let change = Change::planned(&db, 1, &["ALTER TABLE t CHANGE n m BIGINT"], NO_OPTIONS).await;
    change
        .cutover()
        .run(Some(&mut change.drain(false)))
        .await
        .unwrap();
    assert_eq!(db.text("SELECT HISTOGRAM->>'$.\"number-of-buckets-specified\"' FROM information_schema.COLUMN_STATISTICS WHERE SCHEMA_NAME = DATABASE() AND TABLE_NAME = 't' AND COLUMN_NAME = 'm'").await, "17");
}
