//! The pipeline of a change that is under way: stream, applier, and what watches over both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::MySqlConnection;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::apply::{Applied, Applier, Pace, Parts};
use super::drain::Drain;
use super::position::{self, Place};
use crate::engine::EngineError;
use crate::engine::binlog::capture::Capture;
use crate::engine::binlog::gtid::Position;
use crate::engine::context::{Context, lease_is_lost, no_answer};
use crate::engine::conversion::staging::{Extras, Staging};
use crate::engine::session::{Session, end_session};
use crate::engine::state::checkpoint::run;
use crate::engine::table::original::check_original;
use crate::engine::table::storage::Stored;
use crate::engine::table::{Way, dependents};
use crate::engine::throttle::{self, adaptive};

/// An applier that is to stop may write its batch for so long. One that waits for a lock, or for a server whose disk is full,
/// would take as long as that lasts.
const LONGEST_STOP: Duration = Duration::from_secs(15);

/// So long the server may take to end such an applier's session.
const LONGEST_CUT: Duration = Duration::from_secs(15);

/// Stream and applier at work. Dropping it ends them.
pub struct Running {
    pub context: Arc<Context>,
    pub place: Arc<Place>,
    pace: watch::Sender<Pace>,
    applied: watch::Receiver<Applied>,
    applier: Option<Runner>,
    watcher: JoinHandle<()>,
    throttle: Option<JoinHandle<()>>,
    adaptive: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watcher.abort();
        for task in [&self.throttle, &self.adaptive].into_iter().flatten() {
            task.abort();
        }
        if let Some(runner) = &self.applier {
            runner.task.abort();
        }
    }
}

/// Which of the two tables the stream's changes go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// From the original to its shadow.
    Forward,
    /// From the changed table to the former one.
    Back,
}

/// An applier in a task of its own.
struct Runner {
    stop: CancellationToken,
    task: JoinHandle<Applier>,
    /// See [`Applier::writes_on`].
    writes_on: Arc<AtomicU64>,
}

impl Running {
    /// Starts the stream after `from`.
    pub fn start(context: &Arc<Context>, from: Position, flow: Flow) -> Result<Self, EngineError> {
        let owner = context.sessions.owner();
        let mut staging = Vec::new();
        for (index, plan) in context.plans.iter().enumerate() {
            staging.push(match plan.way {
                Way::Copy => {
                    let extras = match flow {
                        Flow::Forward => Extras::there(plan),
                        Flow::Back => Extras::back(plan),
                    };
                    let name = owner.artifact(&format!("stage_{index}"));
                    Some(Staging::of_plan(plan, &name, &extras)?)
                }
                Way::Instant | Way::InPlaceMetadata | Way::Create | Way::Drop => None,
            });
        }
        let told = Arc::clone(context);
        let capture = Capture::start(
            context.sessions.target().clone(),
            owner.clone(),
            context.layouts.clone(),
            from.clone(),
            move |unheard| {
                told.progress.unheard(unheard);
                told.report();
            },
        );
        let (pace, pace_receiver) = watch::channel(Pace::Gather);
        let (suspicious, statements) = mpsc::unbounded_channel();
        let (applier, applied) = Applier::new(Parts {
            sessions: context.sessions.clone(),
            store: context.store.clone(),
            routing: Arc::clone(&context.routing),
            concurrency: Arc::clone(&context.concurrency),
            staging: Arc::new(staging),
            capture,
            position: from,
            pace: pace_receiver,
            suspicious,
            plans: context.plans.clone().into(),
            flow,
        });
        let place = Arc::new(Place::new(applied.clone(), context.gtid));
        let watcher = watch_originals(Arc::clone(context), statements);
        let watcher = tokio::spawn(watcher.in_current_span());
        // The way back only catches up, which never yields.
        let throttle = (flow == Flow::Forward && !context.options.throttle.is_empty())
            .then(|| tokio::spawn(throttle::watch(Arc::clone(context)).in_current_span()));
        let adaptive = (flow == Flow::Forward)
            .then(|| tokio::spawn(adaptive::watch(Arc::clone(context)).in_current_span()));
        Ok(Self {
            throttle,
            adaptive,
            context: Arc::clone(context),
            place,
            pace,
            applied,
            applier: Some(spawn(applier, context)),
            watcher,
        })
    }

    pub fn set_pace(&self, pace: Pace) {
        self.pace.send_replace(pace);
    }

    pub fn applied(&self) -> Applied {
        self.applied.borrow().clone()
    }

    pub fn watch_applied(&self) -> watch::Receiver<Applied> {
        self.applied.clone()
    }

    /// Stops the applier where it is; [`Running::resume`] lets it go on. Who gives this up may call it again.
    pub async fn pause(&mut self) -> Result<Applier, EngineError> {
        let Some(runner) = &mut self.applier else {
            return Err(EngineError::retryable("the applier is not running"));
        };
        runner.stop.cancel();
        let ended = (&mut runner.task).await;
        self.applier = None;
        ended.map_err(|e| EngineError::retryable(format!("the applier broke: {e}")))
    }

    pub fn resume(&mut self, applier: Applier) {
        self.applier = Some(spawn(applier, &self.context));
    }

    /// Ends everything in order. After that nothing more is written, unless a server that does not answer does so later: whoever
    /// goes on with the operation ends its sessions first.
    pub async fn close(mut self) {
        match tokio::time::timeout(LONGEST_STOP, self.pause()).await {
            Ok(Ok(applier)) => applier.close().await,
            Ok(Err(error)) => tracing::debug!(%error, "there is no applier to close"),
            Err(_) => self.cut_off().await,
        }
    }

    /// Ends an applier in the middle of its batch, and the session that carries it out.
    async fn cut_off(&mut self) {
        let Some(runner) = self.applier.take() else {
            return;
        };
        runner.task.abort();
        // Dropped by its task, it sends nothing more.
        let _ = runner.task.await;
        let id = match runner.writes_on.load(Ordering::SeqCst) {
            0 => return,
            id => id,
        };
        let sessions = &self.context.sessions;
        let ended = async {
            let mut session = sessions.open().await?;
            end_session(&mut session, id).await?;
            session.close().await;
            Ok::<_, EngineError>(())
        };
        let ended = tokio::time::timeout(LONGEST_CUT, ended).await;
        match ended.unwrap_or_else(|_| Err(no_answer())) {
            Ok(()) => tracing::info!(
                session = id,
                "the applier was ended in the middle of a batch"
            ),
            Err(error) => tracing::warn!(
                session = id, %error,
                "the applier's session could not be ended; whoever goes on with the operation does that first"
            ),
        }
    }
}

fn spawn(mut applier: Applier, context: &Arc<Context>) -> Runner {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let writes_on = applier.writes_on();
    let context = Arc::clone(context);
    let applying = async move {
        let mut orders = context.watch_orders();
        let lost = async {
            if orders.wait_for(|orders| orders.lost).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let unheard = applier.unheard();
        // Whatever the driver is waiting for meanwhile: without a lease nothing is written.
        let ended = tokio::select! {
            ended = applier.run(&stopped) => ended,
            () = lost => Err(lease_is_lost()),
            () = unheard => Err(no_answer()),
        };
        if let Err(error) = ended {
            context.fail(error);
        }
        applier
    };
    let task = tokio::spawn(applying.in_current_span());
    Runner {
        stop,
        task,
        writes_on,
    }
}

/// Looks at the originals whenever a statement named one of them and changed no row.
async fn watch_originals(context: Arc<Context>, mut statements: mpsc::UnboundedReceiver<String>) {
    while let Some(statement) = statements.recv().await {
        let looked = async {
            let mut session = context.sessions.open().await?;
            let when = format!("by this statement or a later one: {statement}");
            check_originals(&context, &mut session, &when).await?;
            session.close().await;
            Ok(())
        };
        match looked.await {
            Ok(()) => {
                context.acquitted.fetch_add(1, Ordering::SeqCst);
            }
            // Before the swap, its drain looks again.
            Err(error) if context.swapping.load(Ordering::SeqCst) => {
                let error: EngineError = error;
                tracing::debug!(%error, "an original is being swapped");
            }
            Err(error) => {
                context.fail(error);
                return;
            }
        }
    }
}

async fn check_originals(
    context: &Context,
    session: &mut Session,
    when: &str,
) -> Result<(), EngineError> {
    for index in context.copied() {
        if let Some(original) = &context.plans[index].original {
            check_original(session, original, when).await?;
            dependents::refuse(session, &original.schema, &original.name).await?;
        }
    }
    Ok(())
}

/// The rest of the stream, for the swap.
pub struct SwapDrain<'a> {
    pub applier: &'a mut Applier,
    pub context: &'a Context,
    pub helper: Mutex<Session>,
    /// What was committed when the locks were granted, if [`Drain::gather`] has asked for it.
    pub target: Option<Position>,
}

impl SwapDrain<'_> {
    async fn catch_up(&mut self) -> Result<(), EngineError> {
        let helper = self.helper.get_mut();
        let target = position::current(helper, self.context.gtid).await?;
        if !self.context.gtid {
            let mark = self.context.store.mark()?;
            run(helper.connection(), mark, position::PASSING).await?;
        }
        self.applier.catch_up(&target, helper).await
    }

    /// Has somebody emptied an original or a column of it, or replaced it? The stream need not tell: a session may keep out of the
    /// binlog what it does. Not under the lock: the server looks through all of its tables for a number.
    async fn refuse_others(&mut self) -> Result<(), EngineError> {
        let helper = self.helper.get_mut();
        for index in self.context.copied() {
            if let Some(original) = &self.context.plans[index].original {
                let now = Stored::of(helper, &original.schema, &original.name).await?;
                if now.ids != original.storage_ids || now.row_versions != original.row_versions {
                    check_original(helper, original, "before its swap").await?;
                }
            }
        }
        Ok(())
    }
}

impl Drain for SwapDrain<'_> {
    fn prepare<'a>(
        &'a mut self,
        session: &'a mut MySqlConnection,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            self.target = None;
            self.applier.prepare(session).await?;
            self.refuse_others().await?;
            // Twice: the second round is short, so that little is left for the lock.
            self.catch_up().await?;
            self.catch_up().await
        })
    }

    fn tables(&self) -> Vec<String> {
        vec![self.context.store.table().to_owned()]
    }

    fn prepared(&self) -> Option<(String, Duration)> {
        self.applier.prepared()
    }

    fn yields(&self, reason: &str) {
        self.context.progress.throttled_by(Some(reason.to_owned()));
        self.context.report();
    }

    fn gather<'a>(&'a mut self, deadline: Instant) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            // Without GTIDs a mark is written after the place, by the session that has locked the table for it.
            if self.context.gtid {
                let target = position::current(self.helper.get_mut(), true).await?;
                let target = self.target.insert(target);
                self.applier.gather(target, deadline.into()).await?;
            }
            Ok(())
        })
    }

    fn drain<'a>(
        &'a mut self,
        session: &'a mut MySqlConnection,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            let helper = self.helper.get_mut();
            let target = match self.target.take() {
                Some(target) => target,
                None => position::current(helper, self.context.gtid).await?,
            };
            if !self.context.gtid {
                let mark = format!("{}; COMMIT", self.context.store.mark()?);
                run(session, mark, position::PASSING).await?;
            }
            self.applier
                .drain(session, &target, deadline.into())
                .await?;
            // Somebody may have emptied a table while the swap waited for its lock, which no definition shows. Now nobody can.
            if self.applier.suspected() != self.context.acquitted.load(Ordering::SeqCst) {
                let when = "while the swap waited for its lock";
                check_originals(self.context, helper, when).await?;
            }
            Ok(())
        })
    }
}
