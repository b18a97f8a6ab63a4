//! One call that renews all leases of a driver.

use serde::Serialize;
use sqlx::Row as _;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use super::answer::meaning;
use super::{ControlError, DriverName, LeaseToken, OperationId};
use crate::engine::{Directive, Progress};
use crate::text::cut;

/// What one lease says: still here, this far.
#[derive(Debug, Clone)]
pub struct Beat {
    pub operation_id: OperationId,
    pub lease_token: LeaseToken,
    /// `None` leaves what is stored.
    pub progress: Option<Progress>,
    pub checkpoint: Option<serde_json::Value>,
}

/// What the control database says to one lease.
#[derive(Debug, Clone, PartialEq)]
pub struct BeatAnswer {
    pub operation_id: OperationId,
    /// The lease is ours still.
    pub is_held: bool,
    pub directive: Directive,
    /// 0 to 10; 10 pauses the copy.
    pub throttle_level: u8,
    /// How long the revert window stays open, if one is.
    pub revert_seconds_left: Option<f64>,
}

#[derive(Serialize)]
struct BeatJson<'a> {
    operation_id: u64,
    lease_token: &'a str,
    progress: Option<serde_json::Value>,
    checkpoint: Option<&'a serde_json::Value>,
}

/// Renews all leases of a driver in one commit; one answer a beat, in their order.
///
/// Rules: `sql/procedures/driver_heartbeat.sql`.
pub async fn driver_heartbeat(
    connection: &mut MySqlConnection,
    driver: &DriverName,
    beats: &[Beat],
) -> Result<Vec<BeatAnswer>, ControlError> {
    let beats: Vec<_> = beats
        .iter()
        .map(|beat| BeatJson {
            operation_id: beat.operation_id.0,
            lease_token: &beat.lease_token.0,
            progress: beat.progress.as_ref().map(progress_json),
            checkpoint: beat.checkpoint.as_ref(),
        })
        .collect();
    let rows = sqlx::query("CALL driver_heartbeat(?, ?)")
        .bind(&driver.0)
        .bind(sqlx::types::Json(beats))
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

/// What `sql/functions/_json_shape.sql` takes. One call beats for all leases of a driver: refused for the length of a text, it would
/// renew none of them.
const MOST_CHARACTERS: usize = 255;

pub(super) fn progress_json(progress: &Progress) -> serde_json::Value {
    let tasks: Vec<_> = progress
        .tasks
        .iter()
        .map(|task| {
            serde_json::json!({
                "task_id": task.task_id,
                "phase": task.phase,
                "rows_copied": task.rows_copied,
                "rows_total": task.rows_total,
            })
        })
        .collect();
    serde_json::json!({
        "phase": progress.phase,
        "rows_copied": progress.rows_copied,
        "rows_total": progress.rows_total,
        "rows_verified": progress.rows_verified,
        // A phase without rows has no rate, nor has one that has just begun.
        "rows_per_second": Some(progress.rows_per_second).filter(|rate| *rate > 0.0),
        "seconds_left": progress.seconds_left,
        "binlog_lag_seconds": progress.binlog_lag_seconds,
        "throttled_by": progress.throttled_by.as_deref().map(|why| cut(why, MOST_CHARACTERS)),
        "tasks": tasks,
    })
}

fn read(row: &MySqlRow) -> Result<BeatAnswer, ControlError> {
    let is_held = row.try_get::<i64, _>("held")? == 1;
    Ok(BeatAnswer {
        operation_id: OperationId(row.try_get("operation_id")?),
        is_held,
        directive: match row.try_get::<Option<&str>, _>("directive")? {
            None => Directive::None,
            Some(word) => meaning(word)?,
        },
        throttle_level: row
            .try_get::<Option<i64>, _>("throttle_level")?
            .and_then(|level| u8::try_from(level).ok())
            .unwrap_or(0),
        revert_seconds_left: row.try_get("revert_seconds_left")?,
    })
}
