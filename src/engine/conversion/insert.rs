//! The statement that takes rows of the original over into another table, and which row of a range the server refuses.

use std::time::Duration;

use sqlx::Row;

use super::types::as_altered;
use crate::engine::EngineError;
use crate::engine::error::{ErrorKind, server_error_kind};
use crate::engine::session::Session;
use crate::engine::syntax::create_text::{CreateText, ElementKind};
use crate::engine::syntax::quote;
use crate::engine::table::key_range::KeyColumns;
use crate::engine::table::{TableDefinition, TablePlan, catalog};
use crate::server_error;

/// `INSERT INTO … SELECT … WHERE `, or with another verb, for whatever has the shadow's columns.
pub(crate) fn from_original(
    plan: &TablePlan,
    original: &TableDefinition,
    shadow: &TableDefinition,
    verb: &str,
    into: &str,
    key: &KeyColumns,
) -> String {
    let targets: Vec<String> = plan
        .carried
        .iter()
        .map(|c| quote(&shadow.columns[c.target].name))
        .collect();
    let sources: Vec<String> = plan
        .carried
        .iter()
        .map(|c| {
            let (from, to) = (&original.columns[c.source], &shadow.columns[c.target]);
            as_altered(&quote(&from.name), from, to)
        })
        .collect();
    format!(
        "{verb} INTO {into} ({}) SELECT {} FROM {} FORCE INDEX ({}) WHERE ",
        targets.join(", "),
        sources.join(", "),
        original.quoted(),
        key.index()
    )
}

/// A range of rows, and how they are taken over.
pub(crate) struct Rows<'a> {
    pub original: &'a TableDefinition,
    pub key: &'a KeyColumns,
    /// See [`from_original`].
    pub insert: &'a str,
    /// What follows the condition.
    pub tail: &'a str,
    pub condition: &'a str,
}

impl Rows<'_> {
    /// The first row that the server refuses, as people read its key, and what it says of it.
    ///
    /// # Errors
    ///
    /// What may pass by itself.
    pub async fn refused(
        &self,
        session: &mut Session,
    ) -> Result<Option<(String, sqlx::Error)>, EngineError> {
        // Most often it takes them all.
        if self.refuses(session, u64::MAX).await?.is_none() {
            return Ok(None);
        }
        let count = format!(
            "SELECT COUNT(*) FROM {} FORCE INDEX ({}) WHERE {}",
            self.original.quoted(),
            self.key.index(),
            self.condition
        );
        let doing = || EngineError::while_doing("counting the rows of a range");
        let counted = session.rows(&count).await.map_err(doing())?;
        let rows: Option<u64> = counted
            .first()
            .map(|row| row.try_get_unchecked(0))
            .transpose()
            .map_err(doing())?;
        let mut refused = rows.unwrap_or(0);
        let Some(mut error) = self.refuses(session, refused).await? else {
            return Ok(None);
        };
        // So many are taken, and so many are not.
        let mut taken = 0;
        while refused - taken > 1 {
            let middle = taken + (refused - taken) / 2;
            match self.refuses(session, middle).await? {
                None => taken = middle,
                Some(of_fewer) => (refused, error) = (middle, of_fewer),
            }
        }
        let key = format!(
            "SELECT {} FROM {} FORCE INDEX ({}) WHERE {} ORDER BY {} LIMIT 1 OFFSET {taken}",
            self.key.select(),
            self.original.quoted(),
            self.key.index(),
            self.condition,
            self.key.order(),
        );
        let found = session.rows(&key).await.map_err(doing())?;
        let key = found.first().map(|row| self.key.read(row));
        let key = key.transpose().map_err(doing())?.unwrap_or_default();
        Ok(Some((self.key.named(&key), error)))
    }

    /// Which row does not fit `table`, which is one of ours, and why; `None` where all do.
    ///
    /// # Errors
    ///
    /// As [`Rows::refused`].
    pub async fn complaint(
        &self,
        session: &mut Session,
        table: &str,
    ) -> Result<Option<String>, EngineError> {
        let Some((row, error)) = self.refused(session).await? else {
            return Ok(None);
        };
        let schema = &self.original.schema;
        let said = match server_error::number(&error) {
            Some(CHECK_VIOLATED) => {
                let create = catalog::create_statement(session, schema, table).await?;
                said(&error, table, create.as_deref())
            }
            _ => said(&error, table, None),
        };
        Ok(Some(format!(
            "row {row} of {} does not fit the changed table: {said}",
            self.original.quoted()
        )))
    }

    /// What the server says of the first `rows`; nothing is left of them.
    async fn refuses(
        &self,
        session: &mut Session,
        rows: u64,
    ) -> Result<Option<sqlx::Error>, EngineError> {
        let doing = || EngineError::while_doing("looking for the row that is refused");
        session.run("BEGIN").await.map_err(doing())?;
        let statement = format!(
            "{}{} ORDER BY {} LIMIT {rows}{}",
            self.insert,
            self.condition,
            self.key.order(),
            self.tail
        );
        let answer = session.run(&statement).await;
        session.run("ROLLBACK").await.map_err(doing())?;
        match answer {
            Ok(_) => Ok(None),
            Err(error) if server_error_kind(&error) == ErrorKind::Retryable => Err(doing()(error)),
            Err(error) => Ok(Some(error)),
        }
    }
}

const CHECK_VIOLATED: u16 = 3819;
const NO_PARTITION: u16 = 1526;

/// What the server says of a row of `table`, which is one of ours and is made by `create`: a constraint's words stand for the
/// name that it has there.
pub(crate) fn said(error: &sqlx::Error, table: &str, create: Option<&str>) -> String {
    let number = server_error::number(error).unwrap_or_default();
    let mut text = format!("{} ({number})", server_error::words_of_a_row(error))
        .replace(&format!("{table}."), "");
    if number == CHECK_VIOLATED
        && let Some(create) = create.and_then(|create| CreateText::parse(create).ok())
    {
        for check in create.of_kind(ElementKind::Check) {
            text = text.replace(&format!("'{}'", check.name), check.without_name());
        }
    }
    if number == NO_PARTITION {
        text.push_str("; give the statement one, such as VALUES LESS THAN MAXVALUE");
    }
    text
}

/// Some rows of which the condition holds, as people read their keys.
pub(crate) async fn examples(
    session: &mut Session,
    table: &TableDefinition,
    key: &KeyColumns,
    condition: &str,
    limit: Duration,
) -> Result<Vec<String>, sqlx::Error> {
    let rows = session
        .rows(&format!(
            "SELECT /*+ MAX_EXECUTION_TIME({}) */ {} FROM {} WHERE {condition} LIMIT 3",
            limit.as_millis(),
            key.select(),
            table.quoted()
        ))
        .await?;
    rows.iter()
        .map(|row| Ok(key.named(&key.read(row)?)))
        .collect()
}
