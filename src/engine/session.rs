//! Sessions on a deployment: fixed settings, registered by name, never pooled.
//!
//! What a session of ours does must not depend on what the server's or the account's defaults
//! are, so all that matters is set when it opens. Each session holds a named lock that tells
//! whose it is; a successor finds the sessions of former epochs by those names, kills them and
//! waits until they are gone. A session is registered first and only then is the lease
//! confirmed: one that opens after the successor has looked is refused by the control database.

pub mod user;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::error::CANNOT_CONVERT;
use super::names::Owner;
use super::{EngineError, ErrorKind, LeaseHolder, Target};
use crate::server_error;

/// Strict, so that nothing is cut silently; a zero stays a zero; dates that an application was
/// allowed to store can be stored again.
pub const OUR_SQL_MODE: &str =
    "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION,ALLOW_INVALID_DATES";

/// TIMESTAMP values are moments: in UTC each has one text.
pub const OUR_TIME_ZONE: &str = "+00:00";

/// Sessions of one owner have numbers below this; a successor looks at each.
const MAX_SESSIONS: u32 = 64;

/// A successor that cannot read `performance_schema` looks at this many epochs before its own.
const EPOCHS_LOOKED_AT: u64 = 32;

/// Opening a session takes no longer than this, nor does closing it.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// A connection that was made ahead and not wanted for so long is made anew.
const AHEAD_LIMIT: Duration = Duration::from_secs(10);

/// A server that can't be reached is tried for so long.
const RESTART_LIMIT: Duration = Duration::from_secs(20);

/// After a lost connection, how long its session may take to end.
const LOST_SESSION_LIMIT: Duration = Duration::from_secs(30);

/// Opens sessions for one owner.
#[derive(Clone)]
pub struct Sessions {
    target: Target,
    owner: Owner,
    lease: Arc<dyn LeaseHolder>,
    /// The server's numbers of the sessions opened here: not former ones, though of the same epoch.
    opened: Arc<Mutex<BTreeSet<u64>>>,
    ahead: Arc<Mutex<Vec<Ahead>>>,
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
        }
    }

    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    pub fn lease(&self) -> &Arc<dyn LeaseHolder> {
        &self.lease
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
        if let Err(lost) = self.lease.confirm().await {
            session.close().await;
            return Err(EngineError::LeaseLost(lost.to_string()));
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
            let name = self.owner.session(number);
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

    /// Ends every session of this operation that was registered before, and waits until the server
    /// has let go of all of them.
    ///
    /// # Errors
    ///
    /// [`EngineError::Retryable`] if one is still there at the deadline.
    pub async fn end_former(
        &self,
        session: &mut Session,
        deadline: Duration,
    ) -> Result<(), EngineError> {
        let until = Instant::now() + deadline;
        loop {
            let former = self.former_sessions(session).await?;
            if former.is_empty() {
                return Ok(());
            }
            for id in &former {
                super::fail_point::at("session.kill.before");
                kill(session, *id).await?;
            }
            wait_until_gone(session, &former, until).await?;
            // Look again: one more may have registered between the look and the kill.
        }
    }

    /// The sessions that hold a name of this operation from an epoch before the owner's, or of
    /// the same epoch if an earlier engine of it left them.
    async fn former_sessions(&self, session: &mut Session) -> Result<BTreeSet<u64>, EngineError> {
        let mut found = BTreeSet::new();
        let first = self.owner.epoch.saturating_sub(EPOCHS_LOOKED_AT);
        for epoch in first..=self.owner.epoch {
            // One statement for all numbers of an epoch; it needs no privilege.
            let rows: Vec<Option<u64>> = sqlx::query_scalar(
                "WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?) \
                 SELECT CAST(IS_USED_LOCK(CONCAT(?, n)) AS UNSIGNED) FROM number",
            )
            .bind(MAX_SESSIONS)
            .bind(format!("{}{epoch}_s", self.owner.operation_prefix()))
            .fetch_all(&mut session.connection)
            .await
            .map_err(EngineError::while_doing("looking for former sessions"))?;
            found.extend(rows.into_iter().flatten());
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
                let prefix = self.owner.operation_prefix();
                found.extend(rows.into_iter().filter_map(|(name, id)| {
                    let epoch = name.strip_prefix(&prefix)?.split_once("_s")?.0;
                    (epoch.parse::<u64>().ok()? <= self.owner.epoch).then_some(id)
                }));
            }
            Err(error) if matches!(server_error::number(&error), Some(1142 | 1143 | 1227)) => {
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

/// An unregistered session with our settings: for reading, and for what must look at a
/// deployment without owning anything there (`doctor`).
pub async fn connect(target: &Target) -> Result<MySqlConnection, EngineError> {
    let place = || format!("opening a session on {}:{}", target.host, target.port);
    let options = options(target);
    let connected = async {
        let mut connection = options.connect().await?;
        set_up(&mut connection).await?;
        Ok(connection)
    };
    tokio::time::timeout(CONNECT_LIMIT, connected)
        .await
        .map_err(|_| {
            EngineError::retryable(format!(
                "{}:{} did not answer in {} s",
                target.host,
                target.port,
                CONNECT_LIMIT.as_secs()
            ))
        })?
        .map_err(EngineError::while_doing(place()))
}

fn options(target: &Target) -> MySqlConnectOptions {
    let options = MySqlConnectOptions::new()
        .host(&target.host)
        .port(target.port)
        .username(&target.user)
        .password(target.password.reveal())
        .charset("utf8mb4")
        // All settings are ours, and are set in one statement.
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .set_names(false)
        .disable_statement_logging();
    let tls = target.tls.settings();
    let options = options.ssl_mode(tls.mode.into());
    match tls.authority {
        Some(file) => options.ssl_ca(file),
        None => options,
    }
}

/// Settings that every session of ours needs and every account may set.
const SETTINGS: &str = "SET NAMES utf8mb4, \
     transaction_isolation = 'READ-COMMITTED', \
     transaction_read_only = 0, \
     autocommit = 1, \
     completion_type = 'NO_CHAIN', \
     foreign_key_checks = 0, \
     unique_checks = 1, \
     lock_wait_timeout = 30, \
     innodb_lock_wait_timeout = 30, \
     wait_timeout = 86400, \
     net_read_timeout = 600, \
     net_write_timeout = 600, \
     max_execution_time = 0, \
     sql_select_limit = 18446744073709551615, \
     sql_safe_updates = 0, \
     cte_max_recursion_depth = 1000, \
     sql_big_selects = 1, \
     sql_quote_show_create = 1, \
     group_concat_max_len = 1048576, \
     range_optimizer_max_mem_size = 0, \
     information_schema_stats_expiry = 0";

/// Settings that some servers don't know, or that an account may not set.
const OPTIONAL_SETTINGS: [&str; 6] = [
    // A generated invisible primary key is a column to copy like any other.
    "show_gipk_in_create_table_and_information_schema = ON",
    "binlog_format = 'ROW'",
    "binlog_row_image = 'FULL'",
    "binlog_row_value_options = ''",
    "use_secondary_engine = 'OFF'",
    "explain_format = 'TRADITIONAL'",
];

async fn set_up(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let settings =
        format!("{SETTINGS}, sql_mode = '{OUR_SQL_MODE}', time_zone = '{OUR_TIME_ZONE}'");
    sqlx::raw_sql(AssertSqlSafe(settings))
        .execute(&mut *connection)
        .await?;
    for setting in OPTIONAL_SETTINGS {
        let result = sqlx::raw_sql(AssertSqlSafe(format!("SET SESSION {setting}")))
            .execute(&mut *connection)
            .await;
        match result {
            Ok(_) => {}
            // Unknown here (1193), not granted (1227), or global only (1229).
            Err(error) if matches!(server_error::number(&error), Some(1193 | 1227 | 1229)) => {
                tracing::trace!(setting, %error, "left as the server has it");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Kills a session; one that has just ended is no error.
pub async fn kill(session: &mut Session, id: u64) -> Result<(), EngineError> {
    match session.run(&format!("KILL {id}")).await {
        Ok(_) => Ok(()),
        // 1094: there is no such session any more.
        Err(error) if server_error::number(&error) == Some(1094) => Ok(()),
        Err(error) => Err(EngineError::while_doing(format!(
            "ending the former session {id}"
        ))(error)),
    }
}

/// Ends a session of ours that can't be asked any more, and may hold locks or carry out what was sent to it.
pub async fn end_session(session: &mut Session, id: u64) -> Result<(), EngineError> {
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
            Err(error) if server_error::number(&error) == Some(CANNOT_CONVERT) => {
                ids.first().copied().unwrap_or_default()
            }
            Err(error) => {
                return Err(EngineError::while_doing(
                    "waiting for former sessions to end",
                )(error));
            }
        };
        if Instant::now() >= until {
            return Err(EngineError::retryable(format!(
                "the former driver's session {id} was killed and has not ended yet; it will be \
                 waited for again"
            )));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
