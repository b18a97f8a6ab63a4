//! The driver: claims operations and executes them, beats for all of its leases, gives them back when it is told to end.
//!
//! It decides nothing about order. What may happen next is what a call answers; a state only selects the work that it stands for.

pub(crate) mod child;
mod failure;
mod heart;
pub mod metrics;
mod operation;
mod session;
mod silence;
mod tend;
mod trouble;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng as _;
use sqlx::MySql;
use sqlx::pool::PoolConnection;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Access, ConnectionSettings};
use crate::control::{self, Claim, ControlError, DriverName, OperationId, Registration, Scope};
use crate::install::{API_VERSION, PROGRAM_VERSION};

use heart::Heart;
use session::Sessions;
use trouble::Trouble;

/// How a driver works.
#[derive(Debug, Clone)]
pub struct DriveOptions {
    pub name: DriverName,
    pub scope: Scope,
    /// How many operations at once.
    pub concurrency: usize,
    /// How it gets into the deployments; their addresses come with the claims.
    pub access: Access,
    /// End when there is nothing to do, instead of asking again.
    pub until_idle: bool,
    /// How long it may take to give its leases back, once it is told to end.
    pub end_within: Duration,
}

/// Less than what a service manager waits for before it kills.
pub const END_WITHIN: Duration = Duration::from_secs(45);

/// Why a driver cannot work, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("no metrics at {at} ({reason}); pass a free address with --metrics-listen")]
    Metrics {
        at: std::net::SocketAddr,
        reason: String,
    },
    /// Leases would run out under the work.
    #[error(
        "no heartbeat ({0}); the driver ends, and its leases run out by themselves: raise the limit of threads, or start it again"
    )]
    Heartbeat(String),
    /// It was told to end, and something does not answer.
    #[error("{0}")]
    Late(String),
}

/// A name has at most 64 characters.
const LONGEST_NAME: usize = 64;

/// A name that no other driver has: the prefix, host, process, and a random end.
pub fn unique_name(prefix: &str) -> DriverName {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let random: u16 = rand::rng().random();
    let end = format!("-{}-{random:04x}", std::process::id());
    let room = LONGEST_NAME.saturating_sub(prefix.len() + end.len());
    let host: String = host.chars().take(room.min(40)).collect();
    DriverName(format!("{prefix}{host}{end}"))
}

/// Ends when somebody who was told to end has taken longer than `limit` for it.
pub async fn is_late(told: CancellationToken, limit: Duration) {
    told.cancelled().await;
    tokio::time::sleep(limit).await;
}

/// Claims and executes until `shutdown` is cancelled; then gives every lease back and returns.
///
/// # Errors
///
/// [`DriveError::Control`] if the driver is refused at registration. Later trouble with the control database is waited out.
/// [`DriveError::Heartbeat`] if nothing beats for its leases. [`DriveError::Late`] if a server that does not answer keeps it from its end.
pub async fn drive(
    control: &ConnectionSettings,
    options: DriveOptions,
    shutdown: CancellationToken,
) -> Result<(), DriveError> {
    let end_within = options.end_within;
    let late = is_late(shutdown.clone(), end_within);
    tokio::pin!(late);
    let sessions = Sessions::new(control);
    let registration = tokio::select! {
        registration = register(&sessions, &options) => registration?,
        () = &mut late => return Err(unfinished(&[], end_within, Duration::ZERO)),
    };
    info!(driver = options.name.0, "registered");
    let heart = Heart::start(control, &options.name, &registration, shutdown.clone())
        .map_err(|error| DriveError::Heartbeat(error.to_string()))?;
    let work = Arc::new(Work {
        sessions,
        heart,
        options,
        registration,
        // The turn may pass to a sibling in the call that ends an operation: look at once.
        ended: Notify::new(),
        tending: Arc::new(Semaphore::new(1)),
        resting: AtomicUsize::new(0),
        trouble: Mutex::default(),
        trouble_of_tending: Mutex::default(),
    });
    // Not in the select itself, which would drop it before it is told what is held: its tasks end with it, and let their leases go.
    let working = work_until(&work, shutdown);
    tokio::pin!(working);
    tokio::select! {
        () = &mut working => Ok(()),
        () = work.heart.has_died() => Err(DriveError::Heartbeat("its thread has died".to_owned())),
        () = late => Err(unfinished(
            &work.heart.held(),
            end_within,
            work.registration.lease_ttl,
        )),
    }
}

/// What is under way is left as a crash would leave it. `held`: operations with their deployments.
fn unfinished(held: &[(OperationId, String)], waited: Duration, lease: Duration) -> DriveError {
    let waited = waited.as_secs();
    let left = match held {
        [] => "no lease is known to be held".to_owned(),
        held => {
            let held: Vec<String> = held
                .iter()
                .map(|(operation, deployment)| format!("operation {} on {deployment}", operation.0))
                .collect();
            format!(
                "left as a crash would leave it: {}. A lease runs out by itself within {} s; the next driver then goes on from \
                 the checkpoint, and nothing is lost",
                held.join(", "),
                lease.as_secs()
            )
        }
    };
    DriveError::Late(format!(
        "the driver was told to end {waited} s ago, and a deployment or the control database does not let it end in order; is a \
         server stopped, or its disk full? It ends now; {left}"
    ))
}

async fn work_until(work: &Arc<Work>, shutdown: CancellationToken) {
    let mut running = JoinSet::new();
    while !shutdown.is_cancelled() {
        while let Some(ended) = running.try_join_next() {
            log_defect(ended);
        }
        let busy = running
            .len()
            .saturating_sub(work.resting.load(Ordering::Acquire));
        let has_room = busy < work.options.concurrency;
        let asked = match has_room {
            true => work.claim().await,
            false => Asked::Nothing,
        };
        // What is parked is caught up by who has nothing better to do, one at a time.
        let is_idle = matches!(asked, Asked::Nothing) && has_room && !work.options.until_idle;
        if is_idle && let Ok(permit) = Arc::clone(&work.tending).try_acquire_owned() {
            let (work, shutdown) = (Arc::clone(work), shutdown.clone());
            running.spawn(async move {
                let _resting = Resting::new(&work);
                let was_one = tend::tend_one(&work, shutdown).await;
                drop(permit);
                if was_one {
                    work.ended.notify_one();
                }
            });
        }
        match asked {
            Asked::Claimed(claim) => {
                let work = Arc::clone(work);
                running.spawn(async move {
                    operation::execute(&work, claim).await;
                    work.ended.notify_one();
                });
            }
            Asked::Nothing if work.options.until_idle && running.is_empty() => break,
            Asked::Nothing | Asked::Unanswered => {
                tokio::select! {
                    () = tokio::time::sleep(work.poll_wait()) => {}
                    () = work.ended.notified() => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
    }
    while let Some(ended) = running.join_next().await {
        log_defect(ended);
    }
    work.heart.stop().await;
}

/// Its lease runs out, and whoever asks next goes on from the checkpoint.
fn log_defect(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "work on an operation broke off; this is a defect of lockkeeper; report it");
    }
}

async fn register(
    sessions: &Sessions,
    options: &DriveOptions,
) -> Result<Registration, ControlError> {
    let (name, scope) = (&options.name, &options.scope);
    sessions
        .call(async |session| {
            control::driver_register(session, name, PROGRAM_VERSION, API_VERSION, scope).await
        })
        .await
}

/// What the tasks of a driver share.
struct Work {
    sessions: Sessions,
    heart: Heart,
    options: DriveOptions,
    registration: Registration,
    ended: Notify,
    /// One at a time catches up what is parked.
    tending: Arc<Semaphore>,
    /// How many of its tasks only keep tables current; see [`Resting`].
    resting: AtomicUsize,
    /// With claims.
    trouble: Mutex<Trouble>,
    trouble_of_tending: Mutex<Trouble>,
}

/// What came of asking for work.
enum Asked {
    Claimed(Claim),
    Nothing,
    /// There may be work.
    Unanswered,
}

/// A task that waits for others, perhaps for hours: it counts for nothing, or those that it waits for might find no room.
struct Resting<'a>(&'a Work);

impl<'a> Resting<'a> {
    fn new(work: &'a Work) -> Self {
        work.resting.fetch_add(1, Ordering::AcqRel);
        work.ended.notify_one();
        Self(work)
    }
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.resting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Work {
    /// Swaps first: they are short, and siblings wait for them.
    async fn claim(&self) -> Asked {
        self.heard(&self.trouble, self.try_claim().await)
    }

    /// Tells of the trouble that was had in asking, and of its end.
    fn heard(
        &self,
        trouble: &Mutex<Trouble>,
        answer: Result<Option<Claim>, ControlError>,
    ) -> Asked {
        let mut trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(claim) => {
                if let Some(seconds) = trouble.end() {
                    warn!(seconds, "claims are answered again");
                }
                claim.map_or(Asked::Nothing, Asked::Claimed)
            }
            Err(error) => {
                metrics::control_error();
                if trouble.is_news(&error) {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "no claim; it is asked again until it is answered"
                    );
                }
                Asked::Unanswered
            }
        }
    }

    async fn try_claim(&self) -> Result<Option<Claim>, ControlError> {
        let (driver, scope) = (&self.options.name, &self.options.scope);
        let claim = async |session: &mut PoolConnection<MySql>| {
            let swap = control::operation_claim_cutover(session, driver, scope).await?;
            if swap.is_some() {
                metrics::claimed("cutover");
                return Ok(swap);
            }
            let copy = control::operation_claim_copy(session, driver, scope).await?;
            if copy.is_some() {
                metrics::claimed("copy");
            }
            Ok(copy)
        };
        self.sessions.call(claim).await
    }

    async fn claim_tending(&self) -> Asked {
        let (driver, scope) = (&self.options.name, &self.options.scope);
        let answer = self
            .sessions
            .call(async |session| control::operation_tend(session, driver, scope).await)
            .await;
        self.heard(&self.trouble_of_tending, answer)
    }

    // Spread, so that a crowd of drivers that were started together does not ask together.
    fn poll_wait(&self) -> Duration {
        self.registration
            .poll
            .mul_f64(rand::rng().random_range(0.75..1.25))
    }
}
