//! The copy engine: changes the tables of one operation on one deployment while an application
//! writes to them.
//!
//! The driver opens one [`Engine`] for an operation that it has claimed and calls its phases in
//! turn. Everything that must survive a crash is on the deployment itself: the shadow tables, the
//! checkpoint beside them, the fence.

pub mod binlog;
pub mod context;
pub mod conversion;
pub mod copy;
pub mod cutover;
pub mod error;
pub mod fail_point;
mod meter;
pub mod names;
pub mod options;
mod phases;
pub mod plan;
pub mod preflight;
mod revert;
pub mod session;
pub mod state;
pub mod stream;
pub mod syntax;
pub mod table;
pub mod target;
pub mod throttle;
pub mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use state::checkpoint;
use state::fence::Fence;
use stream::running::Running;

pub use error::{EngineError, ErrorKind};
pub use phases::{revert_warnings, warnings};
pub use target::Target;

/// The lease was refused, or nobody could be asked in time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct LeaseLost(pub String);

/// What the engine needs from whoever holds the operation's lease.
pub trait LeaseHolder: Send + Sync + 'static {
    /// The latest orders of the control database.
    fn orders(&self) -> watch::Receiver<Orders>;

    /// Progress for people; the next heartbeat carries the latest one.
    fn report(&self, progress: Progress);

    /// A copy of the checkpoint for people; the real one is on the deployment.
    fn record_checkpoint(&self, _checkpoint: serde_json::Value) {}

    /// One fresh heartbeat, now.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`] if it is refused, or if the control database does not answer in time.
    fn confirm(&self) -> BoxFuture<'_, Result<(), LeaseLost>>;
}

/// What the driver must obey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Orders {
    pub directive: Directive,
    /// 0 to 10; 10 pauses the copy.
    pub throttle_level: u8,
    /// A heartbeat was refused.
    pub lost: bool,
    /// The driver is asked to end.
    pub shutdown: bool,
}

/// A DBA's command to a running operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directive {
    #[default]
    None,
    Stop,
    Cancel,
    Cutover,
    Revert,
    SkipRevert,
}

/// One statement of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobTask {
    pub task_id: u64,
    /// 0-based.
    pub position: u32,
    pub statement: String,
}

impl JobTask {
    /// As people count.
    pub fn number(&self) -> u32 {
        self.position + 1
    }
}

/// What is to be done on a deployment.
#[derive(Debug, Clone)]
pub struct Job {
    /// Eight hex digits that name the control installation.
    pub installation: String,
    pub operation_id: u64,
    pub lease_epoch: u64,
    pub schema_name: String,
    pub tasks: Vec<JobTask>,
    /// The apply's `engine` options, an object.
    pub options: serde_json::Value,
    pub revert_window_seconds: u64,
    /// So far on its way that its deployment must have tables of it: a server without any is another one, and is left alone.
    pub is_under_way: bool,
}

/// What a phase came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Copied, caught up, verified: at the barrier.
    Verified,
    /// A stop was obeyed; the checkpoint is written.
    Stopped,
    /// A cancel was asked for; call [`Engine::remove_artifacts`].
    CancelAsked,
    /// A cutover was asked for (while kept current).
    CutoverAsked,
    /// The driver is shutting down; the checkpoint is written.
    Interrupted,
    /// A revert was asked for (revert window).
    RevertAsked,
    /// The revert window is over, or was skipped; call [`Engine::finish`].
    WindowOver,
    /// Writes can no longer be carried back: the window is closed; call [`Engine::finish`].
    WindowClosed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Verified => "all rows are verified",
            Self::Stopped => "a stop was asked for",
            Self::CancelAsked => "a cancel was asked for",
            Self::CutoverAsked => "the cutover was asked for",
            Self::Interrupted => "the driver is told to end",
            Self::RevertAsked => "a revert was asked for",
            Self::WindowOver => "the revert window is over",
            Self::WindowClosed(why) => why,
        })
    }
}

/// How far an operation is, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct Progress {
    /// `preflight`, `copy`, `index`, `catch_up`, `verify`, `waiting`, `cutover`, `revert_window`, `reverting`, `cleanup`.
    pub phase: String,
    pub rows_copied: u64,
    /// An estimate until the copy has ended, then exact.
    pub rows_total: u64,
    /// Rows of `rows_total` that were compared, while that goes on.
    pub rows_verified: Option<u64>,
    /// Of the phase, as the time left is.
    pub rows_per_second: f64,
    pub seconds_left: Option<u64>,
    pub binlog_lag_seconds: Option<f64>,
    /// Why the copy waits, if it does.
    pub throttled_by: Option<String>,
    /// What people should know before they let the cutover happen.
    pub warnings: Vec<String>,
    pub tasks: Vec<TaskProgress>,
}

/// How far one statement is.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct TaskProgress {
    pub task_id: u64,
    pub rows_copied: u64,
    pub rows_total: u64,
    /// `waiting`, `copying`, `copied`, `verified`, `swapped`.
    pub phase: String,
}

/// The phase of a copy that is done, and kept current.
pub const ON_HOLD: &str = "waiting";

/// What a swap did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Swapped {
    /// How long the tables were locked.
    pub locked_for: Duration,
    /// Attempts that gave way to other sessions before this one.
    pub gave_way: u32,
}

/// What stays the same for as long as a driver works on an operation.
pub struct Operation {
    pub job: Job,
    /// The job's.
    pub options: options::Options,
    pub sessions: session::Sessions,
    pub fence: Fence,
}

/// The engine of one operation. See the module's text.
pub struct Engine {
    operation: Operation,
    lease: Arc<dyn LeaseHolder>,
    control: session::Session,
    store: checkpoint::Store,
    head: Option<checkpoint::Head>,
    /// Stream and applier, once they run.
    running: Option<Running>,
    /// Ranges that a former driver copied.
    copied: Vec<checkpoint::CopiedRange>,
    /// The end of the revert window was told once.
    window_told: bool,
    /// A swap was begun, and nobody knows what became of it.
    is_unsettled: bool,
}
