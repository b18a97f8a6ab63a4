//! How a change begins, and how it is taken up again from its checkpoint.

use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument as _, info_span};

use crate::engine::binlog::gtid::Position;
use crate::engine::binlog::rows::RowLayout;
use crate::engine::context::{Context, Halt};
use crate::engine::copy::{self, indexes};
use crate::engine::plan::{self, constraint_names, filler};
use crate::engine::preflight::server_fit::{
    check_binlog, check_filters, check_order, check_position,
};
use crate::engine::revert::way_back;
use crate::engine::state::checkpoint::{Found, Head, Stage, run};
use crate::engine::stream::routing::Routing;
use crate::engine::stream::running::{Flow, Running};
use crate::engine::stream::{position, xa_before};
use crate::engine::table::original::check_original;
use crate::engine::table::{TablePlan, Way};
use crate::engine::throttle::adaptive::{AdaptiveThrottle, Tally};
use crate::engine::{Engine, EngineError, fail_point, preflight};

/// How long the copy waits for transactions from before it, at most.
const LONGEST_WAIT_FOR_EARLIER: Duration = Duration::from_secs(60);

/// What people should know before a swap.
pub fn warnings(plans: &[TablePlan]) -> Vec<String> {
    constraint_names::warnings(plans)
}

/// What else, where it is to be reverted.
pub fn revert_warnings(plans: &[TablePlan]) -> Vec<String> {
    way_back::warnings(plans)
}

impl Engine {
    /// Plans the change or finds the plan, and starts the stream. False if nothing is copied.
    pub(crate) async fn start(&mut self) -> Result<bool, Halt> {
        self.operation
            .sessions
            .open_ahead(self.operation.options.copy_threads);
        let before = Tally::read(&mut self.control, &self.operation.sessions).await;
        let (position, fresh) = match self.store.read(&mut self.control).await? {
            Some(found) => (self.resume(found).await?, false),
            None => (
                self.begin().instrument(info_span!("preflight")).await?,
                true,
            ),
        };
        let Some(head) = &self.head else {
            return Ok(false);
        };
        if head.plans.iter().all(|plan| plan.way != Way::Copy) {
            return Ok(false);
        }
        let gtid = position.gtid_set.is_some();
        let layouts: Vec<_> = head
            .plans
            .iter()
            .map(|plan| RowLayout::of_plan(plan).map(Arc::new))
            .collect();
        let ordered = layouts
            .iter()
            .map(|l| l.as_ref().is_none_or(|l| l.ordered()));
        let routing = Arc::new(Routing::new(ordered));
        for (table, plan) in head.plans.iter().enumerate() {
            let later = head.deferred.get(table).map_or(&[][..], Vec::as_slice);
            if indexes::stays_unique(plan, later) {
                routing.stays_unique(table);
            }
        }
        match head.stage > Stage::Copy {
            true => (0..layouts.len()).for_each(|table| routing.complete(table)),
            false => copy::told_of(&routing, &layouts, &self.copied),
        }
        // The former driver had caught up before it compared, and nobody compares again.
        if head.stage > Stage::Verify {
            routing.caught_up();
        }
        let context = Arc::new(Context::new(
            self.operation.sessions.clone(),
            self.store.clone(),
            self.operation.options.clone(),
            head.plans.clone(),
            layouts,
            routing,
            AdaptiveThrottle::new(
                before,
                Tally::read(&mut self.control, &self.operation.sessions).await,
            ),
            gtid,
            Arc::clone(&self.lease),
        ));
        tracing::info!(fresh, stage = ?head.stage, "the stream starts");
        let started = Running::start(&context, position, Flow::Forward)?;
        let mut warnings = warnings(&head.plans);
        if self.operation.job.revert_window_seconds > 0 {
            warnings.extend(revert_warnings(&head.plans));
        }
        for warning in warnings {
            // Whoever submits is told before: see `preflight`.
            tracing::info!(warning, "before the cutover");
            context.progress.warn(warning);
        }
        // Rows that a former driver copied count as copied before the first report.
        for range in &self.copied {
            context.progress.copied(range.table, range.rows);
        }
        self.running = Some(started);
        Ok(true)
    }

    /// A first start: plan, shadow, checkpoint. Capture begins here, before anything is copied.
    async fn begin(&mut self) -> Result<Position, Halt> {
        let owner = self.operation.sessions.owner().clone();
        let control = &mut self.control;
        let plans = preflight::plan(control, &self.operation.job, &owner).await?;
        let later = indexes::defer_all(control, &self.operation.options).await?;
        let mut deferred = Vec::new();
        for plan in &plans {
            let keys = indexes::to_defer(plan, later);
            if let Some(shadow) = &plan.shadow {
                indexes::drop_deferred(control, shadow, &keys).await?;
            }
            deferred.push(keys);
        }
        let copies = plans.iter().any(|plan| plan.way == Way::Copy);
        let position = if copies {
            let gtid = position::uses_gtid(control).await?;
            check_order(control, gtid).await?;
            let position = position::current(control, gtid).await?;
            let limit = self.operation.options.cutover_give_up_after();
            let limit = limit.min(LONGEST_WAIT_FOR_EARLIER);
            xa_before::wait_until_ended(control, &plans, self.lease.as_ref(), limit).await?;
            position
        } else {
            Position::in_file("", 0)
        };
        let mut head = Head::new(control.server_uuid().await?, plans, deferred);
        if !copies {
            head.stage = Stage::Verified;
        }
        self.store.create(control).await?;
        let sql = format!(
            "BEGIN; {}; {}; COMMIT",
            self.store.set_head(&head)?,
            self.store.set_position(&position)?
        );
        fail_point::at("begin.checkpoint.before");
        run(control.connection(), sql, "writing the first checkpoint").await?;
        fail_point::at("begin.checkpoint.after");
        self.head = Some(head);
        self.copied = Vec::new();
        Ok(position)
    }

    /// A later start, from what the deployment holds.
    async fn resume(&mut self, found: Found) -> Result<Position, Halt> {
        let owner = self.operation.sessions.owner().clone();
        let control = &mut self.control;
        let uuid = control.server_uuid().await?;
        if uuid != found.head.server_uuid {
            return Err(EngineError::permanent(format!(
                "the checkpoint is of server {}, this is {uuid}; a copy of another server's change \
                 cannot be followed here: cancel and start again",
                found.head.server_uuid
            ))
            .into());
        }
        let mut head = found.head;
        let former = head.plans.clone();
        head.plans = plan::resume(control, &owner, &former).await?;
        for plan in former.iter().filter(|p| p.way == Way::Copy) {
            if let Some(original) = &plan.original {
                check_original(control, original, "while no driver was at work").await?;
            }
        }
        if head.plans.iter().any(|plan| plan.way == Way::Copy) {
            // It may have been restarted with others.
            check_binlog(control).await?;
            check_order(control, found.position.gtid_set.is_some()).await?;
            check_filters(control, &self.operation.job.schema_name).await?;
            check_position(control, &found.position).await?;
        }
        // Only a swap that had begun has taken anything away.
        if self.operation.fence.read_swap(control).await?.is_some() {
            filler::restore(control, &self.operation.job, &owner, &head.plans).await?;
        }
        self.copied = found.copied;
        self.head = Some(head);
        Ok(found.position)
    }
}
