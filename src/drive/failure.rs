//! What comes of work that went wrong: reported, given back, or nobody's business any more.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{error, info, warn};

use super::operation::{Ended, Execution, Phase};
use crate::control::{self, ControlError, ErrorCode, State};
use crate::engine::{Engine, EngineError, ErrorKind, LeaseHolder as _};
use crate::server_error;

/// A failure is not kept back for longer by what would be good to know besides.
const IN_FORCE_LIMIT: Duration = Duration::from_secs(10);

/// A server that restarts is back within that.
const FINISH_ATTEMPTS: u32 = 10;
const FINISH_WAIT: Duration = Duration::from_secs(2);

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl Failure {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Engine(error) => error.kind(),
            Self::Control(error) if error.code() == Some(ErrorCode::LeaseLost) => {
                ErrorKind::LeaseLost
            }
            Self::Control(_) => ErrorKind::Retryable,
        }
    }

    /// With its causes: an operator reads this in the views.
    fn message(&self) -> String {
        match self {
            Self::Engine(error) => error.message(),
            Self::Control(error) => server_error::with_causes(error),
        }
    }
}

impl Execution<'_> {
    /// Reports a failure, unless the lease is somebody else's by now: then nothing may be touched.
    pub(super) async fn fail(
        &self,
        engine: Option<Engine>,
        phase: Phase,
        failure: Failure,
    ) -> Ended {
        let kind = failure.kind();
        if self.lease.is_lost() || kind == ErrorKind::LeaseLost {
            error!(%failure, "the lease was lost; this driver touches the deployment no more");
            if let Some(engine) = engine {
                engine.abandon();
            }
            // The control database may still have it as ours, where it only was not confirmed in time.
            self.release().await;
            return Ended::LeaseLost;
        }
        let is_retryable = kind != ErrorKind::Permanent;
        let mut message = failure.message();
        if is_retryable && self.lease.orders().borrow().shutdown {
            // A shutdown spends no attempt, wherever it came in between: whoever asks next goes on from here.
            info!(reason = message, ?phase, "interrupted");
            return self.give_back(engine, Ended::Interrupted).await;
        }
        // A swap that may have taken place can't be reported as failed; a way back can, and is tried again later.
        if kind == ErrorKind::SwapUnknown && phase != Phase::Revert {
            error!(
                error = message,
                "not settled; it is looked into by whoever asks next"
            );
            return self.give_back(engine, Ended::Unsettled).await;
        }
        if !is_retryable && phase == Phase::Window {
            warn!(reason = message, "there is no way back any more");
        } else {
            error!(error = message, is_retryable, ?phase, "failed");
        }
        let mut engine = engine;
        if let Some(engine) = &mut engine
            && (phase == Phase::Swap || !is_retryable)
            && let Ok(Ok(Some(what))) = timeout(IN_FORCE_LIMIT, engine.in_force()).await
        {
            message.push_str(&format!("; {what}"));
        }
        match self.report_failure(&message, is_retryable).await {
            Err(error) => {
                warn!(%error, "the failure could not be reported");
                close(engine).await;
                Ended::LeaseLost
            }
            // A window that closed for good leaves the former table to be put aside, but not before the control database knows.
            Ok(State::Completed) => {
                if let Some(engine) = &mut engine {
                    put_aside(engine).await;
                }
                close(engine).await;
                Ended::Reported
            }
            // What nobody will resume is taken away, once the control database knows: who comes after that finds no trace of why.
            Ok(State::Failed) => {
                if let Some(engine) = &mut engine {
                    give_up(engine).await;
                }
                close(engine).await;
                Ended::Failed
            }
            Ok(_) => {
                close(engine).await;
                Ended::FailedRetryable
            }
        }
    }

    async fn give_back(&self, engine: Option<Engine>, ended: Ended) -> Ended {
        close(engine).await;
        self.release().await;
        ended
    }

    pub(super) async fn report_failure(
        &self,
        message: &str,
        is_retryable: bool,
    ) -> Result<State, ControlError> {
        let claim = self.claim;
        self.work
            .sessions
            .persist(
                "fail",
                &(claim, message, is_retryable),
                |session, (claim, message, is_retryable)| {
                    Box::pin(control::operation_fail(
                        session,
                        claim.operation_id,
                        &claim.lease_token,
                        message,
                        *is_retryable,
                    ))
                },
            )
            .await
    }
}

async fn close(engine: Option<Engine>) {
    if let Some(engine) = engine {
        engine.close().await;
    }
}

/// Sets the old table aside when the control database has closed the window: nobody else will do it.
pub(super) async fn put_aside(engine: &mut Engine) {
    engine.lease_has_ended();
    for attempt in 1.. {
        match engine.finish().await {
            Ok(()) => return,
            Err(error) if error.kind() == ErrorKind::Retryable && attempt < FINISH_ATTEMPTS => {
                info!(%error, "the old table is put aside again");
                tokio::time::sleep(FINISH_WAIT).await;
            }
            Err(error) => {
                warn!(%error, "the old table is left where it was; `lockkeeper doctor` lists it");
                return;
            }
        }
    }
}

/// Takes away what nobody will resume.
pub(super) async fn give_up(engine: &mut Engine) {
    engine.lease_has_ended();
    if let Err(error) = engine.give_up().await {
        warn!(%error, "artifacts are left; `lockkeeper doctor` lists them");
    }
}
