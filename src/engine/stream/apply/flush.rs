//! Writes what is gathered: a batch, and the position that it leads to, in one transaction.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::MySqlConnection;
use tokio::time::Instant;

use super::Applier;
use super::clock::ServerClock;
use crate::engine::conversion::staging::Staging;
use crate::engine::error::ErrorKind;
use crate::engine::session::{Session, end_session};
use crate::engine::state::checkpoint::run;
use crate::engine::stream::running::Flow;
use crate::engine::{EngineError, fail_point};

/// The server's number for a duplicate value of a unique key.
pub(crate) const DUPLICATE: u16 = 1062;

/// How often in a row a batch may meet a chunk's row.
const MEETINGS: u32 = 5;

impl Applier {
    /// Writes what is gathered, again where the server asks for it, on a session of its own.
    pub(super) async fn flush_on_own_session(&mut self) -> Result<(), EngineError> {
        let mut failures = 0;
        let mut unanswered = None;
        loop {
            let mut session = match self.session.take() {
                Some(session) => session,
                None => {
                    let mut session = self.sessions.open_patiently().await?;
                    // It must not put older rows, and an older place, over those that are written next.
                    if let Some(former) = unanswered.take() {
                        end_session(&mut session, former).await?;
                    }
                    self.check_place(session.connection()).await?;
                    prepare(session.connection(), &self.staging).await?;
                    self.longest_statement = longest_statement(&mut session).await?;
                    self.clock = Some(ServerClock::read(&mut session).await?);
                    session
                }
            };
            self.writes_on.store(session.id(), Ordering::SeqCst);
            // A row that is refused each time is a true duplicate. On the way back no chunk runs.
            let may_meet = failures < MEETINGS
                && self.flow == Flow::Forward
                && self.routing.chunks_meet_changes();
            let result = self
                .flush(session.connection(), Transaction::Own, may_meet)
                .await;
            let result = result.map_err(|error| match may_meet {
                true => meeting_of_rows(error),
                false => error,
            });
            match result {
                Ok(()) => {
                    self.session = Some(session);
                    return Ok(());
                }
                Err(error)
                    if error.kind() == ErrorKind::Retryable
                        && !error.is_no_room()
                        // What was not the server's word stays as it is.
                        && std::error::Error::source(&error).is_some()
                        && failures < 10 =>
                {
                    failures += 1;
                    tracing::info!(%error, failures, "a batch is written again");
                    // The session may be gone, or in the middle of something: begin anew.
                    unanswered = error.server_number().is_none().then(|| session.id());
                    session.close().await;
                    tokio::time::sleep(Duration::from_millis(20) * failures * failures).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the server still has what was written before this session.
    pub(super) async fn check_place(
        &self,
        connection: &mut MySqlConnection,
    ) -> Result<(), EngineError> {
        match &self.written {
            Some(written) => self.store.check_place(connection, written).await,
            None => Ok(()),
        }
    }

    /// Writes all that is gathered, and the position that it leads to, in one transaction. A row that is refused is named; but not
    /// a duplicate where it may be that of a chunk (`may_meet`): that may pass, and keeps the server's number.
    async fn flush(
        &mut self,
        connection: &mut MySqlConnection,
        transaction: Transaction,
        may_meet: bool,
    ) -> Result<(), EngineError> {
        self.take_released();
        let position = self.routing.low_watermark(&self.routed);
        let stored = self.routing.low_watermark(&self.resumable());
        let statements = self.statements(&stored, transaction)?;
        self.check_length(&statements)?;
        fail_point::at("apply.batch.before");
        for statement in statements {
            if let Err(error) = run(connection, statement, "applying changes").await {
                let is_of_a_row = error.kind() == ErrorKind::Permanent
                    && error.may_be_of_a_row()
                    && !(may_meet && error.server_number() == Some(DUPLICATE));
                return Err(match is_of_a_row {
                    true => self.name_row(connection, transaction, error).await,
                    false => error,
                });
            }
        }
        fail_point::at("apply.batch.after");
        let written = self.pending.len() as u64;
        self.pending.clear();
        self.pending_bytes = 0;
        self.first_pending = None;
        self.last_store = Instant::now();
        self.stored = self.routed.clone();
        self.written = Some(stored);
        self.others_came = false;
        self.tell(position, written);
        Ok(())
    }

    pub(super) async fn flush_within(
        &mut self,
        connection: &mut MySqlConnection,
        deadline: Instant,
    ) -> Result<(), EngineError> {
        let flushed = self.flush(connection, Transaction::Callers, false);
        match tokio::time::timeout_at(deadline, flushed).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                // The connection may be gone; then the server rolls back by itself.
                let _ = run(connection, "ROLLBACK".into(), "giving up a batch").await;
                Err(error)
            }
            Err(_) => Err(EngineError::retryable(
                "the last changes could not be written within the time that tables may be locked",
            )),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transaction {
    Own,
    /// Autocommit is off already.
    Callers,
}

pub(super) async fn prepare(
    connection: &mut MySqlConnection,
    staging: &[Option<Staging>],
) -> Result<(), EngineError> {
    for sql in staging.iter().flatten().flat_map(|staging| &staging.create) {
        run(connection, sql.clone(), "creating a staging table").await?;
    }
    Ok(())
}

async fn longest_statement(session: &mut Session) -> Result<usize, EngineError> {
    let bytes: u64 = sqlx::query_scalar("SELECT @@max_allowed_packet")
        .fetch_one(session.connection())
        .await
        .map_err(EngineError::while_doing("asking for max_allowed_packet"))?;
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// A duplicate while chunks run: one may have brought the row after the batch had looked for it
/// and before it put its own there. A batch that is written again finds it.
fn meeting_of_rows(error: EngineError) -> EngineError {
    match error.server_number() {
        Some(DUPLICATE) => EngineError::Retryable {
            message: "a chunk and a change brought one row at once".into(),
            source: Some(Box::new(error)),
        },
        _ => error,
    }
}
