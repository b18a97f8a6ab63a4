//! Sessions on a deployment: fixed settings, registered by name, never pooled.
//!
//! What a session of ours does must not depend on what the server's or the account's defaults
//! are, so all that matters is set when it opens. Each session holds a named lock that tells
//! whose it is; a successor finds the sessions of former epochs by those names, kills them and
//! waits until they are gone. A session is registered first and only then is the lease
//! confirmed: one that opens after the successor has looked is refused by the control database.

pub mod blocker;
mod ending;
mod settings;
pub mod user;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Connection, Row};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::names::Owner;
use super::syntax::quote_table;
use super::{EngineError, ErrorKind, LeaseHolder, Target};
use crate::server_error;
pub use ending::{end_session, kill, registered, wait_until_gone};
use settings::USUAL_LOCK_WAIT;
pub use settings::{OUR_SQL_MODE, OUR_TIME_ZONE, connect};

/// Sessions of one owner have numbers below this; a successor looks at each.
const MAX_SESSIONS: u32 = 64;

/// Opening a session takes no longer than this, nor does closing it.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// A connection that was made ahead and not wanted for so long is made anew.
const AHEAD_LIMIT: Duration = Duration::from_secs(10);

/// A server that can't be reached is tried for so long.
const RESTART_LIMIT: Duration = Duration::from_secs(20);

/// The least that the server knows: it counts whole seconds.
pub(crate) const SHORT_LOCK_WAIT: Duration = Duration::from_secs(1);

/// Opens sessions for one owner.
#[derive(Clone)]
pub struct Sessions {
    target: Target,
    owner: Owner,
    lease: Arc<dyn LeaseHolder>,
    /// The server's numbers of the sessions opened here: not former ones, though of the same epoch.
    opened: Arc<Mutex<BTreeSet<u64>>>,
    ahead: Arc<Mutex<Vec<Ahead>>>,
    /// See [`Sessions::lease_has_ended`].
    is_settled: Arc<AtomicBool>,
}

/// A connection that is being made, or was, without a name yet.
struct Ahead {
    since: Instant,
    connecting: JoinHandle<Result<MySqlConnection, EngineError>>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.connecting.abort();
    }
}

/// A session on the deployment. Dropping it closes the connection; the server then releases
/// its locks and its name.
pub struct Session {
    connection: MySqlConnection,
    id: u64,
    name: String,
}

impl Sessions {
    pub fn new(target: Target, owner: Owner, lease: Arc<dyn LeaseHolder>) -> Self {
        Self {
            target,
            owner,
            lease,
            opened: Arc::default(),
            ahead: Arc::default(),
            is_settled: Arc::default(),
        }
    }

    /// The operation is settled: nobody takes it over, and what is left to be done for it needs no lease.
    pub fn lease_has_ended(&self) {
        self.is_settled.store(true, Ordering::Relaxed);
    }

    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    pub fn lease(&self) -> &Arc<dyn LeaseHolder> {
        &self.lease
    }

    /// Makes sure that the lease is still ours.
    pub async fn confirm(&self) -> Result<(), EngineError> {
        let confirmed = self.lease.confirm().await;
        confirmed.map_err(|lost| EngineError::LeaseLost(lost.to_string()))
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The server's numbers of the sessions that were opened here, for a list in SQL.
    pub fn opened(&self) -> String {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let ids: Vec<String> = opened.iter().map(u64::to_string).collect();
        ids.join(", ")
    }

    /// Begins to connect `count` times: sessions that are wanted soon, and would be opened one after the other. TLS and the
    /// settings take some 45 ms each.
    pub fn open_ahead(&self, count: u32) {
        let begun = (0..count).map(|_| {
            let target = self.target.clone();
            Ahead {
                since: Instant::now(),
                connecting: tokio::spawn(async move { connect(&target).await }),
            }
        });
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        *ahead = begun.collect();
    }

    /// A connection with our settings, made ahead or now.
    async fn connected(&self) -> Result<MySqlConnection, EngineError> {
        let ahead = || {
            let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
            ahead.pop()
        };
        while let Some(mut ahead) = ahead() {
            if ahead.since.elapsed() > AHEAD_LIMIT {
                continue;
            }
            // It may be gone again: its server restarted, or somebody killed it.
            let living = async {
                let mut connection = (&mut ahead.connecting).await.ok()?.ok()?;
                connection.ping().await.ok()?;
                Some(connection)
            };
            if let Ok(Some(connection)) = tokio::time::timeout(CONNECT_LIMIT, living).await {
                return Ok(connection);
            }
        }
        connect(&self.target).await
    }

    /// A session with our settings, registered under the owner's name, after which the lease
    /// was confirmed.
    ///
    /// # Errors
    ///
    /// [`EngineError::LeaseLost`] if the lease is no longer ours; the session is closed then.
    pub async fn open(&self) -> Result<Session, EngineError> {
        let began = Instant::now();
        let mut connection = self.connected().await?;
        let id: u64 = sqlx::query_scalar("SELECT CONNECTION_ID()")
            .fetch_one(&mut connection)
            .await
            .map_err(EngineError::while_doing("asking for a session's number"))?;
        let name = self.register(&mut connection).await?;
        let session = Session {
            connection,
            id,
            name,
        };
        self.opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id);
        if !self.is_settled.load(Ordering::Relaxed)
            && let Err(lost) = self.confirm().await
        {
            session.close().await;
            return Err(lost);
        }
        tracing::debug!(id, took = ?began.elapsed(), "a session is open");
        Ok(session)
    }

    /// Opens a session, again and again while the server can't be reached: as long as a restart takes, and the stream
    /// gives it too.
    pub async fn open_patiently(&self) -> Result<Session, EngineError> {
        let started = Instant::now();
        loop {
            match self.open().await {
                Err(error)
                    if error.kind() == ErrorKind::Retryable
                        && started.elapsed() < RESTART_LIMIT
                        && !self.lease.orders().borrow().lost =>
                {
                    tracing::info!(%error, "a session is opened again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                opened => return opened,
            }
        }
    }

    /// Another session in the place of one on which a statement failed.
    ///
    /// Where no answer came, the server may still carry the statement out: it is made to end the former session first.
    pub async fn replace(
        &self,
        session: &mut Session,
        error: &EngineError,
    ) -> Result<(), EngineError> {
        let former = session.id();
        let fresh = self.open_patiently().await?;
        std::mem::replace(session, fresh).close().await;
        match error.server_number() {
            Some(_) => Ok(()),
            None => end_session(session, former).await,
        }
    }

    /// Takes the lowest free number, so that the names to look at stay few.
    async fn register(&self, connection: &mut MySqlConnection) -> Result<String, EngineError> {
        for number in 0..MAX_SESSIONS {
            let name = format!("{}{number}", self.owner.sessions_prefix(self.owner.epoch));
            let taken: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK(?, 0)")
                .bind(&name)
                .fetch_one(&mut *connection)
                .await
                .map_err(EngineError::while_doing("registering a session"))?;
            if taken == Some(1) {
                return Ok(name);
            }
        }
        Err(EngineError::retryable(format!(
            "all {MAX_SESSIONS} session names of operation {} are taken; former sessions have \
             not ended yet",
            self.owner.operation_id
        )))
    }
}

impl Session {
    /// The connection, for the queries of this crate.
    pub fn connection(&mut self) -> &mut MySqlConnection {
        &mut self.connection
    }

    /// The server's number of this session.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The named lock that it holds.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs one statement as text, for what can't be prepared. Returns the rows affected.
    pub async fn run(&mut self, statement: &str) -> Result<u64, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut self.connection)
            .await
            .map(|done| done.rows_affected())
    }

    /// The rows of one statement sent as text.
    pub async fn rows(&mut self, statement: &str) -> Result<Vec<MySqlRow>, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .fetch_all(&mut self.connection)
            .await
    }

    /// Where the binlog is, and which schemas are not in it. No row where there is none.
    pub async fn binlog_status(&mut self) -> Result<Vec<MySqlRow>, sqlx::Error> {
        match self.rows("SHOW BINARY LOG STATUS").await {
            // Before 8.2 the statement has another name.
            Err(error) if server_error::number(&error) == Some(1064) => {
                self.rows("SHOW MASTER STATUS").await
            }
            answer => answer,
        }
    }

    /// Whether the server answers on it.
    pub async fn ping(&mut self) -> Result<(), EngineError> {
        let answer = tokio::time::timeout(CONNECT_LIMIT, self.connection.ping()).await;
        answer
            .map_err(|_| EngineError::retryable("a session is not answered any more"))?
            .map_err(EngineError::while_doing("asking for a sign of life"))
    }

    /// Which server it is on: a checkpoint and a fence mean nothing on another.
    pub async fn server_uuid(&mut self) -> Result<String, EngineError> {
        let doing = || EngineError::while_doing("asking for the server's identity");
        let rows = self.rows("SELECT @@server_uuid").await.map_err(doing())?;
        let row = rows
            .first()
            .ok_or_else(|| EngineError::retryable("the server has no identity"))?;
        row.try_get_unchecked(0).map_err(doing())
    }

    /// Drops a table of ours, as far as it is there.
    pub async fn drop_table(&mut self, schema: &str, name: &str) -> Result<(), EngineError> {
        let table = quote_table(schema, name);
        self.run(&format!("DROP TABLE IF EXISTS {table}"))
            .await
            .map(drop)
            .map_err(EngineError::while_doing(format!("dropping {table}")))
    }

    /// From now on statements are read and executed as under `sql_mode`: for the user's DDL.
    pub async fn set_sql_mode(&mut self, sql_mode: &str) -> Result<(), sqlx::Error> {
        sqlx::query("SET SESSION sql_mode = ?")
            .bind(sql_mode)
            .execute(&mut self.connection)
            .await
            .map(drop)
    }

    /// As [`Session::set_sql_mode`], for what is local time.
    pub async fn set_time_zone(&mut self, time_zone: &str) -> Result<(), sqlx::Error> {
        sqlx::query("SET SESSION time_zone = ?")
            .bind(time_zone)
            .execute(&mut self.connection)
            .await
            .map(drop)
    }

    /// How long a statement waits for a table (whole seconds, at least 1) and for a row.
    pub async fn set_lock_waits(
        &mut self,
        table: Duration,
        row: Duration,
    ) -> Result<(), sqlx::Error> {
        let seconds = |limit: Duration| limit.as_secs().max(1);
        self.run(&format!(
            "SET SESSION lock_wait_timeout = {}, innodb_lock_wait_timeout = {}",
            seconds(table),
            seconds(row)
        ))
        .await
        .map(drop)
    }

    /// Lets the statements of `work` wait for locks no longer than [`SHORT_LOCK_WAIT`], as everybody else may wait behind them.
    pub async fn with_short_lock_waits<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let doing = || EngineError::while_doing("setting a lock's limit");
        self.set_lock_waits(SHORT_LOCK_WAIT, SHORT_LOCK_WAIT)
            .await
            .map_err(doing())?;
        let done = work(self).await;
        let as_before = self.set_lock_waits(USUAL_LOCK_WAIT, USUAL_LOCK_WAIT).await;
        let done = done?;
        as_before.map_err(doing())?;
        Ok(done)
    }

    /// Closes it in order; whatever it held is released by the server.
    pub async fn close(self) {
        match tokio::time::timeout(CONNECT_LIMIT, self.connection.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(session = self.id, %error, "a session did not end in order");
            }
            Err(_) => tracing::debug!(session = self.id, "the end of a session was not answered"),
        }
    }
}
