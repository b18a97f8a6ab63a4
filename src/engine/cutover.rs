//! The cutover: statements without a copy in their turn, and one RENAME for all that was copied.

mod attempt;
mod handover;
mod lock;
pub(super) mod locked;
mod statistics;
pub mod swap;
pub(super) mod without_copy;

use std::time::Instant;

use super::names::Role;
use super::session::Session;
use super::session::user::UserSettings;
use super::state::fence::{SwapRecord, SwapTable};
use super::stream::drain::Drain;
use super::table::{TablePlan, Way, storage};
use super::{EngineError, Operation, Swapped, fail_point};
pub use attempt::Direction;
use swap::SwapOutcome;

/// A cutover of one operation, and its way back.
pub struct Cutover<'a> {
    pub(super) operation: &'a Operation,
    plans: &'a [TablePlan],
}

impl<'a> Cutover<'a> {
    pub fn new(operation: &'a Operation, plans: &'a [TablePlan]) -> Self {
        Self { operation, plans }
    }

    /// Executes the statements without a copy in their turn and swaps all copied tables at once.
    ///
    /// Also the recovery: what a former attempt has done already, of this epoch or an earlier one, is found out first
    /// and not done again. `drain` may be `None` only if nothing is copied.
    ///
    /// # Errors
    ///
    /// Retryable if the swap is known not to have taken place; [`EngineError::SwapUnknown`] if
    /// that can't be said yet, or if it has and a statement behind it is still to be executed.
    pub async fn run(&self, drain: Option<&mut dyn Drain>) -> Result<Swapped, EngineError> {
        let mut helper = self.operation.sessions.open().await?;
        self.operation.fence.check(&mut helper).await?;
        let mut record = self
            .operation
            .fence
            .read_swap(&mut helper)
            .await?
            .unwrap_or_default();
        if record.reverting {
            return Err(EngineError::permanent(
                "the operation is being reverted; it can't be cut over again",
            ));
        }
        let first_copy = self.copies().map(|plan| plan.task.position).min();
        let (before, after): (Vec<_>, Vec<_>) = self
            .plans
            .iter()
            .filter(|plan| plan.way != Way::Copy)
            .partition(|plan| first_copy.is_some_and(|first| plan.task.position < first));
        for plan in before {
            self.execute(&mut helper, plan, &mut record).await?;
        }
        let swapped = match (first_copy, self.known_outcome(&mut helper, &record).await?) {
            (None, _) => Swapped::default(),
            (Some(_), Some(outcome @ SwapOutcome::Swapped)) => {
                self.settle_keys(&mut helper, &outcome).await?;
                Swapped::default()
            }
            (Some(_), Some(SwapOutcome::Unknown(why))) => {
                return Err(EngineError::SwapUnknown(why));
            }
            (Some(_), None | Some(SwapOutcome::NotSwapped)) => {
                let Some(drain) = drain else {
                    return Err(EngineError::permanent(
                        "a swap needs the rest of the stream; this is a defect of lockkeeper; report it",
                    ));
                };
                self.write_down(&mut helper, &mut record).await?;
                let began = Instant::now();
                self.prepare_statistics(&mut helper).await?;
                tracing::debug!(took = ?began.elapsed(), "the statistics are there");
                self.swap(&mut helper, drain, &record, Direction::Forward)
                    .await?
            }
        };
        for plan in after {
            let executed = self.execute(&mut helper, plan, &mut record).await;
            executed.map_err(|error| match first_copy {
                Some(_) => error.after_swap(),
                None => error,
            })?;
        }
        helper.close().await;
        Ok(swapped)
    }

    /// Swaps back. `drain` carries what the application wrote to the new tables into the old.
    ///
    /// # Errors
    ///
    /// Permanent if a statement was executed without a copy: that can't be taken back.
    pub async fn revert(&self, drain: &mut dyn Drain) -> Result<Swapped, EngineError> {
        if let Some(plan) = self.plans.iter().find(|plan| plan.way != Way::Copy) {
            return Err(EngineError::permanent(format!(
                "statement {} was executed without a copy, so there is no former table to go back to",
                plan.task.number()
            )));
        }
        let mut helper = self.operation.sessions.open().await?;
        self.operation.fence.check(&mut helper).await?;
        let Some(mut record) = self.operation.fence.read_swap(&mut helper).await? else {
            return Err(EngineError::permanent(
                "there is no record of a swap: somebody dropped the fence; submit the opposite change",
            ));
        };
        match self.known_outcome(&mut helper, &record).await? {
            Some(SwapOutcome::Swapped) => {}
            // The swap back had taken place when the former attempt lost its answer.
            Some(outcome @ SwapOutcome::NotSwapped) if record.reverting => {
                self.settle_keys(&mut helper, &outcome).await?;
                return Ok(Swapped::default());
            }
            Some(SwapOutcome::NotSwapped) | None => {
                return Err(EngineError::permanent(
                    "nothing was swapped, so nothing can be reverted",
                ));
            }
            Some(SwapOutcome::Unknown(why)) => return Err(EngineError::SwapUnknown(why)),
        }
        record.reverting = true;
        fail_point::at("revert.record.before");
        self.operation
            .fence
            .write_swap(&mut helper, &record)
            .await?;
        fail_point::at("revert.record.after");
        let swapped = self
            .swap(&mut helper, drain, &record, Direction::Back)
            .await?;
        helper.close().await;
        Ok(swapped)
    }

    /// What became of the swap, as the tables show it; `None` if none was ever prepared.
    pub async fn outcome(&self, session: &mut Session) -> Result<Option<SwapOutcome>, EngineError> {
        let record = self
            .operation
            .fence
            .read_swap(session)
            .await?
            .unwrap_or_default();
        self.known_outcome(session, &record).await
    }

    /// The same, and what it has left of foreign keys is put right: see [`Cutover::settle_keys`].
    pub(super) async fn settled(
        &self,
        session: &mut Session,
    ) -> Result<Option<SwapOutcome>, EngineError> {
        let outcome = self.outcome(session).await?;
        if let Some(outcome) = &outcome {
            self.settle_keys(session, outcome).await?;
        }
        Ok(outcome)
    }

    async fn known_outcome(
        &self,
        session: &mut Session,
        record: &SwapRecord,
    ) -> Result<Option<SwapOutcome>, EngineError> {
        let owner = self.operation.fence.owner();
        if record.tables.is_empty() {
            // Before it is written down nothing has swapped, unless somebody dropped the fence since: then the names alone tell.
            let named = SwapRecord {
                tables: self.named()?,
                ..SwapRecord::default()
            };
            let outcome = swap::settle(session, self.schema(), owner, &named).await?;
            return Ok((outcome == SwapOutcome::Swapped).then_some(outcome));
        }
        let outcome = swap::settle(session, self.schema(), owner, record).await?;
        Ok(Some(outcome))
    }

    pub(super) fn schema(&self) -> &str {
        self.operation.fence.schema()
    }

    pub(super) fn copies(&self) -> impl Iterator<Item = &TablePlan> {
        self.plans.iter().filter(|plan| plan.way == Way::Copy)
    }

    /// Puts right what a swap that was cut short has left of foreign keys. Call it when no session is left that
    /// may have sent the RENAME.
    pub(super) async fn settle_keys(
        &self,
        session: &mut Session,
        outcome: &SwapOutcome,
    ) -> Result<(), EngineError> {
        let owner = self.operation.fence.owner();
        handover::settle(session, self.schema(), owner, self.plans, outcome).await
    }

    /// The copied tables by their names alone.
    fn named(&self) -> Result<Vec<SwapTable>, EngineError> {
        let named = self.copies().map(|plan| {
            Ok(SwapTable {
                position: plan.task.position,
                name: plan.copied()?.original.name.clone(),
                original_id: 0,
                shadow_id: 0,
            })
        });
        named.collect()
    }

    async fn execute(
        &self,
        session: &mut Session,
        plan: &TablePlan,
        record: &mut SwapRecord,
    ) -> Result<(), EngineError> {
        let user = UserSettings::of(session, &self.operation.job).await?;
        self.step(plan, &user).execute(session, record).await
    }

    fn step<'s>(&'s self, plan: &'s TablePlan, user: &'s UserSettings) -> without_copy::Step<'s> {
        without_copy::Step {
            operation: self.operation,
            plan,
            user,
        }
    }

    /// The numbers of the statements without a copy that were executed, known as such or by their tables: of the last one the
    /// answer may have been lost.
    pub(super) async fn executed(
        &self,
        session: &mut Session,
        record: &SwapRecord,
    ) -> Result<Vec<u32>, EngineError> {
        let user = UserSettings::of(session, &self.operation.job).await?;
        let mut numbers = Vec::new();
        for step in &record.steps {
            let of_step = |plan: &&TablePlan| plan.task.position == step.position;
            let is_executed = match self.plans.iter().find(of_step) {
                Some(plan) if !step.done => {
                    self.step(plan, &user)
                        .may_have_happened(session, step)
                        .await?
                }
                Some(_) | None => step.done,
            };
            if is_executed {
                numbers.push(step.position + 1);
            }
        }
        Ok(numbers)
    }

    /// Writes down which table is which before anything moves.
    async fn write_down(
        &self,
        session: &mut Session,
        record: &mut SwapRecord,
    ) -> Result<(), EngineError> {
        let mut tables = self.named()?;
        for table in &mut tables {
            let shadow = Role::Shadow(table.position);
            let shadow = self.operation.fence.owner().table(shadow);
            let original_id = storage::table_id(session, self.schema(), &table.name).await?;
            let shadow_id = storage::table_id(session, self.schema(), &shadow).await?;
            table.original_id = original_id.unwrap_or(0);
            table.shadow_id = shadow_id.unwrap_or(0);
        }
        record.tables = tables;
        record.server_uuid = session.server_uuid().await?;
        fail_point::at("cutover.write_down.before");
        self.operation.fence.write_swap(session, record).await?;
        fail_point::at("cutover.write_down.after");
        Ok(())
    }

    /// The optimizer must not meet an unknown table at the moment of the swap.
    async fn prepare_statistics(&self, session: &mut Session) -> Result<(), EngineError> {
        for plan in self.copies() {
            let shadow = self.operation.fence.owner().shadow_of(&plan.task);
            statistics::prepare(session, self.schema(), plan, &shadow).await?;
        }
        Ok(())
    }
}
