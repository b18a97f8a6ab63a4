//! What the procedures answer, as types.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::{DeserializeOwned, IntoDeserializer as _, value};
use sqlx::Row as _;
use sqlx::mysql::MySqlRow;

use super::ControlError;
use crate::engine::JobTask;

/// A word of the control database's.
pub(super) fn meaning<T: DeserializeOwned>(word: &str) -> Result<T, ControlError> {
    let unknown = |_: value::Error| ControlError::Unknown(word.to_owned());
    T::deserialize(word.into_deserializer()).map_err(unknown)
}

/// One apply on one deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(pub u64);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What proves the lease. Not shown: who has it may move the operation.
#[derive(Clone, PartialEq, Eq)]
pub struct LeaseToken(pub String);

impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseToken(***)")
    }
}

/// The states that a driver meets, each with work of its own. Which may follow which is for the control database to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Running,
    WaitingForCutover,
    CuttingOver,
    RevertWindow,
    Reverting,
    FailedRetryable,
    Stopped,
    Cancelling,
    Completed,
    Failed,
    Cancelled,
    Reverted,
}

impl State {
    pub(super) fn read(row: &MySqlRow) -> Result<Self, ControlError> {
        meaning(row.try_get("state")?)
    }
}

/// What to do with a verified copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Parked,
    Hold,
    CutOver,
    Stop,
    Cancel,
}

impl Decision {
    pub(super) fn read(row: &MySqlRow) -> Result<Self, ControlError> {
        meaning(row.try_get("decision")?)
    }
}

/// An operation whose lease is ours.
#[derive(Debug, Clone)]
pub struct Claim {
    pub operation_id: OperationId,
    /// Before that the lease has not begun.
    pub asked: Instant,
    pub apply_id: u64,
    pub deployment: String,
    pub host: String,
    pub port: u16,
    pub schema_name: String,
    pub state: State,
    /// Another driver was at this work, and has not come to its end.
    pub is_recovery: bool,
    pub lease_token: LeaseToken,
    pub lease_epoch: u64,
    pub tasks: Vec<JobTask>,
    /// The apply's options, defaults filled in; `engine` is the engine's own object.
    pub options: serde_json::Value,
}

impl Claim {
    pub(super) fn read(row: &MySqlRow, asked: Instant) -> Result<Self, ControlError> {
        Ok(Self {
            operation_id: OperationId(row.try_get("operation_id")?),
            asked,
            apply_id: row.try_get("apply_id")?,
            deployment: row.try_get("deployment")?,
            host: row.try_get("host")?,
            port: row.try_get("port")?,
            schema_name: row.try_get("schema_name")?,
            state: State::read(row)?,
            // Recovery changes no state.
            is_recovery: row.try_get::<String, _>("previous_state")?
                == row.try_get::<String, _>("state")?,
            lease_token: LeaseToken(row.try_get("lease_token")?),
            lease_epoch: row.try_get("lease_epoch")?,
            tasks: row
                .try_get::<sqlx::types::Json<Vec<JobTask>>, _>("tasks")?
                .0,
            options: row.try_get("options")?,
        })
    }

    /// How long the old table is kept current after the swap; zero where there is no revert window.
    pub fn revert_window(&self) -> Duration {
        let seconds = self
            .options
            .get("revert_window_seconds")
            .and_then(serde_json::Value::as_u64);
        Duration::from_secs(seconds.unwrap_or(0))
    }
}

/// What a driver is told when it registers.
#[derive(Debug, Clone)]
pub struct Registration {
    /// How long a lease lasts after its last heartbeat.
    pub lease_ttl: Duration,
    /// How long from one heartbeat to the next, at most.
    pub heartbeat: Duration,
    /// How long to wait before asking again when there is nothing to do.
    pub poll: Duration,
    /// Eight hex digits that name the installation on a deployment.
    pub installation: String,
}

impl Registration {
    pub(super) fn read(row: &MySqlRow) -> Result<Self, ControlError> {
        Ok(Self {
            lease_ttl: Duration::from_secs(row.try_get("lease_ttl_seconds")?),
            heartbeat: Duration::from_secs(row.try_get("heartbeat_seconds")?),
            poll: Duration::from_secs(row.try_get("poll_seconds")?),
            installation: row.try_get("installation")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_control_database() {
        let state = meaning::<State>("waiting_for_cutover").unwrap();
        assert_eq!(state, State::WaitingForCutover);
        let decision = meaning::<Decision>("cut_over").unwrap();
        assert_eq!(decision, Decision::CutOver);
        let unknown = meaning::<State>("Running").unwrap_err();
        assert!(matches!(unknown, ControlError::Unknown(word) if word == "Running"));
    }
}
