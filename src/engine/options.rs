//! What an apply's `engine` object may say.

use std::time::Duration;

use serde::Deserialize;

use super::EngineError;
use super::throttle::Limits;

/// When secondary indexes of the shadow are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexBuild {
    /// After the copy where no replica is attached, else row by row.
    #[default]
    Auto,
    Deferred,
    /// Row by row. Unique indexes are built after the copy all the same: only then can a duplicate
    /// be told from a value that is on its way from one row to another.
    Inline,
}

/// Options of the engine. Unknown ones are refused: a misspelt limit must not be no limit.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Chunks that run at a time.
    pub copy_threads: u32,
    /// How long a chunk should take.
    pub chunk_seconds: f64,
    pub index_build: IndexBuild,
    /// How long the tables may be locked in one attempt to swap.
    pub cutover_lock_seconds: f64,
    /// What the copy yields to.
    pub throttle: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            copy_threads: 2,
            chunk_seconds: 0.5,
            index_build: IndexBuild::default(),
            cutover_lock_seconds: 3.0,
            throttle: Limits::default(),
        }
    }
}

impl Options {
    /// Reads the object.
    ///
    /// # Errors
    ///
    /// Permanent for values out of range.
    pub fn read(options: &serde_json::Value) -> Result<Self, EngineError> {
        if options.is_null() {
            return Ok(Self::default());
        }
        let read: Self = serde_json::from_value(options.clone())
            .map_err(|e| EngineError::permanent(format!("the engine's options: {e}")))?;
        let in_range = (1..=16).contains(&read.copy_threads)
            && (0.01..=10.0).contains(&read.chunk_seconds)
            && (0.1..=60.0).contains(&read.cutover_lock_seconds);
        if !in_range {
            return Err(EngineError::permanent(
                "the engine's options: copy_threads is 1 to 16, chunk_seconds 0.01 to 10, \
                 cutover_lock_seconds 0.1 to 60",
            ));
        }
        read.throttle.check()?;
        Ok(read)
    }

    pub fn chunk_time(&self) -> Duration {
        Duration::from_secs_f64(self.chunk_seconds)
    }
}
