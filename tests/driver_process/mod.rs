//! A driver of the engine in a process of its own, which a test kills, freezes and wakes up.
//!
//! Each test binary has an ignored test named `child`, which is what its drivers do.

#![allow(dead_code)] // each test binary uses its own part

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use lockkeeper::engine::{Engine, EngineError, Job};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::deployment::{self, Deployment, TestLease};
use crate::support::{self, PATIENCE, eventually};

/// What a driver is told, as `schema installation epoch`, and `spoilt` if the test spoils its copy.
const TOLD: &str = "LOCKKEEPER_TEST_DRIVER";

/// What the test `child` does: opens the engine, works, and ends the process. Without a driver's orders, nothing.
pub async fn child(
    statements: &[&str],
    options: serde_json::Value,
    work: impl AsyncFnOnce(&mut Engine, &TestLease, u64) -> Result<(), EngineError>,
) {
    let Ok(told) = std::env::var(TOLD) else {
        return;
    };
    let told: Vec<&str> = told.split(' ').collect();
    let epoch = told[2].parse().expect("an epoch");
    let settings = support::server().await.administrator().clone();
    let (target, job) = deployment::job_of(&settings, told[0], told[1], epoch, statements);
    let job = Job { options, ..job };
    let lease = match told.len() {
        3 => TestLease::held(),
        _ => TestLease::of_a_spoilt_copy(),
    };
    let worked = async {
        let mut engine = Engine::open(target, job, Arc::clone(&lease) as _).await?;
        work(&mut engine, &lease, epoch).await?;
        engine.close().await;
        Ok::<_, EngineError>(())
    };
    match worked.await {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("{:?}: {}", error.kind(), error.message());
            std::fs::write(last_words(told[1], epoch), error.message()).expect("its last words");
            std::process::exit(FAILED);
        }
    }
}

/// How a driver's process ends that has met an error.
pub const FAILED: i32 = 3;

/// Where a driver leaves its error.
fn last_words(installation: &str, epoch: u64) -> PathBuf {
    let name = format!("driver-{installation}-{epoch}");
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// What a driver has failed with.
pub fn said(db: &Deployment, epoch: u64) -> String {
    let words = last_words(&db.installation, epoch);
    let said = std::fs::read_to_string(&words).expect("a driver that has failed");
    std::fs::remove_file(words).expect("read once");
    said
}

pub struct Driver(Child);

impl Driver {
    /// `fail_at` says where it meets its fate, as `LOCKKEEPER_FAIL_AT` does.
    pub fn start(db: &Deployment, epoch: u64, fail_at: &str) -> Self {
        Self::told(db, epoch, fail_at, "")
    }

    /// One that may find differences.
    pub fn start_on_a_spoilt_copy(db: &Deployment, epoch: u64, fail_at: &str) -> Self {
        Self::told(db, epoch, fail_at, " spoilt")
    }

    fn told(db: &Deployment, epoch: u64, fail_at: &str, more: &str) -> Self {
        let server = db.settings.clone().without_schema();
        let told = format!("{} {} {epoch}{more}", db.schema, db.installation);
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--ignored", "--exact", "child", "--nocapture"])
            .env(TOLD, told)
            .env("LOCKKEEPER_FAIL_AT", fail_at)
            // A container is not shared by processes that find it themselves.
            .env("LOCKKEEPER_TEST_URL", server.url().expose())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        Self(child.expect("a driver"))
    }

    fn pid(&self) -> Pid {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        id.and_then(Pid::from_raw).expect("a driver that runs")
    }

    /// Waits until it has frozen itself.
    pub async fn frozen(&self) {
        let stat = format!("/proc/{}/stat", self.pid().as_raw_nonzero());
        eventually("the driver is frozen", PATIENCE, async || {
            let stat = std::fs::read_to_string(&stat).expect("a driver that runs");
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.trim_start().starts_with('T'))
        })
        .await;
    }

    pub fn wake(&self) {
        kill_process(self.pid(), Signal::CONT).expect("woken up");
    }

    pub async fn kill(mut self) {
        self.0.kill().await.expect("a kill");
    }

    /// How it ends by itself.
    pub async fn end(&mut self) -> ExitStatus {
        let status = tokio::time::timeout(PATIENCE, self.0.wait()).await;
        status.expect("the driver ends").expect("a status")
    }

    /// Kills it unless it has ended before that; says how it ended then.
    pub async fn killed_after(mut self, wait: std::time::Duration) -> Option<ExitStatus> {
        match tokio::time::timeout(wait, self.0.wait()).await {
            Ok(status) => Some(status.expect("a status")),
            Err(_) => {
                self.kill().await;
                None
            }
        }
    }
}

/// A driver that is to end the change.
pub async fn ends(db: &Deployment, epoch: u64) {
    let status = Driver::start(db, epoch, "").end().await;
    assert!(status.success(), "the driver of epoch {epoch} failed");
}

/// A driver that dies there, as `kill -9` would end it. A number after the step means the pass of that number.
pub async fn dies_at(db: &Deployment, epoch: u64, step: &str) {
    let mut driver = Driver::start(db, epoch, &armed(step, "abort"));
    died(driver.end().await, step);
}

/// Of a fail point.
pub fn died(status: ExitStatus, step: &str) {
    let aborted = Some(Signal::ABORT.as_raw());
    assert_eq!(status.signal(), aborted, "{step} was not reached: {status}");
}

/// A driver that freezes there.
pub async fn freezes_at(db: &Deployment, epoch: u64, step: &str) -> Driver {
    let driver = Driver::start(db, epoch, &armed(step, "stop"));
    driver.frozen().await;
    driver
}

/// `copy.chunk.after 4` with `abort` becomes `copy.chunk.after=4:abort`.
fn armed(step: &str, fate: &str) -> String {
    let (step, pass) = step.split_once(' ').unwrap_or((step, "1"));
    format!("{step}={pass}:{fate}")
}
