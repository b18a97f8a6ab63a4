//! The heartbeat of a driver: one call for all of its leases, from a thread of its own, which slow work cannot delay.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::mysql::MySqlConnection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::trouble::Trouble;
use super::{metrics, silence};
use crate::config::ConnectionSettings;
use crate::control::{
    Beat, BeatAnswer, ControlError, DriverName, LeaseToken, OperationId, Registration,
    driver_heartbeat,
};
use crate::engine::{LeaseHolder, LeaseLost, Orders, Progress};

/// Beats come at a sixth of a lease's length, or more often: they also bring what a DBA has asked for, and nobody should
/// wait ten seconds for that. One commit a beat, however many leases.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A beat that hangs longer than this, or than the lease lasts, is given up, and its session with it.
const BEAT_LIMIT: Duration = Duration::from_secs(8);
const SHORTEST_BEAT: Duration = Duration::from_millis(500);

/// One operation's part of the heartbeat.
#[derive(Debug)]
struct Held {
    deployment: String,
    token: LeaseToken,
    /// When the last beat that came through was sent, or the claim: by the control database's clock the lease began no earlier.
    confirmed: Instant,
    progress: Option<Progress>,
    checkpoint: Option<serde_json::Value>,
    orders: watch::Sender<Orders>,
    window: watch::Sender<Option<f64>>,
}

type Leases = Arc<Mutex<BTreeMap<OperationId, Held>>>;

/// Asks for a beat now; the sender hears whether it came through.
type Nudge = oneshot::Sender<Result<(), LeaseLost>>;

pub(super) struct Heart {
    leases: Leases,
    nudges: mpsc::UnboundedSender<Nudge>,
    shutdown: CancellationToken,
    ended: Arc<AtomicBool>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// One lease, as the engine sees it.
pub(super) struct Lease {
    operation: OperationId,
    token: LeaseToken,
    deployment: String,
    leases: Leases,
    nudges: mpsc::UnboundedSender<Nudge>,
    orders: watch::Receiver<Orders>,
    window: watch::Receiver<Option<f64>>,
}

impl Heart {
    pub(super) fn start(
        control: &ConnectionSettings,
        driver: &DriverName,
        registration: &Registration,
        shutdown: CancellationToken,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let leases = Leases::default();
        let ended = Arc::<AtomicBool>::default();
        let (nudges, nudged) = mpsc::unbounded_channel();
        let beating = Beating {
            control: control.clone(),
            driver: driver.clone(),
            pause: registration.heartbeat.min(LONGEST_PAUSE),
            ttl: registration.lease_ttl,
            leases: Arc::clone(&leases),
            session: None,
            trouble: Trouble::default(),
            ended: Arc::clone(&ended),
        };
        let ends = shutdown.clone();
        let thread = std::thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || runtime.block_on(beating.run(nudged, ends)))?;
        Ok(Self {
            leases,
            nudges,
            shutdown,
            ended,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Ends when nothing beats any more, though nobody has asked for that.
    pub(super) async fn has_died(&self) {
        self.nudges.closed().await;
        if self.ended.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
    }

    /// Beats for an operation from now on, which was claimed by a call that was sent at `asked`: its answer may have been long
    /// on its way.
    pub(super) fn hold(
        &self,
        operation: OperationId,
        deployment: &str,
        token: LeaseToken,
        asked: Instant,
    ) -> Arc<Lease> {
        // Before the look: `tell_shutdown` comes once, and would miss what is inserted behind it.
        let mut leases = locked(&self.leases);
        let first = Orders {
            shutdown: self.shutdown.is_cancelled(),
            ..Orders::default()
        };
        let (orders, orders_seen) = watch::channel(first);
        let (window, window_seen) = watch::channel(None);
        let former = leases.insert(
            operation,
            Held {
                deployment: deployment.to_owned(),
                token: token.clone(),
                confirmed: asked,
                progress: None,
                checkpoint: None,
                orders,
                window,
            },
        );
        // Nobody beats for it any more: whoever still works under it has to hear that.
        if let Some(former) = former {
            former.orders.send_modify(|orders| orders.lost = true);
        }
        drop(leases);
        Arc::new(Lease {
            operation,
            token,
            deployment: deployment.to_owned(),
            leases: Arc::clone(&self.leases),
            nudges: self.nudges.clone(),
            orders: orders_seen,
            window: window_seen,
        })
    }

    /// The operations that it beats for, with their deployments.
    pub(super) fn held(&self) -> Vec<(OperationId, String)> {
        let leases = locked(&self.leases);
        let held = leases.iter();
        held.map(|(operation, held)| (*operation, held.deployment.clone()))
            .collect()
    }

    /// Beats for it no more, unless it was claimed anew meanwhile.
    pub(super) fn let_go(&self, operation: OperationId, token: &LeaseToken) {
        let mut leases = locked(&self.leases);
        if leases
            .get(&operation)
            .is_some_and(|held| held.token == *token)
        {
            leases.remove(&operation);
        }
    }

    /// Ends the thread. Every operation has given its lease back before.
    pub(super) async fn stop(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            self.ended.store(true, Ordering::Release);
            let (nudge, _) = oneshot::channel();
            let _ = self.nudges.send(nudge);
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Lease {
    /// A lost lease stays lost.
    pub(super) fn is_lost(&self) -> bool {
        self.orders.borrow().lost
    }

    /// Unless the operation was claimed anew meanwhile: what a former lease tells is not about that.
    fn held(&self, tell: impl FnOnce(&mut Held)) {
        let mut leases = locked(&self.leases);
        let held = leases.get_mut(&self.operation);
        held.filter(|held| held.token == self.token).map(tell);
    }

    /// How long the revert window stays open, by the control database's clock.
    pub(super) fn window(&self) -> watch::Receiver<Option<f64>> {
        self.window.clone()
    }
}

impl LeaseHolder for Lease {
    fn orders(&self) -> watch::Receiver<Orders> {
        self.orders.clone()
    }

    fn report(&self, progress: Progress) {
        metrics::progress(&self.deployment, self.operation.0, &progress);
        self.held(|held| held.progress = Some(progress));
    }

    fn record_checkpoint(&self, checkpoint: serde_json::Value) {
        self.held(|held| held.checkpoint = Some(checkpoint));
    }

    fn confirm(&self) -> BoxFuture<'_, Result<(), LeaseLost>> {
        // Asked for as long as the lease lasts: a control database that is away for less stops nothing.
        Box::pin(async {
            let silent = || LeaseLost("the control database does not confirm the lease".to_owned());
            loop {
                let (nudge, answer) = oneshot::channel();
                self.nudges.send(nudge).map_err(|_| silent())?;
                let answer = answer.await.map_err(|_| silent())?;
                if self.is_lost() {
                    return Err(LeaseLost(
                        "the control database gave it to somebody else, or was silent for as long as it lasts"
                            .to_owned(),
                    ));
                }
                match answer {
                    Ok(()) => return Ok(()),
                    Err(lost) if self.orders.borrow().shutdown => return Err(lost),
                    Err(_) => tokio::time::sleep(LONGEST_PAUSE).await,
                }
            }
        })
    }
}

/// What the heartbeat's thread works with.
struct Beating {
    control: ConnectionSettings,
    driver: DriverName,
    pause: Duration,
    /// How long a lease lasts after its last beat.
    ttl: Duration,
    leases: Leases,
    session: Option<MySqlConnection>,
    trouble: Trouble,
    ended: Arc<AtomicBool>,
}

impl Beating {
    async fn run(mut self, mut nudged: mpsc::UnboundedReceiver<Nudge>, ends: CancellationToken) {
        let mut is_ending = false;
        loop {
            let mut nudges = Vec::new();
            tokio::select! {
                nudge = nudged.recv() => match nudge {
                    Some(nudge) => nudges.push(nudge),
                    None => break,
                },
                () = tokio::time::sleep(self.pause.min(self.shortest_left())) => {}
                () = ends.cancelled(), if !is_ending => {
                    is_ending = true;
                    self.tell_shutdown();
                }
            }
            while let Ok(nudge) = nudged.try_recv() {
                nudges.push(nudge);
            }
            if self.ended.load(Ordering::Acquire) {
                break;
            }
            let outcome = self.beat().await;
            for nudge in nudges {
                let _ = nudge.send(outcome.clone());
            }
        }
    }

    fn tell_shutdown(&self) {
        for held in locked(&self.leases).values() {
            held.orders.send_modify(|orders| orders.shutdown = true);
        }
    }

    async fn beat(&mut self) -> Result<(), LeaseLost> {
        let beats = self.beats();
        metrics::held(beats.len());
        let began = Instant::now();
        let limit = self.shortest_left().clamp(SHORTEST_BEAT, BEAT_LIMIT);
        match tokio::time::timeout(limit, self.call(&beats)).await {
            Ok(Ok(answers)) => {
                metrics::beat(began.elapsed(), "answered");
                if let Some(seconds) = self.trouble.end() {
                    warn!(seconds, "heartbeats are answered again");
                }
                self.tell(&beats, &answers, began);
                Ok(())
            }
            Ok(Err(error)) => {
                metrics::beat(began.elapsed(), "refused");
                self.session = None;
                self.keep_checkpoints(beats);
                if self.trouble.is_news(&error) {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "no heartbeat; copies go on while their leases last, no swap starts"
                    );
                }
                give_up_what_ran_out(&self.leases, self.ttl);
                Err(LeaseLost(error.to_string()))
            }
            Err(_) => {
                metrics::beat(began.elapsed(), "unanswered");
                self.session = None;
                self.keep_checkpoints(beats);
                give_up_what_ran_out(&self.leases, self.ttl);
                let lost = LeaseLost("the control database is silent".to_owned());
                if self.trouble.is_news(&lost) {
                    // The next beat need not wait for it.
                    let control = self.control.clone();
                    tokio::spawn(async move {
                        let why = silence::why(&control).await;
                        warn!(
                            why,
                            "the control database is silent; copies go on while their leases last, no swap starts"
                        );
                    });
                }
                Err(lost)
            }
        }
    }

    // A report is sent once. One that is lost with its beat is followed by a newer one, but not so a checkpoint.
    fn beats(&self) -> Vec<Beat> {
        locked(&self.leases)
            .iter_mut()
            .map(|(operation_id, held)| Beat {
                operation_id: *operation_id,
                lease_token: held.token.clone(),
                progress: held.progress.take(),
                checkpoint: held.checkpoint.take(),
            })
            .collect()
    }

    fn keep_checkpoints(&self, beats: Vec<Beat>) {
        let mut leases = locked(&self.leases);
        for beat in beats {
            if let Some(held) = leases.get_mut(&beat.operation_id)
                && held.token == beat.lease_token
                && held.checkpoint.is_none()
            {
                held.checkpoint = beat.checkpoint;
            }
        }
    }

    async fn call(&mut self, beats: &[Beat]) -> Result<Vec<BeatAnswer>, ControlError> {
        let session = match &mut self.session {
            Some(session) => session,
            None => self.session.insert(self.control.connect().await?),
        };
        driver_heartbeat(session, &self.driver, beats).await
    }

    /// How long the first of the leases still lasts, if no beat comes through any more.
    fn shortest_left(&self) -> Duration {
        locked(&self.leases)
            .values()
            .filter(|held| !held.orders.borrow().lost)
            .map(|held| self.ttl.saturating_sub(held.confirmed.elapsed()))
            .min()
            .unwrap_or(self.ttl)
    }

    fn tell(&self, beats: &[Beat], answers: &[BeatAnswer], asked: Instant) {
        let mut leases = locked(&self.leases);
        for answer in answers {
            let held = leases.get_mut(&answer.operation_id);
            // An operation that was claimed anew while the beat was on its way is not what was asked about.
            let asked_about = |held: &Held| {
                beats.iter().any(|beat| {
                    beat.operation_id == answer.operation_id && beat.lease_token == held.token
                })
            };
            if let Some(held) = held.filter(|held| asked_about(held)) {
                if answer.is_held {
                    held.confirmed = asked;
                }
                held.orders.send_if_modified(|orders| {
                    let told = Orders {
                        directive: answer.directive,
                        throttle_level: answer.throttle_level,
                        lost: orders.lost || !answer.is_held,
                        shutdown: orders.shutdown,
                    };
                    let is_new = *orders != told;
                    *orders = told;
                    is_new
                });
                held.window.send_replace(answer.revert_seconds_left);
            }
        }
    }
}

/// Whoever asks may have such a lease by now, and nobody can be asked who: it is no longer ours.
fn give_up_what_ran_out(leases: &Leases, ttl: Duration) {
    for (operation, held) in locked(leases).iter() {
        let is_over = held.confirmed.elapsed() >= ttl;
        if is_over && !held.orders.borrow().lost {
            error!(
                operation = operation.0,
                "no heartbeat for as long as the lease lasts; it is given up"
            );
            held.orders.send_modify(|orders| orders.lost = true);
        }
    }
}

fn locked(leases: &Leases) -> std::sync::MutexGuard<'_, BTreeMap<OperationId, Held>> {
    leases.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_runs_out_by_the_moment_at_which_it_was_asked_for() {
        let (nudges, _nudged) = mpsc::unbounded_channel();
        let heart = Heart {
            leases: Leases::default(),
            nudges,
            shutdown: CancellationToken::new(),
            ended: Arc::default(),
            thread: Mutex::default(),
        };
        let ttl = Duration::from_secs(60);
        let now = Instant::now();
        // The answer of the second one came a minute late.
        let claimed = [
            (1, now),
            (2, now.checked_sub(ttl).expect("a minute of uptime")),
        ];
        let leases = claimed.map(|(operation, asked)| {
            let token = LeaseToken(format!("token {operation}"));
            heart.hold(OperationId(operation), "d", token, asked)
        });
        give_up_what_ran_out(&heart.leases, ttl);
        assert_eq!(leases.map(|lease| lease.is_lost()), [false, true]);
    }
}
