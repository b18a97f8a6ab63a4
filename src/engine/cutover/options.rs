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

impl Default for CutoverOptions {
    fn default() -> Self {
        Self {
            lock_wait: Duration::from_millis(500),
            drain_limit: Duration::from_secs_f64(Options::default().cutover_lock_seconds),
            give_up_after: Duration::from_secs(300),
            kill_blockers_after: None,
            hold_seconds: 86_400,
        }
    }
}

impl CutoverOptions {
    /// Reads `cutover_lock_wait_ms`, `cutover_lock_seconds`, `cutover_give_up_seconds`,
    /// `kill_blockers_after_seconds` and `hold_old_table_seconds` of an apply's engine options.
    ///
    /// # Errors
    ///
    /// Permanent for a value out of range.
    pub fn of(options: &serde_json::Value) -> Result<Self, EngineError> {
        let number = |name: &str, range: std::ops::RangeInclusive<u64>| match options.get(name) {
            None | Some(serde_json::Value::Null) => Ok(None),
            Some(value) => value
                .as_u64()
                .filter(|n| range.contains(n))
                .map(Some)
                .ok_or_else(|| {
                    EngineError::permanent(format!(
                        "engine option {name} is {value}; it takes a whole number from {} to {}",
                        range.start(),
                        range.end()
                    ))
                }),
        };
        let standard = Self::default();
        Ok(Self {
            lock_wait: number("cutover_lock_wait_ms", 10..=60_000)?
                .map_or(standard.lock_wait, Duration::from_millis),
            drain_limit: Options::read(options)
                .map(|options| Duration::from_secs_f64(options.cutover_lock_seconds))?,
            give_up_after: number("cutover_give_up_seconds", 1..=86_400)?
                .map_or(standard.give_up_after, Duration::from_secs),
            kill_blockers_after: number("kill_blockers_after_seconds", 1..=86_400)?
                .map(Duration::from_secs),
            hold_seconds: number("hold_old_table_seconds", 0..=31_536_000)?
                .unwrap_or(standard.hold_seconds),
        })
    }
}
