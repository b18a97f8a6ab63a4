//! Rows that came after preflight had looked: values that would be changed silently, and values of a unique key on their way from
//! one row to another.

mod deployment;
mod driver_process;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deployment::{Deployment, TestLease, copied, swap};
use lockkeeper::engine::{Engine, EngineError, ErrorKind, Job, Outcome};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor as _};
use support::PATIENCE;
use tokio::task::JoinHandle;

const PRICES: &str = "CREATE TABLE t (id INT PRIMARY KEY, price DECIMAL(10,4), code VARCHAR(9), due VARCHAR(30), day VARCHAR(30)); \
    INSERT INTO t VALUES (1, 1.25, '7', '2024-01-01 10:00:00', '2024-01-01'), (2, 2.5, '8', NULL, NULL); CREATE TABLE gate (shut INT); INSERT INTO gate VALUES (1)";

const CHANGE: &str = "ALTER TABLE t MODIFY price DECIMAL(10,2), MODIFY code INT, MODIFY due DATETIME, MODIFY day DATE";

/// What preflight found was so for the rows of then.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_would_be_rounded_is_refused_when_the_stream_brings_it() {
    let mut db = Deployment::fresh().await;
    db.run(PRICES).await;
    let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
    // The server takes these as they are.
    db.run(
        "UPDATE t SET price = 9.75, code = '009', due = '2024-02-03', day = '20240203' WHERE id = 2; \
         INSERT INTO t VALUES (3, 3, NULL, '2024-02-03 04:05:06', '2024-02-03')",
    )
    .await;
    deployment::copy(&mut engine).await;
    db.run("UPDATE t SET price = 1.2399 WHERE id = 2").await;
    let kept = tokio::time::timeout(PATIENCE, engine.keep_current()).await;
    let error = kept
        .expect("within seconds")
        .expect_err("a value was rounded");
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    let row = format!("row id = 2 of `{}`.`t` is refused", db.schema);
    for part in [&row, "column price would become another", "allow_lossy"] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    engine.close().await;
}

/// The server says at which place of a statement of ours the row was.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_server_refuses_is_named_by_its_table_and_key() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT, part VARCHAR(9), c VARCHAR(9), PRIMARY KEY (id, part)); INSERT INTO t VALUES (1, 'a', 'x')")
        .await;
    let change = "ALTER TABLE t MODIFY c ENUM('x', 'y'), ADD CHECK (id < 100)";
    for (refused, expected) in [
        ("(30, 'b', 'zz')", "Data truncated for column 'c' (1265)"),
        (
            "(300, 'b', 'x')",
            "constraint CHECK ((`id` < 100)) is violated",
        ),
    ] {
        let (mut engine, _lease) = copied(&db, db.job(&[change])).await;
        db.run(&format!(
            "INSERT INTO t VALUES (10, 'a', 'x'), (20, 'a', 'y'), {refused}, (40, 'a', 'x')"
        ))
        .await;
        let kept = tokio::time::timeout(PATIENCE, engine.keep_current()).await;
        let error = kept.expect("within seconds").expect_err("it was refused");
        let (id, _) = refused[1..].split_once(',').expect("an id");
        let row = format!("row id = {id}, part = b of `{}`.`t` is refused", db.schema);
        for part in [row.as_str(), expected] {
            assert!(error.message().contains(part), "{part}: {error}");
        }
        assert!(!error.message().contains("_lk_"), "{error}");
        engine.remove_artifacts().await.expect("removed");
        engine.close().await;
        db.run("DELETE FROM t WHERE id > 1").await;
    }
}

/// Not a test of its own: what the driver of the next one does.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the next test"]
async fn child() {
    let change = "ALTER TABLE t MODIFY id BIGINT, MODIFY due DATE";
    driver_process::child(&[change], json!({}), async |engine, _, _| {
        engine.copy().await.map(drop)
    })
    .await;
}

/// What is compared goes through its conversion first, and may meet such a row before the stream brings it.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_refused_while_rows_are_compared_is_named_all_the_same() {
    let [server] = support::private_servers(1).await.try_into().expect("one");
    let mut db = Deployment::on(server.administrator().clone()).await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, due VARCHAR(30)); INSERT INTO t VALUES (1, '2024-01-01'), (2, NULL)")
        .await;
    let mut driver = driver_process::freezes_at(&db, 1, "verify.pass.before").await;
    let shadow = db.ours("_new").await;
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut other = settings.connect().await.expect("a session");
    // The applier waits for this row, and what is behind it waits too.
    let hold = format!("BEGIN; SELECT * FROM `{shadow}` WHERE id = 1 FOR UPDATE");
    other.execute(AssertSqlSafe(hold)).await.expect("a lock");
    db.run("UPDATE t SET due = '2024-01-03' WHERE id = 1; INSERT INTO t VALUES (7, '2024-13-01')")
        .await;
    driver.wake();
    // While rows are compared, and while the row is looked for by halves: the applier has not come so far.
    let refused = "SELECT SUM_ERROR_RAISED >= 3 FROM performance_schema.events_errors_summary_global_by_error \
                    WHERE ERROR_NUMBER = 1292";
    let refused = support::eventually("it is refused", PATIENCE, async || {
        db.text(refused).await == "1"
    });
    let status = tokio::select! {
        status = driver.end() => status,
        () = refused => {
            other.execute("COMMIT").await.expect("the lock goes");
            driver.end().await
        }
    };
    assert_eq!(status.code(), Some(driver_process::FAILED));
    let said = driver_process::said(&db, 1);
    let row = format!("row id = 7 of `{}`.`t` ", db.schema);
    for part in [&row, "'2024-13-01' for column 'due' (1292)"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// The stream tells nothing of rows that came before their chunk.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_would_be_rounded_is_found_after_the_copy() {
    for (consent, rounded) in [(json!(false), false), (json!(["price"]), true)] {
        let mut db = Deployment::fresh().await;
        db.run(PRICES).await;
        let lease = TestLease::held();
        let query = format!("SELECT shut FROM `{}`.gate", db.schema);
        let job = Job {
            options: json!({ "throttle": { "query": query }, "allow_lossy": consent }),
            ..db.job(&[CHANGE])
        };
        let (target, held) = (db.target(), Arc::clone(&lease));
        let copy: JoinHandle<Result<Outcome, EngineError>> = tokio::spawn(async move {
            let mut engine = Engine::open(target, job, held).await?;
            let outcome = engine.copy().await;
            engine.close().await;
            outcome
        });
        support::eventually("nothing is copied yet", PATIENCE, async || {
            lease.progress().throttled_by.is_some()
        })
        .await;
        db.run("INSERT INTO t VALUES (5, 1.2399, '5', NULL, NULL)")
            .await;
        db.run("UPDATE gate SET shut = 0").await;
        let outcome = tokio::time::timeout(PATIENCE, copy).await;
        match outcome.expect("in time").expect("the copy") {
            Ok(outcome) => {
                assert!(rounded, "a value was rounded");
                assert_eq!(outcome, Outcome::Verified);
            }
            Err(error) => {
                assert!(!rounded, "{error}");
                let text = error.message();
                assert!(
                    text.contains("id = 5") && text.contains("allow_lossy"),
                    "{text}"
                );
            }
        }
    }
}

/// Moves codes from one row to another, the row in between without one; knows which row has which.
async fn move_codes(mut session: sqlx::MySqlConnection, stop: Arc<AtomicBool>) -> Vec<i64> {
    let mut codes: Vec<i64> = (1..=4000).collect();
    let mut random = StdRng::seed_from_u64(support::seed());
    let mut spare = 1_000_000;
    let mut pace = tokio::time::interval(Duration::from_millis(3));
    while !stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let mut row = || random.random_range(0..codes.len());
        let (from, to) = (row(), row());
        if from == to {
            continue;
        }
        spare += 1;
        for (code, row) in [(spare, from), (codes[from], to)] {
            let sql = format!("UPDATE t SET code = {code} WHERE id = {}", row + 1);
            session
                .execute(AssertSqlSafe(sql))
                .await
                .expect("a code moves");
        }
        codes[to] = codes[from];
        codes[from] = spare;
    }
    codes
}

/// The original lets two rows have one code, but never has such rows; the shadow, whose primary key it becomes, refuses them.
#[tokio::test(flavor = "multi_thread")]
async fn values_of_the_new_primary_key_may_move_between_rows() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE t (id INT PRIMARY KEY, code BIGINT NOT NULL, body VARCHAR(200)); \
         SET SESSION cte_max_recursion_depth = 5000; \
         INSERT INTO t WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 4000) \
         SELECT i, i, REPEAT('x', 100) FROM n",
    )
    .await;
    let stop = Arc::new(AtomicBool::new(false));
    let settings = db.settings.clone().with_schema(&db.schema);
    let session = settings.connect().await.expect("a session");
    let writer = tokio::spawn(move_codes(session, Arc::clone(&stop)));
    let change =
        "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (code), ADD UNIQUE KEY by_id (id)";
    let job = Job {
        options: json!({ "chunk_seconds": 0.01 }),
        ..db.job(&[change])
    };
    let (engine, _lease) = copied(&db, job).await;
    swap(engine).await;
    stop.store(true, Ordering::Relaxed);
    let codes = writer.await.expect("the writer");
    db.run("SET SESSION group_concat_max_len = 1000000").await;
    let found = db
        .text("SELECT GROUP_CONCAT(code ORDER BY id) FROM t")
        .await;
    let expected: Vec<String> = codes.iter().map(i64::to_string).collect();
    assert_eq!(found, expected.join(","));
}

/// A chunk reads its rows at one moment and writes them at another: what was applied in between is newer than they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_moves_past_a_chunk_that_is_slow_stays_with_its_new_row() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE s (id INT PRIMARY KEY, n INT); INSERT INTO s VALUES (1, 1); \
         CREATE TABLE t (id INT PRIMARY KEY, code BIGINT NOT NULL); \
         CREATE TABLE gate (shut INT); INSERT INTO gate VALUES (1); \
         SET SESSION cte_max_recursion_depth = 5000; \
         INSERT INTO t WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 4000) \
         SELECT i, i FROM n",
    )
    .await;
    let query = format!("SELECT shut FROM `{}`.gate", db.schema);
    let change =
        "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (code), ADD UNIQUE KEY by_id (id)";
    let job = Job {
        options: json!({ "throttle": { "query": query }, "copy_threads": 1 }),
        ..db.job(&["ALTER TABLE s MODIFY n BIGINT", change])
    };
    let (mut engine, lease) = deployment::open(&db, job).await;
    let copy = tokio::spawn(async move { (engine.copy().await, engine) });
    support::eventually("nothing is copied yet", PATIENCE, async || {
        lease.progress().throttled_by.is_some()
    })
    .await;
    let shadows = format!(
        "SELECT GROUP_CONCAT(CAST(c.TABLE_NAME AS CHAR) ORDER BY c.COLUMN_NAME DESC) FROM information_schema.COLUMNS AS c \
          WHERE c.TABLE_SCHEMA = '{}' AND c.TABLE_NAME LIKE '\\_lk\\_%\\_new' AND c.COLUMN_NAME IN ('n', 'code')",
        db.schema
    );
    let shadows = db.text(&shadows).await;
    let (of_s, of_t) = shadows.split_once(',').expect("two tables");
    // The second chunk waits for its first row, its snapshot taken.
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut other = settings.connect().await.expect("a session");
    let hold = format!("BEGIN; INSERT INTO `{of_t}` (id, code) VALUES (2001, 2001)");
    other.execute(AssertSqlSafe(hold)).await.expect("a lock");
    db.run("UPDATE gate SET shut = 0").await;
    let waits = format!(
        "SELECT COUNT(*) FROM performance_schema.data_locks AS l \
          WHERE l.LOCK_STATUS = 'WAITING' AND l.OBJECT_NAME = '{of_t}'"
    );
    support::eventually("the chunk waits", PATIENCE, async || {
        db.text(&waits).await == "1"
    })
    .await;
    db.run(
        "UPDATE t SET code = 9000 WHERE id = 3000; UPDATE t SET code = 3000 WHERE id = 100; UPDATE s SET n = 2",
    )
    .await;
    let applied = format!("SELECT n FROM `{of_s}`");
    support::eventually("changes are applied beside it", PATIENCE, async || {
        db.text(&applied).await == "2"
    })
    .await;
    other.execute("ROLLBACK").await.expect("the lock goes");
    let (copied, engine) = copy.await.expect("no row is missing");
    assert_eq!(copied.expect("the copy"), Outcome::Verified);
    swap(engine).await;
    let codes = "SELECT GROUP_CONCAT(code ORDER BY id) FROM t WHERE id IN (100, 3000)";
    assert_eq!(db.text(codes).await, "3000,9000");
}
