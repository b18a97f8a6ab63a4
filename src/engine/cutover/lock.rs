//! The cutover's lock: who is in the way, and how long it is waited for.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Cutover;
use super::locked::SwapNames;
use crate::engine::options::Options;
use crate::engine::session::{self, Session, blocker};
use crate::engine::syntax::quote_table;
use crate::engine::{EngineError, ErrorKind, fail_point};
use crate::server_error;

/// How much longer than the server may take an answer is waited for.
pub(crate) const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// Long transactions make every later query of the table wait behind our lock: give way to them, or, where that is asked for, end
/// those that may be ended. `Some` is the reason to give way.
pub(crate) async fn blocked_by(
    options: &Options,
    helper: &mut Session,
    tables: &[(&str, &str)],
) -> Result<Option<String>, EngineError> {
    let blockers = blocker::holding(helper, tables, options.cutover_lock_wait()).await?;
    let mut reason = None;
    let mut killed = BTreeSet::new();
    for blocker in blockers {
        let old_enough = options
            .kill_blockers_after()
            .is_some_and(|after| blocker.held_for >= after);
        match (blocker.id, blocker.protected) {
            (Some(id), None) if old_enough => {
                match session::kill(helper, id).await {
                    Ok(()) => {
                        tracing::warn!(blocker = blocker.describe(), "killed, as asked for");
                        killed.insert(id);
                    }
                    // Not ours to end. The swap gives way, as it does without the option.
                    Err(error) if matches!(error.server_number(), Some(1095 | 1227)) => {
                        reason = Some(format!(
                            "{} and this account may not end it (that takes CONNECTION_ADMIN, and SYSTEM_USER where that \
                             session has it)",
                            blocker.describe()
                        ));
                    }
                    Err(error) => return Err(error),
                }
            }
            (_, Some(why)) if old_enough => {
                reason = Some(format!("{} and is never killed: {why}", blocker.describe()));
            }
            _ => reason = Some(blocker.describe()),
        }
    }
    if !killed.is_empty() && reason.is_none() {
        let until = tokio::time::Instant::now() + options.cutover_lock_wait();
        match session::wait_until_gone(helper, &killed, until).await {
            // What it has written is rolled back first, which may take as long as the writing.
            Err(error) if error.kind() == ErrorKind::Retryable && error.cause().is_none() => {
                reason = Some(error.message());
            }
            gone => gone?,
        }
    }
    Ok(reason)
}

/// The answer to a statement of session `id`, which waits for a lock on its table no longer than `limit`: the server counts whole
/// seconds, the helper ends the wait at the exact time (1317). What has its lock is not interrupted.
pub(crate) async fn unless_it_waits<T>(
    limit: Duration,
    helper: &mut Session,
    id: u64,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => return answer,
        () = tokio::time::sleep(limit) => {}
    }
    let waits = sqlx::query_scalar::<_, i64>(
        "SELECT COUNT(*) FROM performance_schema.threads AS t \
          WHERE t.PROCESSLIST_ID = ? AND t.PROCESSLIST_STATE = 'Waiting for table metadata lock'",
    );
    let stop = async {
        let waits = waits.bind(id).fetch_one(helper.connection()).await;
        // Who may not see that waits as long as the server's own limit lets it.
        if matches!(waits, Ok(1)) {
            helper.run(&format!("KILL QUERY {id}")).await?;
        }
        Ok(())
    };
    // The network may keep back the helper's answers alone.
    let (stopped, answer) = tokio::join!(answered(ANSWER_MARGIN, stop), answer);
    if let Err(error) = stopped {
        tracing::debug!(%error, "the wait for the lock ends by the server's own limit");
    }
    answer
}

impl Cutover<'_> {
    /// The parents of all copied tables, each once.
    pub(crate) fn parents(&self) -> impl Iterator<Item = (&str, &str)> {
        let all: BTreeSet<_> = self
            .copies()
            .flat_map(|plan| plan.foreign_keys.parents())
            .collect();
        all.into_iter()
    }

    /// Locks everything. `Some` is the reason why it was not granted in time.
    pub(crate) async fn lock(
        &self,
        helper: &mut Session,
        pinned: &mut Session,
        names: &[SwapNames],
        extra: &[String],
    ) -> Result<Option<String>, EngineError> {
        let doing = || EngineError::while_doing("locking the tables for the swap");
        let limit = self.operation.options.cutover_lock_wait();
        // The server counts whole seconds; the helper ends the wait at the exact time.
        pinned
            .set_lock_waits(
                limit + Duration::from_secs(1),
                self.operation.options.cutover_lock_limit(),
            )
            .await
            .map_err(doing())?;
        // A driver that is frozen or cut off under the lock would keep everybody waiting until a successor comes. The session
        // has nothing to do after this attempt, so the server may end it.
        let longest_silence = self.operation.options.cutover_lock_limit() + limit + ANSWER_MARGIN;
        pinned
            .run(&format!(
                "SET SESSION wait_timeout = {}",
                longest_silence.as_secs() + 1
            ))
            .await
            .map_err(doing())?;
        let mut parts: Vec<String> = names
            .iter()
            .flat_map(|swap| [&swap.live, &swap.next])
            .map(|table| format!("{} WRITE", quote_table(self.schema(), table)))
            .collect();
        parts.extend(extra.iter().map(|table| format!("{table} WRITE")));
        parts.push(format!("{} READ", self.operation.fence.quoted()));
        let statement = format!("LOCK TABLES {}", parts.join(", "));
        fail_point::at("cutover.lock.before");
        let id = pinned.id();
        let answer = {
            let lock = pinned.run(&statement);
            tokio::pin!(lock);
            tokio::select! {
                answer = &mut lock => answer,
                () = tokio::time::sleep(limit) => {
                    // Where the network keeps back the helper's answer alone, the lock may be granted meanwhile: it is held no longer
                    // than a swap may hold it, and given up.
                    let kill = format!("KILL QUERY {id}");
                    let stop = answered(self.operation.options.cutover_lock_limit(), helper.run(&kill));
                    match tokio::join!(stop, answered(ANSWER_MARGIN, lock)) {
                        (Err(error), Ok(_)) if server_error::number(&error).is_none() => Err(error),
                        (stopped, answer) => {
                            if let Err(error) = stopped {
                                tracing::debug!(%error, "the wait for the lock ends by the server's own limit");
                            }
                            answer
                        }
                    }
                }
            }
        };
        match answer {
            Ok(_) => {
                fail_point::at("cutover.lock.after");
                Ok(None)
            }
            // Interrupted by the helper, or past the server's limit, or a deadlock of metadata.
            Err(error) if matches!(server_error::number(&error), Some(1317 | 1205 | 1213)) => {
                Ok(Some(format!(
                    "the tables could not be locked within {} ms",
                    limit.as_millis()
                )))
            }
            Err(error) if server_error::number(&error) == Some(1146) => {
                // A successor renames what is ours before anything else.
                self.operation.fence.check(helper).await?;
                Err(EngineError::permanent(format!(
                    "a table that the swap locks is gone: {}; the tables of the change are locked, and what their foreign keys \
                     point at, and this one was dropped or renamed while the change went on; submit the change again",
                    server_error::words(&error)
                )))
            }
            Err(error) => Err(doing()(error)),
        }
    }
}

/// The answer to a statement, or an error where the network keeps it back for longer than `limit`.
pub(crate) async fn answered<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(limit, answer)
        .await
        .unwrap_or_else(|_| Err(no_answer()))
}

pub(crate) fn no_answer() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}
