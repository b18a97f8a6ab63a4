//! The revert window: what is written to the changed tables is applied to the former ones, so
//! that a swap back loses nothing.
//!
//! The stream of the way back begins at the position that the last batch before the swap stored:
//! it was committed under the cutover's locks, after the last write to the former tables and before
//! the first to the changed ones. So no record of its own is needed, and a crash between the swap
//! and the start of this stream loses nothing.

pub(super) mod way_back;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::binlog::rows::RowLayout;
use super::context::{Context, Halt, LONGEST_SILENCE, lease_is_lost, no_answer};
use super::conversion::staging::Extras;
use super::conversion::types::same_type;
use super::cutover::swap::SwapOutcome;
use super::cutover::{Cutover, Direction};
use super::error::ErrorKind;
use super::names::Role;
use super::preflight::server_fit::check_position;
use super::state::checkpoint::{Found, run};
use super::stream::apply::Pace;
use super::stream::routing::Routing;
use super::stream::running::{Flow, Running};
use super::syntax::quote_table;
use super::table::original::difference;
use super::table::{TablePlan, Way, catalog, storage};
use super::throttle::adaptive::AdaptiveThrottle;
use super::{Directive, Engine, EngineError, Outcome, fail_point};

impl Engine {
    /// Applies what is written to the changed tables to the former ones, until the window ends.
    ///
    /// `window` says how many seconds of it are left, where that is known. May be called again
    /// after any outcome but [`Outcome::WindowClosed`].
    ///
    /// # Errors
    ///
    /// Retryable ones leave the window open: the next call goes on from the checkpoint.
    pub async fn keep_reverse(
        &mut self,
        window: watch::Receiver<Option<f64>>,
    ) -> Result<Outcome, EngineError> {
        let halt = match self.hold_reverse(window).await {
            Ok(outcome) => return Ok(outcome),
            Err(Halt::Asked(outcome)) => return Ok(outcome),
            Err(Halt::Failed(error)) => error,
        };
        let error = self.first_error(halt);
        let error = self.explained(error).await;
        self.stop_running().await;
        match error.kind() {
            ErrorKind::Permanent => Ok(Outcome::WindowClosed(closed(&error.message()))),
            ErrorKind::Retryable | ErrorKind::LeaseLost | ErrorKind::SwapUnknown => Err(error),
        }
    }

    /// Swaps back, or finds out that a former attempt did.
    ///
    /// # Errors
    ///
    /// Permanent if something written since the swap cannot be carried back: the changed tables
    /// stay. [`EngineError::SwapUnknown`] if the outcome can't be said yet: call again.
    pub async fn revert(&mut self) -> Result<(), EngineError> {
        match self.swap_back().await {
            Ok(()) => Ok(()),
            Err(Halt::Failed(error)) => Err(self.first_error(error)),
            Err(Halt::Asked(outcome)) => Err(EngineError::retryable(format!(
                "the swap back was given up: {outcome}"
            ))),
        }
    }

    /// Drops everything as it is: the deployment is somebody else's by now.
    pub fn abandon(self) {
        // Tasks and connections end with their owners; nothing more is sent.
        drop(self);
    }

    async fn hold_reverse(
        &mut self,
        mut window: watch::Receiver<Option<f64>>,
    ) -> Result<Outcome, Halt> {
        self.start_reverse().await?;
        let Some(running) = &self.running else {
            return Err(EngineError::permanent("nothing was copied").into());
        };
        let context = Arc::clone(&running.context);
        let applied = running.watch_applied();
        context.progress.phase("revert_window");
        let mut orders = self.lease.orders();
        // The end of the window that was told already may have been refused, because another
        // swap prolonged it: then only a newer figure, or a while without one, ends it again.
        let mut stale = std::mem::take(&mut self.window_told);
        let again = tokio::time::Instant::now() + Duration::from_secs(2);
        loop {
            if context.failed.is_cancelled() {
                return Err(EngineError::retryable("the way back failed").into());
            }
            {
                let orders = orders.borrow_and_update();
                if orders.lost {
                    return Err(lease_is_lost().into());
                }
                match orders.directive {
                    Directive::Revert => return Ok(Outcome::RevertAsked),
                    Directive::SkipRevert if !stale => {
                        self.window_told = true;
                        return Ok(Outcome::WindowOver);
                    }
                    // A window can be neither stopped nor cancelled.
                    Directive::None
                    | Directive::Stop
                    | Directive::Cancel
                    | Directive::Cutover
                    | Directive::SkipRevert => {}
                }
                if orders.shutdown {
                    return Ok(Outcome::Interrupted);
                }
            }
            let left = *window.borrow_and_update();
            if !stale && left.is_some_and(|left| left <= 0.0) {
                self.window_told = true;
                return Ok(Outcome::WindowOver);
            }
            let lag = applied.borrow().lag;
            context.progress.lag(lag);
            context.report();
            tokio::select! {
                _ = orders.changed() => {}
                changed = window.changed() => match changed {
                    Ok(()) => stale = false,
                    // Nobody tells the time any more; the orders will say why.
                    Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                },
                () = context.failed.cancelled() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    timeout(LONGEST_SILENCE, self.check_artifacts())
                        .await
                        .map_err(|_| no_answer())??;
                }
            }
            if stale && tokio::time::Instant::now() >= again {
                stale = false;
            }
        }
    }

    async fn start_reverse(&mut self) -> Result<(), Halt> {
        if self.running.is_some() {
            return Ok(());
        }
        if self.operation.fence.is_finished(&mut self.control).await? {
            return Err(EngineError::permanent("the former table was put aside already").into());
        }
        let found = self.checkpoint_of_the_way_back().await?;
        if let Some(plan) = found.head.plans.iter().find(|p| p.way != Way::Copy) {
            return Err(EngineError::permanent(way_back::no_former_table(plan)).into());
        }
        let uuid = self.control.server_uuid().await?;
        if uuid != found.head.server_uuid {
            return Err(EngineError::permanent(format!(
                "the swap was made on server {}, this is {uuid}, whose binlogs cannot be followed \
                 from there",
                found.head.server_uuid
            ))
            .into());
        }
        let cutover = Cutover::new(&self.operation, &found.head.plans);
        cutover.settled(&mut self.control).await?;
        let plans = self.reverse_plans(&found).await?;
        check_position(&mut self.control, &found.position).await?;
        let layouts: Vec<_> = plans
            .iter()
            .map(|plan| {
                let layout = RowLayout::of_plan(plan)?;
                let keeps = !Extras::back(plan).kept.is_empty();
                Some(Arc::new(if keeps {
                    layout.with_fixed_keys()
                } else {
                    layout
                }))
            })
            .collect();
        let routing = Arc::new(Routing::new(plans.iter().map(|_| true)));
        (0..plans.len()).for_each(|table| routing.complete(table));
        let context = Arc::new(Context::new(
            self.operation.sessions.clone(),
            self.store.clone(),
            self.operation.options.clone(),
            plans,
            layouts,
            routing,
            // The way back copies nothing.
            AdaptiveThrottle::new(None, None),
            found.position.gtid_set.is_some(),
            Arc::clone(&self.lease),
        ));
        for table in context.copied() {
            context.progress.all_there(table);
        }
        fail_point::at("reverse.start");
        let running = Running::start(&context, found.position, Flow::Back)?;
        running.set_pace(Pace::Prompt);
        self.running = Some(running);
        if self.head.is_none() {
            self.head = Some(found.head);
        }
        Ok(())
    }

    async fn checkpoint_of_the_way_back(&mut self) -> Result<Found, EngineError> {
        let found = self.store.read(&mut self.control).await?;
        found.ok_or_else(|| {
            EngineError::permanent("the checkpoint of the way back is gone; somebody removed it")
        })
    }

    /// The plans of the way back: as they were written down, else made now and written down.
    async fn reverse_plans(&mut self, found: &Found) -> Result<Vec<TablePlan>, Halt> {
        let owner = self.operation.sessions.owner().clone();
        let control = &mut self.control;
        let live = |plan: &TablePlan| {
            plan.original
                .as_ref()
                .map(|o| (o.schema.clone(), o.name.clone()))
                .unwrap_or_default()
        };
        if let Some(known) = &found.reverse {
            let mut plans = known.clone();
            for plan in &mut plans {
                let (schema, name) = live(plan);
                if let Some(former) = &mut plan.shadow {
                    former.name = owner.old_of(&plan.task);
                }
                let Some(original) = &plan.original else {
                    continue;
                };
                if let Some(what) = difference(control, original).await? {
                    return Err(
                        EngineError::permanent(format!("`{schema}`.`{name}` {what}")).into(),
                    );
                }
            }
            return Ok(plans);
        }
        let Some(record) = self.operation.fence.read_swap(control).await? else {
            return Err(EngineError::permanent(
                "the record of the swap is gone: somebody dropped the fence",
            )
            .into());
        };
        let mut plans = Vec::new();
        for forward in &found.head.plans {
            let position = forward.task.position;
            let (schema, name) = live(forward);
            let now = catalog::table(control, &schema, &name).await?;
            let Some(now) = now else {
                return Err(EngineError::table_gone(&schema, &name).into());
            };
            let aside = owner.table(Role::Old(position));
            let Some(former) = catalog::table(control, &schema, &aside).await? else {
                return Err(EngineError::table_gone(&schema, &aside).into());
            };
            let swapped = record.tables.iter().find(|t| t.position == position);
            let same = swapped.is_some_and(|t| {
                t.shadow_id == 0 || now.table_id == 0 || t.shadow_id == now.table_id
            });
            let planned = forward.shadow.as_ref().map(|s| s.columns.as_slice());
            let same_columns = planned.is_some_and(|planned| {
                planned.len() == now.columns.len()
                    && planned
                        .iter()
                        .zip(&now.columns)
                        .all(|(a, b)| a.name == b.name && same_type(a, b))
            });
            if !same || !same_columns {
                return Err(EngineError::permanent(format!(
                    "`{schema}`.`{name}` was changed by somebody else since the swap"
                ))
                .into());
            }
            plans.push(way_back::plan(forward, now, former)?);
        }
        let sql = self.store.set_reverse(&plans)?;
        run(control.connection(), sql, "writing down the way back").await?;
        Ok(plans)
    }

    async fn swap_back(&mut self) -> Result<(), Halt> {
        let record = self.operation.fence.read_swap(&mut self.control).await?;
        let reverting = record.as_ref().is_some_and(|record| record.reverting);
        if self.operation.fence.is_finished(&mut self.control).await? {
            return match reverting {
                true => Ok(()),
                false => Err(EngineError::permanent(
                    "the former table was put aside already; submit the opposite change",
                )
                .into()),
            };
        }
        let known = match &self.head {
            Some(head) => Some(head.clone()),
            None => self.readable_head().await?,
        };
        // Without them the record tells all the same whether the tables are back.
        let plans = known.map(|head| head.plans);
        let cutover = Cutover::new(&self.operation, plans.as_deref().unwrap_or_default());
        match cutover.outcome(&mut self.control).await? {
            Some(outcome @ SwapOutcome::NotSwapped) if reverting => {
                return Ok(cutover.settle_keys(&mut self.control, &outcome).await?);
            }
            // No RENAME back was ever sent: what is not there was taken away, and does not come by waiting.
            Some(SwapOutcome::Unknown(why)) if !reverting => {
                return Err(EngineError::permanent(format!("there is no way back: {why}")).into());
            }
            Some(SwapOutcome::Unknown(why)) => {
                return Err(EngineError::SwapUnknown(why).into());
            }
            Some(SwapOutcome::Swapped | SwapOutcome::NotSwapped) | None => {}
        }
        let plans = match plans {
            Some(plans) => plans,
            None => self.checkpoint_of_the_way_back().await?.head.plans,
        };
        self.former_tables_are_there(&plans).await?;
        self.start_reverse().await?;
        let Some(running) = &self.running else {
            return Err(EngineError::permanent("nothing was copied").into());
        };
        let context = &running.context;
        context.progress.phase("reverting");
        context.report();
        if context.failed.is_cancelled() {
            return Err(EngineError::retryable("the way back failed").into());
        }
        let swapped = self.swap_with_rest(&plans, Direction::Back).await?;
        tracing::info!(?swapped, "swapped back");
        Ok(())
    }

    async fn former_tables_are_there(&mut self, plans: &[TablePlan]) -> Result<(), EngineError> {
        let owner = self.operation.sessions.owner().clone();
        for plan in plans.iter().filter(|plan| plan.way == Way::Copy) {
            let former = owner.old_of(&plan.task);
            if !storage::exists(&mut self.control, &self.operation.job.schema_name, &former).await?
            {
                return Err(EngineError::permanent(format!(
                    "there is no way back: {} was dropped or renamed by somebody; submit the opposite change",
                    quote_table(&self.operation.job.schema_name, &former)
                )));
            }
        }
        Ok(())
    }
}

/// What happened, without the advice: to cancel, or to submit again, is for a change that has not been swapped.
fn closed(message: &str) -> String {
    let clauses = message.match_indices("; ").filter(|(at, _)| {
        let clause = message[at + 2..]
            .split([';', ':'])
            .next()
            .unwrap_or_default();
        clause.contains("submit the change") || clause.contains("cancel")
    });
    let advice = clauses.map(|(at, _)| at).chain(message.find(": cancel"));
    let end = advice.min().unwrap_or(message.len());
    format!(
        "the revert window is closed, the change stays: {}",
        &message[..end]
    )
}

#[cfg(test)]
mod tests {
    use super::closed;

    #[test]
    fn what_closed_a_window_is_told_without_advice_for_a_change_to_come() {
        for advice in [
            "; submit the change again",
            ": cancel and start again, and keep binlogs longer",
            "; SET gtid_mode back to ON, cancel and start again",
            "; drop it, and submit the change again",
            "; submit the change for a time when there are none; or wait",
            "; once the apply has ended, submit the change again for this deployment",
        ] {
            assert_eq!(
                closed(&format!("trigger t; it is new{advice}")),
                "the revert window is closed, the change stays: trigger t; it is new"
            );
        }
    }
}
