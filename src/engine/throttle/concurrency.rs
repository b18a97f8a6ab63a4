//! How many chunks run at a time: fewer where the server has others to serve.
//!
//! Nobody can ask a server how many processors it has left. But the stream tells how much others write, and the
//! copy knows its own speed. While others write hardly anything, all threads run. While they do, there is one, and now
//! and then one more is tried: it stays if it brings most of a thread's worth. On a server whose processors are all
//! busy it brings little and takes that from the application; on one with processors to spare it brings nearly all.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// With fewer transactions a second of others the server counts as idle.
pub const OTHERS: f64 = 20.0;

/// So many windows without them in a row: a stream that lags tells late what others write.
const QUIET_WINDOWS: u32 = 3;

/// What one more thread has to bring, as a share of what each of the others brings.
const WORTH: f64 = 0.6;

/// Speeds are taken over so long; the first time sooner, for small tables.
const WINDOW: Duration = Duration::from_secs(1);
const FIRST_WINDOW: Duration = Duration::from_millis(300);

/// Between two trials of one more thread; each trial in vain doubles it.
const SHORTEST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Shared by the workers of a change and by its applier.
#[derive(Debug)]
pub struct Concurrency {
    threads: watch::Sender<u32>,
    /// Transactions of others that the stream brought.
    others: AtomicU64,
    in_company: AtomicBool,
    course: Mutex<Course>,
}

impl Concurrency {
    /// `in_company`: others are known to write.
    pub fn new(most: u32, in_company: bool) -> Self {
        let mut course = Course::new(most);
        if in_company {
            course.quiet = 0;
        }
        Self {
            threads: watch::Sender::new(if in_company { 1 } else { most }),
            others: AtomicU64::new(0),
            in_company: AtomicBool::new(in_company),
            course: Mutex::new(course),
        }
    }

    /// A transaction came that changed other tables than our own.
    pub fn others_wrote(&self) {
        self.others.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether others write.
    pub fn in_company(&self) -> bool {
        self.in_company.load(Ordering::Relaxed)
    }

    /// How many chunks may run now.
    pub fn threads(&self) -> u32 {
        *self.threads.borrow()
    }

    /// A chunk of `rows` rows is done.
    pub fn done(&self, rows: u64) {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        course.rows += rows;
        let elapsed = course.since.elapsed();
        if elapsed < course.window {
            return;
        }
        let others = self.others.swap(0, Ordering::Relaxed);
        let seen = Seen {
            rows: course.rows as f64 / elapsed.as_secs_f64(),
            others: others as f64 / elapsed.as_secs_f64(),
        };
        let before = self.threads();
        let threads = course.judge(before, seen, Instant::now());
        self.in_company
            .store(course.quiet < QUIET_WINDOWS, Ordering::Relaxed);
        if threads != before {
            tracing::debug!(
                threads,
                rows = seen.rows,
                others = seen.others,
                "chunks that run at a time"
            );
            self.threads.send_replace(threads);
        }
    }

    /// The next phase has another speed: what was measured says nothing about it.
    pub fn another_phase(&self) {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        course.trial = None;
        course.begin(Instant::now());
        self.others.store(0, Ordering::Relaxed);
    }

    /// Waits until worker `number`, counted from 0, may run; false once the work is over.
    pub async fn turn(&self, number: u32, over: &CancellationToken) -> bool {
        let mut threads = self.threads.subscribe();
        tokio::select! {
            biased;
            () = over.cancelled() => false,
            may = threads.wait_for(|threads| number < *threads) => may.is_ok(),
        }
    }
}

/// What a window has shown, a second.
#[derive(Debug, Clone, Copy)]
struct Seen {
    rows: f64,
    others: f64,
}

#[derive(Debug)]
struct Course {
    most: u32,
    since: Instant,
    window: Duration,
    rows: u64,
    /// Windows in which others wrote hardly anything, since they last did.
    quiet: u32,
    /// The speed with one thread less, while one more is tried.
    trial: Option<f64>,
    next_trial: Instant,
    wait: Duration,
}

impl Course {
    fn new(most: u32) -> Self {
        let now = Instant::now();
        Self {
            most,
            since: now,
            window: FIRST_WINDOW,
            rows: 0,
            quiet: QUIET_WINDOWS,
            trial: None,
            next_trial: now + SHORTEST_WAIT,
            wait: SHORTEST_WAIT,
        }
    }

    fn begin(&mut self, now: Instant) {
        self.since = now;
        self.window = WINDOW;
        self.rows = 0;
    }

    /// How many threads are to run in the next window.
    fn judge(&mut self, threads: u32, seen: Seen, now: Instant) -> u32 {
        self.begin(now);
        let was_alone = self.quiet >= QUIET_WINDOWS;
        self.quiet = match seen.others >= OTHERS {
            true => 0,
            false => self.quiet.saturating_add(1),
        };
        if self.quiet >= QUIET_WINDOWS {
            self.trial = None;
            return self.most;
        }
        if was_alone {
            self.wait = SHORTEST_WAIT;
            self.next_trial = now + self.wait;
            return 1;
        }
        if let Some(before) = self.trial.take() {
            let others = f64::from(threads - 1);
            if seen.rows >= before * (others + WORTH) / others {
                self.wait = SHORTEST_WAIT;
                self.next_trial = now;
                return threads;
            }
            self.next_trial = now + self.wait;
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
            return threads - 1;
        }
        if threads < self.most && now >= self.next_trial {
            self.trial = Some(seen.rows);
            return threads + 1;
        }
        threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(rows: f64, others: f64) -> Seen {
        Seen { rows, others }
    }

    #[test]
    fn alone_all_threads_run() {
        let mut course = Course::new(4);
        let now = Instant::now();
        assert_eq!(course.judge(4, seen(100.0, 0.0), now), 4);
        assert_eq!(course.judge(4, seen(100.0, 500.0), now), 1);
        for _ in 1..QUIET_WINDOWS {
            assert_eq!(course.judge(1, seen(50.0, 3.0), now), 1);
        }
        assert_eq!(course.judge(1, seen(50.0, 3.0), now), 4);
    }

    #[test]
    fn in_company_a_thread_stays_that_brings_its_worth() {
        let mut course = Course::new(3);
        let start = Instant::now();
        assert_eq!(course.judge(3, seen(120.0, 500.0), start), 1);
        assert_eq!(course.judge(1, seen(100.0, 500.0), start + WINDOW), 1);
        let later = start + SHORTEST_WAIT;
        assert_eq!(course.judge(1, seen(100.0, 500.0), later), 2);
        assert_eq!(course.judge(2, seen(190.0, 500.0), later + WINDOW), 2);
        assert_eq!(course.judge(2, seen(190.0, 500.0), later + WINDOW * 2), 3);
        // A third one that brings a tenth of the other two's speed takes it from the application.
        assert_eq!(course.judge(3, seen(209.0, 500.0), later + WINDOW * 3), 2);
        assert_eq!(course.judge(2, seen(190.0, 500.0), later + WINDOW * 4), 2);
    }

    #[test]
    fn trials_in_vain_become_rare() {
        let mut course = Course::new(2);
        let mut now = Instant::now();
        let mut threads = course.judge(2, seen(100.0, 500.0), now);
        let mut trials = 0;
        for _ in 0..3600 {
            now += WINDOW;
            threads = course.judge(threads, seen(100.0, 500.0), now);
            trials += u32::from(threads == 2);
        }
        assert!((5..=20).contains(&trials), "{trials} trials in an hour");
    }
}
