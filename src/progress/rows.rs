//! The deployments of an apply, and its state, as the views have them.

use serde::Serialize;
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

/// One deployment's operation.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(crate) struct Operation {
    pub operation_id: u64,
    pub deployment: String,
    pub state: String,
    pub phase: Option<String>,
    pub percent: f64,
    /// While that goes on.
    pub percent_verified: Option<f64>,
    pub rows_copied: Option<u64>,
    pub rows_total: Option<u64>,
    pub rows_per_second: Option<f64>,
    pub seconds_left: Option<f64>,
    pub lag_seconds: Option<f64>,
    pub throttled_by: Option<String>,
    /// Who holds its lease, or held the last one of what is settled.
    pub driver: Option<String>,
    /// The lease has run out and nobody has taken it yet.
    pub is_stale: bool,
    /// Why it doesn't move, where it doesn't.
    pub waiting: Option<String>,
    pub error: Option<String>,
}

/// In the order of the deployments.
///
/// As text: a server whose cache of definitions is too small for it gives prepared statements on views up (1615).
pub(crate) async fn operations(
    control: &mut MySqlConnection,
    apply_id: u64,
) -> Result<Vec<Operation>, sqlx::Error> {
    let rows = sqlx::raw_sql(AssertSqlSafe(format!(
        "SELECT o.operation_id, o.deployment, o.state, o.phase, CAST(o.percent AS DOUBLE) AS percent,
                CAST(o.percent_verified AS DOUBLE) AS percent_verified, o.rows_copied, o.rows_total,
                CAST(o.rows_per_second AS DOUBLE) AS rows_per_second, CAST(o.seconds_left AS DOUBLE) AS seconds_left,
                CAST(o.binlog_lag_seconds AS DOUBLE) AS lag_seconds, o.throttled_by, o.driver,
                COALESCE(l.stale, 0) AS stale, w.reason AS waiting, o.error
           FROM operation_status       AS o
           LEFT JOIN lease_status      AS l
             ON l.operation_id = o.operation_id
           LEFT JOIN operation_waiting AS w
             ON w.operation_id = o.operation_id
          WHERE o.apply_id = {apply_id}
          ORDER BY o.position"
    )))
    .fetch_all(control)
    .await?;
    rows.iter().map(read).collect()
}

fn read(row: &MySqlRow) -> Result<Operation, sqlx::Error> {
    Ok(Operation {
        operation_id: row.try_get("operation_id")?,
        deployment: row.try_get("deployment")?,
        state: row.try_get("state")?,
        phase: row.try_get("phase")?,
        percent: row.try_get::<Option<f64>, _>("percent")?.unwrap_or(0.0),
        percent_verified: row.try_get("percent_verified")?,
        rows_copied: row.try_get("rows_copied")?,
        rows_total: row.try_get("rows_total")?,
        rows_per_second: row.try_get("rows_per_second")?,
        seconds_left: row.try_get("seconds_left")?,
        lag_seconds: row.try_get("lag_seconds")?,
        throttled_by: row.try_get("throttled_by")?,
        driver: row.try_get("driver")?,
        is_stale: row.try_get::<i64, _>("stale")? == 1,
        waiting: row.try_get("waiting")?,
        error: row.try_get("error")?,
    })
}

/// How an apply stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stand {
    pub state: String,
    /// That of its first failed operation.
    pub error: Option<String>,
    /// Every operation is settled.
    pub is_over: bool,
    /// How many of its operations move; where none does, and it is not over, somebody has to act.
    pub moving: u64,
}

/// None where there is no such apply.
pub(crate) async fn apply(
    control: &mut MySqlConnection,
    apply_id: u64,
) -> Result<Option<Stand>, sqlx::Error> {
    let row = sqlx::raw_sql(AssertSqlSafe(format!(
        "SELECT a.state, a.error, a.finished_at IS NOT NULL AS is_over, CAST(a.moving AS UNSIGNED) AS moving
           FROM apply_status AS a
          WHERE a.apply_id = {apply_id}"
    )))
    .fetch_optional(control)
    .await?;
    let stand = |row: MySqlRow| {
        Ok(Stand {
            state: row.try_get("state")?,
            error: row.try_get("error")?,
            is_over: row.try_get::<i64, _>("is_over")? == 1,
            moving: row.try_get("moving")?,
        })
    };
    row.map(stand).transpose()
}
