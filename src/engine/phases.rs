//! The engine's phases, in the order in which a driver calls them.

mod compare;
mod removed;
mod start;
mod swap;

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{Instrument as _, info_span};

use super::context::{Halt, must_halt};
use super::copy::{TableCopy, indexes};
use super::cutover::Cutover;
use super::error::ErrorKind;
use super::names::{Artifact, ArtifactKind, Owner};
use super::options::Options;
use super::preflight::{lossy, privilege};
use super::session::{Session, Sessions};
use super::state::artifact;
use super::state::checkpoint::{Head, Stage, Store, run};
use super::state::fence::Fence;
use super::stream::apply::Pace;
use super::stream::running::Running;
use super::syntax::quote_table;
use super::table::catalog;
use super::verify::Different;
pub use start::{revert_warnings, warnings};

use super::{
    Directive, Engine, EngineError, Job, LeaseHolder, ON_HOLD, Operation, Outcome, Swapped, Target,
};
use crate::server_error;

impl Engine {
    /// Opens the deployment for `job` and fences off every former driver of the operation.
    ///
    /// # Errors
    ///
    /// [`EngineError::LeaseLost`] if a later epoch was here before.
    pub async fn open(
        target: Target,
        mut job: Job,
        lease: Arc<dyn LeaseHolder>,
    ) -> Result<Self, EngineError> {
        let options = Options::read(&job.options)?;
        let owner = Owner {
            installation: job.installation.clone(),
            operation_id: job.operation_id,
            epoch: job.lease_epoch,
        };
        let address = format!("{}:{}", target.host, target.port);
        let sessions = Sessions::new(target, owner.clone(), Arc::clone(&lease));
        let mut control = sessions.open().await?;
        job.schema_name = catalog::schema_name(&mut control, &job.schema_name).await?;
        if job.is_under_way
            && artifact::of_operation(&mut control, &job.schema_name, &owner)
                .await?
                .is_empty()
        {
            // Who has no right on the schema is shown no table of it.
            privilege::check(&mut control, &job.schema_name, false).await?;
            return Err(EngineError::retryable(format!(
                "at {address} there is no {}, nor any other table of this operation, which has begun its swap; it is left alone there: \
                 is that the address of its server? If not, `lockkeeper deployment add`, or CALL deployment_register, puts it right",
                quote_table(&job.schema_name, &owner.fence())
            )));
        }
        let store = Store::new(&job.schema_name, &owner);
        let fence = match Fence::take_over(&sessions, &mut control, &job.schema_name).await {
            Err(error)
                if error.kind() == ErrorKind::Permanent
                    && error.cause().is_some_and(server_error::is_denied) =>
            {
                // With the GRANT to run.
                privilege::check(&mut control, &job.schema_name, false).await?;
                return Err(error);
            }
            fence => fence?,
        };
        Ok(Self {
            operation: Operation {
                job,
                options,
                sessions,
                fence,
            },
            lease,
            control,
            store,
            head: None,
            running: None,
            copied: Vec::new(),
            window_told: false,
            is_unsettled: false,
        })
    }

    /// Copies, catches up and verifies; resumes from the deployment's checkpoint.
    ///
    /// # Errors
    ///
    /// The kind says how to answer, the message what happened.
    pub async fn copy(&mut self) -> Result<Outcome, EngineError> {
        let result = self.copy_all().await;
        self.outcome(result, Outcome::Verified).await
    }

    /// Applies the stream while the operation is on hold, until orders change.
    ///
    /// # Errors
    ///
    /// As [`Engine::copy`].
    pub async fn keep_current(&mut self) -> Result<Outcome, EngineError> {
        let result = self.hold().await;
        self.outcome(result, Outcome::CutoverAsked).await
    }

    /// A former driver had begun to swap: until the tables are looked at, nothing that comes in the way is a failed swap.
    pub fn may_have_swapped(&mut self) {
        self.is_unsettled = true;
    }

    /// Swaps the tables, or finds out that a former attempt did.
    ///
    /// # Errors
    ///
    /// [`EngineError::SwapUnknown`] if that can't be said yet: call again.
    pub async fn cut_over(&mut self) -> Result<Swapped, EngineError> {
        match self.swap().instrument(info_span!("cutover")).await {
            Ok(swapped) => Ok(swapped),
            Err(Halt::Failed(error)) => {
                let error = self.first_error(error);
                self.is_unsettled |= error.kind() == ErrorKind::SwapUnknown;
                Err(error)
            }
            Err(Halt::Asked(outcome)) => Err(EngineError::retryable(format!(
                "the cutover was given up before the swap: {outcome}"
            ))),
        }
    }

    /// Compares every row once more and names those that differ; repairs nothing.
    ///
    /// # Errors
    ///
    /// Permanent before the copy has ended.
    pub async fn differences(&mut self) -> Result<Vec<String>, EngineError> {
        if self.stage() < Stage::Verify {
            return Err(EngineError::permanent(
                "the copy has not ended, there is nothing to compare",
            ));
        }
        let result = async {
            self.catch_up().await?;
            self.compare().await
        };
        match result.await {
            Ok(different) => {
                let rows = different.iter().flat_map(|(_, rows)| rows);
                Ok(rows.map(Different::shown).collect())
            }
            Err(Halt::Failed(error)) => Err(self.first_error(error)),
            Err(Halt::Asked(outcome)) => Err(EngineError::retryable(format!(
                "the comparison was given up: {outcome}"
            ))),
        }
    }

    /// What is left to be done comes after the end of the operation, and so of its lease.
    pub fn lease_has_ended(&self) {
        self.operation.sessions.lease_has_ended();
    }

    /// Puts the old tables to their holding names and removes what is left of the change.
    pub async fn finish(&mut self) -> Result<(), EngineError> {
        self.awake().await?;
        let hold = self.operation.options.hold_old_table_seconds;
        let owner = self.operation.sessions.owner().clone();
        let schema = self.operation.job.schema_name.clone();
        // From here on the fence alone tells a successor that the change was made: the tables
        // that showed it go.
        self.operation.fence.finish(&mut self.control, hold).await?;
        // Only now, as it may take a while: where this process is killed before that note, nobody knows that the old table may go.
        self.stop_running().await;
        self.phase("cleanup");
        artifact::hold_tables(&mut self.control, &schema, &owner, "_old", hold).await?;
        artifact::remove_working(&mut self.control, &schema, &owner).await
    }

    /// Removes everything that the operation left, the original untouched: a cancel.
    pub async fn remove_artifacts(&mut self) -> Result<(), EngineError> {
        self.stop_running().await;
        self.phase("cleanup");
        let owner = self.operation.sessions.owner().clone();
        let schema = self.operation.job.schema_name.clone();
        let record = self.operation.fence.read_swap(&mut self.control).await?;
        if record.is_some_and(|record| record.reverting) {
            // The changed tables hold what the application wrote: they are put aside, and the
            // fence tells a successor that the swap back was made.
            let hold = self.operation.options.hold_old_table_seconds;
            self.operation.fence.finish(&mut self.control, hold).await?;
            artifact::hold_tables(&mut self.control, &schema, &owner, "_new", hold).await?;
            return artifact::remove_working(&mut self.control, &schema, &owner).await;
        }
        artifact::remove_working(&mut self.control, &schema, &owner).await?;
        self.operation.fence.remove(&mut self.control).await
    }

    /// Removes everything that a change has left that failed for good. Once it was swapped it stays in force, and the former
    /// tables are put aside.
    pub async fn give_up(&mut self) -> Result<(), EngineError> {
        self.awake().await?;
        match self.was_swapped().await? {
            true => self.finish().await,
            false => self.remove_artifacts().await,
        }
    }

    /// What of a change is in force that does not come to its end, in words; `None` for nothing. Before anything is removed.
    pub async fn in_force(&mut self) -> Result<Option<String>, EngineError> {
        self.awake().await?;
        let record = self.operation.fence.read_swap(&mut self.control).await?;
        let was_swapped = self.was_swapped().await?;
        if record.is_none() && !was_swapped {
            return Ok(None);
        }
        let record = record.unwrap_or_default();
        if record.reverting && !was_swapped {
            return Ok(None);
        }
        if self.operation.fence.is_finished(&mut self.control).await? {
            return Ok(Some("all of its statements are in force".to_owned()));
        }
        let head = self.readable_head().await?;
        let plans = head.map_or_else(Vec::new, |head| head.plans);
        let cutover = Cutover::new(&self.operation, &plans);
        let mut numbers: BTreeSet<u32> = BTreeSet::new();
        numbers.extend(cutover.executed(&mut self.control, &record).await?);
        if was_swapped {
            numbers.extend(cutover.copies().map(|plan| plan.task.number()));
            numbers.extend(record.tables.iter().map(|table| table.position + 1));
        }
        if numbers.is_empty() {
            return Ok(None);
        }
        let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
        let schema = self.operation.job.schema_name.clone();
        let owner = self.operation.sessions.owner().clone();
        let left = artifact::of_operation(&mut self.control, &schema, &owner).await?;
        let dropped: Vec<String> = left
            .iter()
            .filter(|artifact| matches!(artifact.kind, ArtifactKind::Holding { .. }))
            .map(Artifact::quoted)
            .collect();
        let dropped = match dropped.is_empty() {
            true => String::new(),
            false => format!(
                "; what was dropped is kept for a while, and RENAME TABLE brings it back: {}",
                dropped.join(", ")
            ),
        };
        Ok(Some(format!(
            "in force are its statements {}{dropped}",
            numbers.join(", ")
        )))
    }

    /// Drops what this installation has left on the deployment and whose time has come: old tables in their holding
    /// names, fences of finished operations. Needs no lease: nobody works on any of them.
    pub async fn remove_due(&mut self) -> Result<usize, EngineError> {
        self.stop_running().await;
        artifact::remove_due(&mut self.control, &self.operation.job.installation).await
    }

    /// Ends all sessions in order.
    pub async fn close(mut self) {
        self.stop_running().await;
        self.control.close().await;
    }

    pub(super) async fn stop_running(&mut self) {
        if let Some(running) = self.running.take() {
            running.close().await;
        }
    }

    fn phase(&self, phase: &str) {
        if let Some(running) = &self.running {
            running.context.progress.phase(phase);
            running.context.report();
        }
    }

    /// A phase's end as the driver hears of it.
    async fn outcome(
        &mut self,
        result: Result<(), Halt>,
        done: Outcome,
    ) -> Result<Outcome, EngineError> {
        match result {
            Ok(()) => Ok(done),
            Err(Halt::Asked(outcome)) => Ok(outcome),
            Err(Halt::Failed(error)) => {
                let error = self.first_error(error);
                let error = self.explained(error).await;
                self.stop_running().await;
                Err(error)
            }
        }
    }

    /// What failed first: the parts end each other.
    pub(super) fn first_error(&self, error: EngineError) -> EngineError {
        let first = self
            .running
            .as_ref()
            .and_then(|running| running.context.take_error());
        first.unwrap_or(error)
    }

    async fn copy_all(&mut self) -> Result<(), Halt> {
        must_halt(&self.lease.orders().borrow())?;
        let is_first = self.running.is_none();
        if is_first
            && (self.operation.fence.is_finished(&mut self.control).await?
                || self.was_swapped().await?)
        {
            return Ok(());
        }
        if is_first && !self.start().await? {
            // Nothing is copied: the statements wait for their turn.
            return Ok(());
        }
        if self.stage() == Stage::Copy {
            self.copy_tables().instrument(info_span!("copy")).await?;
            self.enter(Stage::Index).await?;
        }
        if self.stage() == Stage::Index {
            self.build_indexes().instrument(info_span!("index")).await?;
            self.enter(Stage::Verify).await?;
        }
        if self.stage() == Stage::Verify {
            self.operation
                .sessions
                .open_ahead(self.operation.options.copy_threads);
        }
        self.catch_up().await?;
        if self.stage() == Stage::Verify {
            let (_, control, head) = self.parts()?;
            for plan in &head.plans {
                lossy::check_guarded(control, plan).await?;
            }
            self.verify().instrument(info_span!("verify")).await?;
            self.catch_up().await?;
        }
        self.phase(ON_HOLD);
        Ok(())
    }

    fn stage(&self) -> Stage {
        self.head.as_ref().map_or(Stage::Copy, |head| head.stage)
    }

    fn parts(&mut self) -> Result<(&mut Running, &mut Session, &mut Head), EngineError> {
        match (&mut self.running, &mut self.head) {
            (Some(running), Some(head)) => Ok((running, &mut self.control, head)),
            (None, _) | (_, None) => Err(EngineError::permanent("the copy was not started")),
        }
    }

    async fn write_head(&mut self) -> Result<(), EngineError> {
        let Some(head) = &self.head else {
            return Ok(());
        };
        let sql = self.store.set_head(head)?;
        let stage = serde_json::to_value(head.stage);
        let (failed_verification, repaired) = (head.failed_verification.clone(), head.repaired);
        self.awake().await?;
        run(self.control.connection(), sql, "writing the checkpoint").await?;
        if let Ok(stage) = stage {
            self.lease.record_checkpoint(serde_json::json!({
                "stage": stage,
                "failed_verification": failed_verification,
                "repaired": repaired,
            }));
        }
        Ok(())
    }

    /// The engine's own session has nothing to do while the parts work, perhaps for hours, and what lies between may have
    /// forgotten it by then.
    pub(super) async fn awake(&mut self) -> Result<(), EngineError> {
        match self.control.ping().await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.operation
                    .sessions
                    .replace(&mut self.control, &error)
                    .await
            }
        }
    }

    pub(super) async fn enter(&mut self, stage: Stage) -> Result<(), EngineError> {
        if let Some(head) = &mut self.head {
            head.stage = stage;
        }
        self.write_head().await
    }

    async fn copy_tables(&mut self) -> Result<(), Halt> {
        let copied = self.copied.clone();
        let (running, _, _) = self.parts()?;
        running.set_pace(Pace::Gather);
        let context = Arc::clone(&running.context);
        self.phase("copy");
        for table in context.copied() {
            let copy = TableCopy::new(&context, table, &copied)?;
            context.unless_silent(copy.run()).await?;
        }
        Ok(())
    }

    async fn build_indexes(&mut self) -> Result<(), Halt> {
        let (running, _, head) = self.parts()?;
        let deferred = head.deferred.clone();
        let context = Arc::clone(&running.context);
        if deferred.iter().all(Vec::is_empty) {
            return Ok(());
        }
        // The shadow must be one state of the original, not chunks of several: only then is a
        // duplicate a true one.
        self.catch_up().await?;
        self.phase("index");
        let (running, control, _) = self.parts()?;
        let applier = context
            .unless_silent(async { Ok(running.pause().await?) })
            .await?;
        let mut result = Ok(());
        for (index, keys) in deferred.iter().enumerate() {
            result = indexes::build(&context, control, index, keys).await;
            if result.is_err() {
                break;
            }
        }
        running.resume(applier);
        result
    }

    async fn catch_up(&mut self) -> Result<(), Halt> {
        self.phase("catch_up");
        self.awake().await?;
        let (running, control, _) = self.parts()?;
        running.set_pace(Pace::Prompt);
        let context = Arc::clone(&running.context);
        let place = Arc::clone(&running.place);
        let caught_up = place.wait_until_applied(control, &context);
        context.unless_silent(caught_up).await?;
        context.routing.caught_up();
        Ok(())
    }

    async fn hold(&mut self) -> Result<(), Halt> {
        self.copy_all().await?;
        let mut orders = self.lease.orders();
        loop {
            {
                let orders = orders.borrow_and_update();
                must_halt(&orders)?;
                if orders.directive == Directive::Cutover {
                    return Ok(());
                }
            }
            let failed = self
                .running
                .as_ref()
                .map(|running| running.context.failed.clone());
            let failed = async {
                match failed {
                    Some(failed) => failed.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = orders.changed() => {
                    if changed.is_err() {
                        return Err(EngineError::LeaseLost("nobody holds the lease".into()).into());
                    }
                }
                () = failed => {
                    return Err(EngineError::retryable("a part of the change failed").into());
                }
                () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {
                    if let Some(running) = &self.running {
                        let context = Arc::clone(&running.context);
                        context.progress.lag(running.applied().lag);
                        context.report();
                        let checked = async { Ok(self.check_artifacts().await?) };
                        context.unless_silent(checked).await?;
                    }
                }
            }
        }
    }
}
