//! Attempts to swap all copied tables at once, until one succeeds or the time is up.
//!
//! An attempt is short by construction: it looks for long transactions before it asks for the
//! lock, waits for the lock no longer than `cutover_lock_wait_ms`, and drains no longer than
//! `cutover_lock_seconds` under it. Whatever doesn't fit gives way, and the next attempt comes later.

use std::time::{Duration, Instant};

use rand::Rng;

use super::Cutover;
use super::lock::{ANSWER_MARGIN, answered, blocked_by, no_answer};
use super::locked::{Locked, SwapNames, UnderLock};
use super::swap::{self, SwapOutcome};
use super::without_copy;
use crate::engine::plan::filler;
use crate::engine::session::user::UserSettings;
use crate::engine::session::{Session, end_session};
use crate::engine::state::fence::SwapRecord;
use crate::engine::stream::drain::{Drain, with_prepared};
use crate::engine::syntax::quote_table;
use crate::engine::table::foreign_key;
use crate::engine::{EngineError, ErrorKind, Swapped};
use crate::server_error;

/// The longest pause between two attempts.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);

/// Which of the two swaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Back,
}

/// Why an attempt ended without a swap.
enum Attempt {
    Done(Duration),
    /// Somebody else's turn first.
    GaveWay(String),
}

impl Cutover<'_> {
    /// Swaps in `direction`.
    ///
    /// # Errors
    ///
    /// As [`Cutover::run`].
    pub(super) async fn swap(
        &self,
        helper: &mut Session,
        drain: &mut dyn Drain,
        record: &SwapRecord,
        direction: Direction,
    ) -> Result<Swapped, EngineError> {
        let started = Instant::now();
        let mut attempts = 0;
        let mut names = self.names(direction);
        match direction {
            Direction::Forward => {
                self.settle_keys(helper, &SwapOutcome::NotSwapped).await?;
                self.add_fillers(helper, &mut names).await?;
            }
            Direction::Back => {
                self.settle_keys(helper, &SwapOutcome::Swapped).await?;
                self.keep_former_indexes(helper).await?;
            }
        }
        loop {
            // Those that the last attempt took away before it gave way.
            for swap in &names {
                filler::set(helper, self.schema(), &swap.next, &swap.fillers).await?;
            }
            let mut pinned = self.operation.sessions.open().await?;
            let began = Instant::now();
            drain.prepare(pinned.connection()).await?;
            tracing::debug!(took = ?began.elapsed(), "caught up before the lock");
            // No swap begins without a fresh yes.
            self.operation.sessions.confirm().await?;
            let reason = match self
                .attempt(helper, pinned, drain, record, &names, direction)
                .await?
            {
                Attempt::Done(locked_for) => {
                    return Ok(Swapped {
                        locked_for,
                        gave_way: attempts,
                    });
                }
                Attempt::GaveWay(reason) => with_prepared(reason, drain.prepared()),
            };
            attempts += 1;
            tracing::info!(attempts, reason, "the cutover gave way");
            drain.yields(&reason);
            if started.elapsed() > self.operation.options.cutover_give_up_after() {
                return Err(EngineError::retryable(format!(
                    "the cutover gave way {attempts} times in {} s, last because {reason}; end \
                     that (a submit with the engine option kill_blockers_after_seconds ends such sessions by itself)",
                    started.elapsed().as_secs()
                )));
            }
            without_copy::orders_allow(&self.operation.sessions)?;
            tokio::time::sleep(back_off(attempts)).await;
        }
    }

    async fn add_fillers(
        &self,
        session: &mut Session,
        names: &mut [SwapNames],
    ) -> Result<(), EngineError> {
        let user = UserSettings::of(session, &self.operation.job).await?;
        for plan in self.copies() {
            let (job, owner) = (&self.operation.job, self.operation.fence.owner());
            let shadow = owner.shadow_of(&plan.task);
            let fillers = filler::of_plan(session, job, owner, &user, plan).await?;
            if let Some(swap) = names.iter_mut().find(|swap| swap.next == shadow) {
                swap.fillers = fillers;
            }
        }
        Ok(())
    }

    /// The former tables' keys come back under the lock, where no index may be built.
    async fn keep_former_indexes(&self, session: &mut Session) -> Result<(), EngineError> {
        for plan in self.copies() {
            let mut former = plan.copied()?.original.clone();
            former.name = self.operation.fence.owner().old_of(&plan.task);
            foreign_key::keep_indexes(session, &former, &plan.foreign_keys.former).await?;
        }
        Ok(())
    }

    /// One attempt on one pinned session, which ends with it.
    async fn attempt(
        &self,
        helper: &mut Session,
        mut pinned: Session,
        drain: &mut dyn Drain,
        record: &SwapRecord,
        names: &[SwapNames],
        direction: Direction,
    ) -> Result<Attempt, EngineError> {
        if let Some(reason) = self.in_the_way(helper, drain.prepared(), names).await? {
            pinned.close().await;
            return Ok(Attempt::GaveWay(reason));
        }
        // RENAME and ALTER of a child lock its parents' definitions. Locked from the beginning, they
        // are waited for no longer than the rest.
        let parents = self.parents();
        let mut extra: Vec<String> = parents.map(|(s, t)| quote_table(s, t)).collect();
        extra.extend(drain.tables());
        let id = pinned.id();
        match self.lock(helper, &mut pinned, names, &extra).await {
            Ok(None) => {}
            Ok(Some(reason)) => {
                pinned.close().await;
                return Ok(Attempt::GaveWay(reason));
            }
            Err(error) => {
                // The lock may have been granted all the same.
                drop(pinned);
                end_session(helper, id).await?;
                return Err(error);
            }
        }
        let locked_at = Instant::now();
        let locked = Locked {
            fence: &self.operation.fence,
            plans: self.plans,
            names,
            back: direction == Direction::Back,
        };
        let deadline = locked_at + self.operation.options.cutover_lock_limit();
        // Past this limit nobody knows whether the RENAME was sent.
        let limit = self.operation.options.cutover_lock_limit()
            + self.operation.options.cutover_lock_wait()
            + ANSWER_MARGIN;
        let swap = locked.swap(&mut pinned, helper, drain, deadline);
        let swapped = tokio::time::timeout(limit, swap)
            .await
            .unwrap_or_else(|_| Err(UnderLock::Rename(no_answer())));
        match swapped {
            Ok(()) => {
                drop(pinned);
                Ok(Attempt::Done(locked_at.elapsed()))
            }
            Err(UnderLock::Before(error)) => {
                unlock(helper, pinned).await?;
                match error.kind() {
                    ErrorKind::Retryable => Ok(Attempt::GaveWay(error.message())),
                    ErrorKind::Permanent | ErrorKind::LeaseLost | ErrorKind::SwapUnknown => {
                        Err(error)
                    }
                }
            }
            Err(UnderLock::Rename(error)) => {
                drop(pinned);
                let has_swapped = self.after_lost_rename(id, record, direction, &error);
                match has_swapped.await? {
                    true => Ok(Attempt::Done(locked_at.elapsed())),
                    false => not_renamed(&error),
                }
            }
        }
    }

    /// What the lock would have to wait for, as far as that can be seen before it is asked for.
    async fn in_the_way(
        &self,
        helper: &mut Session,
        prepared: Option<(String, Duration)>,
        names: &[SwapNames],
    ) -> Result<Option<String>, EngineError> {
        let limit = self.operation.options.cutover_lock_wait();
        if prepared.is_some_and(|(_, since)| since >= limit) {
            return Ok(Some(
                "a prepared XA transaction has used the table".to_owned(),
            ));
        }
        let schema = self.schema();
        let watched: Vec<(&str, &str)> = names
            .iter()
            .flat_map(|swap| [(schema, swap.live.as_str()), (schema, swap.next.as_str())])
            .chain(self.parents())
            .collect();
        blocked_by(&self.operation.options, helper, &watched).await
    }

    fn names(&self, direction: Direction) -> Vec<SwapNames> {
        let owner = self.operation.fence.owner();
        self.copies()
            .filter_map(|plan| {
                let live = plan.original.as_ref()?.name.clone();
                let shadow = owner.shadow_of(&plan.task);
                let old = owner.old_of(&plan.task);
                let (next, aside, foreign_keys) = match direction {
                    Direction::Forward => (shadow, old, &plan.foreign_keys.changed),
                    Direction::Back => (old, shadow, &plan.foreign_keys.former),
                };
                Some(SwapNames {
                    live,
                    next,
                    aside,
                    fillers: Vec::new(),
                    foreign_keys: foreign_keys.clone(),
                })
            })
            .collect()
    }

    /// The answer to RENAME was lost, or was an error: make sure that its session is gone, then
    /// look at the tables. Whether it took place.
    async fn after_lost_rename(
        &self,
        id: u64,
        record: &SwapRecord,
        direction: Direction,
        error: &sqlx::Error,
    ) -> Result<bool, EngineError> {
        tracing::warn!(%error, "RENAME was not answered with success; the tables are looked at");
        let unknown = |error: EngineError| match error.kind() {
            ErrorKind::LeaseLost => error,
            ErrorKind::Retryable | ErrorKind::Permanent | ErrorKind::SwapUnknown => {
                EngineError::SwapUnknown(error.message())
            }
        };
        let mut session = self.operation.sessions.open().await.map_err(unknown)?;
        end_session(&mut session, id).await.map_err(unknown)?;
        self.operation
            .fence
            .check(&mut session)
            .await
            .map_err(unknown)?;
        let outcome = swap::settle(
            &mut session,
            self.schema(),
            self.operation.fence.owner(),
            record,
        )
        .await
        .map_err(unknown)?;
        self.settle_keys(&mut session, &outcome)
            .await
            .map_err(unknown)?;
        session.close().await;
        match (outcome, direction) {
            (SwapOutcome::Swapped, Direction::Forward)
            | (SwapOutcome::NotSwapped, Direction::Back) => Ok(true),
            (SwapOutcome::NotSwapped, Direction::Forward)
            | (SwapOutcome::Swapped, Direction::Back) => Ok(false),
            (SwapOutcome::Unknown(why), _) => Err(EngineError::SwapUnknown(why)),
        }
    }
}

/// Leaves the tables as they were before the lock.
async fn unlock(helper: &mut Session, mut pinned: Session) -> Result<(), EngineError> {
    let id = pinned.id();
    // UNLOCK TABLES commits: a batch that ran out of time must not come in half.
    let unlock = pinned.run("ROLLBACK; UNLOCK TABLES");
    let unlocked = answered(ANSWER_MARGIN, unlock).await;
    drop(pinned);
    match unlocked {
        Ok(_) => Ok(()),
        // A session that the network cut off would hold the tables until the server notices.
        Err(_) => end_session(helper, id).await,
    }
}

/// No RENAME took place, for this reason: may the next attempt come?
fn not_renamed(error: &sqlx::Error) -> Result<Attempt, EngineError> {
    let story = server_error::story(error);
    match server_error::number(error) {
        // A HANDLER lets LOCK TABLES pass and not a RENAME; or it was a deadlock, or somebody's KILL QUERY.
        Some(1205 | 1213 | 1317) => Ok(Attempt::GaveWay(format!(
            "the RENAME was not let in ({story})"
        ))),
        Some(_) | None => Err(EngineError::retryable(format!(
            "the swap did not take place: {story}"
        ))),
    }
}

/// Doubles from 100 ms, with jitter so that two operations don't meet again and again.
fn back_off(attempts: u32) -> Duration {
    let full = Duration::from_millis(100)
        .saturating_mul(1 << attempts.min(10))
        .min(LONGEST_BACK_OFF);
    full.mul_f64(rand::rng().random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_later_and_later_up_to_a_limit_and_never_at_once() {
        for (attempts, full) in [
            (0, 100),
            (1, 200),
            (5, 3_200),
            (6, 6_400),
            (7, 10_000),
            (4_000_000, 10_000),
        ] {
            let waits: Vec<_> = (0..50).map(|_| back_off(attempts).as_millis()).collect();
            assert!(
                waits.iter().all(|wait| (full / 2..=full).contains(wait)),
                "{attempts}: {waits:?}"
            );
            assert!(
                waits.iter().any(|wait| *wait != waits[0]),
                "operations that met would meet again"
            );
        }
    }
}
