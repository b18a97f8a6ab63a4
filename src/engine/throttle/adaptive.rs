//! How long copy and verification rest after each piece of work, so that others' writes hardly take longer.
//!
//! The server adds up how long its statements take. What others' changes took just before the copy began is compared,
//! several times a second, with what they take now. Where the server has processors and disk to spare there is no
//! difference, and no rest. Where it hasn't, each piece is followed by a rest that grows until others are served as
//! before, nearly; and pieces get shorter with it, as a rest helps nobody who waits for a long one. Work never stops
//! altogether: what slows others down may not be the pieces, but the changes that are applied beside them, or nothing of
//! ours. So with the longest rest a shorter one is tried now and then, and kept if others hardly notice.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::concurrency::OTHERS;
use crate::engine::EngineError;
use crate::engine::context::Context;
use crate::engine::session::{Session, Sessions};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(300);

/// So many looks after the last piece of work nobody asks any more: what is on hold, or builds its indexes, rests anyway.
const LOOKS_UNASKED: u32 = 20;

/// Fewer statements in a window say nothing.
const FEWEST: i64 = 10;

/// With others' changes taking so many times as long as before, and half a millisecond more, there is more rest, or may be
/// less. An application with few sessions shows little of its trouble here: what it has no session for waits on its side.
const TOO_SLOW: f64 = 1.35;
const NEARLY_AS_BEFORE: f64 = 1.15;
const HARDLY_ANYTHING: f64 = 500.0;

/// What a window counts for; the rest is from those before.
const WEIGHT: f64 = 0.4;

/// Rest for each second of work; the first where others write as the copy begins.
const LEAST: f64 = 0.25;
const FIRST: f64 = 1.0;
const MOST: f64 = 4.0;

/// A share by which each window that is faster than before counts; one alone may have been luck.
const FASTER: f64 = 0.1;
/// With the longest rest, whatever makes others slow is hardly us: what counts as before grows so much in each window, and
/// doubles in 40 s.
const NOT_US: f64 = 1.005;

/// A trial: so much of the rest, for so many windows. It is kept if others' changes take no more than so many times what they
/// take with the longest rest.
const TRIAL_REST: f64 = 0.25;
const TRIAL_WINDOWS: u32 = 5;
const HARDLY_SLOWER: f64 = 1.1;
/// Windows with the longest rest before a trial; each one in vain doubles it.
const SHORTEST_WAIT: u32 = 8;
const LONGEST_WAIT: u32 = 1000;

/// What changes rows one by one, or ends a transaction that did. Not `insert_select`: those are our own chunks.
const STATEMENTS: &str = "'statement/sql/insert', 'statement/sql/update', 'statement/sql/delete', \
                          'statement/sql/replace', 'statement/sql/commit'";

/// What the server has added up of others' changes.
#[derive(Debug, Clone, Copy)]
pub struct Tally {
    at: Instant,
    statements: i64,
    microseconds: i64,
}

impl Tally {
    /// All since the server's start, but for those of the sessions that are open here; `None` where the account may not
    /// ask, or nothing is counted.
    pub async fn read(session: &mut Session, sessions: &Sessions) -> Option<Self> {
        let ours = sessions.opened();
        let sql = format!(
            "SELECT CAST(a.statements - COALESCE(o.statements, 0) AS SIGNED), \
                    CAST((a.picoseconds - COALESCE(o.picoseconds, 0)) DIV 1000000 AS SIGNED) \
               FROM (SELECT SUM(e.COUNT_STAR) AS statements, SUM(e.SUM_TIMER_WAIT) AS picoseconds \
                       FROM performance_schema.events_statements_summary_global_by_event_name AS e \
                      WHERE e.EVENT_NAME IN ({STATEMENTS})) AS a \
               JOIN (SELECT SUM(e.COUNT_STAR) AS statements, SUM(e.SUM_TIMER_WAIT) AS picoseconds \
                       FROM performance_schema.threads AS t \
                       JOIN performance_schema.events_statements_summary_by_thread_by_event_name AS e \
                         ON e.THREAD_ID = t.THREAD_ID \
                      WHERE t.PROCESSLIST_ID IN ({ours}) AND e.EVENT_NAME IN ({STATEMENTS})) AS o"
        );
        let numbers: Result<(i64, i64), sqlx::Error> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .fetch_one(session.connection())
            .await;
        match numbers {
            Ok((statements, microseconds)) => Some(Self {
                at: Instant::now(),
                statements,
                microseconds,
            }),
            Err(error) => {
                tracing::debug!(%error, "how long others' changes take can't be seen");
                None
            }
        }
    }

    /// Microseconds of one statement since `before`, on average; `None` for too few.
    fn since(self, before: Self) -> Option<f64> {
        let statements = self.statements - before.statements;
        let microseconds = self.microseconds - before.microseconds;
        (statements >= FEWEST && microseconds > 0).then(|| microseconds as f64 / statements as f64)
    }
}

/// Shared by the workers of a change.
#[derive(Debug)]
pub struct AdaptiveThrottle {
    /// In thousandths of the work.
    rest: AtomicU32,
    /// Whether others wrote before the copy began.
    others: bool,
    can_see: bool,
    /// Since the last look.
    asked: AtomicBool,
    /// Microseconds of others' changes, in the last window and before the copy.
    now: AtomicU64,
    calm: AtomicU64,
    course: Mutex<Course>,
}

impl AdaptiveThrottle {
    /// `before` and `now` enclose a time without a copy.
    pub fn new(before: Option<Tally>, now: Option<Tally>) -> Self {
        // Else, what they have taken since the server was started.
        let calm = before.zip(now).and_then(|(before, now)| {
            let nothing = Tally {
                statements: 0,
                microseconds: 0,
                ..before
            };
            now.since(before).or_else(|| now.since(nothing))
        });
        let others = before.zip(now).is_some_and(|(before, now)| {
            let statements = (now.statements - before.statements) as f64;
            statements >= OTHERS * (now.at - before.at).as_secs_f64()
        });
        let rest = if others { FIRST } else { 0.0 };
        Self {
            rest: AtomicU32::new((rest * 1000.0) as u32),
            others,
            can_see: now.is_some(),
            asked: AtomicBool::new(false),
            now: AtomicU64::new(0),
            calm: AtomicU64::new(0),
            course: Mutex::new(Course::new(calm, rest)),
        }
    }

    pub fn others_write(&self) -> bool {
        self.others
    }

    /// After `worked` of work.
    pub fn rest_after(&self, worked: Duration) -> Duration {
        self.asked.store(true, Ordering::Relaxed);
        worked.mul_f64(f64::from(self.rest.load(Ordering::Relaxed)) / 1000.0)
    }

    /// How much of its usual time a piece of work may take.
    pub fn share(&self) -> f64 {
        1000.0 / (1000.0 + f64::from(self.rest.load(Ordering::Relaxed)))
    }

    /// Why there is a rest, for people.
    pub fn reason(&self) -> String {
        let milliseconds = |micros: &AtomicU64| micros.load(Ordering::Relaxed) as f64 / 1000.0;
        let (now, calm) = (milliseconds(&self.now), milliseconds(&self.calm));
        // Nobody wrote just now; the rest becomes shorter step by step.
        if now == 0.0 {
            return "changes of others took longer than before the copy".to_owned();
        }
        format!("changes of others take {now:.2} ms, {calm:.2} before the copy")
    }

    fn seen(&self, mean: Option<f64>) {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        course.judge(mean);
        self.rest
            .store((course.rest * 1000.0) as u32, Ordering::Relaxed);
        self.now
            .store(course.now.unwrap_or_default() as u64, Ordering::Relaxed);
        self.calm
            .store(course.calm.unwrap_or_default() as u64, Ordering::Relaxed);
        tracing::trace!(
            mean,
            calm = course.calm,
            rest = course.rest,
            "adaptive throttle"
        );
    }
}

#[derive(Debug)]
struct Course {
    /// What others' changes take, on average, where nobody slows them down.
    calm: Option<f64>,
    /// What they take now.
    now: Option<f64>,
    /// For each second of work.
    rest: f64,
    /// What they took with the longest rest, while a shorter one is tried or kept.
    anchor: Option<f64>,
    /// Windows with this rest.
    windows: u32,
    /// A shorter one was tried, and noticed.
    is_taken_back: bool,
    /// Windows with the longest rest before the next trial.
    wait: u32,
}

impl Course {
    fn new(calm: Option<f64>, rest: f64) -> Self {
        Self {
            calm,
            now: None,
            rest,
            anchor: None,
            windows: 0,
            is_taken_back: false,
            wait: SHORTEST_WAIT,
        }
    }

    fn judge(&mut self, mean: Option<f64>) {
        let Some(mean) = mean else {
            *self = Self::new(self.calm, 0.0);
            return;
        };
        let now = self.now.map_or(mean, |now| now + (mean - now) * WEIGHT);
        self.now = Some(now);
        let mut calm = self.calm.unwrap_or(now);
        if now < calm {
            calm += (now - calm) * FASTER;
        }
        self.windows += 1;
        if now < calm * NEARLY_AS_BEFORE + HARDLY_ANYTHING {
            self.anchor = None;
            self.rest_for(self.rest * 0.7);
        } else if let Some(anchor) = self.anchor {
            self.judge_trial(now <= anchor * HARDLY_SLOWER);
        } else if now > calm * TOO_SLOW + HARDLY_ANYTHING {
            if self.rest < MOST {
                self.rest_for((self.rest * 2.0).max(LEAST));
            } else {
                calm *= NOT_US;
                if self.windows >= self.wait {
                    self.anchor = Some(now);
                    self.rest_for(self.rest * TRIAL_REST);
                }
            }
        }
        self.calm = Some(calm);
    }

    /// A shorter rest than the longest has been there for some windows: is it kept, made shorter still, or taken back?
    fn judge_trial(&mut self, hardly_slower: bool) {
        if self.windows < TRIAL_WINDOWS {
            return;
        }
        if !hardly_slower {
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
            self.rest_for((self.rest / TRIAL_REST).max(LEAST));
            self.is_taken_back = true;
            if self.rest >= MOST {
                self.anchor = None;
            }
        } else if self.rest > 0.0 && (!self.is_taken_back || self.windows >= self.wait) {
            self.rest_for(self.rest * TRIAL_REST);
        }
    }

    fn rest_for(&mut self, rest: f64) {
        self.rest = if rest < LEAST / 2.0 {
            0.0
        } else {
            rest.min(MOST)
        };
        self.windows = 0;
        self.is_taken_back = false;
    }
}

/// Looks until it is aborted; on a session of its own, and only while others write and there is work to be done.
pub async fn watch(context: Arc<Context>) {
    if !context.adaptive.can_see {
        return;
    }
    let mut last = None;
    let mut session: Option<Session> = None;
    let mut unasked = 0;
    loop {
        let began = Instant::now();
        unasked = match context.adaptive.asked.swap(false, Ordering::Relaxed) {
            true => 0,
            false => unasked + 1,
        };
        if context.concurrency.in_company() && unasked < LOOKS_UNASKED {
            match look(&context, &mut session).await {
                Ok(Some(tally)) => {
                    if let Some(last) = last {
                        context.adaptive.seen(tally.since(last));
                    }
                    last = Some(tally);
                }
                Ok(None) => {
                    context.adaptive.seen(None);
                    (last, session) = (None, None);
                }
                Err(error) => {
                    tracing::debug!(%error, "others' changes are looked at again later");
                    context.adaptive.seen(None);
                    last = None;
                }
            }
        } else {
            context.adaptive.seen(None);
            last = None;
            if let Some(session) = session.take() {
                session.close().await;
            }
        }
        tokio::time::sleep_until(began + EVERY).await;
    }
}

async fn look(
    context: &Context,
    session: &mut Option<Session>,
) -> Result<Option<Tally>, EngineError> {
    let session = match session {
        Some(session) => session,
        None => session.insert(context.sessions.open().await?),
    };
    Ok(Tally::read(session, &context.sessions).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course() -> Course {
        Course::new(Some(10_000.0), 0.0)
    }

    #[test]
    fn others_who_are_served_as_before_let_the_copy_go_on() {
        let mut course = course();
        course.judge(Some(13_900.0));
        assert_eq!(course.rest, 0.0);
        course.judge(None);
        assert_eq!(course.rest, 0.0);
    }

    #[test]
    fn rests_grow_while_others_are_slow_and_shrink_when_they_are_not() {
        let mut course = course();
        let mut rests = Vec::new();
        for _ in 0..8 {
            course.judge(Some(20_000.0));
            rests.push(course.rest);
        }
        assert_eq!(rests, [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0]);
        for _ in 0..5 {
            course.judge(Some(13_000.0));
        }
        assert_eq!(course.rest, 4.0, "in between nothing changes");
        for _ in 0..20 {
            course.judge(Some(11_000.0));
        }
        assert_eq!(course.rest, 0.0);
    }

    #[test]
    fn others_who_become_faster_are_to_stay_so() {
        let mut course = course();
        course.judge(Some(4000.0));
        course.now = None;
        course.judge(Some(12_000.0));
        assert_eq!(course.rest, 0.0, "once may be luck");
        for _ in 0..50 {
            course.judge(Some(4000.0));
        }
        course.now = None;
        course.judge(Some(12_000.0));
        assert_eq!(course.rest, LEAST);
    }

    #[test]
    fn a_rest_that_helps_nobody_is_given_up() {
        let mut course = course();
        for _ in 0..40 {
            course.judge(Some(30_000.0));
        }
        assert_eq!(course.rest, 0.0);
        // Others are slower with it: that is noticed, and taken back.
        for _ in 0..40 {
            course.judge(Some(40_000.0));
        }
        assert_eq!(course.rest, MOST);
    }

    #[test]
    fn a_rest_that_others_would_miss_is_tried_rarely() {
        let mut course = course();
        let mut windows = 0;
        for _ in 0..12_000 {
            let mean = 50_000.0 - 5_000.0 * course.rest;
            course.judge(Some(mean));
            windows += u32::from(course.rest < MOST);
        }
        assert!((10..=100).contains(&windows), "{windows} of an hour's");
    }

    #[test]
    fn what_no_rest_helps_is_not_our_doing() {
        let mut course = course();
        for _ in 0..2000 {
            let mean = if course.rest < MOST {
                40_000.0
            } else {
                30_000.0
            };
            course.judge(Some(mean));
        }
        let calm = course.calm.unwrap();
        assert!(calm * TOO_SLOW > 29_000.0, "{calm}");
        for _ in 0..100 {
            course.judge(Some(calm));
        }
        assert_eq!(course.rest, 0.0);
    }
}
