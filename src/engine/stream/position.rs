//! Where the server's binlog is, and waiting until the applier has been there.

use std::time::Duration;

use sqlx::Row;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::apply::Applied;
use crate::engine::EngineError;
use crate::engine::binlog::gtid::{NotAGtidSet, Position};
use crate::engine::context::{Context, Halt};
use crate::engine::session::Session;
use crate::engine::state::checkpoint::run;

/// How the place after all that is committed is asked for.
#[derive(Debug)]
pub struct Place {
    applied: watch::Receiver<Applied>,
    gtid: bool,
}

impl Place {
    pub fn new(applied: watch::Receiver<Applied>, gtid: bool) -> Self {
        Self { applied, gtid }
    }

    /// Waits until everything that is committed now is applied.
    pub async fn wait_until_applied(
        &self,
        session: &mut Session,
        context: &Context,
    ) -> Result<(), Halt> {
        let target = current(session, self.gtid).await?;
        if !self.gtid {
            run(session.connection(), context.store.mark()?, PASSING).await?;
        }
        self.reach(&target, session, context).await
    }

    /// The same inside a transaction, which commits nothing meanwhile.
    pub async fn wait_inside(&self, session: &mut Session, context: &Context) -> Result<(), Halt> {
        let target = current(session, self.gtid).await?;
        self.reach(&target, session, context).await
    }

    async fn reach(
        &self,
        target: &Position,
        session: &mut Session,
        context: &Context,
    ) -> Result<(), Halt> {
        let mut applied = self.applied.clone();
        let mut orders = context.watch_orders();
        let mut doubts = tokio::time::interval_at(Instant::now() + DOUBT, DOUBT);
        // Made once: where others write, changes come more often than that.
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            context.may_go_on()?;
            {
                let applied = applied.borrow_and_update();
                context.progress.lag(applied.lag);
                if applied.position.has_reached(target) {
                    return Ok(());
                }
            }
            tokio::select! {
                changed = applied.changed() => {
                    if changed.is_err() {
                        return Err(EngineError::retryable("the applier ended").into());
                    }
                }
                _ = orders.changed() => {}
                () = context.failed.cancelled() => {}
                _ = ticks.tick() => context.report(),
                _ = doubts.tick() => {
                    let applied = applied.borrow().position.clone();
                    refuse_what_never_comes(session, &applied, target).await?;
                }
            }
        }
    }
}

/// Without GTIDs a place may be the beginning of a file that nothing was written to yet: a change of ours after it shows that
/// all before it has come.
pub const PASSING: &str = "passing the place that is to be reached";

/// How often it is told how far it is.
const LOOK: Duration = Duration::from_secs(1);

/// After so much waiting it is asked whether all that is waited for can come.
pub const DOUBT: Duration = Duration::from_secs(10);

/// Refuses to wait for transactions that the server counts as executed and that no binlog has: `SET GLOBAL gtid_purged`, as a dump
/// has it that is loaded, adds such ones.
pub async fn refuse_what_never_comes(
    session: &mut Session,
    applied: &Position,
    target: &Position,
) -> Result<(), EngineError> {
    let (Some(applied), Some(target)) = (&applied.gtid_set, &target.gtid_set) else {
        return Ok(());
    };
    let mut missing = target.clone();
    missing.remove_all(applied);
    if missing.is_empty() {
        return Ok(());
    }
    let doing = || EngineError::while_doing("comparing the binlog with what is waited for");
    let sql = format!("SELECT GTID_SUBSET('{missing}', @@GLOBAL.gtid_purged)");
    let rows = session.rows(&sql).await.map_err(doing())?;
    let is_purged: Option<i64> = rows
        .first()
        .map(|row| row.try_get_unchecked(0))
        .transpose()
        .map_err(doing())?;
    match is_purged {
        Some(1) => Err(EngineError::permanent(format!(
            "no binlog has the transactions {missing}, which the server counts as executed: a dump was loaded with its \
             gtid_purged, or binlogs were purged; submit the change again"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Whether the server numbers its transactions.
pub async fn uses_gtid(session: &mut Session) -> Result<bool, EngineError> {
    let doing = || EngineError::while_doing("asking for gtid_mode");
    let rows = session
        .rows("SELECT @@GLOBAL.gtid_mode")
        .await
        .map_err(doing())?;
    let mode: Option<String> = rows
        .first()
        .map(|row| row.try_get_unchecked(0))
        .transpose()
        .map_err(doing())?;
    // The permissive modes mix numbered and anonymous transactions: only file and offset name
    // a place there.
    Ok(mode.as_deref() == Some("ON"))
}

/// The place after all transactions that are committed.
pub async fn current(session: &mut Session, gtid: bool) -> Result<Position, EngineError> {
    let doing = || EngineError::while_doing("asking for the binlog position");
    let rows = session.binlog_status().await.map_err(doing())?;
    let Some(row) = rows.first() else {
        return Err(EngineError::permanent(
            "the server writes no binlog; turn on log_bin, changes cannot be followed without it",
        ));
    };
    let file: String = row.try_get_unchecked(0).map_err(doing())?;
    let offset: u64 = row.try_get_unchecked(1).map_err(doing())?;
    let executed: String = row.try_get_unchecked(4).map_err(doing())?;
    let gtid_set = gtid
        .then(|| executed.parse())
        .transpose()
        .map_err(|e: NotAGtidSet| EngineError::permanent(e.to_string()))?;
    Ok(Position {
        gtid_set,
        ..Position::in_file(file, offset)
    })
}
