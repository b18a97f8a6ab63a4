//! What a resume needs, kept beside the shadow tables and committed with the rows it describes.
//!
//! The table's name carries the lease epoch: a driver that was replaced finds no such table, and so
//! commits none of its rows.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, MySqlConnection, Row};

use crate::engine::EngineError;
use crate::engine::binlog::gtid::Position;
use crate::engine::names::{CHECKPOINT, Owner};
use crate::engine::session::Session;
use crate::engine::syntax::{literal, quote};
use crate::engine::table::key_range::KeyText;
use crate::engine::table::{Key, TablePlan};
use crate::server_error;

/// The form of what is stored. A driver that finds a later one refuses to resume.
const FORMAT: u32 = 1;

/// Plans with foreign keys: a driver that doesn't know of them would swap in a table without any.
const FORMAT_OF_CHILDREN: u32 = 2;

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Rows are being copied.
    Copy,
    /// All rows are copied; deferred indexes are built.
    Index,
    /// The copy is compared with the original.
    Verify,
    /// Every row was compared and found equal.
    Verified,
    /// The tables were swapped.
    Swapped,
    /// The tables were swapped back.
    Reverted,
}

/// Everything about an operation that does not change with each chunk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Head {
    pub format: u32,
    /// `@@server_uuid`: a checkpoint means nothing on another server.
    pub server_uuid: String,
    pub stage: Stage,
    pub plans: Vec<TablePlan>,
    /// The indexes that are added after the copy, for each plan.
    pub deferred: Vec<Vec<Key>>,
    /// A verification that failed is not forgotten by a restart.
    pub failed_verification: Option<String>,
    /// Differences were repaired since the last full pass.
    pub repaired: bool,
}

impl Head {
    pub fn new(server_uuid: String, plans: Vec<TablePlan>, deferred: Vec<Vec<Key>>) -> Self {
        let has_children = plans.iter().any(|plan| !plan.foreign_keys.is_empty());
        Self {
            format: if has_children {
                FORMAT_OF_CHILDREN
            } else {
                FORMAT
            },
            server_uuid,
            stage: Stage::Copy,
            plans,
            deferred,
            failed_verification: None,
            repaired: false,
        }
    }
}

/// A key range of one table that was copied. Bounds are key parts; `None` is the table's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedRange {
    pub table: usize,
    /// Ranks the ranges of a table in the order of its key.
    pub sequence: u64,
    pub from: Option<Vec<KeyText>>,
    pub to: Option<Vec<KeyText>>,
    pub rows: u64,
}

/// The checkpoint table of an operation in one epoch.
#[derive(Debug, Clone)]
pub struct Store {
    table: String,
}

/// A checkpoint as it was found.
#[derive(Debug, Clone)]
pub struct Found {
    pub head: Head,
    pub position: Position,
    pub copied: Vec<CopiedRange>,
    /// The plans of the way back, once it began.
    pub reverse: Option<Vec<TablePlan>>,
}

impl Store {
    pub fn new(schema: &str, owner: &Owner) -> Self {
        Self {
            table: format!("{}.{}", quote(schema), quote(&owner.artifact(CHECKPOINT))),
        }
    }

    /// Qualified and quoted.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Creates the empty table, if it is not there yet.
    pub async fn create(&self, session: &mut Session) -> Result<(), EngineError> {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (\
             name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, \
             value LONGTEXT CHARACTER SET utf8mb4 NOT NULL) ENGINE=InnoDB COMMENT='Lockkeeper'",
            self.table
        );
        session
            .run(&sql)
            .await
            .map_err(EngineError::while_doing("creating the checkpoint"))?;
        Ok(())
    }

    /// Reads the checkpoint; `None` if there is none, or one that was never finished.
    ///
    /// # Errors
    ///
    /// Permanent if another version wrote it.
    pub async fn read(&self, session: &mut Session) -> Result<Option<Found>, EngineError> {
        let mut entries: BTreeMap<String, String> = BTreeMap::new();
        let mut copied = Vec::new();
        {
            // Row by row: a large table leaves a record for each of a million chunks.
            let sql = format!("SELECT name, value FROM {} ORDER BY name", self.table);
            let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(session.connection());
            loop {
                let row = match rows.try_next().await {
                    Ok(Some(row)) => row,
                    Ok(None) => break,
                    Err(error) if server_error::number(&error) == Some(1146) => return Ok(None),
                    Err(error) => {
                        return Err(EngineError::while_doing("reading the checkpoint")(error));
                    }
                };
                let entry = (row.try_get_unchecked(0), row.try_get_unchecked(1));
                let (Ok(name), Ok(value)) = entry else {
                    return Err(EngineError::permanent("the checkpoint is unreadable"));
                };
                let (name, value): (String, String) = (name, value);
                match name.starts_with(COPIED) {
                    true => join(&mut copied, parse(&value)?),
                    false => drop(entries.insert(name, value)),
                }
            }
        }
        let Some(head) = entries.get("head") else {
            return Ok(None);
        };
        let format = serde_json::from_str::<serde_json::Value>(head)
            .ok()
            .and_then(|head| head.get("format")?.as_u64());
        let known = [FORMAT, FORMAT_OF_CHILDREN].map(u64::from);
        if !format.is_some_and(|format| known.contains(&format)) {
            return Err(EngineError::permanent(format!(
                "the checkpoint has format {}, this driver reads {FORMAT} and {FORMAT_OF_CHILDREN}; let a \
                 driver of the version that began finish, or cancel",
                format.map_or_else(|| "unknown".to_owned(), |f| f.to_string())
            )));
        }
        let Some(position) = entries.get("position") else {
            return Ok(None);
        };
        Ok(Some(Found {
            head: parse(head)?,
            position: parse(position)?,
            copied,
            reverse: entries.get("reverse").map(|v| parse(v)).transpose()?,
        }))
    }

    pub fn set_head(&self, head: &Head) -> Result<String, EngineError> {
        self.set("head", head)
    }

    pub fn set_reverse(&self, plans: &[TablePlan]) -> Result<String, EngineError> {
        self.set("reverse", &plans)
    }

    pub fn set_position(&self, position: &Position) -> Result<String, EngineError> {
        self.set("position", position)
    }

    pub fn add_copied(&self, range: &CopiedRange) -> Result<String, EngineError> {
        self.set(&copied_name(range), range)
    }

    /// A change of nothing, to be committed after others, or with rows of the copy: it tells them from what somebody else
    /// writes. A place that is stored once more would be no change.
    pub fn mark(&self) -> Result<String, EngineError> {
        self.set("mark", &rand::random::<u64>())
    }

    /// Whether the place that was stored is still there. A server that does not write each commit to its disk may lose the last
    /// ones, and the rows with them, when it is started anew.
    ///
    /// # Errors
    ///
    /// Retryable if it is not: who resumes reads the binlog from what is stored.
    pub async fn check_place(
        &self,
        connection: &mut MySqlConnection,
        stored: &Position,
    ) -> Result<(), EngineError> {
        let sql = format!("SELECT value FROM {} WHERE name = 'position'", self.table);
        let value: Option<String> = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_optional(connection)
            .await
            .map_err(|error| artifact_error(error, "reading the stored place"))?;
        let found: Option<Position> = value.as_deref().map(parse).transpose()?;
        match found.is_some_and(|found| found.has_reached(stored)) {
            true => Ok(()),
            false => Err(EngineError::retryable(
                "the server has lost what it had committed: it was started anew, and does not write each commit to its \
                 disk (innodb_flush_log_at_trx_commit); the change goes on from its checkpoint",
            )),
        }
    }

    /// Whether the chunk of `range` did commit.
    pub async fn has_copied(
        &self,
        session: &mut Session,
        range: &CopiedRange,
    ) -> Result<bool, EngineError> {
        let name = copied_name(range);
        let sql = format!("SELECT 1 FROM {} WHERE name = '{name}'", self.table);
        let rows = session.rows(&sql).await;
        let rows = rows.map_err(|error| artifact_error(error, "looking for a chunk's record"))?;
        Ok(!rows.is_empty())
    }

    /// A statement that stores `value` under `name`.
    fn set(&self, name: &str, value: &impl Serialize) -> Result<String, EngineError> {
        let value = serde_json::to_string(value).map_err(|e| {
            EngineError::permanent(format!("the checkpoint cannot be written: {e}"))
        })?;
        let mut sql = format!(
            "REPLACE INTO {} (name, value) VALUES ('{name}', ",
            self.table
        );
        literal::text(&value, &mut sql);
        sql.push(')');
        Ok(sql)
    }
}

/// How the names of chunks' records begin.
const COPIED: &str = "copied.";

/// Sorts as the ranges do.
fn copied_name(range: &CopiedRange) -> String {
    format!("{COPIED}{:06}.{:015}", range.table, range.sequence)
}

/// Adds a range; to the last one where it begins at that one's end.
fn join(copied: &mut Vec<CopiedRange>, range: CopiedRange) {
    match copied.last_mut() {
        Some(last) if last.table == range.table && last.to.is_some() && last.to == range.from => {
            last.to = range.to;
            last.sequence = range.sequence;
            last.rows += range.rows;
        }
        _ => copied.push(range),
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: &str) -> Result<T, EngineError> {
    serde_json::from_str(value)
        .map_err(|e| EngineError::permanent(format!("the checkpoint is unreadable: {e}")))
}

/// Runs one or more statements as text on any session of ours.
///
/// An artifact that is not there means that another driver renamed it to its own epoch.
pub async fn run(
    connection: &mut MySqlConnection,
    sql: String,
    doing: &'static str,
) -> Result<u64, EngineError> {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .map(|done| done.rows_affected())
        .map_err(|error| artifact_error(error, doing))
}

/// Says what a failed statement on artifacts means.
pub fn artifact_error(error: sqlx::Error, doing: &'static str) -> EngineError {
    match server_error::number(&error) {
        Some(1146) if error.to_string().contains("_lk_") => EngineError::LeaseLost(format!(
            "{doing}: the tables of this lease are gone ({error}); another driver took over, or \
             somebody removed them"
        )),
        // Of a row, as no statement on artifacts reads the server's lists: it stays so.
        Some(server_error::CANNOT_CONVERT) => EngineError::Permanent {
            message: format!(
                "{doing} failed: {error}; something computed from a row's text, such as a generated column, needs that text in \
                 another character set"
            ),
            source: Some(Box::new(error)),
        },
        _ => EngineError::while_doing(doing)(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{CopiedRange, KeyText, copied_name, join};

    fn range(table: usize, sequence: u64, from: Option<&str>, to: Option<&str>) -> CopiedRange {
        let key = |at: Option<&str>| at.map(|at| vec![KeyText::Plain(at.to_owned())]);
        CopiedRange {
            table,
            sequence,
            from: key(from),
            to: key(to),
            rows: 10,
        }
    }

    #[test]
    fn ranges_that_follow_each_other_are_read_as_one() {
        let mut ranges = vec![
            range(0, 0, None, Some("5")),
            range(0, 2, Some("7"), Some("9")),
            range(0, 9, Some("9"), Some("12")),
            range(0, 10, Some("12"), None),
            range(1, 0, None, Some("3")),
        ];
        ranges.sort_by_key(copied_name);
        let mut joined = Vec::new();
        for range in ranges {
            join(&mut joined, range);
        }
        let mut rest = range(0, 10, Some("7"), None);
        rest.rows = 30;
        assert_eq!(
            joined,
            [
                range(0, 0, None, Some("5")),
                rest,
                range(1, 0, None, Some("3"))
            ]
        );
    }
}
