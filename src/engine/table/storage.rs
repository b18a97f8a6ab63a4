//! How InnoDB stores a table: its numbers, its indexes, its instant changes.

use std::collections::{BTreeSet, HashSet};

use sqlx::AssertSqlSafe;

use super::TableDefinition;
use super::catalog::failed;
use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::engine::syntax::quote_table;
use crate::server_error;

/// InnoDB's rows of a table and its partitions, by its [`file_name_pattern`], twice.
const OF_TABLE: &str = "(t.NAME COLLATE utf8mb3_bin LIKE ? ESCAPE '|' \
     OR t.NAME COLLATE utf8mb3_bin LIKE CONCAT(?, '#p#%') ESCAPE '|')";

/// Is there a table of this name? Also under `LOCK TABLES`, and without opening it.
pub async fn exists(session: &mut Session, schema: &str, name: &str) -> Result<bool, EngineError> {
    let found: Result<i64, sqlx::Error> = sqlx::query_scalar(
        "SELECT COUNT(*) FROM information_schema.TABLES AS t \
          WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ?",
    )
    .bind(schema)
    .bind(name)
    .fetch_one(session.connection())
    .await;
    match found {
        Ok(count) => Ok(count > 0),
        Err(error) if server_error::number(&error) == Some(1049) => Ok(false),
        Err(error) => Err(EngineError::while_doing(format!(
            "looking for {}",
            quote_table(schema, name)
        ))(error)),
    }
}

/// InnoDB's number of the table: what tells two tables of one name apart. A partitioned table
/// has that of its oldest partition. `None` where it can't be found out.
pub async fn table_id(
    session: &mut Session,
    schema: &str,
    name: &str,
) -> Result<Option<u64>, EngineError> {
    let stored = Stored::of(session, schema, name).await?;
    Ok(stored.ids.first().copied())
}

/// By which a table is known whose rows somebody else than their writers took away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// The numbers of all that the table is stored in, the oldest first; none where they can't be found out.
    pub ids: Vec<u64>,
    /// How many instant changes its rows have seen; `None` where that isn't known.
    pub row_versions: Option<u64>,
}

impl Stored {
    pub async fn of(session: &mut Session, schema: &str, name: &str) -> Result<Self, EngineError> {
        let rows = match Self::read(session, schema, name, "t.TOTAL_ROW_VERSIONS").await {
            // 1054: before 8.0.29 nothing was counted.
            Err(error) if server_error::number(&error) == Some(1054) => {
                Self::read(session, schema, name, "NULL").await
            }
            answer => answer,
        }
        .map_err(failed(&quote_table(schema, name)))?;
        let mut whole: Vec<&str> = rows
            .iter()
            .map(|(name, ..)| name.split("#p#").next().unwrap_or(name))
            .collect();
        whole.dedup();
        // Two names that only the server's own encoding tells apart: don't guess.
        if whole.len() > 1 && whole.iter().any(|name| *name != whole[0]) {
            return Ok(Self::default());
        }
        let mut ids: Vec<u64> = rows.iter().map(|(_, id, _)| *id).collect();
        ids.sort_unstable();
        Ok(Self {
            ids,
            row_versions: rows.iter().filter_map(|(.., versions)| *versions).max(),
        })
    }

    /// InnoDB's name, its number and its count of instant changes, of each part.
    async fn read(
        session: &mut Session,
        schema: &str,
        name: &str,
        versions: &str,
    ) -> Result<Vec<(String, u64, Option<u64>)>, sqlx::Error> {
        let pattern = file_name_pattern(schema, name);
        sqlx::query_as(AssertSqlSafe(format!(
            "SELECT CAST(t.NAME AS CHAR), CAST(t.TABLE_ID AS UNSIGNED), CAST({versions} AS UNSIGNED) \
               FROM information_schema.INNODB_TABLES AS t WHERE {OF_TABLE}"
        )))
        .bind(&pattern)
        .bind(&pattern)
        .fetch_all(session.connection())
        .await
    }
}

/// How much of the disk a table takes, indexes included: what its files have, where they are its own, and what the statistics say if that
/// is more. Statistics alone may be of long ago.
pub async fn bytes_on_disk(
    session: &mut Session,
    table: &TableDefinition,
) -> Result<u64, EngineError> {
    let counted = table.data_bytes.saturating_add(table.index_bytes);
    if table.storage_ids.is_empty() {
        return Ok(counted);
    }
    let ids: Vec<String> = table.storage_ids.iter().map(u64::to_string).collect();
    let files: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT CAST(COALESCE(SUM(s.FILE_SIZE), 0) AS SIGNED) \
           FROM information_schema.INNODB_TABLES      AS t \
           JOIN information_schema.INNODB_TABLESPACES AS s ON s.SPACE = t.SPACE \
          WHERE t.TABLE_ID IN ({}) AND s.SPACE_TYPE = 'Single'",
        ids.join(", ")
    )))
    .fetch_one(session.connection())
    .await
    .map_err(failed(&table.quoted()))?;
    Ok(counted.max(u64::try_from(files).unwrap_or(0)))
}

/// An index as InnoDB stores it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
struct StoredIndex {
    /// InnoDB's own name of the table or partition.
    table_name: String,
    table_id: u64,
    /// `None` for all indexes of a partition together: newer servers don't show those.
    index_id: Option<u64>,
}

/// What is left, after a statement, of where a table's rows were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// All of it, and nothing was built anew: only metadata changed.
    All,
    /// The table's partitions; the server doesn't show whether their indexes are.
    Partitions,
    /// Not all of it, or nothing is known of it.
    NotAll,
}

/// Where a table's rows are: one index for each index of each partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredIndexes(Vec<StoredIndex>);

impl StoredIndexes {
    pub async fn of(session: &mut Session, schema: &str, name: &str) -> Result<Self, EngineError> {
        let pattern = file_name_pattern(schema, name);
        let indexes = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT CAST(t.NAME AS CHAR) AS table_name, CAST(t.TABLE_ID AS UNSIGNED) AS table_id, \
                    CAST(i.INDEX_ID AS UNSIGNED) AS index_id \
               FROM information_schema.INNODB_TABLES AS t \
               LEFT JOIN information_schema.INNODB_INDEXES AS i ON i.TABLE_ID = t.TABLE_ID \
              WHERE {OF_TABLE}"
        )))
        .bind(&pattern)
        .bind(&pattern)
        .fetch_all(session.connection())
        .await
        .map_err(failed(&quote_table(schema, name)))?;
        Ok(Self(indexes))
    }

    pub fn ids(&self) -> BTreeSet<u64> {
        self.0.iter().filter_map(|index| index.index_id).collect()
    }

    /// What `after` still has of it. Partitions may have come, and gone where the statement says so.
    pub fn kept_by(&self, after: &Self, drops_partition: bool) -> Kept {
        if self.0.is_empty() || after.0.is_empty() {
            return Kept::NotAll;
        }
        let tables: HashSet<u64> = self.0.iter().map(|i| i.table_id).collect();
        let names: HashSet<&str> = self.0.iter().map(|i| i.table_name.as_str()).collect();
        let indexes = self.ids();
        let names_after: HashSet<&str> = after.0.iter().map(|i| i.table_name.as_str()).collect();
        let nothing_built = after.0.iter().all(|i| {
            if tables.contains(&i.table_id) {
                i.index_id.is_none_or(|id| indexes.contains(&id))
            } else {
                !names.contains(i.table_name.as_str())
            }
        });
        let gone = names.difference(&names_after).count();
        let came = names_after.difference(&names).count();
        let all_shown = self.0.iter().chain(&after.0).all(|i| i.index_id.is_some());
        if !nothing_built || (gone > 0 && !(drops_partition && came == 0)) {
            Kept::NotAll
        } else if all_shown || came > 0 || gone > 0 {
            // A statement that adds or drops a partition does nothing else.
            Kept::All
        } else {
            Kept::Partitions
        }
    }
}

/// InnoDB's limit of instant changes to one table, before version 9.1 raised it to 255.
pub const MAX_ROW_VERSIONS: u64 = 64;

/// InnoDB names a table by its file: letters, digits and `_` as they are, all else as `@` and
/// four hex digits, or, for some alphabets, `@` and two characters from a table of the server's.
fn file_name_pattern(schema: &str, name: &str) -> String {
    let encode = |text: &str| {
        let mut pattern = String::new();
        for c in text.chars() {
            let code = u32::from(c);
            match c {
                '_' => pattern.push_str("|_"),
                c if c.is_ascii_alphanumeric() => pattern.push(c),
                _ if matches!(code, 0x00C0..=0x05FF | 0x1E00..=0x1FFF | 0x2160..=0x217F | 0x24B0..=0x24EF | 0xFF20..=0xFF5F) =>
                {
                    pattern.push_str("@__%");
                }
                _ => pattern.push_str(&format!("@{code:04x}")),
            }
        }
        pattern
    };
    format!("{}/{}", encode(schema), encode(name))
}
