//! The control plane as a driver sees it: each function is one `CALL`.
//!
//! The rules are in `sql/`; here rows become types and error numbers become [`ErrorCode`]. No states are compared, but for a
//! claim's two: whether it recovers.

mod answer;
mod error;
mod heartbeat;

use std::time::Instant;

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Row as _};

use crate::engine::Progress;

pub use answer::{Claim, Decision, LeaseToken, OperationId, Registration, State};
pub use error::{ControlError, ErrorCode};
pub use heartbeat::{Beat, BeatAnswer, driver_heartbeat};

/// Which driver claims what.
#[derive(Debug, Clone)]
pub struct DriverName(pub String);

/// `None` for any deployment, else `{"deployments": […]}` or `{"labels": {…}}`.
pub type Scope = Option<serde_json::Value>;

/// Makes the driver known.
///
/// # Errors
///
/// [`ErrorCode::ApiNotServed`] if the installed version does not serve ours, [`ErrorCode::NotFound`] if the scope names
/// nothing. Rules: `sql/procedures/driver_register.sql`.
pub async fn driver_register(
    connection: &mut MySqlConnection,
    driver: &DriverName,
    version: &str,
    api_version: u32,
    scope: &Scope,
) -> Result<Registration, ControlError> {
    let row = sqlx::query("CALL driver_register(?, ?, ?, ?)")
        .bind(&driver.0)
        .bind(version)
        .bind(api_version)
        .bind(scope)
        .fetch_all(connection)
        .await?;
    Registration::read(&only(row)?)
}

/// The operation that has waited longest for its copy, if any; its lease has begun.
pub async fn operation_claim_copy(
    connection: &mut MySqlConnection,
    driver: &DriverName,
    scope: &Scope,
) -> Result<Option<Claim>, ControlError> {
    claim(connection, "operation_claim_copy", driver, scope).await
}

/// The parked operation whose turn it is, if any, or a swap to recover; its lease has begun.
pub async fn operation_claim_cutover(
    connection: &mut MySqlConnection,
    driver: &DriverName,
    scope: &Scope,
) -> Result<Option<Claim>, ControlError> {
    claim(connection, "operation_claim_cutover", driver, scope).await
}

/// The parked operation that has waited longest to be caught up, if any. No lease: see `sql/procedures/operation_tend.sql`.
pub async fn operation_tend(
    connection: &mut MySqlConnection,
    driver: &DriverName,
    scope: &Scope,
) -> Result<Option<Claim>, ControlError> {
    claim(connection, "operation_tend", driver, scope).await
}

/// Says how far a parked operation is caught up; whether it is parked still.
pub async fn operation_tended(
    connection: &mut MySqlConnection,
    operation: OperationId,
    token: &LeaseToken,
    progress: Option<&Progress>,
    is_over: bool,
) -> Result<bool, ControlError> {
    let rows = sqlx::query("CALL operation_tended(?, ?, ?, ?)")
        .bind(operation.0)
        .bind(&token.0)
        .bind(progress.map(heartbeat::progress_json))
        .bind(i64::from(is_over))
        .fetch_all(connection)
        .await?;
    Ok(only(rows)?.try_get::<i64, _>("held")? == 1)
}

async fn claim(
    connection: &mut MySqlConnection,
    procedure: &'static str,
    driver: &DriverName,
    scope: &Scope,
) -> Result<Option<Claim>, ControlError> {
    let asked = Instant::now();
    let rows = sqlx::query(AssertSqlSafe(format!("CALL {procedure}(?, ?)")))
        .bind(&driver.0)
        .bind(scope)
        .fetch_all(connection)
        .await?;
    rows.first().map(|row| Claim::read(row, asked)).transpose()
}

/// The copy is verified: what now?
pub async fn operation_arrive(
    connection: &mut MySqlConnection,
    operation: OperationId,
    token: &LeaseToken,
) -> Result<Decision, ControlError> {
    let rows = sqlx::query("CALL operation_arrive(?, ?, NULL)")
        .bind(operation.0)
        .bind(&token.0)
        .fetch_all(connection)
        .await?;
    Decision::read(&only(rows)?)
}

/// The swap is done: the state that follows, `revert_window` or `completed`.
pub async fn operation_swapped(
    connection: &mut MySqlConnection,
    operation: OperationId,
    token: &LeaseToken,
    detail: &serde_json::Value,
) -> Result<State, ControlError> {
    let rows = sqlx::query("CALL operation_swapped(?, ?, ?)")
        .bind(operation.0)
        .bind(&token.0)
        .bind(detail)
        .fetch_all(connection)
        .await?;
    State::read(&only(rows)?)
}

/// The calls that take an operation and its token and answer the state.
#[derive(Debug, Clone, Copy)]
pub enum Report {
    BeginCutover,
    Complete,
    BeginRevert,
    Reverted,
    Stopped,
    Cancelled,
}

impl Report {
    fn procedure(self) -> &'static str {
        match self {
            Self::BeginCutover => "operation_begin_cutover",
            Self::Complete => "operation_complete",
            Self::BeginRevert => "operation_begin_revert",
            Self::Reverted => "operation_reverted",
            Self::Stopped => "operation_stopped",
            Self::Cancelled => "operation_cancelled",
        }
    }
}

/// Reports a step of the operation; see the procedure of the same name.
pub async fn operation_report(
    connection: &mut MySqlConnection,
    report: Report,
    operation: OperationId,
    token: &LeaseToken,
) -> Result<State, ControlError> {
    let rows = sqlx::query(AssertSqlSafe(format!("CALL {}(?, ?)", report.procedure())))
        .bind(operation.0)
        .bind(&token.0)
        .fetch_all(connection)
        .await?;
    State::read(&only(rows)?)
}

/// Reports a failure; the retry budget decides what follows.
pub async fn operation_fail(
    connection: &mut MySqlConnection,
    operation: OperationId,
    token: &LeaseToken,
    message: &str,
    is_retryable: bool,
) -> Result<State, ControlError> {
    let rows = sqlx::query("CALL operation_fail(?, ?, ?, ?)")
        .bind(operation.0)
        .bind(&token.0)
        .bind(message)
        .bind(i64::from(is_retryable))
        .fetch_all(connection)
        .await?;
    State::read(&only(rows)?)
}

/// Gives the lease back; whether there was one to give back.
pub async fn operation_release(
    connection: &mut MySqlConnection,
    operation: OperationId,
    token: &LeaseToken,
) -> Result<bool, ControlError> {
    let rows = sqlx::query("CALL operation_release(?, ?)")
        .bind(operation.0)
        .bind(&token.0)
        .fetch_all(connection)
        .await?;
    Ok(only(rows)?.try_get::<i64, _>("released")? == 1)
}

// All rows are fetched before the first is read: an error may follow the row.
fn only(rows: Vec<MySqlRow>) -> Result<MySqlRow, ControlError> {
    rows.into_iter().next().ok_or(ControlError::NoAnswer)
}
