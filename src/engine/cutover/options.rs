//! How a cutover treats the application.

use std::time::Duration;

use crate::engine::EngineError;
use crate::engine::options::Options;

/// How a cutover treats the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutoverOptions {
    /// How long other queries may wait behind one attempt for the lock.
    pub lock_wait: Duration,
    /// How long the tables may be locked for the rest of the stream.
    pub drain_limit: Duration,
    /// After this much time of attempts the cutover fails, retryable.
    pub give_up_after: Duration,
    /// Sessions that have used the table for at least this long are killed, if they may be.
    pub kill_blockers_after: Option<Duration>,
    /// How long a table that is no longer used stays in its holding name.
    pub hold_seconds: u64,
}

impl CutoverOptions {
    /// Of an apply's engine options.
    ///
    /// # Errors
    ///
    /// Permanent for a value out of range.
    pub fn of(options: &serde_json::Value) -> Result<Self, EngineError> {
        let options = Options::read(options)?;
        Ok(Self {
            lock_wait: Duration::from_millis(options.cutover_lock_wait_ms),
            drain_limit: Duration::from_secs_f64(options.cutover_lock_seconds),
            give_up_after: Duration::from_secs(options.cutover_give_up_seconds),
            kill_blockers_after: options.kill_blockers_after_seconds.map(Duration::from_secs),
            hold_seconds: options.hold_old_table_seconds,
        })
    }
}
