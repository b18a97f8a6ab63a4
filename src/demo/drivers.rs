//! Drivers: processes of this same program, started, killed and ended as an operator would.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, ChildStdin};

use super::servers::Fleet;
use crate::config::{ConnectionSettings, Credentials};
use crate::drive::child;

/// How long a driver may take to give its leases back.
const END_LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Drivers {
    control: ConnectionSettings,
    account: Credentials,
    /// What the drivers say; it would tear the screen.
    logs: TempDir,
    running: Vec<Driver>,
    killed: Vec<String>,
    started: usize,
}

struct Driver {
    name: String,
    child: Child,
    /// Apart, because waiting for a child closes its input first, and it must have time to end in order.
    _input: Option<ChildStdin>,
}

impl Drivers {
    pub fn new(fleet: &Fleet) -> anyhow::Result<Self> {
        Ok(Self {
            control: fleet.control.clone(),
            account: fleet.driver.clone(),
            logs: tempfile::Builder::new()
                .prefix("lockkeeper-demo-drivers-")
                .tempdir()
                .context("a folder for the drivers' logs")?,
            running: Vec::new(),
            killed: Vec::new(),
            started: 0,
        })
    }

    /// Starts the next driver.
    pub fn start_one(&mut self) -> anyhow::Result<String> {
        self.started += 1;
        let name = format!("driver-{}", self.started);
        let log = File::create(self.log(&name)).context("a driver's log")?;
        let command = child::command(&self.control, &self.account);
        let mut command = command.context("this program's own file")?;
        command
            .args(["--name", &name, "--concurrency", "2"])
            .env("LOCKKEEPER_LOG", "lockkeeper=info")
            .stderr(log)
            // A terminal's Ctrl-C is for us; we end it in order.
            .process_group(0);
        let mut child = command.spawn().context("starting a driver")?;
        self.running.push(Driver {
            name: name.clone(),
            _input: child.stdin.take(),
            child,
        });
        Ok(name)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.path().join(format!("{name}.log"))
    }

    /// SIGKILL, in the middle of whatever it does.
    pub async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let Some(at) = self.running.iter().position(|driver| driver.name == name) else {
            return Ok(());
        };
        let mut driver = self.running.remove(at);
        driver.child.kill().await.context("killing a driver")?;
        self.killed.push(driver.name);
        Ok(())
    }

    /// Who was killed on purpose.
    pub fn killed(&self) -> Vec<String> {
        self.killed.clone()
    }

    /// A driver that ended though nobody asked it to.
    pub fn ended(&mut self) -> Option<String> {
        self.running
            .iter_mut()
            .find_map(|driver| match driver.child.try_wait() {
                Ok(Some(status)) => Some(format!("{} ended by itself ({status})", driver.name)),
                Ok(None) | Err(_) => None,
            })
    }

    /// SIGTERM: each gives its leases back.
    pub async fn end(&mut self) {
        for driver in &self.running {
            let pid = driver.child.id().and_then(|id| i32::try_from(id).ok());
            if let Some(pid) = pid.and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        for driver in &mut self.running {
            if tokio::time::timeout(END_LIMIT, driver.child.wait())
                .await
                .is_err()
            {
                eprintln!(
                    "{} did not end within {END_LIMIT:?} and is killed",
                    driver.name
                );
                let _ = driver.child.kill().await;
            }
        }
        self.running.clear();
    }

    /// The last lines that each driver has written.
    pub fn show_logs(&self) {
        for number in 1..=self.started {
            let name = format!("driver-{number}");
            let text = std::fs::read_to_string(self.log(&name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(15)) {
                eprintln!("{name}: {line}");
            }
        }
    }
}
