//! Digests of rows, computed by the server.
//!
//! A row's digest is that of all of its values, each with its length, so that no two different rows look alike. A range
//! of keys has the sum of the digests of its rows: single rows can be taken out of it and put into it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

use super::LoadError;
use super::session::quoted;

/// 128 bits of a row, or the sum of those of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowDigest {
    high: u128,
    low: u128,
}

impl RowDigest {
    fn minus(self, other: Self) -> Self {
        Self {
            high: self.high.wrapping_sub(other.high),
            low: self.low.wrapping_sub(other.low),
        }
    }

    fn read(row: &MySqlRow) -> Result<Self, sqlx::Error> {
        let part = |name| -> Result<u128, sqlx::Error> {
            let text: String = row.try_get(name)?;
            text.parse()
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))
        };
        Ok(Self {
            high: part("high")?,
            low: part("low")?,
        })
    }
}

/// How many rows are in a range of keys, and the sum of their digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    pub rows: i64,
    pub digest: RowDigest,
}

impl Sum {
    fn take(&mut self, digest: RowDigest) {
        self.rows -= 1;
        self.digest = self.digest.minus(digest);
    }
}

/// The digests of a table with a numeric key, by ranges of keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableDigest(BTreeMap<u64, Sum>);

const KEYS_A_RANGE: u64 = 10_000;

impl TableDigest {
    pub(super) fn take(&mut self, key: u64, digest: RowDigest) {
        self.0.entry(key / KEYS_A_RANGE).or_default().take(digest);
    }

    pub fn rows(&self) -> i64 {
        self.0.values().map(|sum| sum.rows).sum()
    }

    /// Each range that is not alike on both sides, for people.
    pub(super) fn differences(&self, found: &Self) -> Vec<String> {
        let mut ranges: Vec<u64> = self.0.keys().chain(found.0.keys()).copied().collect();
        ranges.sort_unstable();
        ranges.dedup();
        ranges
            .into_iter()
            .filter_map(|range| {
                let expected = self.0.get(&range).copied().unwrap_or_default();
                let found = found.0.get(&range).copied().unwrap_or_default();
                (expected != found).then(|| {
                    let (first, last) = (range * KEYS_A_RANGE, (range + 1) * KEYS_A_RANGE - 1);
                    if expected.rows == found.rows {
                        format!("keys {first} to {last}: a row that no writer touched has changed")
                    } else {
                        format!(
                            "keys {first} to {last}: {} rows that no writer touched, {} expected",
                            found.rows, expected.rows
                        )
                    }
                })
            })
            .collect()
    }
}

/// How a table's rows are digested: by these columns, under whatever types they have now.
#[derive(Debug, Clone)]
pub struct Digester {
    schema: String,
    table: String,
    key: String,
    columns: Vec<String>,
    /// The SELECT of one row's digest, under the types of the beginning.
    one_row: String,
}

impl Digester {
    /// All columns that the table has now.
    pub async fn of(
        session: &mut MySqlConnection,
        schema: &str,
        table: &str,
        key: &str,
    ) -> Result<Self, LoadError> {
        let columns = columns(&mut *session, schema, table).await?;
        let mut digester = Self {
            schema: schema.to_owned(),
            table: table.to_owned(),
            key: key.to_owned(),
            columns: columns.into_iter().map(|column| column.name).collect(),
            one_row: String::new(),
        };
        digester.one_row = format!(
            "SELECT CAST(r.high AS CHAR) AS high, CAST(r.low AS CHAR) AS low FROM ({}) AS r WHERE r.k = ?",
            digester.rows(session).await?
        );
        Ok(digester)
    }

    /// One row of it, for a writer that is about to change it.
    pub(super) async fn row(
        &self,
        session: &mut MySqlConnection,
        key: u64,
    ) -> Result<Option<RowDigest>, sqlx::Error> {
        let row = sqlx::query(AssertSqlSafe(self.one_row.clone()))
            .bind(key)
            .fetch_optional(session)
            .await?;
        row.as_ref().map(RowDigest::read).transpose()
    }

    /// The whole table. Reads a consistent state of it.
    pub async fn table(&self, session: &mut MySqlConnection) -> Result<TableDigest, LoadError> {
        let rows = self.rows(&mut *session).await?;
        let query = format!(
            "SELECT r.k DIV {KEYS_A_RANGE} AS key_range, COUNT(*) AS number_of_rows, CAST(SUM(r.high) AS CHAR) AS high,
                    CAST(SUM(r.low) AS CHAR) AS low
               FROM ({rows}) AS r
              GROUP BY key_range"
        );
        let found = sqlx::query(AssertSqlSafe(query))
            .fetch_all(session)
            .await
            .map_err(LoadError::at(&self.schema))?;
        let read = |row: &MySqlRow| -> Result<(u64, Sum), sqlx::Error> {
            let sum = Sum {
                rows: row.try_get("number_of_rows")?,
                digest: RowDigest::read(row)?,
            };
            Ok((row.try_get("key_range")?, sum))
        };
        found
            .iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(TableDigest)
            .map_err(LoadError::at(&self.schema))
    }

    /// These rows of it, as far as they are there.
    pub async fn keys(
        &self,
        session: &mut MySqlConnection,
        keys: &[u64],
    ) -> Result<Vec<(u64, RowDigest)>, LoadError> {
        let rows = self.rows(&mut *session).await?;
        let mut found = Vec::new();
        for some in keys.chunks(500) {
            let query = format!(
                "SELECT r.k, CAST(r.high AS CHAR) AS high, CAST(r.low AS CHAR) AS low FROM ({rows}) AS r WHERE r.k IN ({})",
                list(some)
            );
            let answer = sqlx::query(AssertSqlSafe(query))
                .fetch_all(&mut *session)
                .await
                .map_err(LoadError::at(&self.schema))?;
            for row in &answer {
                let read = |row: &MySqlRow| Ok((row.try_get("k")?, RowDigest::read(row)?));
                found.push(read(row).map_err(LoadError::at(&self.schema))?);
            }
        }
        Ok(found)
    }

    async fn rows(&self, session: &mut MySqlConnection) -> Result<String, LoadError> {
        let now = columns(session, &self.schema, &self.table).await?;
        let mut digest = String::from("SHA2(CONCAT(''");
        for column in now.iter().filter(|c| self.columns.contains(&c.name)) {
            let value = column.exact();
            let _ = write!(
                digest,
                ", COALESCE(CONCAT(OCTET_LENGTH({value}), ':', {value}), 'NULL,')"
            );
        }
        digest.push_str("), 256)");
        let part =
            |from: u8| format!("CAST(CONV(SUBSTR({digest}, {from}, 16), 16, 10) AS DECIMAL(20))");
        Ok(format!(
            "SELECT t.{} AS k, {} AS high, {} AS low FROM {}.{} AS t",
            quoted(&self.key),
            part(1),
            part(17),
            quoted(&self.schema),
            quoted(&self.table)
        ))
    }
}

/// Every column of a table as bytes that no two different values share, in a list for a SELECT.
pub async fn exact_columns(
    session: &mut MySqlConnection,
    schema: &str,
    table: &str,
    only: &[String],
) -> Result<String, LoadError> {
    let columns = columns(session, schema, table).await?;
    let list: Vec<String> = columns
        .iter()
        .filter(|column| only.contains(&column.name))
        .map(|column| format!("{} AS {}", column.exact(), quoted(&column.name)))
        .collect();
    Ok(list.join(", "))
}

pub(super) fn list(keys: &[u64]) -> String {
    keys.iter()
        .map(u64::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

struct Column {
    name: String,
    data_type: String,
}

impl Column {
    fn exact(&self) -> String {
        let name = format!("t.{}", quoted(&self.name));
        match self.data_type.as_str() {
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum"
            | "set" => {
                format!("CAST(CONVERT({name} USING utf8mb4) AS BINARY)")
            }
            "bit" => format!("CAST({name} + 0 AS CHAR)"),
            // Its shortest text is exact as DOUBLE, not as FLOAT.
            "float" => format!("CAST(CAST({name} AS DOUBLE) AS CHAR)"),
            // 1 and 1.0 differ as text; a number and its quoted text too.
            "json" => format!("CAST(CONCAT(JSON_TYPE({name}), CAST({name} AS CHAR)) AS BINARY)"),
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "double"
            | "year" | "date" | "time" | "datetime" | "timestamp" => {
                format!("CAST({name} AS CHAR)")
            }
            // Binary strings, geometries, vectors: bytes as they are.
            _ => format!("CAST({name} AS BINARY)"),
        }
    }
}

async fn columns(
    session: &mut MySqlConnection,
    schema: &str,
    table: &str,
) -> Result<Vec<Column>, LoadError> {
    let rows = sqlx::query(
        "SELECT CAST(c.COLUMN_NAME AS CHAR) AS name, CAST(c.DATA_TYPE AS CHAR) AS data_type
           FROM information_schema.COLUMNS AS c
          WHERE c.TABLE_SCHEMA = ? AND c.TABLE_NAME = ?
          ORDER BY c.ORDINAL_POSITION",
    )
    .bind(schema)
    .bind(table)
    .fetch_all(session)
    .await
    .map_err(LoadError::at(schema))?;
    if rows.is_empty() {
        return Err(LoadError::NoTable {
            schema: schema.to_owned(),
            table: table.to_owned(),
        });
    }
    rows.iter()
        .map(|row| {
            Ok(Column {
                name: row.try_get("name")?,
                data_type: row.try_get("data_type")?,
            })
        })
        .collect::<Result<_, _>>()
        .map_err(LoadError::at(schema))
}
