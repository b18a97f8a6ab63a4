//! Catching up what is parked: without a lease, in the time that a driver has to spare.
//!
//! A parked operation waits for its turn, perhaps for hours; its shadow table would fall behind, its catch-up before the swap
//! grow long, and its binlogs be purged away. Somebody else may take the operation at any moment; the deployment's fence
//! then ends this engine, whatever it is doing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error_span, warn};

use super::operation::open_engine;
use super::session::Sessions;
use super::{Asked, Work};
use crate::control::{self, Claim, ControlError};
use crate::engine::{EngineError, LeaseHolder, LeaseLost, ON_HOLD, Orders, Progress};

/// How often the control database is asked whether the operation is parked still.
const LOOK: Duration = Duration::from_secs(1);
/// As near to now as a tended table has to come.
const NEAR_ENOUGH_SECONDS: f64 = 1.0;
/// A deployment whose writes outrun the catch-up is given up for this time.
const LONGEST: Duration = Duration::from_secs(300);

/// Stands where the lease stands elsewhere.
struct Tending {
    sessions: Sessions,
    claim: Claim,
    progress: Mutex<Option<Progress>>,
    orders: watch::Sender<Orders>,
}

impl Tending {
    fn progress(&self) -> Option<Progress> {
        self.progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Everything was applied that was committed when the engine was opened, and it is near what came since.
    fn is_near(&self) -> bool {
        self.progress().is_some_and(|progress| {
            progress.phase == ON_HOLD
                && progress
                    .binlog_lag_seconds
                    .is_some_and(|seconds| seconds < NEAR_ENOUGH_SECONDS)
        })
    }

    async fn tell(&self, is_over: bool) -> Result<bool, ControlError> {
        let (operation, token) = (self.claim.operation_id, &self.claim.lease_token);
        let progress = self.progress();
        self.sessions
            .call(async |session| {
                control::operation_tended(session, operation, token, progress.as_ref(), is_over)
                    .await
            })
            .await
    }

    /// Ends the engine's work once it has caught up, or when the operation is somebody else's.
    async fn watch(&self, shutdown: CancellationToken) {
        let begun = tokio::time::Instant::now();
        loop {
            let is_told = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                () = shutdown.cancelled() => true,
            };
            let is_over = is_told || self.is_near() || begun.elapsed() > LONGEST;
            match self.tell(false).await {
                Ok(true) => {}
                Ok(false) => self.orders.send_modify(|orders| orders.lost = true),
                Err(error) => warn!(%error, "the control database is silent"),
            }
            if is_over || self.orders.borrow().lost {
                self.orders.send_modify(|orders| orders.shutdown = true);
                return;
            }
        }
    }
}

impl LeaseHolder for Tending {
    fn orders(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }

    fn report(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    fn confirm(&self) -> BoxFuture<'_, Result<(), LeaseLost>> {
        Box::pin(async {
            match self.tell(false).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(LeaseLost("the operation is no longer parked".to_owned())),
                Err(error) => Err(LeaseLost(error.to_string())),
            }
        })
    }
}

/// Catches one parked operation up, if one waits for it; whether there was one.
pub(super) async fn tend_one(work: &Work, shutdown: CancellationToken) -> bool {
    let Asked::Claimed(claim) = work.claim_tending().await else {
        return false;
    };
    let span = error_span!(
        "tend",
        operation = claim.operation_id.0,
        deployment = claim.deployment
    );
    async {
        let (orders, _) = watch::channel(Orders::default());
        let tending = Arc::new(Tending {
            sessions: work.sessions.clone(),
            claim,
            progress: Mutex::default(),
            orders,
        });
        match catch_up(work, &tending, shutdown).await {
            Ok(()) => debug!("caught up"),
            Err(error) => debug!(%error, "given up"),
        }
        if !tending.orders.borrow().lost
            && let Err(error) = tending.tell(true).await
        {
            warn!(%error, "tending could not be reported");
        }
    }
    .instrument(span)
    .await;
    true
}

async fn catch_up(
    work: &Work,
    tending: &Arc<Tending>,
    shutdown: CancellationToken,
) -> Result<(), EngineError> {
    let mut engine = open_engine(work, &tending.claim, Arc::clone(tending) as _).await?;
    let caught_up = {
        let keeping = engine.keep_current();
        tokio::pin!(keeping);
        tokio::select! {
            outcome = &mut keeping => outcome,
            () = tending.watch(shutdown) => keeping.await,
        }
    };
    if tending.orders.borrow().lost {
        engine.abandon();
    } else {
        engine.close().await;
    }
    caught_up.map(|_| ())
}
