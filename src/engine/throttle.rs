//! Watches what the copy must yield to: replicas, load, undo history, and a DBA's own query.
//!
//! One task asks every second and tells the first reason it finds. Copy and verification wait as
//! long as there is one; catching up never does, for it only gets harder. What cannot be asked is
//! a reason too: a limit that nobody can look at must not be no limit.

pub(super) mod adaptive;
pub(super) mod concurrency;

use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{Executor as _, Row as _};
use tokio::time::Instant;

use super::context::Context;
use super::options::{Limits, address};
use super::session::{self, Session};
use super::{EngineError, Target};

const EVERY: Duration = Duration::from_secs(1);

/// An answer that takes longer is none.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Asks until it is aborted.
pub async fn watch(context: Arc<Context>) {
    let limits = context.options.throttle.clone();
    let mut watcher = Watcher {
        replicas: limits
            .replicas
            .iter()
            .filter_map(|replica| {
                let (host, port) = address(replica)?;
                let target = Target {
                    host,
                    port,
                    ..context.sessions.target().clone()
                };
                Some((replica.clone(), target, None))
            })
            .collect(),
        primary: None,
        context: Arc::clone(&context),
        limits,
    };
    loop {
        let began = Instant::now();
        let reason = watcher.reason().await;
        context.brake(reason);
        tokio::time::sleep_until(began + EVERY).await;
    }
}

struct Watcher {
    context: Arc<Context>,
    limits: Limits,
    primary: Option<Session>,
    replicas: Vec<(String, Target, Option<MySqlConnection>)>,
}

impl Watcher {
    /// Why the copy must wait now, if it must.
    async fn reason(&mut self) -> Option<String> {
        if let Some(limit) = self.limits.replica_lag_seconds {
            for (name, target, session) in &mut self.replicas {
                let lag = tokio::time::timeout(ANSWER_LIMIT, lag(target, session)).await;
                let reason = match lag {
                    Ok(Ok(Some(lag))) if lag <= limit => continue,
                    Ok(Ok(Some(lag))) => {
                        format!("replica {name} lags {lag} s behind, the limit is {limit} s")
                    }
                    Ok(Ok(None)) => format!("replica {name} does not replicate"),
                    Ok(Err(error)) => {
                        *session = None;
                        format!("replica {name} cannot be asked: {error}")
                    }
                    Err(_) => {
                        *session = None;
                        format!("replica {name} does not answer")
                    }
                };
                return Some(reason);
            }
        }
        match tokio::time::timeout(ANSWER_LIMIT, self.primary_reason()).await {
            Ok(Ok(reason)) => reason,
            Ok(Err(error)) => {
                self.primary = None;
                Some(format!(
                    "the throttle's limits cannot be asked for: {error}"
                ))
            }
            Err(_) => {
                self.primary = None;
                Some("the throttle's query does not answer".into())
            }
        }
    }

    async fn primary_reason(&mut self) -> Result<Option<String>, EngineError> {
        let limits = &self.limits;
        if limits.threads_running.is_none()
            && limits.history_list_length.is_none()
            && limits.query.is_none()
        {
            return Ok(None);
        }
        let session = match &mut self.primary {
            Some(session) => session,
            None => {
                let mut session = self.context.sessions.open().await?;
                // A DBA's query asks, and asks briefly.
                session
                    .run("SET SESSION transaction_read_only = ON, max_execution_time = 3000")
                    .await
                    .map_err(EngineError::while_doing("preparing the throttle"))?;
                self.primary.insert(session)
            }
        };
        if let Some(limit) = limits.threads_running {
            let sql = "SELECT CAST(VARIABLE_VALUE AS UNSIGNED) \
                         FROM performance_schema.global_status \
                        WHERE VARIABLE_NAME = 'Threads_running'";
            let running: u64 = number(session, sql).await?;
            if running > limit {
                return Ok(Some(format!(
                    "{running} threads are running, the limit is {limit}"
                )));
            }
        }
        if let Some(limit) = limits.history_list_length {
            let sql = "SELECT CAST(COUNT AS UNSIGNED) FROM information_schema.INNODB_METRICS \
                        WHERE NAME = 'trx_rseg_history_len'";
            let length: u64 = number(session, sql).await?;
            if length > limit {
                return Ok(Some(format!(
                    "the history list is {length} long, the limit is {limit}"
                )));
            }
        }
        if let Some(query) = &limits.query {
            let rows = session
                .rows(query)
                .await
                .map_err(EngineError::while_doing("the throttle's query"))?;
            if let Some(answer) = rows.first().and_then(first_as_text)
                && !is_false(&answer)
            {
                return Ok(Some(format!("the throttle's query answers {answer}")));
            }
        }
        Ok(None)
    }
}

async fn number(session: &mut Session, sql: &str) -> Result<u64, EngineError> {
    let doing = || EngineError::while_doing("asking for the server's load");
    let rows = session.rows(sql).await.map_err(doing())?;
    match rows.first() {
        Some(row) => row.try_get_unchecked(0).map_err(doing()),
        None => Ok(0),
    }
}

/// Of the channel that is farthest behind; `None` where there is none, or one that stands still.
async fn lag(
    target: &Target,
    session: &mut Option<MySqlConnection>,
) -> Result<Option<f64>, EngineError> {
    let session = match session {
        Some(session) => session,
        None => session.insert(session::connect(target).await?),
    };
    let doing = || EngineError::while_doing("SHOW REPLICA STATUS");
    let channels = session
        .fetch_all("SHOW REPLICA STATUS")
        .await
        .map_err(doing())?;
    let mut farthest = None;
    for channel in &channels {
        let behind: Option<u64> = channel
            .try_get_unchecked("Seconds_Behind_Source")
            .map_err(doing())?;
        let Some(behind) = behind else {
            return Ok(None);
        };
        farthest = farthest.max(Some(behind));
    }
    Ok(farthest.map(|seconds| seconds as f64))
}

fn first_as_text(row: &MySqlRow) -> Option<String> {
    if let Ok(text) = row.try_get_unchecked::<Option<String>, _>(0) {
        return text;
    }
    if let Ok(number) = row.try_get_unchecked::<Option<i64>, _>(0) {
        return number.map(|n| n.to_string());
    }
    row.try_get_unchecked::<Option<f64>, _>(0)
        .ok()
        .flatten()
        .map(|n| n.to_string())
}

fn is_false(answer: &str) -> bool {
    answer
        .trim()
        .parse::<f64>()
        .is_ok_and(|number| number == 0.0)
}
