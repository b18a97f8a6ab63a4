//! A driver that is killed or frozen at any step of its cutover, while writers go on: the next one
//! ends the change, and the late one changes nothing when it wakes up.

mod deployment;
mod support;
mod writers;

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use deployment::{Deployment, TestLease};
use lockkeeper::engine::{Engine, EngineError, Outcome};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use writers::Writers;

const TABLE: &str = "CREATE TABLE orders (\
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, worker INT NOT NULL, amount DECIMAL(12,4) NULL, \
    note VARCHAR(80) NULL, body JSON NULL, ratio DOUBLE NULL, small FLOAT NULL, at DATETIME(6) NULL, \
    touched TIMESTAMP(3) NULL, raw VARBINARY(40) NULL, KEY by_note (note), KEY by_worker (worker, at)); \
    CREATE TABLE side (id INT PRIMARY KEY, n INT); CREATE TABLE gone (id INT PRIMARY KEY)";

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
        "cutover.unlock.before",
        "step.execute.after",
        "step.execute.before",
        "step.execute.after",
    ],
    &[
        "fence.rename.before",
        "cutover.unlock.after",
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

const CHILD: &str = "LOCKKEEPER_TEST_CUTOVER";

/// Not a test of its own: what the other tests run in a child process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests"]
async fn child() {
    let Ok(text) = std::env::var(CHILD) else {
        return;
    };
    match run(&text).await {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("{:?}: {}", error.kind(), error.message());
            std::process::exit(3);
        }
    }
}

async fn run(text: &str) -> Result<(), EngineError> {
    let parts: Vec<&str> = text.split(' ').collect();
    let epoch: u64 = parts[2].parse().expect("an epoch");
    let settings = support::server().await.administrator().clone();
    let (target, job) = deployment::job_of(&settings, parts[0], parts[1], epoch, &STATEMENTS);
    let mut engine = Engine::open(target, job, TestLease::held()).await?;
    if epoch == 1 {
        assert_eq!(engine.copy().await?, Outcome::Verified);
    }
    // What a driver does that claims an operation in `cutting_over`.
    engine.cut_over().await?;
    engine.finish().await?;
    engine.close().await;
    Ok(())
}

fn spawn(db: &Deployment, epoch: u64, fail_at: &str) -> Child {
    let server = db.settings.clone().without_schema();
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .env(CHILD, format!("{} {} {epoch}", db.schema, db.installation))
        .env("LOCKKEEPER_FAIL_AT", fail_at)
        // A container is not shared by processes that find it themselves.
        .env("LOCKKEEPER_TEST_URL", server.url().expose())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("a child")
}

async fn prepared() -> (Deployment, Writers) {
    let mut db = Deployment::fresh().await;
    db.run(TABLE).await;
    db.run("INSERT INTO side VALUES (1, 1)").await;
    writers::fill(&mut db, 500).await;
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
            let mut killed = spawn(&db, epoch, &format!("{step}=abort"));
            let status = killed.wait().await.expect("a status");
            let aborted = Some(Signal::ABORT.as_raw());
            assert_eq!(status.signal(), aborted, "{step} was not reached: {status}");
            assert!(db.tables().await.contains("orders"), "{step}");
        }
        let last = epochs.next().expect("an epoch");
        let status = spawn(&db, last, "").wait().await.expect("a status");
        assert!(status.success(), "the successor failed after {list:?}");
        shape(&mut db).await;
        let expected = writers.stop().await;
        writers::check(&mut db, &expected).await;
    }
}

fn state_of(pid: u32) -> char {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|text| text.rsplit_once(')')?.1.trim().chars().next())
        .unwrap_or('-')
}

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_frozen_at_any_step_of_its_cutover_changes_nothing_when_it_wakes_up() {
    for list in steps() {
        let (mut db, writers) = prepared().await;
        let mut frozen = Vec::new();
        let mut epochs = 1..;
        for (step, epoch) in list.iter().zip(&mut epochs) {
            let driver = spawn(&db, epoch, &format!("{step}=stop"));
            let pid = driver.id().expect("a running child");
            support::eventually(step, PATIENCE, || async { state_of(pid) == 'T' }).await;
            frozen.push((step, pid, driver));
        }
        let last = epochs.next().expect("an epoch");
        let status = spawn(&db, last, "").wait().await.expect("a status");
        assert!(
            status.success(),
            "the successor failed beside those frozen at {list:?}"
        );
        let before = shape(&mut db).await;
        for (step, pid, mut driver) in frozen {
            let number = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
            kill_process(number, Signal::CONT).expect("a signal");
            let late = tokio::time::timeout(PATIENCE, driver.wait()).await;
            let late = late.expect("the late driver ends").expect("a status");
            // Past the last statement there is nothing left that it could fail at.
            assert!(
                !late.success() || *step == "artifact.remove.after",
                "the late driver believes that it did it: {step}"
            );
            assert_eq!(shape(&mut db).await, before, "{step}");
        }
        let expected = writers.stop().await;
        writers::check(&mut db, &expected).await;
    }
}

/// With nobody there to take over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_frozen_under_its_lock_keeps_the_application_waiting_for_seconds_only() {
    let (mut db, writers) = prepared().await;
    let mut frozen = spawn(&db, 1, "cutover.drain.after=stop");
    let pid = frozen.id().expect("a running child");
    support::eventually("frozen", PATIENCE, || async { state_of(pid) == 'T' }).await;
    db.run("SET SESSION lock_wait_timeout = 120; INSERT INTO orders (id, worker) VALUES (-77, 99)")
        .await;
    let number = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    kill_process(number, Signal::CONT).expect("a signal");
    let late = tokio::time::timeout(PATIENCE, frozen.wait()).await;
    late.expect("the late driver ends").expect("a status");
    let status = spawn(&db, 2, "").wait().await.expect("a status");
    assert!(status.success());
    assert_eq!(
        db.text("SELECT COUNT(*) FROM orders WHERE id = -77").await,
        "1"
    );
    db.run("DELETE FROM orders WHERE id = -77").await;
    let expected = writers.stop().await;
    writers::check(&mut db, &expected).await;
}
