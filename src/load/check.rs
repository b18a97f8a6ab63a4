//! The independent check: the table after the change against the record of what was acknowledged.

use sqlx::{AssertSqlSafe, MySqlConnection};

use super::change::Change;
use super::digest::{Digester, TableDigest};
use super::order::TABLE;
use super::traffic::Record;
use super::{LoadError, write};
use crate::server_error;

const KEYS_A_READ: usize = 500;
/// More than this many findings of a kind say nothing new.
const MOST_SHOWN: usize = 10;

/// What the server computed of the table before anybody wrote to it.
#[derive(Debug, Clone)]
pub struct Before {
    digester: Digester,
    table: TableDigest,
}

impl Before {
    /// To be taken after the fill, before the first write.
    pub async fn take(session: &mut MySqlConnection, schema: &str) -> Result<Self, LoadError> {
        let digester = Digester::of(session, schema, TABLE, "order_id").await?;
        let table = digester.table(session).await?;
        Ok(Self { digester, table })
    }

    pub fn rows(&self) -> i64 {
        self.table.rows()
    }
}

/// What the check has looked at, and what it has found wrong.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// In the table, at the end.
    pub rows: u64,
    /// Keys that writers wrote, each compared value by value.
    pub keys: u64,
    /// Acknowledged writes that these keys' rows are the result of.
    pub writes: u64,
    /// Rows that no writer wrote, compared by digest with what they were.
    pub untouched: u64,
    /// Empty: nothing was lost.
    pub findings: Vec<String>,
}

/// Compares the session's schema with `before` and `record`, after all writers have ended.
pub async fn check(
    session: &mut MySqlConnection,
    change: &Change,
    before: &Before,
    record: &Record,
) -> Result<Checked, LoadError> {
    let mut checked = Checked {
        keys: record.journal.keys().len() as u64,
        writes: record.journal.acknowledged(),
        findings: some_of(&record.faults),
        ..Checked::default()
    };
    for (fact, query) in &change.facts {
        let answer: Result<Option<i64>, _> =
            sqlx::query_scalar(*query).fetch_one(&mut *session).await;
        match answer {
            Ok(Some(1)) => {}
            Ok(_) => checked.findings.push(format!("not so: {fact}")),
            // It names a column or an index that is not there.
            Err(error) if server_error::number(&error).is_some() => {
                checked.findings.push(format!("not so: {fact} ({error})"));
            }
            Err(error) => return Err(LoadError::at(fact)(error)),
        }
    }
    let wrong = compare_journal(session, record).await?;
    checked.findings.extend(some_of(&wrong));
    compare_untouched(session, before, record, &mut checked).await?;
    let left = leftovers(session).await?;
    checked.findings.extend(some_of(&left));
    Ok(checked)
}

/// Each key that writers wrote, value by value.
async fn compare_journal(
    session: &mut MySqlConnection,
    record: &Record,
) -> Result<Vec<String>, LoadError> {
    let mut wrong = Vec::new();
    for keys in record.journal.keys().chunks(KEYS_A_READ) {
        let found = write::read(&mut *session, keys)
            .await
            .map_err(LoadError::at("reading the new table"))?;
        for key in keys {
            let Some(entry) = record.journal.entry(*key) else {
                continue;
            };
            let what = match (&entry.expected, found.get(key)) {
                (Some(expected), Some(found)) if expected == found => continue,
                (None, None) => continue,
                (Some(expected), Some(found)) => {
                    format!("has {}", expected.differences(found))
                }
                (Some(expected), None) => format!("is missing: order {}", expected.reference),
                (None, Some(found)) => {
                    format!("is there, though deleted: order {}", found.reference)
                }
            };
            wrong.push(format!("row {key}, after {} writes, {what}", entry.writes));
        }
    }
    Ok(wrong)
}

/// Everything else: what the table was before, without the rows that writers took out of it.
async fn compare_untouched(
    session: &mut MySqlConnection,
    before: &Before,
    record: &Record,
    checked: &mut Checked,
) -> Result<(), LoadError> {
    let keys = record.journal.keys();
    let mut expected = before.table.clone();
    for key in &keys {
        if let Some(original) = record.journal.entry(*key).and_then(|entry| entry.original) {
            expected.take(*key, original);
        }
    }
    let mut found = before.digester.table(&mut *session).await?;
    checked.rows = found.rows().try_into().unwrap_or_default();
    for (key, digest) in before.digester.keys(session, &keys).await? {
        found.take(key, digest);
    }
    checked.untouched = expected.rows().try_into().unwrap_or_default();
    checked
        .findings
        .extend(some_of(&expected.differences(&found)));
    Ok(())
}

/// What a change has left behind, but for old tables that wait to be dropped under a name that says from when on, and
/// the fence, a table of one row that goes on stopping a driver that wakes up late.
async fn leftovers(session: &mut MySqlConnection) -> Result<Vec<String>, LoadError> {
    let query = "SELECT CAST(t.TABLE_NAME AS CHAR)
                   FROM information_schema.TABLES AS t
                  WHERE t.TABLE_SCHEMA = DATABASE()
                    AND t.TABLE_NAME <> 'orders'
                    AND t.TABLE_NAME NOT REGEXP '^_lk_[0-9a-f]{8}_[0-9]+_(fence|drop[0-9]+_[0-9]{14})$'
                 UNION ALL
                 SELECT CAST(t.TRIGGER_NAME AS CHAR)
                   FROM information_schema.TRIGGERS AS t
                  WHERE t.TRIGGER_SCHEMA = DATABASE()";
    let names: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
        .fetch_all(session)
        .await
        .map_err(LoadError::at("looking for leftovers"))?;
    Ok(names
        .into_iter()
        .map(|name| format!("left behind: {name}"))
        .collect())
}

fn some_of(all: &[String]) -> Vec<String> {
    let mut some: Vec<String> = all.iter().take(MOST_SHOWN).cloned().collect();
    if all.len() > MOST_SHOWN {
        some.push(format!("… and {} more of these", all.len() - MOST_SHOWN));
    }
    some
}
