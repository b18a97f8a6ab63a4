//! Where the pieces end in which a table is copied or compared.

use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::Row;
use tokio::sync::OnceCell;

use super::TableDefinition;
use super::key_range::{Bound, KeyColumns, KeyText};
use crate::engine::EngineError;
use crate::engine::session::Session;

/// Cuts pieces of so many rows off what is left of a table.
///
/// The server finds the end of a piece by reading it. Where the key is a whole number and nearly every number has its row, so
/// many numbers are so many rows, and nothing is read: a piece never has more rows than numbers.
pub struct Cutter {
    table: String,
    key: KeyColumns,
    /// The largest number when it was first asked for: after it only the server knows where the table ends.
    last: OnceCell<Option<i128>>,
    is_dense: AtomicBool,
}

impl Cutter {
    pub fn new(table: &TableDefinition, key: KeyColumns) -> Self {
        Self {
            table: table.quoted(),
            key,
            last: OnceCell::new(),
            is_dense: AtomicBool::new(false),
        }
    }

    /// The key at which a piece of at most `rows` rows after `from` ends; `None` if the table ends before.
    pub async fn end(
        &self,
        session: &mut Session,
        from: &Bound,
        rows: u64,
    ) -> Result<Bound, EngineError> {
        if self.is_dense.load(Ordering::Relaxed)
            && let Some(from) = self.number(from)
        {
            let end = from + i128::from(rows);
            let last = self.last.get_or_try_init(|| self.ask_for_last(session));
            if last.await?.is_some_and(|last| end < last) {
                return Ok(Some(vec![KeyText::Plain(end.to_string())]));
            }
        }
        let sql = self.key.end_of_range(&self.table, from.as_deref(), rows);
        let doing = || EngineError::while_doing("looking for the end of a piece");
        let answer = session.rows(&sql).await.map_err(doing())?;
        let end = answer.first().map(|row| self.key.read(row));
        let end = end.transpose().map_err(doing())?;
        self.found(from, &end, rows);
        Ok(end)
    }

    /// A piece had so many rows.
    pub fn found(&self, from: &Bound, to: &Bound, rows: u64) {
        if let (Some(from), Some(to)) = (self.number(from), self.number(to)) {
            let is_dense = i128::from(rows) * 2 >= to - from;
            self.is_dense.store(is_dense, Ordering::Relaxed);
        }
    }

    fn number(&self, key: &Bound) -> Option<i128> {
        match key.as_deref() {
            Some([KeyText::Plain(text)]) if self.key.is_one_integer() => text.parse().ok(),
            _ => None,
        }
    }

    async fn ask_for_last(&self, session: &mut Session) -> Result<Option<i128>, EngineError> {
        let sql = format!(
            "SELECT CAST(MAX({}) AS CHAR) FROM {}",
            self.key.order(),
            self.table
        );
        let doing = || EngineError::while_doing("looking for the largest key");
        let answer = session.rows(&sql).await.map_err(doing())?;
        let largest: Option<Option<String>> = answer
            .first()
            .map(|row| row.try_get_unchecked(0))
            .transpose()
            .map_err(doing())?;
        Ok(largest.flatten().and_then(|text| text.parse().ok()))
    }
}
