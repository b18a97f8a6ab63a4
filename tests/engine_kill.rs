//! The engine in a process of its own, killed with SIGKILL at random moments and at each named step, and
//! taken up by the next one. Writers go on all the time and every acknowledged write is looked for.

mod deployment;
mod driver_process;
mod support;
mod writers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deployment::Deployment;
use driver_process::{Driver, FAILED, died, dies_at, ends, freezes_at};
use lockkeeper::engine::Outcome;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::{AssertSqlSafe, Executor as _};
use support::PATIENCE;
use writers::Writers;

const CHANGE: &str =
    "ALTER TABLE orders MODIFY id BIGINT NOT NULL AUTO_INCREMENT, ADD KEY by_at (at)";

/// Not a test of its own: what the drivers of the others do.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the other tests"]
async fn child() {
    // Also beside the streams of other tests.
    let options = serde_json::json!({ "chunk_seconds": 0.01, "index_build": "deferred" });
    driver_process::child(&[CHANGE], options, async |engine, _, _| {
        assert_eq!(engine.copy().await?, Outcome::Verified);
        engine.cut_over().await?;
        engine.finish().await
    })
    .await;
}

async fn filled(rows: u32) -> Deployment {
    let mut db = Deployment::fresh().await;
    writers::create(&mut db, rows).await;
    db
}

/// Case 41. The copy is spoilt behind the driver's back before it verifies; the driver dies as
/// soon as it has written down what it found, once in mid-verification, once after the repair; and what is wrong again after
/// a repair is swapped by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_verification_that_failed_stays_failed_for_the_next_driver() {
    let mut db = filled(8_000).await;
    spoilt_at(&mut db, 1, "verify.pass.before").await;

    died_on_a_spoilt_copy(&db, 2, "verify.failed.after").await;
    assert!(failed_verification(&mut db).await.contains("differs"));

    // Dies in mid-verification, and has forgotten nothing.
    died_on_a_spoilt_copy(&db, 3, "verify.chunk.after").await;
    assert!(failed_verification(&mut db).await.contains("differs"));

    // Nobody has repaired anything so far. The next driver does, and dies before it could write that down; so does another.
    died_on_a_spoilt_copy(&db, 4, "verify.repair.after").await;
    spoilt_at(&mut db, 5, "verify.pass.before").await;
    spoilt_at(&mut db, 6, "verify.repaired.after").await;

    let status = Driver::start_on_a_spoilt_copy(&db, 7, "").end().await;
    assert_eq!(status.code(), Some(FAILED), "a spoilt copy was swapped");
    assert_eq!(db.column_type("orders", "id").await, "int");
}

async fn died_on_a_spoilt_copy(db: &Deployment, epoch: u64, step: &str) {
    let mut driver = Driver::start_on_a_spoilt_copy(db, epoch, &format!("{step}=abort"));
    died(driver.end().await, step);
}

async fn failed_verification(db: &mut Deployment) -> String {
    let checkpoint = db.ours("_checkpoint").await;
    db.text(&format!(
        "SELECT CAST(JSON_VALUE(value, '$.failed_verification') AS CHAR) FROM `{checkpoint}` WHERE name = 'head'"
    ))
    .await
}

/// A fault that no stream shows.
const UNSEEN: &str = "SET SESSION sql_log_bin = 0";

async fn spoil(db: &mut Deployment, epoch: u64) {
    let shadow = db.ours(&format!("_{epoch}_0_new")).await;
    let spoil = format!("{UNSEEN}; UPDATE `{shadow}` SET note = 'spoilt' WHERE id = 5");
    db.run(&spoil).await;
}

/// A driver that freezes there, and is killed when a row of its copy has been changed.
async fn spoilt_at(db: &mut Deployment, epoch: u64, step: &str) {
    let driver = Driver::start_on_a_spoilt_copy(db, epoch, &format!("{step}=stop"));
    driver.frozen().await;
    spoil(db, epoch).await;
    driver.kill().await;
}

/// How a test's process ends that has failed.
const PANICKED: i32 = 101;

/// A driver that dies while it compares: the next one compares all rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_killed_in_mid_verification_is_followed_by_one_that_finds_what_is_wrong() {
    let mut db = filled(8_000).await;
    dies_at(&db, 1, "verify.chunk.after 2").await;
    // In the range that the first driver found equal.
    spoil(&mut db, 1).await;
    // What is different ends every other test: a repair would hide whatever it was that lost the row.
    let status = Driver::start(&db, 2, "").end().await;
    assert_eq!(status.code(), Some(PANICKED));
    let status = Driver::start_on_a_spoilt_copy(&db, 3, "").end().await;
    assert!(status.success(), "it could not be repaired");
    let note = db.text("SELECT note FROM orders WHERE id = 5").await;
    assert_eq!(note, "note 5");
    assert_eq!(db.column_type("orders", "id").await, "bigint");
}

/// Case 7. Nobody is there when rows go, come and move that were copied, and some that were not.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_no_driver_lives_arrives() {
    let mut db = filled(20_000).await;
    dies_at(&db, 1, "copy.chunk.after 3").await;
    let left = "SELECT COUNT(*) BETWEEN 1000 AND 19000 FROM `{}`";
    let left = left.replace("{}", &db.ours("_new").await);
    assert_eq!(db.text(&left).await, "1", "the driver died in mid-copy");
    db.run(
        "DELETE FROM orders WHERE id BETWEEN 10 AND 40 OR id BETWEEN 19010 AND 19040; \
         UPDATE orders SET id = 12 WHERE id = 19500; UPDATE orders SET id = 19012 WHERE id = 60; \
         UPDATE orders SET id = id + 50000 WHERE id BETWEEN 70 AND 80; \
         UPDATE orders SET id = -id WHERE id BETWEEN 19600 AND 19610; \
         UPDATE orders SET note = 'later' WHERE id BETWEEN 90 AND 99; \
         INSERT INTO orders (id, worker) VALUES (13, 1), (19013, 1)",
    )
    .await;
    let rows = writers::digest(&db).await;
    ends(&db, 2).await;
    assert_eq!(writers::digest(&db).await, rows);
    assert_eq!(db.column_type("orders", "id").await, "bigint");
}

/// Case 39. The driver has received them, and cannot write the first of them.
#[tokio::test(flavor = "multi_thread")]
async fn changes_that_are_queued_in_a_driver_when_it_is_killed_are_read_again() {
    let mut db = filled(2_000).await;
    let driver = freezes_at(&db, 1, "verify.pass.before").await;
    let shadow = db.ours("_new").await;
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut other = settings.connect().await.expect("a session");
    let hold = format!("BEGIN; SELECT * FROM `{shadow}` WHERE id = 5 FOR UPDATE");
    other.execute(AssertSqlSafe(hold)).await.expect("a lock");
    for id in 5..200 {
        db.run(&format!(
            "UPDATE orders SET note = 'queued' WHERE id = {id}; DELETE FROM orders WHERE id = 1000 + {id}"
        ))
        .await;
    }
    driver.wake();
    let waits = format!(
        "SELECT COUNT(*) FROM performance_schema.data_lock_waits AS w \
           JOIN performance_schema.data_locks AS d ON d.ENGINE_LOCK_ID = w.BLOCKING_ENGINE_LOCK_ID \
          WHERE d.OBJECT_SCHEMA = DATABASE() AND d.OBJECT_NAME = '{shadow}'"
    );
    support::eventually("the driver waits", PATIENCE, async || {
        db.text(&waits).await != "0"
    })
    .await;
    driver.kill().await;
    other.execute("COMMIT").await.expect("the lock goes");
    let rows = writers::digest(&db).await;
    ends(&db, 2).await;
    assert_eq!(writers::digest(&db).await, rows);
}

/// A large transaction makes most rows of a range differ for as long as it is on its way.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_behind_by_thousands_are_no_difference() {
    let mut db = filled(20_000).await;
    let mut driver = freezes_at(&db, 1, "verify.pass.before").await;
    let shadow = db.ours("_new").await;
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut other = settings.connect().await.expect("a session");
    // The applier waits for this row, and everything behind it waits too.
    let hold = format!("BEGIN; SELECT * FROM `{shadow}` WHERE id = 5 FOR UPDATE");
    other.execute(AssertSqlSafe(hold)).await.expect("a lock");
    // All that are gone belong to the first range, and so are compared together.
    let all = "UPDATE orders SET id = id + 100000 ORDER BY id DESC";
    db.run(all).await;
    driver.wake();
    let rows_were_read = format!(
        "SELECT COUNT(*) FROM performance_schema.events_statements_history AS s \
           JOIN performance_schema.metadata_locks AS l ON l.OWNER_THREAD_ID = s.THREAD_ID \
          WHERE l.OBJECT_TYPE = 'USER LEVEL LOCK' AND l.OBJECT_NAME LIKE '%{}%' AND s.ROWS_SENT > 5000",
        db.installation
    );
    support::eventually("rows are compared", PATIENCE, async || {
        let mut session = settings.connect().await.expect("a session");
        let read = sqlx::query_scalar(AssertSqlSafe(rows_were_read.clone()));
        let read: i64 = read.fetch_one(&mut session).await.expect("a count");
        read > 0
    })
    .await;
    other.execute("COMMIT").await.expect("the lock goes");
    let status = driver.end().await;
    assert!(status.success(), "rows that were behind count as different");
    assert_eq!(db.column_type("orders", "id").await, "bigint");
}

async fn prepared(rows: u32) -> (Deployment, Writers) {
    let db = filled(rows).await;
    let writers = Writers::start(&db, 2).await;
    (db, writers)
}

async fn checked(mut db: Deployment, writers: Writers) {
    writers.check(&db).await;
    assert_eq!(db.column_type("orders", "id").await, "bigint");
}

/// Kills of one change; the next driver ends it.
const KILLS_OF_A_CHANGE: u32 = 8;

/// `LOCKKEEPER_KILLS` sets how many kills there are, over as many changes as that takes (default: one change).
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_killed_at_random_moments_loses_nothing() {
    let wanted = std::env::var("LOCKKEEPER_KILLS").map_or(1, |text| {
        text.parse::<u32>().expect("LOCKKEEPER_KILLS: a number")
    });
    let mut random = StdRng::seed_from_u64(support::seed());
    let (mut kills, mut changes) = (0, 0);
    while kills < wanted {
        let (deployment, writers) = prepared(60_000).await;
        kills += killed_at_random_moments(&deployment, &mut random).await;
        changes += 1;
        checked(deployment, writers).await;
    }
    eprintln!("{kills} kills of {changes} changes");
}

async fn killed_at_random_moments(db: &Deployment, random: &mut StdRng) -> u32 {
    for kills in 0..=KILLS_OF_A_CHANGE {
        let wait = match kills < KILLS_OF_A_CHANGE {
            true => Duration::from_millis(random.random_range(200..2500)),
            false => PATIENCE,
        };
        let epoch = u64::from(kills) + 1;
        if let Some(status) = Driver::start(db, epoch, "").killed_after(wait).await {
            assert!(status.success(), "the driver of epoch {epoch} failed");
            return kills;
        }
    }
    panic!("the change never ends");
}

/// Steps of a change, and at which pass a driver meets its fate there. Those of a list are met in one change: each driver
/// goes on from where the one before was.
const STEPS: [&[&str]; 3] = [
    &[
        "begin.checkpoint.before",
        "begin.checkpoint.after",
        "copy.chunk.before",
        "copy.chunk.after",
        "copy.chunk.before 5",
        "copy.chunk.after 4",
    ],
    &[
        "apply.batch.before 3",
        "apply.batch.after",
        "apply.batch.before",
        // The next driver is not told of the swap: it asks for the copy first, all the same.
        "cutover.rename.after",
    ],
    &[
        "index.build.before",
        "index.build.after",
        "cutover.rename.after",
    ],
];

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_killed_at_any_step_is_followed_by_one_that_ends_the_change() {
    for list in STEPS {
        let (db, writers) = prepared(20_000).await;
        let mut epochs = 1..;
        for (step, epoch) in list.iter().zip(&mut epochs) {
            dies_at(&db, epoch, step).await;
        }
        ends(&db, epochs.start).await;
        checked(db, writers).await;
    }
}

/// Its lease says yes all the time: only the fence on the deployment holds it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_frozen_at_any_step_changes_nothing_when_it_wakes_up() {
    for list in STEPS {
        let (mut db, writers) = prepared(20_000).await;
        let mut former = Vec::new();
        let mut epochs = 1..;
        for (step, epoch) in list.iter().zip(&mut epochs) {
            former.push((step, freezes_at(&db, epoch, step).await));
        }
        ends(&db, epochs.start).await;
        writers.check(&db).await;
        let tables = db.tables().await;
        let rows = writers::digest(&db).await;

        for (step, mut driver) in former {
            driver.wake();
            let status = driver.end().await;
            // After its own swap nothing was left to do that a successor had not done.
            let had_swapped = step.starts_with("cutover");
            assert!(had_swapped || !status.success(), "{step}: it went on");
            assert_eq!(db.tables().await, tables, "{step}");
            assert_eq!(writers::digest(&db).await, rows, "{step}");
        }
        assert_eq!(db.column_type("orders", "id").await, "bigint", "{list:?}");
    }
}

/// Swaps unique values between rows, in one transaction or in several, and knows which row has which.
async fn swap_values(mut session: sqlx::MySqlConnection, stop: Arc<AtomicBool>) -> Vec<i64> {
    let mut values: Vec<i64> = (1..=300).collect();
    let mut random = StdRng::seed_from_u64(support::seed());
    while !stop.load(Ordering::Relaxed) {
        let mut row = || random.random_range(0..values.len());
        let (a, b) = (row(), row());
        if a == b {
            continue;
        }
        let (x, y) = (values[a], values[b]);
        let swap = [
            format!("UPDATE orders SET u = -{x} WHERE id = {}", a + 1),
            format!("UPDATE orders SET u = {x} WHERE id = {}", b + 1),
            format!("UPDATE orders SET u = {y} WHERE id = {}", a + 1),
        ]
        .join("; ");
        let swap = match random.random_bool(0.5) {
            true => format!("BEGIN; {swap}; COMMIT"),
            false => swap,
        };
        sqlx::raw_sql(AssertSqlSafe(swap))
            .execute(&mut session)
            .await
            .expect("a swap");
        values.swap(a, b);
    }
    values
}

/// Case 24: a value leaves a row in one batch and reaches another in the next, and the driver dies
/// between them.
#[tokio::test(flavor = "multi_thread")]
async fn unique_values_that_move_while_the_driver_dies_between_batches_are_all_there() {
    let mut deployment = Deployment::fresh().await;
    deployment
        .run(
            "CREATE TABLE orders (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, u INT NOT NULL, \
             at DATETIME(6) NULL, UNIQUE KEY by_u (u)); \
             INSERT INTO orders (id, u) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 300) \
             SELECT i, i FROM n",
        )
        .await;
    let stop = Arc::<AtomicBool>::default();
    let settings = deployment.settings.clone().with_schema(&deployment.schema);
    let session = settings.connect().await.expect("a session");
    let writer = tokio::spawn(swap_values(session, stop.clone()));
    // From the verification on the copy has its unique key.
    let steps = [
        "verify.pass.before",
        "apply.batch.before 2",
        "apply.batch.after 2",
        "apply.batch.before 5",
    ];
    let mut epochs = 1..;
    for (step, epoch) in steps.iter().zip(&mut epochs) {
        dies_at(&deployment, epoch, step).await;
    }
    ends(&deployment, epochs.start).await;
    stop.store(true, Ordering::Relaxed);
    let values = writer.await.expect("the writer");
    deployment
        .run("SET SESSION group_concat_max_len = 100000")
        .await;
    let found = deployment
        .text("SELECT GROUP_CONCAT(u ORDER BY id) FROM orders")
        .await;
    let expected: Vec<String> = values.iter().map(i64::to_string).collect();
    assert_eq!(found, expected.join(","));
    assert_eq!(deployment.column_type("orders", "id").await, "bigint");
}
