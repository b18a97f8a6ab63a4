//! Tables, by refinery, from `migrations/`. Its history table says which have been applied.

use refinery::error::Kind;
use refinery::{Migration, Runner};

use super::database::session_settings;
use super::error::InstallError;
use super::set::MIGRATIONS;
use crate::config::ConnectionSettings;
use crate::server_error;

/// Where refinery keeps its history.
pub(super) const HISTORY_TABLE: &str = "refinery_schema_history";

pub(super) fn migrations() -> Result<Vec<Migration>, InstallError> {
    let mut migrations = MIGRATIONS
        .iter()
        .map(|(name, sql)| Migration::unapplied(name, sql.trim_end().trim_end_matches(';')))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| InstallError::Set(error.to_string()))?;
    migrations.sort();
    Ok(migrations)
}

/// Applies those that are missing and answers their number.
pub(super) async fn run(settings: &ConnectionSettings) -> Result<usize, InstallError> {
    let migrations = migrations()?;
    if migrations.is_empty() {
        return Ok(0);
    }
    let mut pool = settings
        .mysql_async_pool(session_settings())
        .await
        .map_err(|error| InstallError::Migration {
            message: error.to_string(),
        })?;
    let mut runner = Runner::new(&migrations);
    runner.set_migration_table_name(HISTORY_TABLE);
    let result = runner.run_async(&mut pool).await;
    // The result of the migrations says more than a failure to say goodbye.
    let _ = pool.disconnect().await;
    result
        .map(|report| report.applied_migrations().len())
        .map_err(|error| {
            let message = server_error::with_causes(&error);
            match error.kind() {
                Kind::DivergentVersion(..) | Kind::MissingVersion(..) => {
                    InstallError::UnknownTables { message }
                }
                _ => InstallError::Migration { message },
            }
        })
}
