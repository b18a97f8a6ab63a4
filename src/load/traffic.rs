//! Writers against one deployment, from their start to the record that they leave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::LoadError;
use super::digest::Digester;
use super::journal::Journal;
use super::order::TABLE;
use super::writer::{Finished, Writer};
use crate::config::ConnectionSettings;

/// What is written where, and how fast.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// The application's account; its schema has the table.
    pub settings: ConnectionSettings,
    /// How many rows the fill has made.
    pub rows: u64,
    pub writers: u32,
    /// All writers together.
    pub writes_per_second: u32,
    pub seed: u64,
}

/// One write: when it was due by the clock of this machine, and how long after that it was acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub due_micros: u64,
    pub waited_micros: u64,
    /// The part of the wait since it was sent: the rest, its writer was still busy with the one before.
    pub served_micros: u64,
}

/// What can be read while the writers write.
#[derive(Debug, Default)]
pub struct Counters {
    pub acknowledged: AtomicU64,
    /// Rolled back by a deadlock, and made again.
    pub retried: AtomicU64,
    /// The answer was lost with the connection; settled by a look.
    pub resolved: AtomicU64,
    pub faults: AtomicU64,
    longest_micros: AtomicU64,
}

impl Counters {
    pub(super) fn note(&self, waited: Duration) {
        self.longest_micros
            .fetch_max(waited.as_micros() as u64, Ordering::Relaxed);
    }

    /// From now on only what comes later counts for [`Counters::longest`].
    pub fn forget_longest(&self) {
        self.longest_micros.store(0, Ordering::Relaxed);
    }

    /// The longest wait of a single write so far.
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_micros.load(Ordering::Relaxed))
    }
}

/// What all writers together have done.
#[derive(Debug, Default)]
pub struct Record {
    pub journal: Journal,
    pub samples: Vec<Sample>,
    /// What a writer itself has found wrong.
    pub faults: Vec<String>,
}

/// Writers at work.
pub struct Running {
    end: watch::Sender<bool>,
    writers: JoinSet<Result<Finished, String>>,
    counters: Arc<Counters>,
}

impl Traffic {
    /// Starts the writers; each has a session of its own.
    pub async fn start(self) -> Result<Running, LoadError> {
        let place = self.settings.to_string();
        let mut session = self
            .settings
            .connect()
            .await
            .map_err(LoadError::at(&place))?;
        let digester =
            Digester::of(&mut session, self.settings.schema(), TABLE, "order_id").await?;
        let traffic = Arc::new(self);
        let counters = Arc::new(Counters::default());
        let (end, ends) = watch::channel(false);
        let mut writers = JoinSet::new();
        for number in 0..traffic.writers {
            let writer = Writer::new(
                number.into(),
                Arc::clone(&traffic),
                digester.clone(),
                Arc::clone(&counters),
            )
            .await
            .map_err(LoadError::at(&place))?;
            writers.spawn(writer.run(ends.clone()));
        }
        Ok(Running {
            end,
            writers,
            counters,
        })
    }
}

impl Running {
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Lets every write that is under way come to its end.
    pub async fn stop(mut self) -> Result<Record, LoadError> {
        self.end.send_replace(true);
        let mut record = Record::default();
        while let Some(ended) = self.writers.join_next().await {
            let finished = match ended {
                Ok(finished) => finished.map_err(LoadError::Writer)?,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            };
            record.journal.merge(finished.journal);
            record.samples.extend(finished.samples);
            record.faults.extend(finished.faults);
        }
        record
            .samples
            .sort_unstable_by_key(|sample| sample.due_micros);
        Ok(record)
    }
}
