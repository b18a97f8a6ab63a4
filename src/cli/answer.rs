//! Rows of any view or call, as a table for people or as JSON for programs.

use serde_json::{Map, Value};
use sqlx::mysql::MySqlRow;
use sqlx::{Column as _, Row as _, TypeInfo as _, ValueRef as _};

use super::CliError;

/// Column names, and rows of values.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

impl Table {
    pub fn of(rows: &[MySqlRow]) -> Result<Self, sqlx::Error> {
        let columns = rows.first().map_or_else(Vec::new, |row| {
            row.columns()
                .iter()
                .map(|column| column.name().to_owned())
                .collect()
        });
        let rows = rows
            .iter()
            .map(|row| (0..row.len()).map(|at| value(row, at)).collect())
            .collect::<Result<_, _>>()?;
        Ok(Self { columns, rows })
    }

    fn get(&self, row: usize, column: &str) -> Option<&Value> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.rows.get(row)?.get(at)
    }

    /// A value as people read it; nothing where there is none.
    pub fn text(&self, row: usize, column: &str) -> String {
        self.get(row, column).map(text).unwrap_or_default()
    }

    /// A whole number that the server always has: an id, a port, a count.
    pub fn whole<T: TryFrom<u64>>(&self, row: usize, column: &str) -> Result<T, CliError> {
        let number = self.get(row, column).and_then(Value::as_u64);
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            CliError::failed(format!(
                "the control database shows no {column} where there has to be one; run `lockkeeper doctor`"
            ))
        })
    }

    /// Whether it is 1.
    pub fn is(&self, row: usize, column: &str) -> bool {
        self.get(row, column).and_then(Value::as_u64) == Some(1)
    }

    /// What people read in place of a value.
    pub fn show(&mut self, row: usize, column: &str, text: String) {
        let at = self.columns.iter().position(|name| name == column);
        let place = self.rows.get_mut(row).zip(at);
        if let Some(value) = place.and_then(|(row, at)| row.get_mut(at)) {
            *value = Value::String(text);
        }
    }

    /// The value of `column` in the first row.
    pub fn first(&self, column: &str) -> Option<&Value> {
        self.get(0, column)
    }

    /// [`Table::first`] as people read it.
    pub fn first_text(&self, column: &str) -> String {
        self.text(0, column)
    }

    /// An array of objects.
    pub fn json(&self) -> Value {
        self.rows
            .iter()
            .map(|row| Value::Object(self.object(row)))
            .collect()
    }

    /// The first row as an object.
    pub fn first_json(&self) -> Value {
        self.rows
            .first()
            .map_or(Value::Null, |row| Value::Object(self.object(row)))
    }

    fn object(&self, row: &[Value]) -> Map<String, Value> {
        self.columns
            .iter()
            .cloned()
            .zip(row.iter().cloned())
            .collect()
    }
}

/// A value as people read it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Numbers stay numbers, JSON stays JSON, all else is text as the server writes it.
fn value(row: &MySqlRow, at: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(at)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info().name().to_owned();
    if kind.contains("INT") || kind == "BOOLEAN" {
        // COUNT(*) is signed, ids are not.
        return match row.try_get::<u64, _>(at) {
            Ok(number) => Ok(number.into()),
            Err(_) => row.try_get_unchecked::<i64, _>(at).map(Value::from),
        };
    }
    let bytes = row.try_get_unchecked::<String, _>(at)?;
    Ok(match kind.as_str() {
        // Both know numbers of any length.
        "DECIMAL" | "DOUBLE" | "FLOAT" | "JSON" => {
            serde_json::from_str(&bytes).unwrap_or(Value::String(bytes))
        }
        _ => Value::String(bytes),
    })
}
