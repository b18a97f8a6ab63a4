//! Key ranges in SQL, in a form that the server can scan an index by.

use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::{Column, DataType, TableDefinition};
use crate::engine::syntax::quote;

/// One part of a key that was read through SQL: [`KeyColumns::select`] asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyText {
    /// `CAST(… AS CHAR)` of a number or a time.
    Plain(String),
    /// Bytes of a string.
    Bytes(Vec<u8>),
}

/// An end of a key range; `None` is the table's.
pub type Bound = Option<Vec<KeyText>>;

/// The columns of a key, as ranges of one table need them.
#[derive(Debug, Clone)]
pub struct KeyColumns {
    /// `(quoted name, column)`, in the key's order.
    columns: Vec<(String, Column)>,
    index: String,
}

impl KeyColumns {
    pub fn new(table: &TableDefinition, columns: &[usize], index: &str) -> Self {
        let columns = columns.iter().map(|&i| {
            let column = table.columns[i].clone();
            (quote(&column.name), column)
        });
        Self {
            columns: columns.collect(),
            index: quote(index),
        }
    }

    /// The index, quoted.
    pub fn index(&self) -> &str {
        &self.index
    }

    /// `ORDER BY` list.
    pub fn order(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    }

    /// Expressions that read a key as text; [`KeyColumns::read`] takes their values.
    pub fn select(&self) -> String {
        let parts: Vec<String> = self
            .columns
            .iter()
            .map(|(name, column)| match column.data_type {
                t if t.is_string() => format!("HEX(CAST({name} AS BINARY))"),
                DataType::Bit | DataType::Enum | DataType::Set => {
                    // `+ 0` would make it a DOUBLE, which has fewer digits than a SET members.
                    format!("CAST(CAST({name} AS UNSIGNED) AS CHAR)")
                }
                _ => format!("CAST({name} AS CHAR)"),
            })
            .collect();
        parts.join(", ")
    }

    /// A key from a row that begins with the values of [`KeyColumns::select`].
    pub fn read(&self, row: &MySqlRow) -> Result<Vec<KeyText>, sqlx::Error> {
        let part = |(at, (_, column)): (usize, &(String, Column))| {
            let value: String = row.try_get_unchecked(at)?;
            match column.data_type.is_string() {
                true => hex::decode(value)
                    .map(KeyText::Bytes)
                    .map_err(|error| sqlx::Error::Decode(error.into())),
                false => Ok(KeyText::Plain(value)),
            }
        };
        self.columns.iter().enumerate().map(part).collect()
    }

    /// Whether keys are whole numbers, in their order.
    pub fn is_one_integer(&self) -> bool {
        matches!(self.columns.as_slice(), [(_, column)] if column.data_type.is_integer())
    }

    /// A literal that compares with the column as the column's own values do.
    fn literal(column: &Column, part: &KeyText) -> String {
        match part {
            KeyText::Bytes(bytes) => {
                let hex = hex::encode(bytes);
                match (&column.character_set, &column.collation) {
                    (Some(set), Some(collation)) => format!("_{set} x'{hex}' COLLATE {collation}"),
                    _ => format!("x'{hex}'"),
                }
            }
            KeyText::Plain(text) => match column.data_type {
                DataType::Date | DataType::Time | DataType::DateTime | DataType::Timestamp => {
                    format!("'{text}'")
                }
                _ => text.clone(),
            },
        }
    }

    /// Rows between two keys, as alternatives that begin with equal leading columns: row
    /// constructors would not be scanned by range, and a condition that repeats the leading
    /// columns in each alternative lets the server use every part of the index.
    pub fn between(&self, from: Option<&[KeyText]>, to: Option<&[KeyText]>) -> String {
        let mut conditions = Vec::new();
        if let Some(from) = from {
            conditions.push(self.side(from, ">", ">"));
        }
        if let Some(to) = to {
            conditions.push(self.side(to, "<", "<="));
        }
        match conditions.is_empty() {
            true => "TRUE".to_owned(),
            false => conditions.join(" AND "),
        }
    }

    /// Asks for the last key of a range of so many rows after `from`; no row answers where the table ends before.
    pub fn end_of_range(&self, table: &str, from: Option<&[KeyText]>, rows: u64) -> String {
        format!(
            "SELECT {} FROM {table} FORCE INDEX ({}) WHERE {} ORDER BY {} LIMIT 1 OFFSET {}",
            self.select(),
            self.index,
            self.between(from, None),
            self.order(),
            rows - 1
        )
    }

    /// `(a > 1 OR (a = 1 AND b > 2))`.
    fn side(&self, bound: &[KeyText], operator: &str, last: &str) -> String {
        let mut alternatives = Vec::new();
        let mut equal = String::new();
        for (at, ((name, column), part)) in self.columns.iter().zip(bound).enumerate() {
            let operator = if at + 1 == bound.len() {
                last
            } else {
                operator
            };
            let literal = Self::literal(column, part);
            alternatives.push(format!("({equal}{name} {operator} {literal})"));
            equal.push_str(&format!("{name} = {literal} AND "));
        }
        format!("({})", alternatives.join(" OR "))
    }

    /// `a = 1 AND b = 2`.
    pub fn is(&self, key: &[KeyText]) -> String {
        let parts: Vec<String> = self
            .columns
            .iter()
            .zip(key)
            .map(|((name, column), part)| format!("{name} = {}", Self::literal(column, part)))
            .collect();
        parts.join(" AND ")
    }

    /// A key for people, with its columns: `id = 7, name = 'a'`.
    pub fn named(&self, key: &[KeyText]) -> String {
        let parts: Vec<String> = self
            .columns
            .iter()
            .zip(key)
            .map(|((_, column), part)| format!("{} = {}", column.name, Self::text(part)))
            .collect();
        parts.join(", ")
    }

    fn text(part: &KeyText) -> String {
        match part {
            KeyText::Plain(text) => text.clone(),
            KeyText::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if !text.contains(|c: char| c.is_control()) => format!("'{text}'"),
                _ => format!("x'{}'", hex::encode(bytes)),
            },
        }
    }

    /// A key for people: `(7, 'a')`.
    pub fn shown(key: &[KeyText]) -> String {
        let parts: Vec<String> = key.iter().map(Self::text).collect();
        format!("({})", parts.join(", "))
    }
}
