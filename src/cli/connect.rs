//! A session to the control database, and calls on it.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use sqlx::mysql::MySqlConnection;

use super::answer::Table;
use super::{CliError, Global, output};
use crate::config::ConnectionSettings;
use crate::progress::{self, Operation, Stand};

pub(super) struct Session {
    settings: ConnectionSettings,
    connection: MySqlConnection,
}

/// A parameter of a CALL.
#[derive(Clone, Copy)]
pub(super) enum Parameter<'a> {
    Number(u64),
    Text(Option<&'a str>),
}

/// A server that hangs takes the connection and never greets.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

impl Session {
    pub async fn open(global: &Global) -> Result<Self, CliError> {
        let settings = global.settings()?;
        let connection = tokio::time::timeout(PATIENCE, settings.connect())
            .await
            .map_err(|_| CliError::silent(&settings, PATIENCE))?
            .map_err(|error| CliError::database(&settings, &error))?;
        Ok(Self::of(settings, connection))
    }

    pub fn of(settings: ConnectionSettings, connection: MySqlConnection) -> Self {
        Self {
            settings,
            connection,
        }
    }

    pub fn schema(&self) -> &str {
        self.settings.schema()
    }

    pub fn settings(&self) -> &ConnectionSettings {
        &self.settings
    }

    pub fn connection(&mut self) -> &mut MySqlConnection {
        &mut self.connection
    }

    /// A SELECT on views. Texts that come from a user are never part of `query`; see [`hex_literal`].
    pub async fn read(&mut self, query: String) -> Result<Table, CliError> {
        let rows = sqlx::raw_sql(AssertSqlSafe(query))
            .fetch_all(&mut self.connection)
            .await
            .map_err(|error| CliError::database(&self.settings, &error))?;
        Table::of(&rows).map_err(|error| CliError::database(&self.settings, &error))
    }

    /// One CALL; its one row, if it has one.
    pub async fn call(
        &mut self,
        procedure: &'static str,
        parameters: &[Parameter<'_>],
    ) -> Result<Table, CliError> {
        self.try_call(procedure, parameters)
            .await
            .map_err(|error| CliError::database(&self.settings, &error))
    }

    /// [`Session::call`], for a caller that reads the refusal.
    pub async fn try_call(
        &mut self,
        procedure: &'static str,
        parameters: &[Parameter<'_>],
    ) -> Result<Table, sqlx::Error> {
        let places = vec!["?"; parameters.len()].join(", ");
        let mut query = sqlx::query(AssertSqlSafe(format!("CALL {procedure}({places})")));
        for parameter in parameters {
            query = match parameter {
                Parameter::Number(number) => query.bind(*number),
                Parameter::Text(text) => query.bind(*text),
            };
        }
        // To the end: an error may follow the row.
        let rows = query.fetch_all(&mut self.connection).await?;
        Table::of(&rows)
    }

    /// The deployments of an apply, in their order.
    pub async fn operations(&mut self, apply: u64) -> Result<Vec<Operation>, CliError> {
        progress::operations(&mut self.connection, apply)
            .await
            .map_err(|error| CliError::database(&self.settings, &error))
    }

    /// How an apply stands; none where there is no such apply.
    pub async fn stand(&mut self, apply: u64) -> Result<Option<Stand>, CliError> {
        progress::apply(&mut self.connection, apply)
            .await
            .map_err(|error| CliError::database(&self.settings, &error))
    }

    /// [`Session::apply_id`], for a read that would show nothing of an apply that isn't there.
    pub async fn existing_apply(&mut self, apply: &str) -> Result<u64, CliError> {
        let id = self.apply_id(apply).await?;
        let found = self
            .read(format!(
                "SELECT a.apply_id FROM apply_status AS a WHERE a.apply_id = {id}"
            ))
            .await?;
        if found.rows.is_empty() {
            return Err(no_apply(id));
        }
        Ok(id)
    }

    /// The highest id of an apply, from an index: the view of applies would work out every one that ever was. None where
    /// there is no apply.
    pub async fn latest_apply(&mut self) -> Result<Option<u64>, CliError> {
        let latest = "SELECT MAX(e.apply_id) AS apply_id FROM event_log AS e";
        let table = self.read(latest.to_owned()).await?;
        Ok(table.first_text("apply_id").parse().ok())
    }

    /// Who asks for something is not to wait for nobody.
    pub async fn tell_if_no_driver(&mut self) -> Result<(), CliError> {
        let alive = "SELECT 1 FROM driver_status AS d WHERE d.is_alive LIMIT 1";
        if self.read(alive.to_owned()).await?.rows.is_empty() {
            let hint = "No driver was heard from lately; start one where the deployments can be reached: `lockkeeper drive`.";
            output::fold("", "", hint);
        }
        Ok(())
    }

    /// The id of an apply that is named by id or by name.
    pub async fn apply_id(&mut self, apply: &str) -> Result<u64, CliError> {
        let id: Option<u64> = apply.parse().ok();
        let named = self
            .read(format!(
                "SELECT a.apply_id FROM apply_status AS a WHERE a.apply_name = {}",
                hex_literal(apply)
            ))
            .await?;
        let named: Vec<u64> = (0..named.rows.len())
            .filter_map(|row| named.text(row, "apply_id").parse().ok())
            .collect();
        // One that was given the name under which a later one without a name is shown.
        if let [one, other, ..] = named[..] {
            return Err(CliError::usage(format!(
                "'{apply}' is the name of apply {one} and of apply {other}; write the id"
            )));
        }
        let named = named.first().copied();
        match (id, named) {
            (Some(id), Some(named)) if id != named => Err(CliError::usage(format!(
                "'{apply}' is the id of one apply and the name of another, apply {named}; write {named} for that, or the name of the other"
            ))),
            (Some(id), _) => Ok(id),
            (None, Some(named)) => Ok(named),
            (None, None) => Err(CliError::failed(format!(
                "there is no apply named '{apply}'; `lockkeeper status` lists them"
            ))),
        }
    }
}

pub(super) fn no_apply(id: u64) -> CliError {
    CliError::failed(format!(
        "there is no apply {id}; `lockkeeper status` lists them"
    ))
}

/// A text as SQL that means the same under every sql_mode.
pub(super) fn hex_literal(text: &str) -> String {
    format!("_utf8mb4 X'{}'", hex::encode(text))
}
