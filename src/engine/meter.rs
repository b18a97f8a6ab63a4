//! How far a change is, kept as numbers that its parts count up, and told as [`Progress`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::table::{TablePlan, Way};
use super::{Progress, TaskProgress};

pub struct Meter {
    phase: Mutex<String>,
    throttled_by: Mutex<Option<String>>,
    /// Why no change comes, which is told before what throttles.
    unheard: Mutex<Option<String>>,
    warnings: Mutex<Vec<String>>,
    tables: Vec<TableMeter>,
    verified: AtomicU64,
    rate: Mutex<Rate>,
    lag_micros: AtomicU64,
}

struct TableMeter {
    task_id: u64,
    copied: AtomicU64,
    total: AtomicU64,
    phase: Mutex<&'static str>,
}

/// Rows a second over the last moments.
struct Rate {
    since: Instant,
    rows: u64,
    per_second: f64,
}

impl Rate {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            rows: 0,
            per_second: 0.0,
        }
    }

    fn add(&mut self, rows: u64) {
        self.rows += rows;
        let elapsed = self.since.elapsed().as_secs_f64();
        if elapsed >= 1.0 {
            let now = self.rows as f64 / elapsed;
            self.per_second = match self.per_second > 0.0 {
                true => 0.7 * self.per_second + 0.3 * now,
                false => now,
            };
            self.rows = 0;
            self.since = Instant::now();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meter {
    pub fn new(plans: &[TablePlan]) -> Self {
        let tables = plans.iter().map(|plan| TableMeter {
            task_id: plan.task.task_id,
            copied: AtomicU64::new(0),
            total: AtomicU64::new(match plan.way {
                Way::Copy => plan.original.as_ref().map_or(0, |t| t.estimated_rows),
                Way::Instant | Way::InPlaceMetadata | Way::Create | Way::Drop => 0,
            }),
            phase: Mutex::new("waiting"),
        });
        Self {
            phase: Mutex::new("preflight".into()),
            throttled_by: Mutex::new(None),
            unheard: Mutex::new(None),
            warnings: Mutex::default(),
            tables: tables.collect(),
            verified: AtomicU64::new(0),
            rate: Mutex::new(Rate::new()),
            lag_micros: AtomicU64::new(0),
        }
    }

    pub fn phase(&self, phase: &str) {
        *locked(&self.phase) = phase.to_owned();
        // What follows is of this phase: a second verification begins anew, one that is throttled says so itself.
        self.verified.store(0, Ordering::Relaxed);
        *locked(&self.rate) = Rate::new();
        self.throttled_by(None);
    }

    pub fn throttled_by(&self, reason: Option<String>) {
        *locked(&self.throttled_by) = reason;
    }

    pub fn unheard(&self, reason: Option<String>) {
        *locked(&self.unheard) = reason;
    }

    pub fn warn(&self, text: String) {
        locked(&self.warnings).push(text);
    }

    /// The table was copied and swapped before this driver came.
    pub fn all_there(&self, table: usize) {
        let meter = &self.tables[table];
        let total = meter.total.load(Ordering::Relaxed);
        meter.copied.store(total, Ordering::Relaxed);
        self.task_phase(table, "swapped");
    }

    pub fn task_phase(&self, table: usize, phase: &'static str) {
        *locked(&self.tables[table].phase) = phase;
    }

    pub fn lag(&self, lag: Duration) {
        self.lag_micros
            .store(lag.as_micros() as u64, Ordering::Relaxed);
    }

    pub fn copied(&self, table: usize, rows: u64) {
        let meter = &self.tables[table];
        let copied = meter.copied.fetch_add(rows, Ordering::Relaxed) + rows;
        // The estimate was too low.
        meter.total.fetch_max(copied, Ordering::Relaxed);
        locked(&self.rate).add(rows);
    }

    /// Rows of an original were compared with its copy.
    pub fn verified(&self, rows: u64) {
        self.verified.fetch_add(rows, Ordering::Relaxed);
        locked(&self.rate).add(rows);
    }

    /// The whole table is copied: the total is exact.
    pub fn all_copied(&self, table: usize) {
        let meter = &self.tables[table];
        meter
            .total
            .store(meter.copied.load(Ordering::Relaxed), Ordering::Relaxed);
        self.task_phase(table, "copied");
    }

    pub fn progress(&self) -> Progress {
        let tasks: Vec<TaskProgress> = self
            .tables
            .iter()
            .map(|meter| TaskProgress {
                task_id: meter.task_id,
                rows_copied: meter.copied.load(Ordering::Relaxed),
                rows_total: meter.total.load(Ordering::Relaxed),
                phase: locked(&meter.phase).to_string(),
            })
            .collect();
        let rows_copied: u64 = tasks.iter().map(|t| t.rows_copied).sum();
        let rows_total: u64 = tasks.iter().map(|t| t.rows_total).sum();
        let phase = locked(&self.phase).clone();
        let rows_verified = (phase == "verify").then(|| self.verified.load(Ordering::Relaxed));
        let rows_per_second = locked(&self.rate).per_second;
        let unheard = locked(&self.unheard).clone();
        let left = rows_total.saturating_sub(rows_verified.unwrap_or(rows_copied)) as f64;
        Progress {
            phase,
            rows_copied,
            rows_total,
            rows_verified,
            rows_per_second,
            seconds_left: (rows_per_second > 0.0).then(|| (left / rows_per_second).ceil() as u64),
            binlog_lag_seconds: Some(self.lag_micros.load(Ordering::Relaxed) as f64 / 1e6),
            throttled_by: unheard.or_else(|| locked(&self.throttled_by).clone()),
            warnings: locked(&self.warnings).clone(),
            tasks,
        }
    }
}
