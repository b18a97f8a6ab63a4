//! The engine in a process of its own, killed with SIGKILL at random moments and at each named step, and
//! taken up by the next one. Writers go on all the time and every acknowledged write is looked for.

mod deployment;
mod support;
mod writers;

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use deployment::{Deployment, TestLease};
use lockkeeper::engine::{Engine, EngineError, Job, JobTask, Outcome, Password, Target, Tls};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::process::{Child, Command};
use writers::Writers;

const TABLE: &str = "CREATE TABLE orders (\
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, worker INT NOT NULL, amount DECIMAL(12,4) NULL, \
    note VARCHAR(80) NULL, body JSON NULL, ratio DOUBLE NULL, small FLOAT NULL, at DATETIME(6) NULL, \
    touched TIMESTAMP(3) NULL, raw VARBINARY(40) NULL, KEY by_note (note), KEY by_worker (worker, at))";

const CHANGE: &str =
    "ALTER TABLE orders MODIFY id BIGINT NOT NULL AUTO_INCREMENT, ADD KEY by_at (at)";

/// What a child needs to know, as `host port user schema installation epoch`.
const CHILD: &str = "LOCKKEEPER_TEST_ENGINE";

/// Not a test of its own: what the other tests run in a child process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the other tests"]
async fn child() {
    let Ok(text) = std::env::var(CHILD) else {
        return;
    };
    let parts: Vec<&str> = text.split(' ').collect();
    let target = Target {
        host: parts[0].into(),
        port: parts[1].parse().expect("a port"),
        user: parts[2].into(),
        password: Password::new(std::env::var("LOCKKEEPER_TEST_PASSWORD").unwrap_or_default()),
        tls: Tls::Preferred,
    };
    let job = Job {
        installation: parts[4].into(),
        operation_id: 7,
        lease_epoch: parts[5].parse().expect("an epoch"),
        schema_name: parts[3].into(),
        tasks: vec![JobTask {
            task_id: 1,
            position: 0,
            statement: CHANGE.into(),
        }],
        // Also beside the streams of other tests.
        options: serde_json::json!({ "chunk_seconds": 0.01, "index_build": "deferred" }),
        revert_window_seconds: 0,
    };
    match run(target, job).await {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("{:?}: {}", error.kind(), error.message());
            std::process::exit(3);
        }
    }
}

async fn run(target: Target, job: Job) -> Result<(), EngineError> {
    let mut engine = Engine::open(target, job, TestLease::held()).await?;
    assert_eq!(engine.copy().await?, Outcome::Verified);
    engine.cut_over().await?;
    engine.finish().await?;
    engine.close().await;
    Ok(())
}

fn spawn(deployment: &Deployment, epoch: u64, fail_at: &str) -> Child {
    let settings = &deployment.settings;
    let text = format!(
        "{} {} {} {} {} {epoch}",
        settings.host,
        settings.port,
        settings.credentials.user,
        deployment.schema,
        deployment.installation
    );
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .env(CHILD, text)
        .env(
            "LOCKKEEPER_TEST_PASSWORD",
            settings.credentials.password.expose(),
        )
        .env("LOCKKEEPER_FAIL_AT", fail_at)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("a child")
}

/// Case 41. The copy is spoilt behind the driver's back before it verifies; the driver dies as
/// soon as it has written down what it found, once in mid-verification, once after the repair; and what is wrong again after
/// a repair is swapped by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_verification_that_failed_stays_failed_for_the_next_driver() {
    let mut deployment = Deployment::fresh().await;
    deployment.run(TABLE).await;
    writers::fill(&mut deployment, 8_000).await;
    let mut child = spawn(&deployment, 1, "verify.pass.before=stop");
    spoil(&mut deployment, 1, child.id()).await;
    child.kill().await.expect("a kill");

    let status = end_of(&deployment, 2, "verify.failed.after=abort").await;
    assert!(!status.success(), "nothing found");
    let failed = "SELECT CAST(JSON_VALUE(value, '$.failed_verification') AS CHAR) FROM `{}` WHERE name = 'head'";
    let checkpoint = artefact(&mut deployment, "_checkpoint").await;
    let found = deployment.text(&failed.replace("{}", &checkpoint)).await;
    assert!(found.contains("differs"), "{found}");

    // Dies in mid-verification, and has forgotten nothing.
    let status = end_of(&deployment, 3, "verify.chunk.after=abort").await;
    assert!(!status.success(), "no chunk compared");
    let checkpoint = artefact(&mut deployment, "_checkpoint").await;
    let found = deployment.text(&failed.replace("{}", &checkpoint)).await;
    assert!(found.contains("differs"), "{found}");

    // Nobody has repaired anything so far. The next driver does, and dies before it could write that down; so does another.
    let status = end_of(&deployment, 4, "verify.repair.after=abort").await;
    assert!(!status.success(), "nothing repaired");
    let mut child = spawn(&deployment, 5, "verify.pass.before=stop");
    spoil(&mut deployment, 5, child.id()).await;
    child.kill().await.expect("a kill");
    let mut child = spawn(&deployment, 6, "verify.repaired.after=stop");
    spoil(&mut deployment, 6, child.id()).await;
    child.kill().await.expect("a kill");

    let status = end_of(&deployment, 7, "").await;
    assert_eq!(status.code(), Some(3), "a spoilt copy was swapped");
    assert_eq!(id_type(&mut deployment).await, "int");
}

/// A fault that no stream shows.
const UNSEEN: &str = "SET SESSION sql_log_bin = 0";

/// A driver that dies while it compares: the next one compares all rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_killed_in_mid_verification_is_followed_by_one_that_finds_what_is_wrong() {
    let mut deployment = Deployment::fresh().await;
    deployment.run(TABLE).await;
    writers::fill(&mut deployment, 8_000).await;
    let status = end_of(&deployment, 1, "verify.chunk.after=2:abort").await;
    assert!(!status.success(), "no chunk compared");
    // In the range that the first driver found equal.
    let shadow = artefact(&mut deployment, "_new").await;
    let spoil = format!("{UNSEEN}; UPDATE `{shadow}` SET note = 'spoilt' WHERE id = 5");
    deployment.run(&spoil).await;
    let status = end_of(&deployment, 2, "").await;
    assert!(status.success(), "it could not be repaired");
    let note = deployment
        .text("SELECT note FROM orders WHERE id = 5")
        .await;
    assert_eq!(note, "note 5");
    assert_eq!(id_type(&mut deployment).await, "bigint");
}

/// A large transaction makes most rows of a range differ for as long as it is on its way.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_behind_by_thousands_are_no_difference() {
    let mut deployment = Deployment::fresh().await;
    deployment.run(TABLE).await;
    writers::fill(&mut deployment, 20_000).await;
    let steps = "verify.pass.before=stop,verify.failed.after=abort";
    let mut child = spawn(&deployment, 1, steps);
    frozen(child.id()).await;
    let shadow = artefact(&mut deployment, "_new").await;
    let settings = deployment.settings.clone().with_schema(&deployment.schema);
    let mut other = settings.connect().await.expect("a session");
    // The applier waits for this row, and everything behind it waits too.
    let hold = format!("BEGIN; SELECT * FROM `{shadow}` WHERE id = 5 FOR UPDATE");
    other.execute(AssertSqlSafe(hold)).await.expect("a lock");
    // All that are gone belong to the first range, and so are compared together.
    let all = "UPDATE orders SET id = id + 100000 ORDER BY id DESC";
    deployment.run(all).await;
    woken(child.id());
    let rows_were_read = format!(
        "SELECT COUNT(*) FROM performance_schema.events_statements_history AS s \
           JOIN performance_schema.metadata_locks AS l ON l.OWNER_THREAD_ID = s.THREAD_ID \
          WHERE l.OBJECT_TYPE = 'USER LEVEL LOCK' AND l.OBJECT_NAME LIKE '%{}%' AND s.ROWS_SENT > 5000",
        deployment.installation
    );
    support::eventually("rows are compared", Duration::from_secs(120), async || {
        let mut session = settings.connect().await.expect("a session");
        let read = sqlx::query_scalar(AssertSqlSafe(rows_were_read.clone()));
        let read: i64 = read.fetch_one(&mut session).await.expect("a count");
        read > 0
    })
    .await;
    other.execute("COMMIT").await.expect("the lock goes");
    let status = child.wait().await.expect("a status");
    assert!(status.success(), "rows that were behind count as different");
    assert_eq!(id_type(&mut deployment).await, "bigint");
}

/// Waits until the driver has frozen itself.
async fn frozen(driver: Option<u32>) {
    let stat = format!("/proc/{}/stat", driver.expect("a driver"));
    support::eventually("the driver is frozen", Duration::from_secs(120), || async {
        let stat = std::fs::read_to_string(&stat).expect("a driver that runs");
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
    .await;
}

fn woken(driver: Option<u32>) {
    let pid = driver.and_then(|id| i32::try_from(id).ok());
    let pid = pid
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("woken up");
}

/// Waits until the driver has frozen itself, and changes a row of its copy.
async fn spoil(deployment: &mut Deployment, epoch: u64, driver: Option<u32>) {
    frozen(driver).await;
    let shadow = artefact(deployment, &format!("_{epoch}_0_new")).await;
    let spoil = format!("{UNSEEN}; UPDATE `{shadow}` SET note = 'spoilt' WHERE id = 5");
    deployment.run(&spoil).await;
}

async fn end_of(deployment: &Deployment, epoch: u64, fail_at: &str) -> std::process::ExitStatus {
    let mut driver = spawn(deployment, epoch, fail_at);
    driver.wait().await.expect("a status")
}

async fn artefact(deployment: &mut Deployment, role: &str) -> String {
    let tables = deployment.tables().await;
    let found = tables.into_iter().find(|name| name.ends_with(role));
    found.unwrap_or_else(|| panic!("no table {role}"))
}

async fn prepared(rows: u32) -> (Deployment, Writers) {
    let mut deployment = Deployment::fresh().await;
    deployment.run(TABLE).await;
    writers::fill(&mut deployment, rows).await;
    let writers = Writers::start(&deployment, 2).await;
    (deployment, writers)
}

async fn checked(mut deployment: Deployment, writers: Writers) {
    let expected = writers.stop().await;
    writers::check(&mut deployment, &expected).await;
    assert_eq!(id_type(&mut deployment).await, "bigint");
}

async fn id_type(deployment: &mut Deployment) -> String {
    deployment
        .text("SELECT CAST(data_type AS CHAR) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'orders' AND column_name = 'id'")
        .await
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

async fn killed_at_random_moments(deployment: &Deployment, random: &mut StdRng) -> u32 {
    let mut kills = 0;
    for epoch in 1.. {
        let mut child = spawn(deployment, epoch, "");
        let wait = match kills < KILLS_OF_A_CHANGE {
            true => Duration::from_millis(random.random_range(200..2500)),
            false => Duration::from_secs(120),
        };
        match tokio::time::timeout(wait, child.wait()).await {
            Ok(status) => {
                let status = status.expect("a status");
                assert!(status.success(), "the driver of epoch {epoch} failed");
                break;
            }
            Err(_) => {
                child.kill().await.expect("a kill");
                kills += 1;
                assert!(kills <= KILLS_OF_A_CHANGE, "the change never ends");
            }
        }
    }
    kills
}

/// Steps of a change, and how often a driver passes each before it meets its fate there. Those of a list are met in one
/// change: each driver goes on from where the one before was.
const STEPS: [&[(&str, u32)]; 3] = [
    &[
        ("begin.checkpoint.before", 1),
        ("begin.checkpoint.after", 1),
        ("copy.chunk.before", 1),
        ("copy.chunk.after", 1),
        ("copy.chunk.before", 5),
        ("copy.chunk.after", 4),
    ],
    &[
        ("apply.batch.before", 3),
        ("apply.batch.after", 1),
        ("apply.batch.before", 1),
        // The next driver is not told of the swap: it asks for the copy first, all the same.
        ("cutover.rename.after", 1),
    ],
    &[
        ("index.build.before", 1),
        ("index.build.after", 1),
        ("cutover.unlock.after", 1),
    ],
];

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_killed_at_any_step_is_followed_by_one_that_ends_the_change() {
    for list in STEPS {
        let (deployment, writers) = prepared(20_000).await;
        let mut epochs = 1..;
        for ((step, time), epoch) in list.iter().zip(&mut epochs) {
            let status = end_of(&deployment, epoch, &format!("{step}={time}:abort")).await;
            let aborted = Some(rustix::process::Signal::ABORT.as_raw());
            assert_eq!(status.signal(), aborted, "{step} was not reached: {status}");
        }
        let last = epochs.next().expect("an epoch");
        let status = end_of(&deployment, last, "").await;
        assert!(status.success(), "the successor failed after {list:?}");
        checked(deployment, writers).await;
    }
}

/// Its lease says yes all the time: only the fence on the deployment holds it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_frozen_at_any_step_changes_nothing_when_it_wakes_up() {
    for list in STEPS {
        let (mut deployment, writers) = prepared(20_000).await;
        let mut former = Vec::new();
        let mut epochs = 1..;
        for ((step, time), epoch) in list.iter().zip(&mut epochs) {
            let driver = spawn(&deployment, epoch, &format!("{step}={time}:stop"));
            frozen(driver.id()).await;
            former.push((step, driver));
        }
        let last = epochs.next().expect("an epoch");
        let status = end_of(&deployment, last, "").await;
        assert!(status.success(), "the successor failed after {list:?}");
        let expected = writers.stop().await;
        writers::check(&mut deployment, &expected).await;
        let tables = deployment.tables().await;
        let whole = "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(CONCAT_WS(',', id, worker, note, amount)))) FROM orders";
        let rows = deployment.text(whole).await;

        for (step, mut driver) in former {
            woken(driver.id());
            let status = tokio::time::timeout(Duration::from_secs(120), driver.wait()).await;
            let status = status.expect("it gives up").expect("a status");
            // After its own swap nothing was left to do that a successor had not done.
            let had_swapped = step.starts_with("cutover");
            assert!(had_swapped || !status.success(), "{step}: it went on");
            assert_eq!(deployment.tables().await, tables, "{step}");
            assert_eq!(deployment.text(whole).await, rows, "{step}");
        }
        assert_eq!(id_type(&mut deployment).await, "bigint", "{list:?}");
    }
}

/// Swaps unique values between rows, in one transaction or in several, and knows which row has which.
async fn swap_values(
    mut session: sqlx::MySqlConnection,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
) -> Vec<i64> {
    let mut values: Vec<i64> = (1..=300).collect();
    let mut random = StdRng::seed_from_u64(support::seed());
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
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
        sqlx::raw_sql(sqlx::AssertSqlSafe(swap))
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
    let stop = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
    let settings = deployment.settings.clone().with_schema(&deployment.schema);
    let session = settings.connect().await.expect("a session");
    let writer = tokio::spawn(swap_values(session, stop.clone()));
    // From the verification on the copy has its unique key.
    let ends = [
        "verify.pass.before=abort",
        "apply.batch.before=2:abort",
        "apply.batch.after=2:abort",
        "apply.batch.before=5:abort",
    ];
    let mut epoch = 0;
    for fail_at in ends {
        epoch += 1;
        let status = end_of(&deployment, epoch, fail_at).await;
        assert!(!status.success(), "{fail_at} was never reached");
    }
    let status = end_of(&deployment, epoch + 1, "").await;
    assert!(status.success(), "the last driver failed");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let values = writer.await.expect("the writer");
    deployment
        .run("SET SESSION group_concat_max_len = 100000")
        .await;
    let found = deployment
        .text("SELECT GROUP_CONCAT(u ORDER BY id) FROM orders")
        .await;
    let expected: Vec<String> = values.iter().map(i64::to_string).collect();
    assert_eq!(found, expected.join(","));
    assert_eq!(id_type(&mut deployment).await, "bigint");
}
