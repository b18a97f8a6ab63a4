//! Others who lay hands on what is ours: on rows of the copy, on sessions, on locks. The change ends equal, or stops and says
//! what happened. Cases 6, 45 and 93.

mod deployment;
mod support;

use std::sync::Arc;

use deployment::{Deployment, TestLease, copied, open, swapped_alike};
use lockkeeper::engine::{Directive, Engine, EngineError, ErrorKind, Job, Orders, Outcome};
use sqlx::{AssertSqlSafe, Executor as _};
use support::PATIENCE;
use tokio::sync::watch;

const TABLE: &str = "CREATE TABLE orders (id INT PRIMARY KEY, n INT, note VARCHAR(40)); \
    SET SESSION cte_max_recursion_depth = 100000; \
    INSERT INTO orders WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 6000) \
    SELECT i, i, 'note' FROM r";

const CHANGE: &str = "ALTER TABLE orders MODIFY n BIGINT";

const CONTENT: &str = "SELECT CONCAT_WS(' ', COUNT(*), SUM(id), SUM(n), \
    SUM(CRC32(CONCAT_WS('|', id, n, note)))) FROM orders";

async fn filled() -> Deployment {
    let mut db = Deployment::fresh().await;
    db.run(TABLE).await;
    db
}

fn is_told(error: &EngineError, table: &str) {
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    let text = error.message();
    assert!(
        text.contains("somebody else changed rows") && text.contains(table),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_the_copy_that_somebody_changes_after_verification_stops_the_change() {
    for write in [
        "UPDATE {copy} SET n = -1 WHERE id = 5",
        "DELETE FROM {copy} WHERE id = 5",
        "INSERT INTO {copy} (id, n) VALUES (7000, 1)",
        "BEGIN; UPDATE orders SET n = 1 WHERE id = 6; UPDATE {copy} SET n = -1 WHERE id = 5; COMMIT",
        "XA START 'x'; UPDATE {copy} SET n = -1 WHERE id = 5; XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'",
        // Neither is shown as rows.
        "SET SESSION binlog_format = 'STATEMENT'; UPDATE {copy} SET n = -1 WHERE id = 5",
        "SET SESSION binlog_row_value_options = 'PARTIAL_JSON'; UPDATE {copy} SET j = JSON_SET(j, '$.a', 7) WHERE id = 5",
    ] {
        let mut db = filled().await;
        db.run("ALTER TABLE orders ADD j JSON DEFAULT ('{\"a\": 1}')")
            .await;
        let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
        let copy = db.ours("_new").await;
        db.run(&write.replace("{copy}", &copy)).await;
        let error = engine.cut_over().await.expect_err(write);
        is_told(&error, &copy);
        engine.close().await;
        assert_eq!(db.column_type("orders", "n").await, "int", "{write}");
    }
}

/// An empty copy would go into use, or values that somebody has cleared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_no_longer_what_was_verified_is_not_swapped_in() {
    for statement in [
        "TRUNCATE {copy}",
        "RENAME TABLE {copy} TO aside; CREATE TABLE {copy} LIKE aside",
        "CREATE TABLE other LIKE {copy}; DROP TABLE {copy}; RENAME TABLE other TO {copy}",
        "ALTER TABLE {copy} DROP COLUMN note, ADD COLUMN note VARCHAR(40)",
        // Of the table itself: no row says that the copy's values are of yesterday, and the definition is what it was.
        "ALTER TABLE orders DROP COLUMN note, ADD COLUMN note VARCHAR(40), ALGORITHM = INSTANT",
        "ALTER TABLE orders /*!80029 DROP COLUMN note, ADD COLUMN note VARCHAR(40) */",
        "SET SESSION sql_log_bin = 0; ALTER TABLE orders DROP COLUMN note, ADD COLUMN note VARCHAR(40)",
    ] {
        // Noticed as it happens, and where no driver was at work.
        for is_resumed in [false, true] {
            let mut db = filled().await;
            let job = db.job(&[CHANGE]);
            let (mut engine, _lease) = copied(&db, job.clone()).await;
            let copy = db.ours("_new").await;
            if is_resumed {
                engine.close().await;
                db.run(&statement.replace("{copy}", &copy)).await;
                let next = Job {
                    lease_epoch: 2,
                    ..job
                };
                engine = open(&db, next).await.0;
            } else {
                db.run(&statement.replace("{copy}", &copy)).await;
            }
            let error = engine.cut_over().await.expect_err(statement);
            assert_eq!(error.kind(), ErrorKind::Permanent, "{statement}: {error}");
            engine.close().await;
            assert_eq!(db.column_type("orders", "n").await, "int", "{statement}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_table_that_somebody_empties_closes_the_window() {
    let mut db = filled().await;
    let job = Job {
        revert_window_seconds: 600,
        ..db.job(&[CHANGE])
    };
    let (mut engine, _lease) = copied(&db, job).await;
    engine.cut_over().await.expect("the swap");
    let (_ends, window) = watch::channel(Some(600.0));
    let former = db.ours("_old").await;
    db.run(&format!("TRUNCATE {former}")).await;
    let kept = tokio::time::timeout(PATIENCE, engine.keep_reverse(window)).await;
    match kept.expect("within seconds").expect("the window's end") {
        Outcome::WindowClosed(reason) => assert!(reason.contains(&former), "{reason}"),
        other => panic!("{other:?}"),
    }
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_the_former_table_that_somebody_changes_closes_the_window() {
    let mut db = filled().await;
    let job = Job {
        revert_window_seconds: 600,
        ..db.job(&[CHANGE])
    };
    let (mut engine, _lease) = copied(&db, job).await;
    engine.cut_over().await.expect("the swap");
    let (_ends, window) = watch::channel(Some(600.0));
    let former = db.ours("_old").await;
    db.run(&format!("UPDATE {former} SET n = -1 WHERE id = 5"))
        .await;
    let kept = tokio::time::timeout(PATIENCE, engine.keep_reverse(window)).await;
    match kept.expect("within seconds").expect("the window's end") {
        Outcome::WindowClosed(reason) => assert!(
            reason.contains("somebody else changed rows") && reason.contains(&former),
            "{reason}"
        ),
        other => panic!("{other:?}"),
    }
    engine.finish().await.expect("the end");
    engine.close().await;
    assert_eq!(db.column_type("orders", "n").await, "bigint");
}

/// Not first under the swap's lock, hours later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_somebody_changes_without_touching_a_column_stops_the_change_at_once() {
    for change in [
        "ALTER TABLE orders COMMENT = 'theirs'",
        "ALTER TABLE orders ADD CONSTRAINT odd CHECK (n <> 3) NOT ENFORCED",
        "ALTER TABLE orders STATS_SAMPLE_PAGES = 30",
    ] {
        let mut db = filled().await;
        let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
        db.run(change).await;
        let kept = tokio::time::timeout(PATIENCE, engine.keep_current()).await;
        let error = kept.expect("within seconds").expect_err(change);
        assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
        let text = error.message();
        assert!(text.contains("altered by somebody else"), "{text}");
        engine.close().await;
    }
}

/// What is ours is known as ours, whoever of us wrote it: chunks, batches, parts of a large transaction, another driver.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_former_driver_wrote_is_not_taken_for_somebody_elses() {
    let mut db = filled().await;
    let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
    // Larger than what is written at once, and each part leads to the same place.
    db.run(
        "SET SESSION cte_max_recursion_depth = 200000; ALTER TABLE orders COMMENT = ''; \
         UPDATE orders SET note = REPEAT('x', 40); BEGIN; \
         INSERT INTO orders WITH RECURSIVE r AS (SELECT 10000 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 130000) \
         SELECT i, i, REPEAT('y', 40) FROM r; UPDATE orders SET n = n + 1 WHERE id >= 10000; COMMIT",
    )
    .await;
    assert_eq!(engine.copy().await.expect("all of it"), Outcome::Verified);
    engine.close().await;
    let job = Job {
        lease_epoch: 2,
        ..db.job(&[CHANGE])
    };
    let (engine, _lease) = copied(&db, job).await;
    db.run("UPDATE orders SET n = -5 WHERE id = 5").await;
    swapped_alike(&mut db, engine, CONTENT).await;
    assert_eq!(db.column_type("orders", "n").await, "bigint");
}

/// Sessions of the server that have waited a while with such a statement.
async fn waiting_with(db: &mut Deployment, statement: &str) -> Vec<u64> {
    let sql = format!(
        "SELECT COALESCE(GROUP_CONCAT(p.ID), '') FROM performance_schema.processlist AS p \
          WHERE p.INFO LIKE '{statement}' AND p.ID <> CONNECTION_ID()"
    );
    let ids = db.text(&sql).await;
    ids.split(',').filter_map(|id| id.parse().ok()).collect()
}

async fn one_that_waits_with(db: &mut Deployment, statement: &str) -> u64 {
    let limit = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(id) = waiting_with(db, statement).await.first() {
            return *id;
        }
        assert!(tokio::time::Instant::now() < limit, "nobody: {statement}");
        tokio::task::yield_now().await;
    }
}

/// A copy that is about to begin, in a task of its own.
async fn about_to_copy(
    db: &Deployment,
) -> (
    tokio::task::JoinHandle<(Engine, Result<Outcome, EngineError>)>,
    Arc<TestLease>,
) {
    let mut job = db.job(&[CHANGE]);
    job.options = serde_json::json!({ "copy_threads": 1 });
    let (mut engine, lease) = open(db, job).await;
    lease.order(Orders {
        throttle_level: 10,
        ..Orders::default()
    });
    let copying = tokio::spawn(async move {
        let outcome = engine.copy().await;
        (engine, outcome)
    });
    support::eventually("the copy begins", PATIENCE, || async {
        lease.progress().phase == "copy"
    })
    .await;
    (copying, lease)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_whose_connection_is_killed_again_and_again_ends_with_every_row() {
    let mut db = filled().await;
    let (copying, lease) = about_to_copy(&db).await;
    let copy = db.ours("_new").await;
    let schema = db.schema.clone();
    // Its search for the next chunk's end waits for this one, and then its chunk for that one.
    for (lock, statement, unlock) in [
        (
            "LOCK TABLES orders WRITE".to_owned(),
            format!("SELECT %`{schema}`.`orders` FORCE INDEX%OFFSET%"),
            "UNLOCK TABLES",
        ),
        (
            format!("BEGIN; SELECT id FROM {copy} FOR UPDATE"),
            format!("INSERT INTO `{schema}`.`{copy}`%"),
            "ROLLBACK",
        ),
    ] {
        db.run(&lock).await;
        lease.order(Orders::default());
        for _ in 0..3 {
            let id = one_that_waits_with(&mut db, &statement).await;
            db.run(&format!("KILL {id}")).await;
            support::eventually("it is gone", PATIENCE, async || {
                let mut other = db.settings.connect().await.expect("a session");
                let still =
                    format!("SELECT 1 FROM performance_schema.processlist AS p WHERE p.ID = {id}");
                let rows = other.fetch_all(AssertSqlSafe(still)).await;
                rows.expect("an answer").is_empty()
            })
            .await;
        }
        if unlock == "UNLOCK TABLES" {
            lease.order(Orders {
                throttle_level: 10,
                ..Orders::default()
            });
        }
        db.run(unlock).await;
    }
    let (engine, outcome) = copying.await.expect("the copy");
    assert_eq!(outcome.expect("the copy"), Outcome::Verified);
    swapped_alike(&mut db, engine, CONTENT).await;
    assert_eq!(db.column_type("orders", "n").await, "bigint");
}

/// What lies between forgets a connection that is silent for some minutes, as the engine's own is while rows are copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_gone_when_the_copy_ends_costs_nothing() {
    let mut db = filled().await;
    let (copying, lease) = about_to_copy(&db).await;
    let first = format!("{}0", db.owner(1).sessions_prefix(1));
    let user = format!("SELECT CAST(COALESCE(IS_USED_LOCK('{first}'), 0) AS CHAR)");
    let id = db.text(&user).await;
    db.run(&format!("KILL {id}")).await;
    let limit = tokio::time::Instant::now() + PATIENCE;
    while db.text(&user).await == id {
        assert!(tokio::time::Instant::now() < limit, "{id} does not end");
    }
    lease.order(Orders::default());
    let (engine, outcome) = copying.await.expect("the copy");
    assert_eq!(outcome.expect("the copy"), Outcome::Verified);
    swapped_alike(&mut db, engine, CONTENT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_is_the_victim_of_a_deadlock_is_copied_again() {
    let mut db = filled().await;
    db.run("CREATE TABLE ballast (id INT PRIMARY KEY)").await;
    let (copying, lease) = about_to_copy(&db).await;
    let copy = db.ours("_new").await;
    let checkpoint = db.ours("_checkpoint").await;
    let deadlocks = "SELECT CAST(c.COUNT AS CHAR) FROM information_schema.INNODB_METRICS AS c \
        WHERE c.NAME = 'lock_deadlocks'";
    let before: u64 = db.text(deadlocks).await.parse().expect("a number");
    // The heavier of two: the server gives up the other one, which is the chunk.
    db.run(&format!(
        "BEGIN; INSERT INTO ballast WITH RECURSIVE r AS \
           (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 50000) SELECT i FROM r; \
         SELECT name FROM {checkpoint} WHERE name LIKE 'copied%' FOR UPDATE"
    ))
    .await;
    lease.order(Orders::default());
    let record = format!("REPLACE INTO `{}`.`{checkpoint}`%copied%", db.schema);
    one_that_waits_with(&mut db, &record).await;
    db.run(&format!("SELECT id FROM {copy} FOR UPDATE; ROLLBACK"))
        .await;
    let after: u64 = db.text(deadlocks).await.parse().expect("a number");
    assert!(after > before, "no deadlock");
    let (engine, outcome) = copying.await.expect("the copy");
    assert_eq!(outcome.expect("the copy"), Outcome::Verified);
    swapped_alike(&mut db, engine, CONTENT).await;
    assert_eq!(db.column_type("orders", "n").await, "bigint");
}

async fn end_our_sessions(db: &mut Deployment) {
    let installation = db.installation.clone();
    let names = format!(
        "SELECT COALESCE(GROUP_CONCAT(DISTINCT t.PROCESSLIST_ID), '') FROM performance_schema.metadata_locks AS l \
           JOIN performance_schema.threads AS t ON t.THREAD_ID = l.OWNER_THREAD_ID \
          WHERE l.OBJECT_TYPE = 'USER LEVEL LOCK' AND l.OBJECT_NAME LIKE '%{installation}%' \
            AND t.PROCESSLIST_ID IS NOT NULL"
    );
    let held = db.text(&names).await;
    assert!(!held.is_empty(), "no session holds a name");
    for id in held.split(',') {
        let killed = db.root.execute(AssertSqlSafe(format!("KILL {id}"))).await;
        // One may have ended meanwhile.
        if let Err(error) = killed {
            assert_eq!(lockkeeper::server_error::number(&error), Some(1094));
        }
    }
}

/// Somebody ends sessions that do nothing, or the server was started anew: a swap that comes then spends no attempt for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_of_statements_alone_that_was_waited_for_finds_its_sessions_ended() {
    let mut db = filled().await;
    let (mut engine, _lease) = copied(&db, db.job(&["ALTER TABLE orders ADD COLUMN c INT"])).await;
    end_our_sessions(&mut db).await;
    engine.cut_over().await.expect("the swap");
    engine.finish().await.expect("the end");
    engine.close().await;
    assert_eq!(db.column_type("orders", "c").await, "int");
}

/// The names that sessions of ours hold say whose they are. Without them nothing is lost: what holds a driver off is the fence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_killed_with_the_names_they_hold_cost_no_write() {
    let mut db = filled().await;
    let (mut engine, lease) = copied(&db, db.job(&[CHANGE])).await;
    end_our_sessions(&mut db).await;
    db.run("UPDATE orders SET n = n + 1 WHERE id % 3 = 0; DELETE FROM orders WHERE id % 7 = 0")
        .await;
    lease.order(Orders {
        directive: Directive::Cutover,
        ..Orders::default()
    });
    // It goes on with other sessions, or ends for the next driver to go on.
    if let Err(error) = engine.cut_over().await {
        assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
        assert_eq!(db.column_type("orders", "n").await, "int");
    }
    engine.close().await;
    let job = Job {
        lease_epoch: 2,
        ..db.job(&[CHANGE])
    };
    let expected = db.text(CONTENT).await;
    let (mut engine, _lease) = open(&db, job).await;
    engine.cut_over().await.expect("the swap");
    engine.finish().await.expect("the end");
    engine.close().await;
    assert_eq!(db.text(CONTENT).await, expected);
    assert_eq!(db.column_type("orders", "n").await, "bigint");
}

/// What a server does that was started anew and does not write each commit to its disk: the last second is gone, rows and place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_the_server_has_lost_is_written_again_before_the_swap() {
    let mut db = filled().await;
    let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
    let (copy, checkpoint) = (db.ours("_new").await, db.ours("_checkpoint").await);
    db.run(&format!(
        "SET SESSION sql_log_bin = 0; CREATE TABLE place AS SELECT value FROM {checkpoint} WHERE name = 'position'; \
         SET SESSION sql_log_bin = 1; UPDATE orders SET n = -7 WHERE id = 5"
    ))
    .await;
    let found = engine.differences().await.expect("a comparison");
    assert_eq!(found, Vec::<String>::new());
    db.run(&format!(
        "SET SESSION sql_log_bin = 0; UPDATE {copy} SET n = 5 WHERE id = 5; \
         UPDATE {checkpoint} SET value = (SELECT value FROM place) WHERE name = 'position'; DROP TABLE place"
    ))
    .await;
    end_our_sessions(&mut db).await;
    let error = engine.cut_over().await.expect_err("a place that is gone");
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    engine.close().await;
    let job = Job {
        lease_epoch: 2,
        ..db.job(&[CHANGE])
    };
    let (engine, _lease) = open(&db, job).await;
    swapped_alike(&mut db, engine, CONTENT).await;
    assert_eq!(db.column_type("orders", "n").await, "bigint");
}

/// A row that is never at rest is neither taken for a difference nor left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_rows_neither_hold_up_a_verification_nor_raise_an_alarm() {
    let mut db = filled().await;
    let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
    let (stop, stopped) = watch::channel(false);
    let mut writer = db.settings.connect().await.expect("a session");
    let schema = db.schema.clone();
    let (count, written) = watch::channel(0_u64);
    let writing = tokio::spawn(async move {
        while !*stopped.borrow() {
            for id in [1, 3000, 6000] {
                let update = format!("UPDATE `{schema}`.orders SET n = n + 1 WHERE id = {id}");
                let update = writer.execute(AssertSqlSafe(update)).await;
                update.expect("an update");
            }
            // Rows that come and go, as those of a queue do: half of the time there is nothing to lock.
            for id in 4000..4020 {
                let write = format!(
                    "DELETE FROM `{schema}`.orders WHERE id = {id}; INSERT INTO `{schema}`.orders VALUES ({id}, 1, UUID())"
                );
                let write = sqlx::raw_sql(AssertSqlSafe(write)).execute(&mut writer);
                write.await.expect("a row anew");
            }
            count.send_modify(|count| *count += 1);
        }
    });
    let mut beside_writes = 0;
    support::eventually("comparisons beside writes", PATIENCE, async || {
        let before = *written.borrow();
        let found = tokio::time::timeout(PATIENCE, engine.differences()).await;
        let found = found.expect("an end").expect("a comparison");
        assert_eq!(found, Vec::<String>::new());
        beside_writes += u32::from(*written.borrow() > before);
        beside_writes == 5
    })
    .await;
    // What is wrong with a row that rests is found beside them.
    let copy = db.ours("_new").await;
    db.run(&format!(
        "SET SESSION sql_log_bin = 0; UPDATE {copy} SET note = 'spoilt' WHERE id = 3001"
    ))
    .await;
    let found = engine.differences().await.expect("a comparison");
    assert_eq!(found, ["(3001) differs"]);
    db.run(&format!("UPDATE {copy} SET note = 'note' WHERE id = 3001"))
        .await;
    stop.send_replace(true);
    writing.await.expect("a writer");
    swapped_alike(&mut db, engine, CONTENT).await;
}
