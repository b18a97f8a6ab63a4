//! The swap, and what a former attempt at it has done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Mutex;

use crate::engine::context::Halt;
use crate::engine::cutover::swap::SwapOutcome;
use crate::engine::cutover::{Cutover, Direction};
use crate::engine::error::ErrorKind;
use crate::engine::plan::filler;
use crate::engine::state::checkpoint::{Head, Stage};
use crate::engine::stream::running::SwapDrain;
use crate::engine::table::{TablePlan, Way};
use crate::engine::{Engine, EngineError, Swapped};

/// The drain's helper, the cutover's, and the one that holds the lock.
const SWAP_SESSIONS: u32 = 3;

impl Engine {
    /// The checkpoint's head. `None` also where somebody dropped it, or where it can't be read: it is another version's, or spoilt.
    pub(in crate::engine) async fn readable_head(&mut self) -> Result<Option<Head>, EngineError> {
        match self.store.read(&mut self.control).await {
            Ok(found) => Ok(found.map(|found| found.head)),
            Err(error) if error.kind() == ErrorKind::Permanent && error.cause().is_none() => {
                tracing::warn!(%error, "the record of the swap tells alone what became of it");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A driver that died right after its swap left nothing to copy.
    pub(super) async fn was_swapped(&mut self) -> Result<bool, EngineError> {
        let head = self.readable_head().await?;
        let plans = head.map_or_else(Vec::new, |head| head.plans);
        let cutover = Cutover::new(&self.operation, &plans);
        let outcome = cutover.settled(&mut self.control).await?;
        Ok(matches!(outcome, Some(SwapOutcome::Swapped)))
    }

    /// A former attempt, of this driver or another, may have swapped already: then the plan is as
    /// it was written down, and the originals are the new tables. What is left to do is done.
    async fn swapped_before(&mut self) -> Result<Option<Swapped>, EngineError> {
        let head = match self.head.take() {
            Some(head) => Some(head),
            None => self
                .store
                .read(&mut self.control)
                .await?
                .map(|found| found.head),
        };
        let Some(head) = head else {
            return Ok(None);
        };
        let has_record = self.operation.fence.read_swap(&mut self.control).await?;
        let has_record = has_record.is_some();
        let cutover = Cutover::new(&self.operation, &head.plans);
        match cutover.outcome(&mut self.control).await? {
            Some(SwapOutcome::Swapped) if has_record => {
                let swapped = cutover.run(None).await?;
                self.stop_running().await;
                self.head = Some(head);
                let entered = self.enter(Stage::Swapped).await;
                entered.map_err(EngineError::after_swap)?;
                Ok(Some(swapped))
            }
            Some(SwapOutcome::Unknown(why)) => Err(EngineError::SwapUnknown(why)),
            // Without a record nobody knows which statements were executed: see `swapped_without_one`.
            Some(SwapOutcome::Swapped) => {
                self.stop_running().await;
                Ok(None)
            }
            Some(SwapOutcome::NotSwapped) | None => {
                // Without a stream the plan is read again, from the tables as they are now.
                self.head = self.running.is_some().then_some(head);
                Ok(None)
            }
        }
    }

    /// The tables have swapped, and somebody has dropped the checkpoint or the fence since: the other one says what is done.
    ///
    /// # Errors
    ///
    /// Permanent where nobody can say that of a statement.
    async fn swapped_without_one(&mut self) -> Result<Swapped, EngineError> {
        let head = self.readable_head().await?;
        if self.operation.fence.is_finished(&mut self.control).await?
            || head
                .as_ref()
                .is_some_and(|head| head.stage == Stage::Swapped)
        {
            return Ok(Swapped::default());
        }
        let record = self.operation.fence.read_swap(&mut self.control).await?;
        let record = record.unwrap_or_default();
        let plans = head.map_or_else(Vec::new, |head| head.plans);
        let copies = plans.iter().filter(|plan| plan.way == Way::Copy);
        let mut done: BTreeSet<u32> = copies.map(|plan| plan.task.position).collect();
        done.extend(record.tables.iter().map(|table| table.position));
        // What is in front of the swap comes before it.
        done.extend(0..done.first().copied().unwrap_or_default());
        done.extend(
            record
                .steps
                .iter()
                .filter(|step| step.done)
                .map(|step| step.position),
        );
        let tasks = self.operation.job.tasks.iter();
        let open: Vec<String> = tasks
            .filter(|task| !done.contains(&task.position))
            .map(|task| task.number().to_string())
            .collect();
        if open.is_empty() {
            return Ok(Swapped::default());
        }
        Err(EngineError::permanent(format!(
            "the tables have swapped, but somebody dropped the checkpoint or the fence of the operation since, so that nobody knows \
             whether its statements {} were executed: look, and submit what is missing as a change of its own",
            open.join(", ")
        )))
    }

    pub(super) async fn swap(&mut self) -> Result<Swapped, Halt> {
        let unsettled = self.is_unsettled;
        let not_failed = |error: EngineError| match unsettled {
            true => error.of_unsettled(),
            false => error,
        };
        if unsettled {
            // The one before may have gone with its server.
            let fresh = self.operation.sessions.open().await.map_err(not_failed)?;
            std::mem::replace(&mut self.control, fresh).close().await;
        } else {
            self.awake().await?;
        }
        let finished = self.operation.fence.is_finished(&mut self.control).await;
        if finished.map_err(not_failed)? {
            return Ok(Swapped::default());
        }
        if let Some(swapped) = self.swapped_before().await.map_err(not_failed)? {
            return Ok(swapped);
        }
        self.is_unsettled = false;
        self.copy_all().await?;
        self.phase("cutover");
        self.operation.sessions.open_ahead(SWAP_SESSIONS);
        let Some(head) = &self.head else {
            return Ok(self.swapped_without_one().await?);
        };
        let plans = head.plans.clone();
        if self.running.is_some() {
            return self.swap_with_rest(&plans, Direction::Forward).await;
        }
        let cutover = Cutover::new(&self.operation, &plans);
        Ok(cutover.run(None).await?)
    }

    /// Swaps with the rest of the stream, whose applier goes on if that fails.
    pub(in crate::engine) async fn swap_with_rest(
        &mut self,
        plans: &[TablePlan],
        direction: Direction,
    ) -> Result<Swapped, Halt> {
        let helper = self.operation.sessions.open().await?;
        let Some(running) = &mut self.running else {
            return Err(EngineError::permanent("nothing was copied").into());
        };
        let context = Arc::clone(&running.context);
        let mut applier = context
            .unless_silent(async { Ok(running.pause().await?) })
            .await?;
        let mut drain = SwapDrain {
            applier: &mut applier,
            context: &context,
            helper: Mutex::new(helper),
            target: None,
        };
        context.swapping.store(true, Ordering::SeqCst);
        let cutover = Cutover::new(&self.operation, plans);
        let (swapped, stage) = match direction {
            Direction::Forward => (cutover.run(Some(&mut drain)).await, Stage::Swapped),
            Direction::Back => (cutover.revert(&mut drain).await, Stage::Reverted),
        };
        match swapped {
            Ok(swapped) => {
                applier.close().await;
                self.running = None;
                let entered = self.enter(stage).await;
                entered.map_err(EngineError::after_swap)?;
                Ok(swapped)
            }
            Err(error) => {
                context.swapping.store(false, Ordering::SeqCst);
                let (control, job) = (&mut self.control, &self.operation.job);
                let ready = match (direction, error.kind()) {
                    // The stream may hold our own RENAME by now.
                    (_, ErrorKind::LeaseLost | ErrorKind::SwapUnknown) => Err(error.message()),
                    (Direction::Forward, _) => {
                        filler::restore(control, job, self.operation.sessions.owner(), plans)
                            .await
                            .map_err(|error| error.message())
                    }
                    (Direction::Back, _) => Ok(()),
                };
                match ready {
                    Ok(()) => running.resume(applier),
                    // What comes next begins anew from the checkpoint.
                    Err(reason) => {
                        tracing::debug!(reason, "the applier does not go on");
                        applier.close().await;
                        self.running = None;
                    }
                }
                Err(error.into())
            }
        }
    }
}
