//! A driver that is killed or frozen at any step of its cutover, while writers go on: the next one
//! ends the change, and the late one changes nothing when it wakes up.

mod deployment;
mod driver_process;
mod support;
mod writers;

use deployment::Deployment;
use driver_process::{dies_at, ends, freezes_at};
use lockkeeper::engine::Outcome;
use writers::Writers;

const STATEMENTS: [&str; 4] = [
    "ALTER TABLE side ADD COLUMN m INT DEFAULT 3",
    "ALTER TABLE orders MODIFY id BIGINT NOT NULL AUTO_INCREMENT",
    "CREATE TABLE added (id INT PRIMARY KEY)",
    "DROP TABLE gone",
];

/// All of a cutover's steps, and those around it. Those of a list are met in one change: each driver goes on from where
/// the one before met its fate, and gets as far as the next step.
const STEPS: [&[&str]; 4] = [
    &[
        "plan.create_shadow.after",
        "fence.rename.after",
        "step.execute.before",
        "step.execute.after",
    ],
    &[
        "fence.create.before",
        "cutover.write_down.before",
        "cutover.write_down.after",
        "cutover.lock.before",
        "cutover.lock.after",
        "cutover.drain.before",
        "cutover.drain.after",
        "cutover.rename.before",
        "cutover.rename.after",
    ],
    // After the swap come the other two statements.
    &[
        "fence.raise.after",
        "cutover.rename.after",
        "step.execute.after",
        "step.execute.before",
        "step.execute.after",
    ],
    &[
        "fence.rename.before",
        "cutover.rename.after",
        "artifact.hold.before",
        "artifact.hold.after",
        "artifact.remove.before",
        "artifact.remove.after",
    ],
];

/// All of them, or those whose names contain `LOCKKEEPER_TEST_STEP`.
fn steps() -> impl Iterator<Item = Vec<&'static str>> {
    let wanted = std::env::var("LOCKKEEPER_TEST_STEP").unwrap_or_default();
    let lists = STEPS.into_iter().map(move |list| {
        let list = list.iter().copied();
        list.filter(|step| step.contains(&wanted)).collect()
    });
    lists.filter(|list: &Vec<_>| !list.is_empty())
}

/// Not a test of its own: what the drivers of the others do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests"]
async fn child() {
    let options = serde_json::json!({});
    driver_process::child(&STATEMENTS, options, async |engine, _, epoch| {
        if epoch == 1 {
            assert_eq!(engine.copy().await?, Outcome::Verified);
        }
        // What a driver does that claims an operation in `cutting_over`.
        engine.cut_over().await?;
        engine.finish().await
    })
    .await;
}

async fn prepared() -> (Deployment, Writers) {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE side (id INT PRIMARY KEY, n INT); INSERT INTO side VALUES (1, 1); \
         CREATE TABLE gone (id INT PRIMARY KEY)",
    )
    .await;
    writers::create(&mut db, 500).await;
    let writers = Writers::start(&db, 2).await;
    (db, writers)
}

/// Everything that the statements should have made, and nothing of ours but what is put aside.
async fn shape(db: &mut Deployment) -> String {
    let tables = db.tables().await;
    let ours: Vec<&String> = tables.iter().filter(|t| t.starts_with("_lk_")).collect();
    assert!(
        ours.iter()
            .all(|t| t.contains("_drop") || t.ends_with("_fence")),
        "{ours:?}"
    );
    let columns = db
        .text(
            "SELECT GROUP_CONCAT(TABLE_NAME, '.', COLUMN_NAME, ' ', COLUMN_TYPE ORDER BY TABLE_NAME, COLUMN_NAME) \
               FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() \
                AND TABLE_NAME NOT LIKE '|_lk|_%' ESCAPE '|' AND (COLUMN_NAME = 'id' OR TABLE_NAME = 'side')",
        )
        .await;
    assert_eq!(
        columns,
        "added.id int,orders.id bigint,side.id int,side.m int,side.n int"
    );
    format!("{tables:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_killed_at_any_step_of_its_cutover_is_followed_by_one_that_ends_it() {
    for list in steps() {
        let (mut db, writers) = prepared().await;
        let mut epochs = 1..;
        for (step, epoch) in list.iter().zip(&mut epochs) {
            dies_at(&db, epoch, step).await;
            assert!(db.tables().await.contains("orders"), "{step}");
        }
        ends(&db, epochs.start).await;
        shape(&mut db).await;
        writers.check(&db).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_frozen_at_any_step_of_its_cutover_changes_nothing_when_it_wakes_up() {
    for list in steps() {
        let (mut db, writers) = prepared().await;
        let mut frozen = Vec::new();
        let mut epochs = 1..;
        for (step, epoch) in list.iter().zip(&mut epochs) {
            frozen.push((step, freezes_at(&db, epoch, step).await));
        }
        ends(&db, epochs.start).await;
        // Somebody has no use for the former table.
        let held = db.tables().await.into_iter().find(|t| t.contains("_drop"));
        if let Some(held) = held {
            db.run(&format!("DROP TABLE `{held}`")).await;
        }
        let before = shape(&mut db).await;
        for (step, mut driver) in frozen {
            driver.wake();
            let late = driver.end().await;
            // Past the last statement there is nothing left that it could fail at.
            assert!(
                !late.success() || *step == "artifact.remove.after",
                "the late driver believes that it did it: {step}"
            );
            assert_eq!(shape(&mut db).await, before, "{step}");
        }
        writers.check(&db).await;
    }
}

/// With nobody there to take over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_frozen_under_its_lock_keeps_the_application_waiting_for_seconds_only() {
    let (mut db, writers) = prepared().await;
    let mut frozen = freezes_at(&db, 1, "cutover.drain.after").await;
    db.run("SET SESSION lock_wait_timeout = 120; INSERT INTO orders (id, worker) VALUES (-77, 99)")
        .await;
    frozen.wake();
    frozen.end().await;
    ends(&db, 2).await;
    assert_eq!(
        db.text("SELECT COUNT(*) FROM orders WHERE id = -77").await,
        "1"
    );
    db.run("DELETE FROM orders WHERE id = -77").await;
    writers.check(&db).await;
}
