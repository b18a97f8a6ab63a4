//! The revert window: the application goes on writing to the changed table, and a swap back
//! brings all of it into the former one, or the window closes and says why.

mod deployment;
mod driver_process;
mod support;
mod writers;

use std::sync::Arc;

use deployment::{Deployment, TestLease, copied};
use driver_process::{dies_at, ends, freezes_at};
use lockkeeper::engine::{Directive, Engine, EngineError, ErrorKind, Job, Outcome};
use support::{PATIENCE, eventually};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use writers::Writers;

const STATEMENT: &str = "ALTER TABLE orders MODIFY id BIGINT NOT NULL AUTO_INCREMENT, \
    MODIFY note VARCHAR(200) NULL, DROP KEY by_note";

fn job(db: &Deployment, statements: &[&str]) -> Job {
    Job {
        revert_window_seconds: 600,
        ..db.job(statements)
    }
}

async fn swapped(db: &Deployment, statements: &[&str]) -> (Engine, Arc<TestLease>) {
    let (mut engine, lease) = copied(db, job(db, statements)).await;
    engine.cut_over().await.expect("the swap");
    (engine, lease)
}

type Kept = JoinHandle<(Engine, Result<Outcome, EngineError>)>;

/// Runs the window until it ends, in a task of its own.
fn keep(mut engine: Engine, window: watch::Receiver<Option<f64>>) -> Kept {
    tokio::spawn(async move {
        let outcome = engine.keep_reverse(window).await;
        (engine, outcome)
    })
}

/// The same for one whose end does not come.
fn keep_open(mut engine: Engine) -> Kept {
    tokio::spawn(async move {
        let (_ends, window) = watch::channel(Some(600.0));
        let outcome = engine.keep_reverse(window).await;
        (engine, outcome)
    })
}

/// Waits until the window closes by itself, and says why.
async fn closed(kept: Kept) -> (Engine, String) {
    let ended = tokio::time::timeout(PATIENCE, kept).await;
    let (engine, outcome) = ended.expect("soon").expect("the window");
    let Ok(Outcome::WindowClosed(why)) = outcome else {
        panic!("{outcome:?}")
    };
    (engine, why)
}

async fn take_back(engine: Engine, lease: &TestLease) {
    lease.direct(Directive::Revert);
    let (mut engine, outcome) = keep_open(engine).await.expect("the window");
    assert_eq!(outcome.expect("the window"), Outcome::RevertAsked);
    engine.revert().await.expect("the swap back");
    engine.close().await;
}

async fn ours(db: &mut Deployment) -> Vec<String> {
    let tables = db.tables().await;
    tables
        .into_iter()
        .filter(|t| t.starts_with("_lk_") && !t.ends_with("_fence"))
        .collect()
}

/// Waits until a row that was written to the changed table is in the former one.
async fn comes_back(db: &Deployment, id: u32) {
    let sql = format!(
        "SELECT 1 FROM `{}`.`_lk_{}_7_1_0_old` WHERE id = {id}",
        db.schema, db.installation
    );
    eventually("the row comes back", PATIENCE, || async {
        let mut session = db.settings.connect().await.expect("a session");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql.clone()));
        row.fetch_optional(&mut session)
            .await
            .is_ok_and(|r| r.is_some())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revert_under_writers_keeps_every_write() {
    let mut db = Deployment::fresh().await;
    writers::create(&mut db, 2_000).await;
    let writers = Writers::start(&db, 3).await;
    let (engine, lease) = swapped(&db, &[STATEMENT]).await;
    assert_eq!(db.column_type("orders", "id").await, "bigint");
    let kept = keep_open(engine);
    writers.more(200).await;
    lease.direct(Directive::Revert);
    let (mut engine, outcome) = kept.await.expect("the window");
    assert_eq!(outcome.expect("the window"), Outcome::RevertAsked);
    engine.revert().await.expect("the swap back");
    engine.revert().await.expect("it is known that it was made");
    writers.more(20).await;
    let known = writers.stop().await;
    engine.remove_artifacts().await.expect("removal");
    engine.revert().await.expect("still known");
    engine.close().await;
    assert_eq!(db.column_type("orders", "id").await, "int");
    known.check(&db).await;
    let left = ours(&mut db).await;
    assert!(left.iter().all(|t| t.contains("_drop")), "{left:?}");
    assert_eq!(left.len(), 1, "what was reverted is put aside: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_ends_by_time_and_may_be_prolonged_after_that() {
    let mut db = Deployment::fresh().await;
    writers::create(&mut db, 200).await;
    let writers = Writers::start(&db, 1).await;
    let (mut engine, lease) = swapped(&db, &[STATEMENT]).await;
    let (ends, window) = watch::channel(Some(0.0));
    let over = engine.keep_reverse(window.clone()).await.expect("its end");
    assert_eq!(over, Outcome::WindowOver);
    // The control database refused the end: a sibling's swap came.
    ends.send_replace(Some(300.0));
    let kept = keep(engine, window);
    writers.more(20).await;
    assert!(!kept.is_finished());
    lease.direct(Directive::SkipRevert);
    let (mut engine, outcome) = kept.await.expect("the window");
    assert_eq!(outcome.expect("the window"), Outcome::WindowOver);
    engine.finish().await.expect("the end");
    engine.close().await;
    writers.check(&db).await;
    let left = ours(&mut db).await;
    assert_eq!(left.len(), 1, "the former table is put aside: {left:?}");
    assert!(left.iter().all(|t| t.contains("_drop")), "{left:?}");
}

/// Under another name for a moment, it is written to where the way back does not look.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_renamed_away_and_back_closes_the_window() {
    let mut db = Deployment::fresh().await;
    writers::create(&mut db, 50).await;
    let (engine, _lease) = swapped(&db, &[STATEMENT]).await;
    db.run(
        "RENAME TABLE orders TO others; DELETE FROM others LIMIT 1; RENAME TABLE others TO orders",
    )
    .await;
    let (engine, why) = closed(keep_open(engine)).await;
    assert!(why.contains("RENAME TABLE orders TO others"), "{why}");
    engine.close().await;
}

/// Case 87.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_no_longer_fits_closes_the_window_and_is_named() {
    let mut db = Deployment::fresh().await;
    writers::create(&mut db, 50).await;
    let (engine, _lease) = swapped(&db, &[STATEMENT]).await;
    db.run("INSERT INTO orders (id, worker) VALUES (70, 1), (1099511627776, 1), (71, 1)")
        .await;
    let (mut engine, why) = closed(keep_open(engine)).await;
    assert!(why.contains("id = 1099511627776"), "{why}");
    assert!(why.contains("Out of range"), "{why}");
    let error = engine.revert().await.expect_err("no way back");
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    engine.close().await;
    assert_eq!(db.column_type("orders", "id").await, "bigint");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_former_character_set_lacks_closes_the_window_and_is_named() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE orders (k VARCHAR(20) PRIMARY KEY, n INT) CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci; \
         INSERT INTO orders VALUES ('é', 1), ('z', 2)",
    )
    .await;
    let change = "ALTER TABLE orders CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci";
    let (engine, _lease) = swapped(&db, &[change]).await;
    db.run("UPDATE orders SET k = 'É' WHERE n = 1; UPDATE orders SET k = 'z😀' WHERE n = 2")
        .await;
    let (engine, why) = closed(keep_open(engine)).await;
    assert!(why.contains("k = z😀"), "{why}");
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_would_be_rounded_closes_the_window() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, at DATETIME NULL, price DECIMAL(8,2) NULL); \
         INSERT INTO orders VALUES (1, '2024-01-01 10:00:00', 1.25)",
    )
    .await;
    let change = "ALTER TABLE orders MODIFY at DATETIME(3) NULL, MODIFY price DECIMAL(10,4) NULL";
    let (engine, lease) = swapped(&db, &[change]).await;
    db.run("INSERT INTO orders VALUES (2, '2024-01-01 10:00:00.000', 7.5)")
        .await;
    let kept = keep_open(engine);
    comes_back(&db, 2).await;
    db.run("UPDATE orders SET at = '2024-01-01 10:00:00.5' WHERE id = 1")
        .await;
    let (engine, why) = closed(kept).await;
    assert!(why.contains("id = 1 ") && why.contains("another"), "{why}");
    drop(lease);
    engine.close().await;
}

/// Nobody waits for what does not come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_former_table_that_is_gone_ends_a_revert_for_good() {
    let mut db = Deployment::fresh().await;
    writers::create(&mut db, 50).await;
    let (mut engine, _lease) = swapped(&db, &[STATEMENT]).await;
    let former = db.ours("_old").await;
    db.run(&format!("DROP TABLE {former}")).await;
    let error = engine.revert().await.expect_err("there is no way back");
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.message().contains("no way back"), "{error}");
    engine.close().await;
}

/// A first attempt had given way. Its stream would meet the lack of it again and again, and nobody would be told.
#[tokio::test(flavor = "multi_thread")]
async fn a_former_table_that_goes_between_two_attempts_at_a_revert_ends_it_for_good() {
    let mut db = Deployment::fresh().await;
    writers::create(&mut db, 50).await;
    let job = Job {
        options: serde_json::json!({"cutover_lock_wait_ms": 100, "cutover_give_up_seconds": 1}),
        ..job(&db, &[STATEMENT])
    };
    let (mut engine, _lease) = copied(&db, job.clone()).await;
    engine.cut_over().await.expect("the swap");
    db.run("START TRANSACTION; SELECT * FROM orders LIMIT 1")
        .await;
    let error = engine.revert().await.expect_err("it gives way");
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    engine.abandon();
    let former = db.ours("_old").await;
    db.run(&format!(
        "COMMIT; SET SESSION sql_log_bin = 0; DROP TABLE {former}; SET SESSION sql_log_bin = 1; \
         INSERT INTO orders (id, worker) VALUES (5000, 1)"
    ))
    .await;
    let next = Job {
        lease_epoch: 2,
        ..job
    };
    let (mut engine, _lease) = deployment::open(&db, next).await;
    let error = engine.revert().await.expect_err("there is no way back");
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.message().contains("no way back"), "{error}");
    engine.close().await;
}

/// The tables tell, and the record of the swap.
#[tokio::test(flavor = "multi_thread")]
async fn a_swap_back_is_known_though_its_checkpoint_is_dropped() {
    let mut db = Deployment::fresh().await;
    writers::create(&mut db, 50).await;
    let (mut engine, _lease) = swapped(&db, &[STATEMENT]).await;
    engine.revert().await.expect("the swap back");
    engine.abandon();
    let checkpoint = db.ours("_checkpoint").await;
    db.run(&format!("DROP TABLE {checkpoint}")).await;
    let next = Job {
        lease_epoch: 2,
        is_under_way: true,
        ..job(&db, &[STATEMENT])
    };
    let (mut engine, _lease) = deployment::open(&db, next).await;
    engine.revert().await.expect("it is known that it was made");
    engine.remove_artifacts().await.expect("removal");
    engine.close().await;
    assert_eq!(db.column_type("orders", "id").await, "int");
    let left = ours(&mut db).await;
    assert_eq!(left.len(), 1, "what was reverted is put aside: {left:?}");
    assert!(left.iter().all(|t| t.contains("_drop")), "{left:?}");
}

/// As bytes they would differ.
#[tokio::test(flavor = "multi_thread")]
async fn bits_of_another_length_are_carried_back() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, longer BIT(8), number BIT(8), bits INT); \
         INSERT INTO orders VALUES (1, 1, 1, 1)",
    )
    .await;
    let change = "ALTER TABLE orders MODIFY longer BIT(16), MODIFY number INT, MODIFY bits BIT(10)";
    let (engine, lease) = swapped(&db, &[change]).await;
    db.run("INSERT INTO orders VALUES (2, 200, 200, 200)").await;
    take_back(engine, &lease).await;
    let rows = "SELECT GROUP_CONCAT(id, ':', longer + 0, ':', number + 0, ':', bits ORDER BY id) FROM orders";
    assert_eq!(db.text(rows).await, "1:1:1:1,2:200:200:200");
}

/// The row that moved would meet its own former self, if it were tried alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_row_that_cannot_go_back_is_named_and_no_other() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, n SMALLINT, u INT UNIQUE); \
         INSERT INTO orders VALUES (150, 1, 150), (151, 1, 151), (152, 1, 152)",
    )
    .await;
    let (engine, _lease) = swapped(&db, &["ALTER TABLE orders MODIFY n INT"]).await;
    let kept = keep_open(engine);
    db.run(
        "BEGIN; UPDATE orders SET id = 5 WHERE id = 150; INSERT INTO orders VALUES (999, 100000, 999); COMMIT",
    )
    .await;
    let (engine, why) = closed(kept).await;
    assert!(why.contains("row id = 999 "), "{why}");
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_column_keeps_its_values_in_rows_that_are_updated() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, gone VARCHAR(20) NULL DEFAULT 'none', n INT); \
         INSERT INTO orders VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3)",
    )
    .await;
    let change = "ALTER TABLE orders DROP COLUMN gone, MODIFY id BIGINT NOT NULL";
    let (engine, lease) = swapped(&db, &[change]).await;
    db.run(
        "UPDATE orders SET n = 20 WHERE id = 2; DELETE FROM orders WHERE id = 3; \
         INSERT INTO orders VALUES (4, 4)",
    )
    .await;
    take_back(engine, &lease).await;
    let rows = db
        .text("SELECT GROUP_CONCAT(id, gone, n ORDER BY id) FROM orders")
        .await;
    assert_eq!(rows, "1one1,2two20,4none4");
}

/// Case 89.
#[tokio::test(flavor = "multi_thread")]
async fn ddl_of_others_closes_the_window_at_once() {
    let mut db = Deployment::fresh().await;
    writers::create(&mut db, 50).await;
    let (engine, _lease) = swapped(&db, &[STATEMENT]).await;
    let kept = keep_open(engine);
    db.run("INSERT INTO orders (id, worker) VALUES (5000, 1)")
        .await;
    comes_back(&db, 5000).await;
    db.run("ALTER TABLE orders ADD COLUMN extra INT").await;
    let (engine, why) = closed(kept).await;
    assert!(why.contains("altered by somebody else"), "{why}");
    assert!(!why.contains("cancel"), "{why}");
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn binlogs_purged_while_nobody_was_there_close_the_window() {
    let servers = support::private_servers(1).await;
    let mut db = Deployment::on(servers[0].administrator().clone()).await;
    writers::create(&mut db, 50).await;
    let (engine, _lease) = swapped(&db, &[STATEMENT]).await;
    let kept = keep_open(engine);
    db.run("INSERT INTO orders (id, worker) VALUES (5000, 1)")
        .await;
    comes_back(&db, 5000).await;
    // A stream that breaks is opened again, and nothing is missed.
    let stream =
        "SELECT MAX(ID) FROM performance_schema.processlist WHERE COMMAND LIKE 'Binlog Dump%'";
    let stream = db.text(stream).await;
    db.run(&format!(
        "KILL {stream}; INSERT INTO orders (id, worker) VALUES (5001, 1)"
    ))
    .await;
    comes_back(&db, 5001).await;
    // As a killed process does: nothing more is stored.
    kept.abort();
    assert!(kept.await.is_err());
    db.run("INSERT INTO orders (worker) VALUES (1); FLUSH BINARY LOGS")
        .await;
    let file = db.text("SHOW BINARY LOG STATUS").await;
    // The server keeps what a stream still reads.
    eventually("they are purged", PATIENCE, async || {
        db.run(&format!("PURGE BINARY LOGS TO '{file}'")).await;
        db.text("SHOW BINARY LOGS").await == file
    })
    .await;
    let second = Job {
        lease_epoch: 2,
        ..job(&db, &[STATEMENT])
    };
    let (engine, _lease) = deployment::open(&db, second).await;
    let (mut engine, why) = closed(keep_open(engine)).await;
    assert!(why.contains("purged") && !why.contains("cancel"), "{why}");
    engine.finish().await.expect("the end");
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_without_a_copy_closes_the_window_at_once() {
    let mut db = Deployment::fresh().await;
    db.run(writers::TABLE).await;
    let (engine, _lease) = swapped(&db, &["ALTER TABLE orders ADD COLUMN extra INT"]).await;
    let (engine, why) = closed(keep_open(engine)).await;
    assert!(why.contains("opposite change"), "{why}");
    engine.close().await;
}

/// Not a test of its own: what the drivers of the others do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests"]
async fn child() {
    let options = serde_json::json!({});
    driver_process::child(&[STATEMENT], options, async |engine, lease, epoch| {
        if epoch == 1 {
            assert_eq!(engine.copy().await?, Outcome::Verified);
            engine.cut_over().await?;
            let (_ends, window) = watch::channel(Some(600.0));
            let ask = async {
                let window = async || lease.progress().phase == "revert_window";
                eventually("the window is open", PATIENCE, window).await;
                lease.direct(Directive::Revert);
            };
            let (outcome, ()) = tokio::join!(engine.keep_reverse(window), ask);
            assert_eq!(outcome?, Outcome::RevertAsked);
        }
        // What a driver does that claims an operation in `reverting`.
        engine.revert().await?;
        engine.remove_artifacts().await
    })
    .await;
}

/// Steps of the window and of the swap back; the first driver of a list has passed those of the cutover too. The steps of
/// a list are met in one change: each driver goes on from where the one before died.
const STEPS: [&[&str]; 3] = [
    &[
        "cutover.rename.after",
        "revert.record.before",
        "revert.record.after",
        "cutover.lock.before",
        "cutover.lock.after",
    ],
    &[
        "reverse.start",
        "cutover.drain.before",
        "cutover.drain.after",
        "cutover.rename.before",
        "cutover.rename.after",
        "artifact.hold.before",
    ],
    &[
        "cutover.rename.after 2",
        "artifact.hold.after",
        "artifact.remove.before",
    ],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_killed_at_any_step_of_a_revert_is_followed_by_one_that_ends_it() {
    for list in STEPS {
        let mut db = Deployment::fresh().await;
        writers::create(&mut db, 300).await;
        let writers = Writers::start(&db, 2).await;
        let mut epochs = 1..;
        for (step, epoch) in list.iter().zip(&mut epochs) {
            dies_at(&db, epoch, step).await;
        }
        ends(&db, epochs.start).await;
        assert_eq!(db.column_type("orders", "id").await, "int", "{list:?}");
        writers.check(&db).await;
        let left = ours(&mut db).await;
        assert!(
            left.iter().all(|t| t.contains("_drop")),
            "{list:?}: {left:?}"
        );
    }
}

/// Cases 91 and 94: the former owner wakes up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_frozen_in_the_window_cannot_swap_back_when_it_wakes_up() {
    for step in ["reverse.start", "revert.record.after", "apply.batch.before"] {
        let mut db = Deployment::fresh().await;
        writers::create(&mut db, 300).await;
        let (engine, lease) = swapped(&db, &[STATEMENT]).await;
        engine.abandon();
        drop(lease);
        let writers = Writers::start(&db, 2).await;
        // Epoch 2 freezes in the window; epoch 3 keeps the change.
        let mut frozen = freezes_at(&db, 2, step).await;
        let third = Job {
            lease_epoch: 3,
            ..job(&db, &[STATEMENT])
        };
        let (mut engine, _lease) = deployment::open(&db, third).await;
        let (_ends, window) = watch::channel(Some(0.0));
        let over = engine.keep_reverse(window).await.expect("its end");
        assert_eq!(over, Outcome::WindowOver);
        engine.finish().await.expect("the end");
        engine.close().await;
        let before = db.tables().await;
        frozen.wake();
        let late = frozen.end().await;
        assert!(
            !late.success(),
            "{step}: the late driver believes it did it"
        );
        assert_eq!(db.tables().await, before, "{step}");
        assert_eq!(db.column_type("orders", "id").await, "bigint", "{step}");
        writers.check(&db).await;
    }
}
