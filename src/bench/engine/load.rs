//! A steady load that counts in a column of the table, and what became of its writes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Bench;
use super::change::now_micros;
use super::tables::{CHANGED, SOURCE, Shape, run};
use crate::bench::BenchError;
use crate::server_error;

const WRITERS: u64 = 8;

/// One write: when it was due, and how long after that it was acknowledged.
#[derive(Clone, Copy)]
struct Sample {
    due_micros: u64,
    waited_micros: u64,
}

/// Writers at work.
pub(super) struct Load {
    shape: Shape,
    end: watch::Sender<Option<Instant>>,
    writers: JoinSet<Result<Written, sqlx::Error>>,
}

/// What was acknowledged.
#[derive(Default)]
struct Written {
    samples: Vec<Sample>,
    /// How often each row was counted up.
    counts: HashMap<u64, u32>,
    /// Rows that their writer did not find.
    missing: u64,
}

impl Load {
    pub async fn start(
        bench: &Bench,
        shape: Shape,
        rows: u64,
        writes_per_second: u32,
    ) -> Result<Self, BenchError> {
        let (end, ends) = watch::channel(None);
        let interval =
            Duration::from_secs_f64(WRITERS as f64 / f64::from(writes_per_second.max(1)));
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let session = bench.session().await?;
            writers.spawn(write(session, shape, rows, number, interval, ends.clone()));
        }
        Ok(Self {
            shape,
            end,
            writers,
        })
    }

    /// Writes that are due by now are made first: those that had to wait count, too.
    pub async fn stop(mut self) -> Result<Record, BenchError> {
        self.end.send_replace(Some(Instant::now()));
        let mut all = Written::default();
        while let Some(ended) = self.writers.join_next().await {
            let one = ended??;
            all.samples.extend(one.samples);
            // Each row has one writer.
            all.counts.extend(one.counts);
            all.missing += one.missing;
        }
        Ok(Record {
            shape: self.shape,
            written: all,
        })
    }
}

/// Writes at its times until told to end. A late write is made at once: its wait counts from when it was due.
async fn write(
    mut session: MySqlConnection,
    shape: Shape,
    rows: u64,
    number: u64,
    interval: Duration,
    end: watch::Receiver<Option<Instant>>,
) -> Result<Written, sqlx::Error> {
    let mut rng = StdRng::seed_from_u64(number);
    let mut written = Written::default();
    let counter = shape.text().counter;
    let own = (rows / WRITERS).max(1);
    let mut due = Instant::now() + interval.mul_f64(rng.random());
    while end.borrow().is_none_or(|end| due < end) {
        tokio::time::sleep_until(due.into()).await;
        let row = (rng.random_range(0..own) * WRITERS + number + 1).min(rows);
        let update = format!(
            "UPDATE {CHANGED} SET {counter} = {counter} + 1 WHERE id = {}",
            shape.key(row)
        );
        let found = loop {
            match session.execute(AssertSqlSafe(update.clone())).await {
                Ok(done) => break done.rows_affected(),
                // A deadlock, or a lock that took too long: rolled back, to be tried again.
                Err(error) if matches!(server_error::number(&error), Some(1205 | 1213)) => {}
                Err(error) => return Err(error),
            }
        };
        match found {
            0 => written.missing += 1,
            _ => *written.counts.entry(row).or_default() += 1,
        }
        let waited = due.elapsed().as_micros() as u64;
        written.samples.push(Sample {
            due_micros: now_micros().saturating_sub(waited),
            waited_micros: waited,
        });
        due += interval;
    }
    Ok(written)
}

/// What the load has to show at its end.
pub(super) struct Record {
    shape: Shape,
    written: Written,
}

/// How long writes took, in milliseconds.
pub(super) struct Waits {
    pub half: f64,
    pub p99: f64,
    pub longest: f64,
}

impl Record {
    pub fn writes(&self) -> u64 {
        self.written.samples.len() as u64
    }

    /// Of the writes that were due in any of these times.
    pub fn waits(&self, times: &[(u64, u64)]) -> Waits {
        // An hour at most; three digits are always allowed.
        let mut histogram = Histogram::<u64>::new_with_max(3_600_000_000, 3)
            .unwrap_or_else(|_| unreachable!("these bounds are good"));
        for sample in &self.written.samples {
            let within = |(from, to): &(u64, u64)| (*from..*to).contains(&sample.due_micros);
            if times.iter().any(within) {
                histogram.saturating_record(sample.waited_micros);
            }
        }
        let milliseconds = |micros: u64| micros as f64 / 1000.0;
        Waits {
            half: milliseconds(histogram.value_at_quantile(0.5)),
            p99: milliseconds(histogram.value_at_quantile(0.99)),
            longest: milliseconds(histogram.max()),
        }
    }

    /// The longest wait, in milliseconds, of a write that waited at any moment of this time.
    pub fn longest(&self, from: u64, to: u64) -> f64 {
        let waits = self.written.samples.iter().filter(|sample| {
            sample.due_micros < to && sample.due_micros + sample.waited_micros >= from
        });
        waits.map(|s| s.waited_micros).max().unwrap_or(0) as f64 / 1000.0
    }

    /// Rows of the changed table that are not what they were before and the acknowledged writes make of them.
    pub async fn wrong_rows(&self, session: &mut MySqlConnection) -> Result<u64, BenchError> {
        let counter = self.shape.text().counter;
        run(
            session,
            &format!(
                "SET sql_log_bin = 0; CREATE TEMPORARY TABLE counted AS SELECT id, 0 AS n FROM {SOURCE} LIMIT 0; \
                 ALTER TABLE counted ADD PRIMARY KEY (id)"
            ),
        )
        .await?;
        let counts: Vec<(&u64, &u32)> = self.written.counts.iter().collect();
        for some in counts.chunks(1000) {
            let values: Vec<String> = some
                .iter()
                .map(|(row, count)| format!("({}, {count})", self.shape.key(**row)))
                .collect();
            run(
                session,
                &format!("INSERT INTO counted VALUES {}", values.join(", ")),
            )
            .await?;
        }
        let wrong: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT COUNT(*) FROM {SOURCE} AS s LEFT JOIN counted AS w ON w.id = s.id LEFT JOIN {CHANGED} AS t ON t.id = s.id \
              WHERE NOT t.{counter} <=> s.{counter} + COALESCE(w.n, 0)"
        )))
        .fetch_one(&mut *session)
        .await?;
        let more: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT ABS((SELECT COUNT(*) FROM {CHANGED}) - (SELECT COUNT(*) FROM {SOURCE}))"
        )))
        .fetch_one(&mut *session)
        .await?;
        run(session, "DROP TEMPORARY TABLE counted").await?;
        Ok(wrong.unsigned_abs() + more.unsigned_abs() + self.written.missing)
    }
}
