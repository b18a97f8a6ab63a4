//! What the user's statements are read and executed under.
//!
//! Our own sessions have fixed settings, so that a value is the same on its way whatever the server's are. A statement of the
//! user's means what it means under the settings of the server, or of the apply's engine options.

use sqlx::Row as _;

use super::{OUR_SQL_MODE, OUR_TIME_ZONE, Session};
use crate::engine::options::Options;
use crate::engine::{EngineError, Job};

/// The settings of a session of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSettings {
    pub sql_mode: String,
    pub time_zone: String,
    pub foreign_key_checks: bool,
}

impl UserSettings {
    /// The engine options `sql_mode` and `time_zone`, else the server's own defaults.
    ///
    /// # Errors
    ///
    /// An option that cannot be read, or a session that broke.
    pub async fn of(session: &mut Session, job: &Job) -> Result<Self, EngineError> {
        let options = Options::read(&job.options)?;
        let doing = || EngineError::while_doing("reading the server's sql_mode and time_zone");
        let rows = session
            .rows("SELECT @@GLOBAL.sql_mode, @@GLOBAL.time_zone")
            .await
            .map_err(doing())?;
        let text = |option: Option<String>, index: usize| match (option, rows.first()) {
            (Some(option), _) => Ok(option),
            (None, Some(row)) => row.try_get_unchecked(index),
            (None, None) => Ok(String::new()),
        };
        Ok(Self {
            sql_mode: text(options.sql_mode, 0).map_err(doing())?,
            time_zone: text(options.time_zone, 1).map_err(doing())?,
            foreign_key_checks: true,
        })
    }

    /// Runs the user's statement.
    ///
    /// # Errors
    ///
    /// The server's answer to the statement, or a session that broke.
    pub async fn run(&self, session: &mut Session, statement: &str) -> Result<(), sqlx::Error> {
        session.set_sql_mode(&self.sql_mode).await?;
        session.set_time_zone(&self.time_zone).await?;
        if self.foreign_key_checks {
            session.run("SET SESSION foreign_key_checks = 1").await?;
        }
        let answer = session.run(statement).await.map(drop);
        // A session that can't go back to our settings is of no more use: that error counts first.
        session.run("SET SESSION foreign_key_checks = 0").await?;
        session.set_time_zone(OUR_TIME_ZONE).await?;
        session.set_sql_mode(OUR_SQL_MODE).await?;
        answer
    }

    /// Is it the same time all year round as in the sessions that copy?
    pub async fn is_utc(&self, session: &mut Session) -> Result<bool, EngineError> {
        // Both halves of a year, over the years for which servers keep moments.
        let moments = ["1971", "1995", "2024", "2037"]
            .into_iter()
            .flat_map(|year| ["01", "07"].map(|month| format!("'{year}-{month}-01 12:00:00'")))
            .map(|moment| format!("CONVERT_TZ({moment}, '{OUR_TIME_ZONE}', ?) <=> {moment}"));
        let statement = format!("SELECT {}", moments.collect::<Vec<_>>().join(" AND "));
        let mut query = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(statement));
        for _ in 0..8 {
            query = query.bind(&self.time_zone);
        }
        let same = query.fetch_one(session.connection()).await;
        same.map(|same| same == 1)
            .map_err(EngineError::while_doing("comparing the time zone with UTC"))
    }
}
