//! Swaps that do not come to their end at once: what has swapped is never reported as failed, and what has not goes on.

mod deployment;
mod support;

use deployment::Deployment;
use lockkeeper::engine::names::Role;
use lockkeeper::engine::{ErrorKind, Job};
use sqlx::Executor as _;

const ROWS: &str =
    "CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1), (2, 2)";

/// Who is told that the swap has failed would let it be cancelled, and say that nothing was changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_behind_the_swap_that_gives_way_is_no_failed_swap() {
    let mut db = Deployment::fresh().await;
    db.run(ROWS).await;
    db.run("CREATE TABLE legacy (id INT PRIMARY KEY); INSERT INTO legacy VALUES (1)")
        .await;
    let job = Job {
        options: serde_json::json!({"cutover_lock_wait_ms": 100, "cutover_give_up_seconds": 1}),
        ..db.job(&["ALTER TABLE t MODIFY n BIGINT", "DROP TABLE legacy"])
    };
    let (mut engine, _lease) = deployment::copied(&db, job).await;
    let mut reader = db.settings.connect().await.expect("a session");
    let held = format!("START TRANSACTION; SELECT * FROM `{}`.legacy", db.schema);
    reader
        .execute(sqlx::AssertSqlSafe(held))
        .await
        .expect("a long transaction");
    for _ in 0..2 {
        let error = engine.cut_over().await.expect_err("legacy is in use");
        assert_eq!(error.kind(), ErrorKind::SwapUnknown, "{error}");
        assert!(error.message().contains("statement 2 gave way"), "{error}");
        assert_eq!(db.column_type("t", "n").await, "bigint");
    }
    reader.execute("COMMIT").await.expect("its end");
    deployment::swap(engine).await;
    let left = db.tables().await;
    assert!(!left.contains("legacy"), "{left:?}");
}

/// Under its lock a swap takes defaults from the copy that whoever writes to it needs: the next row would be refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_come_after_a_swap_that_failed_at_its_rename_are_carried() {
    for is_another_driver in [false, true] {
        let mut db = Deployment::fresh().await;
        db.run(ROWS).await;
        let job = db.job(&["ALTER TABLE t MODIFY n BIGINT, ADD COLUMN grade INT NOT NULL"]);
        let (mut engine, _lease) = deployment::copied(&db, job.clone()).await;
        let aside = db.owner(1).table(Role::Old(0));
        db.run(&format!("CREATE TABLE `{aside}` (id INT)")).await;
        let error = engine.cut_over().await.expect_err("the name is taken");
        assert_eq!(error.kind(), ErrorKind::SwapUnknown, "{error}");
        db.run(&format!(
            "DROP TABLE `{aside}`; INSERT INTO t VALUES (3, 3)"
        ))
        .await;
        let engine = match is_another_driver {
            // As after a restart of the server.
            false => {
                let prefix = db.owner(1).sessions_prefix(1);
                for number in 0..8 {
                    let id = format!("SELECT COALESCE(IS_USED_LOCK('{prefix}{number}'), 0)");
                    let id = db.text(&id).await;
                    if id != "0" {
                        db.run(&format!("KILL {id}")).await;
                    }
                }
                engine
            }
            true => {
                engine.abandon();
                let next = Job {
                    lease_epoch: 2,
                    ..job
                };
                deployment::copied(&db, next).await.0
            }
        };
        deployment::swap(engine).await;
        let rows = "SELECT GROUP_CONCAT(id, ':', n, ':', grade ORDER BY id) FROM t";
        assert_eq!(db.text(rows).await, "1:1:0,2:2:0,3:3:0");
        let strict = "SELECT COUNT(*) FROM information_schema.COLUMNS AS c WHERE c.TABLE_SCHEMA = DATABASE() \
                       AND c.TABLE_NAME = 't' AND c.COLUMN_NAME = 'grade' AND c.COLUMN_DEFAULT IS NULL";
        assert_eq!(db.text(strict).await, "1");
    }
}

/// Its number tells that the table is the one from before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_dropped_behind_a_swap_that_gave_way_is_told_for_what_it_is() {
    let mut db = Deployment::fresh().await;
    db.run(ROWS).await;
    let job = Job {
        options: serde_json::json!({"cutover_lock_wait_ms": 100, "cutover_give_up_seconds": 1}),
        ..db.job(&["ALTER TABLE t MODIFY n BIGINT"])
    };
    let (mut engine, _lease) = deployment::copied(&db, job.clone()).await;
    let mut reader = db.settings.connect().await.expect("a session");
    let held = format!("START TRANSACTION; SELECT * FROM `{}`.t", db.schema);
    reader
        .execute(sqlx::AssertSqlSafe(held))
        .await
        .expect("a long transaction");
    let error = engine.cut_over().await.expect_err("t is in use");
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    reader.execute("COMMIT").await.expect("its end");
    engine.close().await;
    let copy = db.owner(1).table(Role::Shadow(0));
    db.run(&format!("DROP TABLE `{copy}`")).await;
    let next = Job {
        lease_epoch: 2,
        ..job
    };
    let (mut engine, _lease) = deployment::open(&db, next).await;
    let error = engine.cut_over().await.expect_err("the copy is gone");
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.message().contains("is gone"), "{error}");
    engine.give_up().await.expect("nothing is left");
    engine.close().await;
    assert_eq!(db.tables().await.into_iter().collect::<Vec<_>>(), ["t"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_somebody_else_has_created_meanwhile_is_not_taken_for_the_one_asked_for() {
    let mut db = Deployment::fresh().await;
    let asked = [
        ("CREATE TABLE t (a INT PRIMARY KEY)", false),
        ("CREATE TABLE IF NOT EXISTS t (a INT PRIMARY KEY)", true),
    ];
    for (statement, may_be_there) in asked {
        let (mut engine, _lease) = deployment::copied(&db, db.job(&[statement])).await;
        db.run("CREATE TABLE t (b VARCHAR(10))").await;
        let done = engine.cut_over().await;
        match may_be_there {
            true => assert!(done.is_ok(), "{done:?}"),
            false => {
                let error = done.expect_err("it is another table");
                assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
                assert!(error.message().contains("already exists"), "{error}");
            }
        }
        engine.give_up().await.expect("the end");
        engine.close().await;
        db.run("DROP TABLE t").await;
    }
}

/// The former table is there still: that is what tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_is_known_by_what_it_has_put_aside_though_the_new_table_is_dropped() {
    let mut db = Deployment::fresh().await;
    db.run(ROWS).await;
    let job = db.job(&["ALTER TABLE t MODIFY n BIGINT"]);
    let (mut engine, _lease) = deployment::copied(&db, job.clone()).await;
    engine.cut_over().await.expect("the swap");
    engine.abandon();
    db.run("DROP TABLE t").await;
    let next = Job {
        lease_epoch: 2,
        ..job
    };
    let (mut engine, _lease) = deployment::open(&db, next).await;
    engine.may_have_swapped();
    deployment::swap(engine).await;
    let left = db.tables().await;
    assert!(left.iter().any(|table| table.contains("drop0")), "{left:?}");
}

/// Its record does not say so: the driver was ended between the two. A cancel must not say that nothing was done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_whose_answer_was_lost_is_in_force_all_the_same() {
    for (statement, undone) in [
        (
            "DROP TABLE t",
            "UPDATE {fence} SET swap = JSON_SET(swap, '$.steps[0].done', FALSE)",
        ),
        (
            "ALTER TABLE t ADD COLUMN c INT",
            "UPDATE {fence} SET swap = JSON_SET(swap, '$.steps[0].done', FALSE)",
        ),
    ] {
        let mut db = Deployment::fresh().await;
        db.run(ROWS).await;
        let job = db.job(&[statement]);
        let (mut engine, _lease) = deployment::copied(&db, job.clone()).await;
        assert_eq!(engine.in_force().await.expect("an answer"), None);
        engine.cut_over().await.expect("executed");
        engine.abandon();
        let fence = db.owner(1).fence();
        db.run(&undone.replace("{fence}", &fence)).await;
        let next = Job {
            lease_epoch: 2,
            ..job
        };
        let (mut engine, _lease) = deployment::open(&db, next).await;
        let told = engine.in_force().await.expect("an answer");
        assert!(
            told.is_some_and(|told| told.contains("statements 1")),
            "{statement}"
        );
        // And when all is put aside, and only the fence tells.
        engine.finish().await.expect("the end");
        assert!(
            engine.in_force().await.expect("an answer").is_some(),
            "{statement}"
        );
        engine.close().await;
    }
}

/// Told first that it is over, a driver has no lease any more, and nobody else will put the old table aside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_table_is_put_aside_after_the_end_though_our_sessions_are_gone() {
    let mut db = Deployment::fresh().await;
    db.run(ROWS).await;
    let job = db.job(&["ALTER TABLE t MODIFY n BIGINT"]);
    let (mut engine, lease) = deployment::copied(&db, job).await;
    engine.cut_over().await.expect("the swap");
    lease.lose();
    engine.lease_has_ended();
    let prefix = db.owner(1).sessions_prefix(1);
    for number in 0..8 {
        let id = format!("SELECT COALESCE(IS_USED_LOCK('{prefix}{number}'), 0)");
        let id = db.text(&id).await;
        if id != "0" {
            db.run(&format!("KILL {id}")).await;
        }
    }
    engine.finish().await.expect("the end");
    engine.close().await;
    let left = db.tables().await;
    assert!(
        !left.iter().any(|table| table.ends_with("_old")),
        "{left:?}"
    );
    assert!(left.iter().any(|table| table.contains("drop0")), "{left:?}");
}

/// Somebody takes a table of ours for a leftover: the checkpoint or the fence, and that before the one or after both say that it has swapped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_is_known_though_its_checkpoint_or_its_fence_is_dropped() {
    let told_late =
        "UPDATE `{}` SET value = JSON_SET(value, '$.stage', 'verified') WHERE name = 'head'";
    for (dropped, before) in [
        ("_checkpoint", None),
        ("_fence", None),
        ("_fence", Some(told_late)),
    ] {
        let mut db = Deployment::fresh().await;
        db.run(ROWS).await;
        let job = db.job(&["ALTER TABLE t MODIFY n BIGINT, ADD COLUMN m INT FIRST"]);
        let (mut engine, _lease) = deployment::copied(&db, job.clone()).await;
        engine.cut_over().await.expect("the swap");
        engine.abandon();
        if let Some(before) = before {
            let checkpoint = db.ours("_checkpoint").await;
            db.run(&before.replace("{}", &checkpoint)).await;
        }
        let table = db.ours(dropped).await;
        db.run(&format!("DROP TABLE `{table}`")).await;
        let next = Job {
            lease_epoch: 2,
            is_under_way: true,
            ..job
        };
        let (mut engine, _lease) = deployment::open(&db, next).await;
        engine.may_have_swapped();
        let told = engine.in_force().await.expect("an answer");
        assert!(
            told.is_some_and(|told| told.contains("statements 1")),
            "{dropped}"
        );
        deployment::swap(engine).await;
        let left = db.tables().await;
        assert!(left.iter().any(|t| t.contains("drop0")), "{left:?}");
        assert!(!left.iter().any(|t| t.ends_with("_old")), "{left:?}");
        assert_eq!(db.column_type("t", "n").await, "bigint");
    }
}

/// Neither done nor as if nothing had happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dropped_checkpoint_leaves_open_behind_a_swap_is_told() {
    let mut db = Deployment::fresh().await;
    db.run(ROWS).await;
    db.run("CREATE TABLE legacy (id INT PRIMARY KEY)").await;
    let job = Job {
        options: serde_json::json!({"cutover_lock_wait_ms": 100, "cutover_give_up_seconds": 1}),
        ..db.job(&["ALTER TABLE t MODIFY n BIGINT", "DROP TABLE legacy"])
    };
    let (mut engine, _lease) = deployment::copied(&db, job.clone()).await;
    let mut reader = db.settings.connect().await.expect("a session");
    let held = format!("START TRANSACTION; SELECT * FROM `{}`.legacy", db.schema);
    reader
        .execute(sqlx::AssertSqlSafe(held))
        .await
        .expect("a long transaction");
    let error = engine.cut_over().await.expect_err("legacy is in use");
    assert_eq!(error.kind(), ErrorKind::SwapUnknown, "{error}");
    engine.abandon();
    let checkpoint = db.ours("_checkpoint").await;
    db.run(&format!("DROP TABLE `{checkpoint}`")).await;
    let next = Job {
        lease_epoch: 2,
        ..job
    };
    let (mut engine, _lease) = deployment::open(&db, next).await;
    engine.may_have_swapped();
    let error = engine.cut_over().await.expect_err("nobody knows");
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.message().contains("its statements 2 "), "{error}");
    let told = engine.in_force().await.expect("an answer");
    assert_eq!(told.as_deref(), Some("in force are its statements 1"));
    engine.give_up().await.expect("the end");
    engine.close().await;
    let left = db.tables().await;
    assert!(left.iter().any(|t| t.contains("drop0")), "{left:?}");
    assert!(left.contains("legacy"), "{left:?}");
}

/// Whoever is told to let a driver of the other version finish, or to cancel, can do so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_of_another_format_keeps_no_cancel_from_its_end() {
    for swaps in [false, true] {
        let mut db = Deployment::fresh().await;
        db.run(ROWS).await;
        let job = Job {
            options: serde_json::json!({"cutover_lock_wait_ms": 100, "cutover_give_up_seconds": 1}),
            ..db.job(&["ALTER TABLE t MODIFY n BIGINT"])
        };
        let (mut engine, _lease) = deployment::copied(&db, job.clone()).await;
        let mut reader = db.settings.connect().await.expect("a session");
        let held = format!("START TRANSACTION; SELECT * FROM `{}`.t", db.schema);
        if !swaps {
            reader
                .execute(sqlx::AssertSqlSafe(held))
                .await
                .expect("a long transaction");
        }
        assert_eq!(engine.cut_over().await.is_ok(), swaps);
        reader.execute("COMMIT").await.expect("its end");
        engine.abandon();
        let checkpoint = db.ours("_checkpoint").await;
        db.run(&format!(
            "UPDATE `{checkpoint}` SET value = JSON_SET(value, '$.format', 9) WHERE name = 'head'"
        ))
        .await;
        let next = Job {
            lease_epoch: 2,
            ..job
        };
        let (mut engine, _lease) = deployment::open(&db, next).await;
        let told = engine.in_force().await.expect("an answer");
        assert_eq!(told.is_some(), swaps, "{told:?}");
        engine.give_up().await.expect("the end");
        engine.close().await;
        let left = db.tables().await;
        match swaps {
            true => assert!(left.iter().any(|t| t.contains("drop0")), "{left:?}"),
            false => assert_eq!(left.into_iter().collect::<Vec<_>>(), ["t"]),
        }
    }
}
