//! What procedures and views answer, as types.

use serde_json::Value;
use sqlx::mysql::MySqlRow;
use sqlx::{Column as _, Row as _};

/// A row by column name; whatever integer or text type the server chose.
pub struct Row(MySqlRow);

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a row of {}", self.columns().join(", "))
    }
}

impl Row {
    pub(super) fn new(row: MySqlRow) -> Self {
        Self(row)
    }

    pub fn columns(&self) -> Vec<String> {
        self.0
            .columns()
            .iter()
            .map(|column| column.name().to_owned())
            .collect()
    }

    pub fn maybe_text(&self, column: &str) -> Option<String> {
        self.0
            .try_get_unchecked(column)
            .unwrap_or_else(|error| panic!("{column}: {error}"))
    }

    pub fn text(&self, column: &str) -> String {
        self.maybe_text(column)
            .unwrap_or_else(|| panic!("{column} is NULL"))
    }

    pub fn text_at(&self, index: usize) -> String {
        let text: Option<String> = self.0.try_get_unchecked(index).expect("text");
        text.unwrap_or_else(|| "NULL".to_owned())
    }

    pub fn maybe_number(&self, column: &str) -> Option<i64> {
        self.0
            .try_get_unchecked(column)
            .unwrap_or_else(|error| panic!("{column}: {error}"))
    }

    pub fn number(&self, column: &str) -> i64 {
        self.maybe_number(column)
            .unwrap_or_else(|| panic!("{column} is NULL"))
    }

    pub fn number_at(&self, index: usize) -> i64 {
        self.0.try_get_unchecked(index).expect("a number")
    }

    pub fn id(&self, column: &str) -> u64 {
        self.number(column).cast_unsigned()
    }

    pub fn maybe_id(&self, column: &str) -> Option<u64> {
        self.maybe_number(column).map(i64::cast_unsigned)
    }

    /// All values as the server sent them: to compare rows with.
    pub fn raw(&self) -> String {
        let values = (0..self.0.len()).map(|index| {
            let value = self.0.try_get_raw(index).expect("a value");
            match sqlx::ValueRef::is_null(&value) {
                true => "NULL".to_owned(),
                false => hex::encode(
                    <&[u8] as sqlx::Decode<'_, sqlx::MySql>>::decode(value).expect("bytes"),
                ),
            }
        });
        values.collect::<Vec<_>>().join(" ")
    }

    /// NULL is `null`.
    pub fn json(&self, column: &str) -> Value {
        self.maybe_text(column).map_or(Value::Null, |text| {
            serde_json::from_str(&text).expect("JSON")
        })
    }
}

/// What a claim hands out.
#[derive(Clone, Debug)]
pub struct Claim {
    pub operation: u64,
    pub apply: u64,
    pub position: i64,
    pub deployment: String,
    pub host: String,
    pub port: i64,
    pub schema_name: String,
    pub previous_state: String,
    pub state: String,
    pub token: String,
    pub epoch: i64,
    pub lease_ttl_seconds: i64,
    pub attempt: i64,
    pub checkpoint: Value,
    pub tasks: Value,
    pub options: Value,
}

impl Claim {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            operation: row.id("operation_id"),
            apply: row.id("apply_id"),
            position: row.number("position"),
            deployment: row.text("deployment"),
            host: row.text("host"),
            port: row.number("port"),
            schema_name: row.text("schema_name"),
            previous_state: row.text("previous_state"),
            state: row.text("state"),
            token: row.text("lease_token"),
            epoch: row.number("lease_epoch"),
            lease_ttl_seconds: row.number("lease_ttl_seconds"),
            attempt: row.number("attempt"),
            checkpoint: row.json("checkpoint"),
            tasks: row.json("tasks"),
            options: row.json("options"),
        }
    }

    /// From which state to which.
    pub fn moved(&self) -> (&str, &str) {
        (&self.previous_state, &self.state)
    }

    /// The same operation with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }
}

/// What a heartbeat answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    pub state: String,
    pub directive: String,
    pub throttle_level: i64,
}

impl Beat {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            state: row.text("state"),
            directive: row.text("directive"),
            throttle_level: row.number("throttle_level"),
        }
    }
}

/// What a DBA's command answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub request: u64,
    pub command: String,
    pub status: String,
    pub message: String,
    /// Of `apply_cutover` only.
    pub operation: Option<u64>,
}

impl Answer {
    pub(super) fn of(row: &Row) -> Self {
        let binds = row.columns().iter().any(|column| column == "operation_id");
        Self {
            request: row.id("request_id"),
            command: row.text("command"),
            status: row.text("status"),
            message: row.text("message"),
            operation: binds.then(|| row.maybe_id("operation_id")).flatten(),
        }
    }
}

/// Why an operation waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub gate: String,
    pub blocker: Option<u64>,
    pub reason: String,
}

impl Blocked {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            gate: row.text("gate"),
            blocker: row.maybe_id("blocker_operation_id"),
            reason: row.text("reason"),
        }
    }
}
