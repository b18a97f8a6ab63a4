//! One claimed operation, from its claim to the end of its lease.
//!
//! Each phase of work ends in a call that says what comes next; what a claim's state stands for is only where to begin.

use std::sync::Arc;
use std::time::Duration;

use tracing::{Instrument as _, error, error_span, info, warn};

use super::failure::{self, Failure};
use super::heart::Lease;
use super::metrics;
use super::{Resting, Work};
use crate::control::{self, Claim, Decision, ErrorCode, Report, State, operation_report};
use crate::engine::{Engine, EngineError, ErrorKind, Job, LeaseHolder, Outcome, Progress, Swapped};

/// How long a swap that is not settled is looked into before the operation is given to whoever asks next.
const UNKNOWN_SWAP_LOOKS: u32 = 10;
const UNKNOWN_SWAP_WAIT: Duration = Duration::from_secs(2);

/// Which work comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Copy,
    Hold,
    Swap,
    Window,
    Revert,
    CleanUp,
}

/// How a driver let go of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// A call ended it.
    Reported,
    /// Given back: the driver shuts down.
    Interrupted,
    LeaseLost,
    FailedRetryable,
    Failed,
    /// Given back: whoever asks next looks whether it has swapped.
    Unsettled,
}

pub(super) async fn execute(work: &Arc<Work>, claim: Claim) {
    // As errors are: a filter that lets a line pass lets its operation pass, too.
    let span = error_span!(
        "operation",
        operation = claim.operation_id.0,
        deployment = claim.deployment,
        epoch = claim.lease_epoch
    );
    let operation = claim.operation_id;
    async {
        info!(state = ?claim.state, "claimed");
        let token = claim.lease_token.clone();
        let lease = work
            .heart
            .hold(operation, &claim.deployment, token, claim.asked);
        // Dropped by a panic, too: nobody may keep a lease alive for what nobody works on.
        let _guard = LeaseGuard {
            work,
            claim: &claim,
        };
        let execution = Execution {
            work,
            claim: &claim,
            lease: &lease,
        };
        metrics::ended(execution.run().await);
    }
    .instrument(span)
    .await;
}

/// An operation whose lease is kept alive, until this is dropped.
struct LeaseGuard<'a> {
    work: &'a Work,
    claim: &'a Claim,
}

impl Drop for LeaseGuard<'_> {
    fn drop(&mut self) {
        let claim = self.claim;
        self.work
            .heart
            .let_go(claim.operation_id, &claim.lease_token);
    }
}

pub(super) struct Execution<'a> {
    pub(super) work: &'a Work,
    pub(super) claim: &'a Claim,
    pub(super) lease: &'a Arc<Lease>,
}

impl Execution<'_> {
    async fn run(&self) -> Ended {
        let Some(phase) = first_phase(self.claim.state) else {
            error!(state = ?self.claim.state, "no driver is needed in this state; giving the lease back");
            self.release().await;
            return Ended::Interrupted;
        };
        let is_unsettled = phase == Phase::Swap && self.claim.is_recovery;
        let mut looks = 0;
        let mut engine = loop {
            match open_engine(self.work, self.claim, Arc::clone(self.lease) as _).await {
                Ok(engine) => break engine,
                // Not a failed swap: nobody knows that.
                Err(error) if is_unsettled && error.kind() != ErrorKind::LeaseLost => {
                    if !self.looks_again(&mut looks, &error.of_unsettled()).await {
                        self.release().await;
                        return Ended::Unsettled;
                    }
                }
                Err(error) => {
                    // What is past its copy, or was taken over, is to be done as soon as it can be: a right that is missing may come
                    // back, or another driver has it. A copy that is retried or resumed may still fail here.
                    let is_under_way = phase != Phase::Copy || self.claim.is_recovery;
                    let is_to_be_done = is_under_way && error.kind() == ErrorKind::Permanent;
                    let error = match is_to_be_done {
                        true => EngineError::retryable(error.message()),
                        false => error,
                    };
                    return self.fail(None, phase, error.into()).await;
                }
            }
        };
        if is_unsettled {
            engine.may_have_swapped();
        }
        let mut phase = phase;
        let ended = loop {
            match self.work_on(&mut engine, phase).await {
                Ok(Next::Phase(next)) => phase = next,
                Ok(Next::End(ended)) => break ended,
                Err(failure) => return self.fail(Some(engine), phase, failure).await,
            }
        };
        // The turn has passed on; a large old table may take its time.
        if ended == Ended::Reported {
            match engine.remove_due().await {
                Ok(0) => {}
                Ok(tables) => info!(tables, "dropped what was due"),
                Err(error) => {
                    warn!(%error, "what is due stays; the next operation here tries again")
                }
            }
        }
        engine.close().await;
        if ended == Ended::Interrupted {
            self.release().await;
        }
        ended
    }

    async fn work_on(&self, engine: &mut Engine, phase: Phase) -> Result<Next, Failure> {
        let _resting =
            matches!(phase, Phase::Hold | Phase::Window).then(|| Resting::new(self.work));
        match phase {
            Phase::Copy => match engine.copy().await? {
                Outcome::Verified => self.arrive().await,
                other => self.obey(other).await,
            },
            Phase::Hold => match engine.keep_current().await? {
                Outcome::CutoverAsked => self.begin_cutover().await,
                other => self.obey(other).await,
            },
            Phase::Swap => self.swap(engine).await,
            Phase::Window => match engine.keep_reverse(self.lease.window()).await? {
                Outcome::RevertAsked => self.begin(Report::BeginRevert, Phase::Revert).await,
                Outcome::WindowOver => self.end_window(engine).await,
                other => self.obey(other).await,
            },
            Phase::Revert => {
                engine.revert().await?;
                match engine.remove_artifacts().await {
                    // The tables are back, whatever this account may not do with what is left.
                    Err(error) if error.kind() == ErrorKind::Permanent => {
                        warn!(%error, "the changed table is left where it was; `lockkeeper doctor` lists it");
                    }
                    removed => removed?,
                }
                self.report(Report::Reverted).await
            }
            Phase::CleanUp => {
                if let Some(what) = engine.in_force().await? {
                    // "Cancelled" would say that nothing was changed. Told first: who comes after a clean-up finds no trace of it.
                    let message = format!("the cancel came too late for all of it: {what}");
                    self.report_failure(&message, false).await?;
                    failure::give_up(engine).await;
                    return Ok(Next::End(Ended::Failed));
                }
                engine.remove_artifacts().await?;
                self.report(Report::Cancelled).await
            }
        }
    }

    /// What every phase may come to, whatever it was.
    async fn obey(&self, outcome: Outcome) -> Result<Next, Failure> {
        match outcome {
            Outcome::Stopped => self.report(Report::Stopped).await,
            Outcome::CancelAsked => Ok(Next::Phase(Phase::CleanUp)),
            Outcome::Interrupted => Ok(Next::End(Ended::Interrupted)),
            Outcome::WindowClosed(why) => Err(EngineError::permanent(why).into()),
            // Each of these is the answer of one phase only, which has seen to it.
            Outcome::Verified
            | Outcome::CutoverAsked
            | Outcome::RevertAsked
            | Outcome::WindowOver => Err(EngineError::retryable(
                "the engine ended a phase with another phase's outcome; this is a defect of lockkeeper; report it",
            )
            .into()),
        }
    }

    async fn arrive(&self) -> Result<Next, Failure> {
        let claim = self.claim;
        let decision = self
            .work
            .sessions
            .persist("arrive", claim, |session, claim| {
                Box::pin(control::operation_arrive(
                    session,
                    claim.operation_id,
                    &claim.lease_token,
                ))
            })
            .await?;
        info!(?decision, "copied and verified");
        Ok(match decision {
            Decision::Parked | Decision::Stop => Next::End(Ended::Reported),
            Decision::Hold => Next::Phase(Phase::Hold),
            Decision::CutOver => Next::Phase(Phase::Swap),
            Decision::Cancel => Next::Phase(Phase::CleanUp),
        })
    }

    async fn begin_cutover(&self) -> Result<Next, Failure> {
        match self.begin(Report::BeginCutover, Phase::Swap).await {
            // The gate has shut again meanwhile: go on holding.
            Err(Failure::Control(error)) if error.code() == Some(ErrorCode::IllegalMove) => {
                info!(%error, "not yet");
                Ok(Next::Phase(Phase::Hold))
            }
            other => other,
        }
    }

    async fn begin(&self, report: Report, phase: Phase) -> Result<Next, Failure> {
        self.report(report).await?;
        Ok(Next::Phase(phase))
    }

    async fn swap(&self, engine: &mut Engine) -> Result<Next, Failure> {
        let mut looks = 0;
        let mut first = None;
        let swapped = loop {
            match self.swap_once(engine, &mut first).await {
                Err(error) if error.kind() == ErrorKind::SwapUnknown => {
                    engine.may_have_swapped();
                    if !self.looks_again(&mut looks, &error).await {
                        return Err(error.into());
                    }
                }
                outcome => break outcome?,
            }
        };
        metrics::swapped(&self.claim.deployment, swapped.locked_for, swapped.gave_way);
        let detail = serde_json::json!({
            "locked_milliseconds": swapped.locked_for.as_secs_f64() * 1000.0,
            "attempts": swapped.gave_way + 1,
        });
        let claim = self.claim;
        let state = self
            .work
            .sessions
            .persist("swapped", &(claim, &detail), |session, (claim, detail)| {
                Box::pin(control::operation_swapped(
                    session,
                    claim.operation_id,
                    &claim.lease_token,
                    detail,
                ))
            })
            .await?;
        info!(?state, %detail, "swapped");
        Ok(match state {
            State::RevertWindow => Next::Phase(Phase::Window),
            State::Running
            | State::WaitingForCutover
            | State::CuttingOver
            | State::Reverting
            | State::FailedRetryable
            | State::Stopped
            | State::Cancelling
            | State::Completed
            | State::Failed
            | State::Cancelled
            | State::Reverted => Next::End(Ended::Reported),
        })
    }

    /// Waits before the next look at a swap that is not settled; false where it is somebody else's turn.
    async fn looks_again(&self, looks: &mut u32, error: &EngineError) -> bool {
        *looks += 1;
        if *looks > UNKNOWN_SWAP_LOOKS || self.lease.orders().borrow().shutdown {
            return false;
        }
        warn!(%error, "looking at the tables again");
        self.lease.report(Progress {
            phase: "cutover".into(),
            throttled_by: Some(error.message()),
            ..Progress::default()
        });
        tokio::time::sleep(UNKNOWN_SWAP_WAIT).await;
        true
    }

    /// `first`: what the swap itself took, which a later look does not know.
    async fn swap_once(
        &self,
        engine: &mut Engine,
        first: &mut Option<Swapped>,
    ) -> Result<Swapped, EngineError> {
        let swapped = engine.cut_over().await?;
        let swapped = first.get_or_insert(swapped).clone();
        // Without a window there is nothing left to do for the old table but to set it aside.
        if self.claim.revert_window().is_zero() {
            match engine.finish().await.map_err(EngineError::after_swap) {
                // The change is made, whatever this account may not do with what is left of it.
                Err(error) if error.kind() == ErrorKind::Permanent => {
                    warn!(%error, "the old table is left where it was; `lockkeeper doctor` lists it");
                }
                finished => finished?,
            }
        }
        Ok(swapped)
    }

    /// The old table is set aside only when the control database has closed the window: until then a revert may be asked
    /// for. Nobody takes over a completed operation, so that no lease is needed for it.
    async fn end_window(&self, engine: &mut Engine) -> Result<Next, Failure> {
        match self.report(Report::Complete).await {
            // A sibling's swap has prolonged it, or a revert came first.
            Err(Failure::Control(error)) if error.code() == Some(ErrorCode::IllegalMove) => {
                info!(%error, "the window stays open");
                Ok(Next::Phase(Phase::Window))
            }
            Ok(next) => {
                failure::put_aside(engine).await;
                Ok(next)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn report(&self, report: Report) -> Result<Next, Failure> {
        let claim = self.claim;
        let state = self
            .work
            .sessions
            .persist("report", &(claim, report), |session, (claim, report)| {
                Box::pin(operation_report(
                    session,
                    *report,
                    claim.operation_id,
                    &claim.lease_token,
                ))
            })
            .await?;
        info!(?report, ?state, "reported");
        Ok(Next::End(Ended::Reported))
    }

    pub(super) async fn release(&self) {
        let claim = self.claim;
        let released = self
            .work
            .sessions
            .persist("release", claim, |session, claim| {
                Box::pin(control::operation_release(
                    session,
                    claim.operation_id,
                    &claim.lease_token,
                ))
            })
            .await;
        match released {
            Ok(is_released) => info!(is_released, "gave the lease back"),
            Err(error) => warn!(%error, "the lease could not be given back; it runs out by itself"),
        }
    }
}

/// Opens the engine of an operation: its sessions on the deployment, and the fence that keeps everybody else out.
pub(super) async fn open_engine(
    work: &Work,
    claim: &Claim,
    lease: Arc<dyn LeaseHolder>,
) -> Result<Engine, EngineError> {
    let target = work
        .options
        .access
        .to(&claim.deployment, &claim.host, claim.port)
        .await
        .map_err(|error| EngineError::retryable(error.to_string()))?;
    let job = Job {
        installation: work.registration.installation.clone(),
        operation_id: claim.operation_id.0,
        lease_epoch: claim.lease_epoch,
        schema_name: claim.schema_name.clone(),
        tasks: claim.tasks.clone(),
        options: claim.options.get("engine").cloned().unwrap_or_default(),
        revert_window_seconds: claim.revert_window().as_secs(),
        is_under_way: match first_phase(claim.state) {
            Some(Phase::Window | Phase::Revert) => true,
            Some(Phase::Swap) => claim.is_recovery,
            Some(Phase::Copy | Phase::Hold | Phase::CleanUp) | None => false,
        },
    };
    Engine::open(target.into(), job, lease).await
}

enum Next {
    Phase(Phase),
    End(Ended),
}

/// The work that a claimed state stands for.
fn first_phase(state: State) -> Option<Phase> {
    match state {
        State::Running => Some(Phase::Copy),
        State::WaitingForCutover => Some(Phase::Hold),
        State::CuttingOver => Some(Phase::Swap),
        State::RevertWindow => Some(Phase::Window),
        State::Reverting => Some(Phase::Revert),
        State::Cancelling => Some(Phase::CleanUp),
        State::FailedRetryable
        | State::Stopped
        | State::Completed
        | State::Failed
        | State::Cancelled
        | State::Reverted => None,
    }
}
