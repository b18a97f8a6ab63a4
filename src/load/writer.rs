//! One writer: its keys are its own, its writes come at fixed times, and none counts before it is acknowledged.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::mysql::MySqlConnection;
use tokio::sync::watch;

use super::digest::Digester;
use super::fill::KEY_STEP;
use super::journal::Journal;
use super::order::{self, Order};
use super::traffic::{Counters, Sample, Traffic};
use super::write::{self, Failure, Step, Write};
use crate::server_error;

/// A deployment that is away for longer than this ends the load.
const AWAY_LIMIT: Duration = Duration::from_secs(120);
const RECONNECT_WAIT: Duration = Duration::from_millis(100);
/// A write that has no answer by then is given up and looked up.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);

pub(super) struct Writer {
    number: u64,
    /// A named lock that this writer's session holds.
    lock: String,
    traffic: Arc<Traffic>,
    digester: Digester,
    /// `None` only while it is being replaced.
    session: Option<MySqlConnection>,
    rng: StdRng,
    journal: Journal,
    samples: Vec<Sample>,
    /// Keys that were written lately: hot ones.
    recent: Vec<u64>,
    /// Keys whose rows were deleted.
    free: Vec<u64>,
    counters: Arc<Counters>,
    faults: Vec<String>,
}

/// What a writer has to show at its end.
pub(super) struct Finished {
    pub journal: Journal,
    pub samples: Vec<Sample>,
    pub faults: Vec<String>,
}

impl Writer {
    pub async fn new(
        number: u64,
        traffic: Arc<Traffic>,
        digester: Digester,
        counters: Arc<Counters>,
    ) -> Result<Self, sqlx::Error> {
        let lock = format!("load_{:016x}", rand::random::<u64>());
        Ok(Self {
            number,
            session: Some(connect(&traffic, &lock).await?),
            lock,
            rng: StdRng::seed_from_u64(traffic.seed.wrapping_mul(1000).wrapping_add(number)),
            traffic,
            digester,
            journal: Journal::default(),
            samples: Vec::new(),
            recent: Vec::new(),
            free: Vec::new(),
            counters,
            faults: Vec::new(),
        })
    }

    /// Writes at its times until told to end. A late write is made at once: its wait counts from when it was due.
    pub async fn run(mut self, end: watch::Receiver<bool>) -> Result<Finished, String> {
        let interval = Duration::from_secs_f64(
            f64::from(self.traffic.writers) / f64::from(self.traffic.writes_per_second),
        );
        // Not all at the same moment.
        let mut due = Instant::now() + interval.mul_f64(self.rng.random());
        while !*end.borrow() {
            tokio::time::sleep_until(due.into()).await;
            let write = match self.compose().await {
                Ok(write) => write,
                Err(error) => {
                    self.reconnect(&error).await?;
                    continue;
                }
            };
            let sent = Instant::now();
            self.perform(write).await?;
            let served = sent.elapsed();
            let waited = due.elapsed();
            let due_at = (SystemTime::now() - waited)
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            self.samples.push(Sample {
                due_micros: due_at.as_micros() as u64,
                waited_micros: waited.as_micros() as u64,
                served_micros: served.as_micros() as u64,
            });
            self.counters.note(waited);
            due += interval;
        }
        Ok(Finished {
            journal: self.journal,
            samples: self.samples,
            faults: self.faults,
        })
    }

    /// Until it is acknowledged, or known not to have taken effect and not to be tried again.
    async fn perform(&mut self, write: Write) -> Result<(), String> {
        loop {
            let session = self.session.as_mut().ok_or("a writer has no session")?;
            let ran = tokio::time::timeout(ANSWER_LIMIT, write.run(session)).await;
            let outcome = match ran {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::Unknown(sqlx::Error::Io(
                    std::io::ErrorKind::TimedOut.into(),
                ))),
            };
            match outcome {
                Ok(()) if write.commit => {
                    self.acknowledge(&write);
                    return Ok(());
                }
                Ok(()) => return Ok(()),
                Err(Failure::Refused(error)) => match server_error::number(&error) {
                    // A deadlock or a lock that took too long: rolled back, to be tried again.
                    Some(1205 | 1213) => {
                        self.counters.retried.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => {
                        self.fault(format!("a write was refused: {error} ({write:?})"));
                        return Ok(());
                    }
                },
                Err(Failure::RowMissing { key }) => {
                    self.fault(format!(
                        "row {key} was not found by its own writer ({write:?})"
                    ));
                    return Ok(());
                }
                Err(Failure::Unknown(error)) => {
                    self.reconnect(&error).await?;
                    self.counters.resolved.fetch_add(1, Ordering::Relaxed);
                    if !write.commit || self.took_effect(&write).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Reads the keys of a write whose answer was lost. Nobody else writes them, so one look settles it.
    async fn took_effect(&mut self, write: &Write) -> Result<bool, String> {
        let after = write.after(&self.journal);
        let keys: Vec<u64> = after.keys().copied().collect();
        let found = loop {
            let session = self.session.as_mut().ok_or("a writer has no session")?;
            match write::read(session, &keys).await {
                Ok(found) => break found,
                Err(error) => self.reconnect(&error).await?,
            }
        };
        if after
            .iter()
            .all(|(key, order)| found.get(key) == order.as_ref())
        {
            self.acknowledge(write);
            return Ok(true);
        }
        if keys
            .iter()
            .any(|key| found.get(key) != self.journal.expected(*key))
        {
            self.fault(format!(
                "keys {keys:?} hold neither what they held before a write nor what they must hold after it ({write:?})"
            ));
            return Ok(true);
        }
        Ok(false)
    }

    fn acknowledge(&mut self, write: &Write) {
        let after = write.after(&self.journal);
        for (key, order) in &after {
            match order {
                Some(_) => self.recent.push(*key),
                None => self.free.push(*key),
            }
        }
        if self.recent.len() > 400 {
            self.recent.drain(..200);
        }
        self.journal.acknowledge(after);
        self.counters.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    fn fault(&mut self, text: String) {
        let mut text = text;
        if let Some((end, _)) = text.char_indices().nth(600) {
            text.truncate(end);
        }
        self.counters.faults.fetch_add(1, Ordering::Relaxed);
        self.faults.push(text);
    }

    async fn reconnect(&mut self, why: &sqlx::Error) -> Result<(), String> {
        let start = Instant::now();
        // Closed first: the new session waits for the end of the old one.
        self.session = None;
        loop {
            match connect(&self.traffic, &self.lock).await {
                Ok(session) => {
                    self.session = Some(session);
                    return Ok(());
                }
                Err(error) if start.elapsed() > AWAY_LIMIT => {
                    return Err(format!("{why}; and then: {error}"));
                }
                Err(_) => tokio::time::sleep(RECONNECT_WAIT).await,
            }
        }
    }

    async fn compose(&mut self) -> Result<Write, sqlx::Error> {
        Ok(match self.rng.random_range(0..100) {
            0..30 => Write::one(self.insert()),
            30..55 => Write::one(self.progress().await?),
            55..70 => Write::one(self.details().await?),
            70..79 => {
                let key = self.row().await?;
                Write::one(Step::Delete { key })
            }
            79..84 => {
                let from = self.row().await?;
                let to = self.free_key();
                Write::one(Step::Rekey { from, to })
            }
            84..88 => self.swap_references().await?,
            88..92 => Write {
                steps: self.several().await?,
                commit: false,
            },
            _ => Write {
                steps: self.several().await?,
                commit: true,
            },
        })
    }

    /// A transaction on rows of all parts of the table.
    async fn several(&mut self) -> Result<Vec<Step>, sqlx::Error> {
        let mut steps = vec![self.insert()];
        for _ in 0..self.rng.random_range(1..4) {
            let step = self.progress().await?;
            steps.push(step);
            let step = self.details().await?;
            steps.push(step);
        }
        let key = self.row().await?;
        steps.push(Step::Delete { key });
        // What is deleted here must not be written before or after.
        let mut seen_delete = false;
        steps.retain(|step| match step {
            Step::Delete { .. } => !std::mem::replace(&mut seen_delete, true),
            Step::Progress { key: other, .. } | Step::Details { key: other, .. } => *other != key,
            Step::Insert { .. } | Step::Reference { .. } | Step::Rekey { .. } => true,
        });
        Ok(steps)
    }

    /// Two rows exchange their unique values, through a third value.
    async fn swap_references(&mut self) -> Result<Write, sqlx::Error> {
        let one = self.row().await?;
        let two = self.row().await?;
        let reference = |key| {
            self.journal
                .expected(key)
                .map_or_else(String::new, |order| order.reference.clone())
        };
        let (first, second) = (reference(one), reference(two));
        if one == two {
            return Ok(Write::one(self.progress().await?));
        }
        let aside = order::random_reference(&mut self.rng);
        let set = |key, reference| Step::Reference { key, reference };
        Ok(Write {
            steps: vec![set(one, aside), set(two, first), set(one, second)],
            commit: true,
        })
    }

    fn insert(&mut self) -> Step {
        Step::Insert {
            key: self.free_key(),
            order: Box::new(Order::random(&mut self.rng)),
        }
    }

    async fn progress(&mut self) -> Result<Step, sqlx::Error> {
        let key = self.row().await?;
        let rng = &mut self.rng;
        Ok(Step::Progress {
            key,
            add: rng.random_range(-50..50),
            state: order::random_state(rng),
            note: order::random_note(rng),
            changed_at: order::random_moment(rng),
        })
    }

    async fn details(&mut self) -> Result<Step, sqlx::Error> {
        let key = self.row().await?;
        let rng = &mut self.rng;
        Ok(Step::Details {
            key,
            amount: order::random_amount(rng),
            weight: rng.random_bool(0.8).then(|| order::random_weight(rng)),
            details: rng.random_bool(0.8).then(|| order::random_details(rng)),
            fingerprint: rng.random_bool(0.6).then(|| order::random_fingerprint(rng)),
        })
    }

    /// A block of ten keys of this writer's own; some of them lie past the rows of the fill.
    fn block(&mut self) -> u64 {
        let writers = u64::from(self.traffic.writers);
        let blocks = self.traffic.rows + self.traffic.rows / 20 + 10 * writers;
        self.rng.random_range(0..=blocks / writers) * writers + self.number
    }

    /// A key without a row.
    fn free_key(&mut self) -> u64 {
        if self.rng.random_bool(0.2)
            && let Some(key) = self.free.pop()
            && self.journal.expected(key).is_none()
        {
            return key;
        }
        loop {
            let key = self.block() * KEY_STEP + self.rng.random_range(1..KEY_STEP);
            if self.journal.expected(key).is_none() {
                return key;
            }
        }
    }

    /// A key with a row, which the journal knows.
    async fn row(&mut self) -> Result<u64, sqlx::Error> {
        loop {
            if self.rng.random_bool(0.5) && !self.recent.is_empty() {
                let key = self.recent[self.rng.random_range(0..self.recent.len())];
                if self.journal.expected(key).is_some() {
                    return Ok(key);
                }
            }
            let block = self.block();
            let key = block * KEY_STEP;
            if self.journal.expected(key).is_some() {
                return Ok(key);
            }
            let is_of_the_fill = (1..=self.traffic.rows).contains(&block);
            if is_of_the_fill && !self.journal.knows(key) {
                self.look_up(key).await?;
            }
        }
    }

    /// A row of the fill as it is before the first write to it.
    async fn look_up(&mut self, key: u64) -> Result<(), sqlx::Error> {
        let session = self.session.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let found = write::read(&mut *session, &[key]).await?;
        let digests = self.digester.row(session, key).await?;
        match (found.into_iter().next(), digests) {
            (Some((_, order)), Some(digest)) => self.journal.found(key, order, digest),
            _ => {
                self.fault(format!("row {key} of the fill has vanished"));
                self.journal.acknowledge([(key, None)].into());
            }
        }
        Ok(())
    }
}

/// A session that is alone: once it has the writer's lock, no statement of a former one runs on unseen.
async fn connect(traffic: &Traffic, lock: &str) -> Result<MySqlConnection, sqlx::Error> {
    let mut session = traffic.settings.connect().await?;
    let got: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK(?, ?)")
        .bind(lock)
        .bind(AWAY_LIMIT.as_secs())
        .fetch_one(&mut session)
        .await?;
    if got == Some(1) {
        Ok(session)
    } else {
        Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
    }
}
