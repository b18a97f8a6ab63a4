//! What the parts of a running change share: whose it is, what is ordered, how far it is.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::binlog::rows::RowLayout;
use super::meter::Meter;
use super::options::Options;
use super::session::Sessions;
use super::state::checkpoint::Store;
use super::stream::routing::Routing;
use super::table::{TablePlan, Way};
use super::throttle::adaptive::AdaptiveThrottle;
use super::throttle::concurrency::Concurrency;
use super::{Directive, EngineError, LeaseHolder, Orders, Outcome};

/// So long a statement may go on that should have ended.
pub(super) const LONGEST_SILENCE: Duration = Duration::from_secs(120);

/// Why a phase ends before its work is done.
#[derive(Debug)]
pub enum Halt {
    /// An order was obeyed.
    Asked(Outcome),
    Failed(EngineError),
}

impl From<EngineError> for Halt {
    fn from(error: EngineError) -> Self {
        Self::Failed(error)
    }
}

/// Shared by copy, applier and verification.
pub struct Context {
    pub sessions: Sessions,
    pub store: Store,
    pub options: Options,
    pub plans: Vec<TablePlan>,
    /// For each plan that is copied.
    pub layouts: Vec<Option<Arc<RowLayout>>>,
    pub routing: Arc<Routing>,
    pub concurrency: Arc<Concurrency>,
    pub adaptive: AdaptiveThrottle,
    /// Whether the server numbers its transactions.
    pub gtid: bool,
    /// Set when any part failed: the others end.
    pub failed: CancellationToken,
    first_error: Mutex<Option<EngineError>>,
    pub progress: Meter,
    /// While the engine itself takes the originals away; it compares their definitions under its lock.
    pub swapping: AtomicBool,
    /// After how many statements that named an original all of them were found as they had been.
    pub acquitted: AtomicU64,
    lease: Arc<dyn LeaseHolder>,
    orders: watch::Receiver<Orders>,
    /// Why the throttle wants the copy to wait.
    brake: watch::Sender<Option<String>>,
}

impl Context {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        sessions: Sessions,
        store: Store,
        options: Options,
        plans: Vec<TablePlan>,
        layouts: Vec<Option<Arc<RowLayout>>>,
        routing: Arc<Routing>,
        adaptive: AdaptiveThrottle,
        gtid: bool,
        lease: Arc<dyn LeaseHolder>,
    ) -> Self {
        let progress = Meter::new(&plans);
        let others_write = adaptive.others_write();
        let concurrency = Arc::new(Concurrency::new(options.copy_threads, others_write));
        let orders = lease.orders();
        let first = (!options.throttle.is_empty()).then(|| "the limits are being looked at".into());
        Self {
            sessions,
            store,
            options,
            plans,
            layouts,
            routing,
            concurrency,
            adaptive,
            gtid,
            failed: CancellationToken::new(),
            first_error: Mutex::new(None),
            progress,
            swapping: AtomicBool::new(false),
            acquitted: AtomicU64::new(0),
            lease,
            orders,
            // Until the throttle has looked once, nobody knows.
            brake: watch::Sender::new(first),
        }
    }

    /// Indexes of the plans that are copied.
    pub fn copied(&self) -> impl Iterator<Item = usize> {
        self.plans
            .iter()
            .enumerate()
            .filter(|(_, p)| p.way == Way::Copy)
            .map(|(at, _)| at)
    }

    /// Ends all parts because of `error`.
    pub fn fail(&self, error: EngineError) {
        tracing::warn!(%error, "a part of the change failed");
        self.first_error().get_or_insert(error);
        self.failed.cancel();
    }

    fn first_error(&self) -> MutexGuard<'_, Option<EngineError>> {
        self.first_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What the first part that failed said.
    pub fn take_error(&self) -> Option<EngineError> {
        self.first_error().take()
    }

    pub fn orders(&self) -> Orders {
        *self.orders.borrow()
    }

    pub fn watch_orders(&self) -> watch::Receiver<Orders> {
        self.orders.clone()
    }

    /// To be asked between statements.
    ///
    /// # Errors
    ///
    /// [`Halt`] if the phase has to end.
    pub fn may_go_on(&self) -> Result<(), Halt> {
        if self.failed.is_cancelled() {
            return Err(Halt::Failed(EngineError::retryable(
                "another part of the change failed",
            )));
        }
        must_halt(&self.orders())
    }

    /// Does `work`, and gives it up where it does not end though it has to: a host that vanishes answers nothing, and tells
    /// nobody so. The stream notices that, and the lease's holder what is ordered.
    pub async fn unless_silent<T>(
        &self,
        work: impl Future<Output = Result<T, Halt>>,
    ) -> Result<T, Halt> {
        tokio::select! {
            done = work => done,
            () = self.should_have_ended() => Err(no_answer().into()),
        }
    }

    async fn should_have_ended(&self) {
        let mut orders = self.orders.clone();
        let halted = async {
            if orders
                .wait_for(|orders| must_halt(orders).is_err())
                .await
                .is_err()
            {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.failed.cancelled() => {}
            () = halted => {}
        }
        tokio::time::sleep(LONGEST_SILENCE).await;
    }

    /// What the throttle found; `None` lets the copy go on.
    pub fn brake(&self, reason: Option<String>) {
        self.brake.send_if_modified(|now| {
            let is_new = *now != reason;
            *now = reason;
            is_new
        });
    }

    /// How much of its usual time a piece of work may take under the throttle, so that a change
    /// of mind finds its end soon.
    pub fn share_of_time(&self) -> f64 {
        let level = f64::from(self.orders().throttle_level.min(9));
        match self.brake.borrow().is_some() {
            true => 0.2,
            false => (1.0 - level / 10.0).min(self.adaptive.share()).max(0.2),
        }
    }

    /// Waits as long as the throttle wants, after `worked` of work.
    pub async fn throttle(&self, worked: Duration) -> Result<(), Halt> {
        let mut orders = self.orders.clone();
        let mut brake = self.brake.subscribe();
        let started = Instant::now();
        let rest = self.adaptive.rest_after(worked);
        loop {
            self.may_go_on()?;
            let braked = brake.borrow_and_update().clone();
            let level = orders.borrow_and_update().throttle_level.min(10);
            let wait = match (&braked, level) {
                (None, 0) if rest.is_zero() => {
                    self.progress.throttled_by(None);
                    return Ok(());
                }
                (Some(_), _) | (None, 10) => Duration::MAX,
                (None, level) => rest.max(worked * u32::from(level) / u32::from(10 - level)),
            };
            self.progress
                .throttled_by(Some(braked.unwrap_or_else(|| match level {
                    0 => self.adaptive.reason(),
                    level => format!("throttle level {level} of 10"),
                })));
            let Some(left) = wait
                .checked_sub(started.elapsed())
                .filter(|left| !left.is_zero())
            else {
                return Ok(());
            };
            // An order ends the wait at once.
            tokio::select! {
                () = tokio::time::sleep(left.min(Duration::from_secs(1))) => {}
                _ = orders.changed() => {}
                _ = brake.changed() => {}
                () = self.failed.cancelled() => {}
            }
            self.report();
        }
    }

    /// Tells the lease holder how far things are.
    pub fn report(&self) {
        self.lease.report(self.progress.progress());
    }

    pub fn lease(&self) -> &Arc<dyn LeaseHolder> {
        &self.lease
    }
}

pub(super) fn no_answer() -> EngineError {
    EngineError::retryable(
        "the deployment no longer answers; the change goes on from its checkpoint once it can be reached",
    )
}

pub(super) fn lease_is_lost() -> EngineError {
    EngineError::LeaseLost("a heartbeat was refused, or none was answered while it lasted".into())
}

/// What `orders` ask of a phase that can be interrupted anywhere.
pub fn must_halt(orders: &Orders) -> Result<(), Halt> {
    if orders.lost {
        return Err(Halt::Failed(lease_is_lost()));
    }
    match orders.directive {
        Directive::Cancel => return Err(Halt::Asked(Outcome::CancelAsked)),
        Directive::Stop => return Err(Halt::Asked(Outcome::Stopped)),
        Directive::None | Directive::Cutover | Directive::Revert | Directive::SkipRevert => {}
    }
    if orders.shutdown {
        return Err(Halt::Asked(Outcome::Interrupted));
    }
    Ok(())
}
