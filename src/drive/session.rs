//! Sessions to the control database, and calls that outlive a failover.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::MySql;
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::pool::PoolConnection;
use tracing::warn;

use super::trouble::Trouble;
use crate::config::{ConnectionSettings, settle};
use crate::control::ControlError;

/// How many sessions to the control database the operations of a driver share.
const MOST_SESSIONS: u32 = 4;
const ACQUIRE_LIMIT: Duration = Duration::from_secs(10);
/// An answer that takes longer never comes: a host that vanishes tells nobody so. Longer than a call may wait for a lock.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(super) struct Sessions(MySqlPool);

impl Sessions {
    pub(super) fn new(control: &ConnectionSettings) -> Self {
        Self(
            MySqlPoolOptions::new()
                .max_connections(MOST_SESSIONS)
                .acquire_timeout(ACQUIRE_LIMIT)
                .after_connect(|session, _| Box::pin(settle(session)))
                .connect_lazy_with(control.sqlx()),
        )
    }

    /// One call. The session of one that broke off ends: where a `KILL QUERY` interrupts a procedure no handler runs, and the
    /// transaction stays open, with its locks.
    pub(super) async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&mut PoolConnection<MySql>) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        let mut session = self.0.acquire().await?;
        let answer = tokio::time::timeout(ANSWER_LIMIT, call(&mut session)).await;
        let answer = answer.unwrap_or_else(|_| {
            let silent = std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("no answer within {} s", ANSWER_LIMIT.as_secs()),
            );
            Err(sqlx::Error::Io(silent).into())
        });
        if answer.as_ref().is_err_and(|error| error.code().is_none()) {
            session.close_on_drop();
        }
        answer
    }

    /// Repeats a call until the control database answers. Repeating is safe: a call that has taken effect answers the
    /// same again. `context` is what the call needs to know; it borrows it for each attempt.
    pub(super) async fn persist<T, C, F>(
        &self,
        what: &'static str,
        context: &C,
        call: F,
    ) -> Result<T, ControlError>
    where
        C: Sync,
        F: for<'s> Fn(
            &'s mut PoolConnection<MySql>,
            &'s C,
        ) -> BoxFuture<'s, Result<T, ControlError>>,
    {
        let mut wait = FIRST_WAIT;
        let mut trouble = Trouble::default();
        loop {
            match self
                .call(async |session| call(session, context).await)
                .await
            {
                Err(error) if error.may_pass() => {
                    super::metrics::control_error();
                    if trouble.is_news(&error) {
                        warn!(
                            error = &error as &dyn std::error::Error,
                            "{what}: asking again"
                        );
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                answer => return answer,
            }
        }
    }
}
