//! One change by our engine in a process of its own, so that its CPU and its memory are the driver's alone.

use std::io::{BufRead as _, Read as _, Write as _};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::watch;

use crate::bench::{BenchError, process};
use crate::config::ConnectionSettings;
use crate::engine::{
    Engine, Job, JobTask, LeaseHolder, LeaseLost, Orders, Outcome, Progress, Target,
};

/// What the child is told, on its standard input: a password is in the address.
#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    pub url: String,
    pub operation_id: u64,
    pub statement: String,
}

/// What it answers, on its standard output. Moments are microseconds since 1970.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Changed {
    /// When each phase began.
    pub phases: Vec<(String, u64)>,
    /// Copied, caught up, verified.
    pub verified: u64,
    pub swapped: u64,
    pub finished: u64,
    pub locked_seconds: f64,
    pub attempts: u32,
    pub cpu_seconds: Option<f64>,
    pub peak_megabytes: Option<f64>,
}

impl Changed {
    /// Phases in their order, each with the times from and to which it lasted; those of the same name together.
    pub fn spans(&self) -> Vec<(&str, Vec<(u64, u64)>)> {
        let mut all: Vec<(&str, Vec<(u64, u64)>)> = Vec::new();
        for (at, (phase, since)) in self.phases.iter().enumerate() {
            let until = self.phases.get(at + 1).map_or(self.finished, |next| next.1);
            match all.iter_mut().find(|(known, _)| known == phase) {
                Some((_, spans)) => spans.push((*since, until)),
                None => all.push((phase, vec![(*since, until)])),
            }
        }
        all
    }

    /// Phases with their seconds.
    pub fn seconds(&self) -> Vec<(&str, f64)> {
        let took = |spans: &[(u64, u64)]| -> u64 {
            let each = spans.iter().map(|(from, to)| to.saturating_sub(*from));
            each.sum()
        };
        let all = self.spans().into_iter();
        all.map(|(phase, spans)| (phase, took(&spans) as f64 / 1e6))
            .collect()
    }

    /// When the copy began.
    pub fn copying(&self) -> u64 {
        let copy = self.phases.iter().find(|(phase, _)| phase == "copy");
        copy.map_or(self.verified, |(_, at)| *at)
    }
}

pub(super) fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_micros() as u64
}

/// Starts the child and waits for its answer.
pub(super) async fn in_child(
    settings: &ConnectionSettings,
    operation_id: u64,
    statement: &str,
) -> Result<Changed, BenchError> {
    let failed = BenchError::process("a process for the change");
    let request = Request {
        url: settings.url().expose().to_owned(),
        operation_id,
        statement: statement.to_owned(),
    };
    let mut line = serde_json::to_vec(&request).map_err(|e| failed(e.into()))?;
    line.push(b'\n');
    let mut child = Command::new(std::env::current_exe().map_err(&failed)?)
        .args(["bench", "change"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(&failed)?;
    // Kept open: the child ends when it is closed.
    let mut input = child.stdin.take();
    if let Some(input) = &mut input {
        input.write_all(&line).await.map_err(&failed)?;
    }
    let output = child.wait_with_output().await.map_err(&failed)?;
    drop(input);
    if !output.status.success() {
        return Err(BenchError::Tool(format!(
            "our own change ended with {}; what it said is above",
            output.status
        )));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| failed(e.into()))
}

/// The child's side: `lockkeeper bench change`.
///
/// # Errors
///
/// [`BenchError`] if the request can't be read, or the change fails.
pub async fn serve() -> Result<(), BenchError> {
    let failed = BenchError::process("the parent's request");
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(&failed)?;
    let request: Request = serde_json::from_str(&line).map_err(|e| failed(e.into()))?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    let mut changed = change(request).await?;
    changed.cpu_seconds = process::cpu_seconds(std::process::id());
    changed.peak_megabytes = process::peak_megabytes(std::process::id());
    let answer = serde_json::to_vec(&changed).map_err(|e| failed(e.into()))?;
    std::io::stdout().write_all(&answer).map_err(&failed)
}

async fn change(request: Request) -> Result<Changed, BenchError> {
    let settings: ConnectionSettings = request
        .url
        .parse()
        .map_err(|error: crate::config::ConfigError| BenchError::Tool(error.to_string()))?;
    let job = Job {
        installation: "be9c4000".to_owned(),
        operation_id: request.operation_id,
        lease_epoch: 1,
        schema_name: settings.schema().to_owned(),
        tasks: vec![JobTask {
            task_id: 1,
            position: 0,
            statement: request.statement,
        }],
        options: serde_json::json!({}),
        revert_window_seconds: 0,
        is_under_way: false,
    };
    let lease = Arc::new(Lease {
        orders: watch::Sender::new(Orders::default()),
        phases: Mutex::new(vec![("preflight".to_owned(), now_micros())]),
    });
    let mut engine = Engine::open(Target::from(settings), job, lease.clone()).await?;
    let outcome = engine.copy().await?;
    if outcome != Outcome::Verified {
        return Err(BenchError::Tool(format!("the copy ended as {outcome:?}")));
    }
    let verified = now_micros();
    lease.enter("cutover");
    let swap = engine.cut_over().await?;
    let swapped = now_micros();
    lease.enter("cleanup");
    engine.finish().await?;
    engine.close().await;
    let phases = lease
        .phases
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    Ok(Changed {
        phases,
        verified,
        swapped,
        finished: now_micros(),
        locked_seconds: swap.locked_for.as_secs_f64(),
        attempts: swap.gave_way,
        ..Changed::default()
    })
}

/// Held as long as the process lives: the control plane has no part in this.
struct Lease {
    orders: watch::Sender<Orders>,
    phases: Mutex<Vec<(String, u64)>>,
}

impl Lease {
    fn enter(&self, phase: &str) {
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        if phases.last().is_none_or(|(last, _)| last != phase) {
            phases.push((phase.to_owned(), now_micros()));
        }
    }
}

impl LeaseHolder for Lease {
    fn orders(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }

    fn report(&self, progress: Progress) {
        self.enter(&progress.phase);
    }

    fn confirm(&self) -> BoxFuture<'_, Result<(), LeaseLost>> {
        Box::pin(async { Ok(()) })
    }
}
