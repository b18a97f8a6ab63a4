//! Sessions that must end before anything goes on: a former driver's, and one of ours that answers no more.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use sqlx::Row;
use tokio::time::Instant;

use super::{MAX_SESSIONS, Session, Sessions};
use crate::engine::{EngineError, fail_point};
use crate::server_error;

/// A successor that cannot read `performance_schema` looks at this many epochs before its own.
const EPOCHS_LOOKED_AT: u64 = 32;

/// A killed session ends when its statement notices; a long index build may take a while.
const FORMER_SESSIONS_LIMIT: Duration = Duration::from_secs(60);

/// After a lost connection, how long its session may take to end.
const LOST_SESSION_LIMIT: Duration = Duration::from_secs(30);

const LOOK_PAUSE: Duration = Duration::from_millis(20);

impl Sessions {
    /// Ends every session of this operation that was registered before, and waits until the server
    /// has let go of all of them.
    ///
    /// # Errors
    ///
    /// [`EngineError::Retryable`] if one is still there after a minute.
    pub async fn end_former(&self, session: &mut Session) -> Result<(), EngineError> {
        let until = Instant::now() + FORMER_SESSIONS_LIMIT;
        loop {
            let former = self.former_sessions(session).await?;
            if former.is_empty() {
                return Ok(());
            }
            for id in &former {
                fail_point::at("session.kill.before");
                kill(session, *id).await?;
            }
            wait_until_gone(session, &former, until).await?;
            // Look again: one more may have registered between the look and the kill. Who lacks PROCESS is shown none of them, though
            // they roll back for long.
            if let Some(id) = former.first().filter(|_| Instant::now() >= until) {
                return Err(not_ended(*id));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// The sessions that hold a name of this operation from an epoch before the owner's, or of
    /// the same epoch if an earlier engine of it left them.
    async fn former_sessions(&self, session: &mut Session) -> Result<BTreeSet<u64>, EngineError> {
        let mut found = BTreeSet::new();
        let first = self.owner.epoch.saturating_sub(EPOCHS_LOOKED_AT);
        for epoch in first..=self.owner.epoch {
            found.extend(registered(session, &self.owner.sessions_prefix(epoch)).await?);
        }
        // Older epochs, where the server shows its metadata locks.
        let rows: Result<Vec<(String, u64)>, sqlx::Error> = sqlx::query_as(
            "SELECT CAST(l.OBJECT_NAME AS CHAR), t.PROCESSLIST_ID \
               FROM performance_schema.metadata_locks AS l \
               JOIN performance_schema.threads AS t ON t.THREAD_ID = l.OWNER_THREAD_ID \
              WHERE l.OBJECT_TYPE = 'USER LEVEL LOCK' AND l.LOCK_STATUS = 'GRANTED' \
                AND t.PROCESSLIST_ID IS NOT NULL",
        )
        .fetch_all(&mut session.connection)
        .await;
        match rows {
            Ok(rows) => {
                found.extend(rows.into_iter().filter_map(|(name, id)| {
                    let epoch = self.owner.epoch_of_session(&name)?;
                    (epoch <= self.owner.epoch).then_some(id)
                }));
            }
            Err(error) if server_error::is_denied(&error) => {
                tracing::debug!(%error, "performance_schema can't be read; names alone are looked at");
            }
            Err(error) => {
                return Err(EngineError::while_doing("looking for former sessions")(
                    error,
                ));
            }
        }
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(found.difference(&opened).copied().collect())
    }
}

/// The sessions that are registered under names that begin with `prefix`.
pub async fn registered(session: &mut Session, prefix: &str) -> Result<Vec<u64>, EngineError> {
    // One statement for all numbers of an epoch; it needs no privilege.
    let rows: Vec<Option<u64>> = sqlx::query_scalar(
        "WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?) \
         SELECT CAST(IS_USED_LOCK(CONCAT(?, n)) AS UNSIGNED) FROM number",
    )
    .bind(MAX_SESSIONS)
    .bind(prefix)
    .fetch_all(&mut session.connection)
    .await
    .map_err(EngineError::while_doing("looking for former sessions"))?;
    Ok(rows.into_iter().flatten().collect())
}

/// Kills a session; one that has just ended is no error.
pub async fn kill(session: &mut Session, id: u64) -> Result<(), EngineError> {
    match session.run(&format!("KILL {id}")).await {
        Ok(_) => Ok(()),
        // 1094: there is no such session any more.
        Err(error) if server_error::number(&error) == Some(1094) => Ok(()),
        Err(error) if matches!(server_error::number(&error), Some(1095 | 1227)) => {
            Err(EngineError::Retryable {
                message: format!(
                    "session {id} is of a driver with another account, and this one may not end it; give all drivers of a \
                     deployment one account, or GRANT CONNECTION_ADMIN ON *.* to theirs"
                ),
                source: Some(Box::new(error)),
            })
        }
        Err(error) => Err(EngineError::while_doing(format!("ending session {id}"))(
            error,
        )),
    }
}

/// Ends a session of the same owner that can't be asked any more, and may hold locks or carry out what was sent to it.
///
/// One that has no name of the owner's any more has ended. Its number may be another's by now: a server that was restarted
/// begins to count anew.
pub async fn end_session(session: &mut Session, id: u64) -> Result<(), EngineError> {
    let prefix = session
        .name
        .trim_end_matches(|c: char| c.is_ascii_digit())
        .to_owned();
    if id == session.id || !registered(session, &prefix).await?.contains(&id) {
        return Ok(());
    }
    kill(session, id).await?;
    let until = Instant::now() + LOST_SESSION_LIMIT;
    wait_until_gone(session, &BTreeSet::from([id]), until).await
}

/// Polls until the server shows none of `ids`.
pub async fn wait_until_gone(
    session: &mut Session,
    ids: &BTreeSet<u64>,
    until: Instant,
) -> Result<(), EngineError> {
    let list = ids
        .iter()
        .map(u64::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    loop {
        // Whoever has PROCESS may read this, and it is there without performance_schema too.
        let rows = session
            .rows(&format!(
                "SELECT p.ID FROM information_schema.PROCESSLIST AS p WHERE p.ID IN ({list})"
            ))
            .await;
        let id = match rows {
            Ok(rows) => match rows.first() {
                None => return Ok(()),
                Some(row) => row.try_get_unchecked(0).unwrap_or_default(),
            },
            // Nothing is shown for now.
            Err(error) if server_error::number(&error) == Some(server_error::CANNOT_CONVERT) => {
                ids.first().copied().unwrap_or_default()
            }
            Err(error) => {
                return Err(EngineError::while_doing(
                    "waiting for former sessions to end",
                )(error));
            }
        };
        if Instant::now() >= until {
            return Err(not_ended(id));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn not_ended(id: u64) -> EngineError {
    EngineError::retryable(format!(
        "session {id} was killed and has not ended yet, as it rolls back; it will be waited for again"
    ))
}
