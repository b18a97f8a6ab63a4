//! Lockkeeper in a schema: tables by refinery, then routines, views, triggers and rows as one versioned set.
//!
//! `migrations/` and `sql/` are embedded. [`install`] may be run at any time and by any number of people at
//! once: it waits for its turn, changes only what differs, and resumes what was left half-done.

mod database;
mod doctor;
mod error;
mod migrate;
mod objects;
mod print;
mod privileges;
mod reference;
mod set;
mod version;

use sqlx::Connection as _;

use crate::config::ConnectionSettings;
use crate::server_version;

pub use database::refuse_foreign;
pub use doctor::{Difference, Finding, inspect};
pub use error::InstallError;
pub use print::print;
pub use privileges::role_name;
pub use reference::reference;
pub use set::Kind;
pub use version::{API_VERSION, PROGRAM_VERSION, check_for_drive};

/// What an installation did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub migrations: usize,
    pub replaced: usize,
    pub unchanged: usize,
    pub dropped: usize,
    /// What could not be done but does not stand in the way of use; each with its next step.
    pub warnings: Vec<String>,
}

/// Installs into the schema of `settings`, or brings what is there up to this program.
///
/// # Errors
///
/// Nothing that was there is lost by a failure; the next run goes on from where this one stopped. A schema
/// that a newer program has installed is refused before anything is changed.
pub async fn install(settings: &ConnectionSettings) -> Result<Report, InstallError> {
    let mut session = settings
        .clone()
        .without_schema()
        .connect()
        .await
        .map_err(InstallError::Connect)?;
    let result = install_alone(settings, &mut session).await;
    // Closing gives the lock back, whatever happened.
    session.close().await.map_err(InstallError::Database)?;
    result
}

async fn install_alone(
    settings: &ConnectionSettings,
    session: &mut sqlx::MySqlConnection,
) -> Result<Report, InstallError> {
    let schema = settings.schema();
    server_version::check(session).await?;
    database::prepare_session(session).await?;
    database::lock(session, schema).await?;
    database::create_schema(session, schema).await?;
    refuse_foreign(session, schema).await?;
    version::refuse_newer(session, schema).await?;
    database::refuse_old_row_format(session, schema).await?;

    let mut report = Report {
        migrations: migrate::run(settings).await?,
        ..Report::default()
    };
    let replaced = objects::replace(session, &mut report).await?;
    privileges::grant(session, schema, &replaced, &mut report).await?;
    Ok(report)
}
