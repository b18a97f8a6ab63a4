//! What the user's statements are read and executed under.
//!
//! Our own sessions have fixed settings, so that a value is the same on its way whatever the server's are. A statement of the
//! user's means what it means under the settings of the server, or of the apply's engine options.

use std::collections::HashSet;

use sqlx::Row as _;

use super::{OUR_SQL_MODE, OUR_TIME_ZONE, Session};
use crate::engine::syntax::create_text::{CreateText, Element, ElementKind};
use crate::engine::syntax::quote;
use crate::engine::table::{Column, DataType, Generated, TableDefinition, TablePlan};
use crate::engine::{EngineError, Job};

/// The settings of a session of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSettings {
    pub sql_mode: String,
    pub time_zone: String,
}

impl UserSettings {
    /// The engine options `sql_mode` and `time_zone`, else the server's own defaults.
    ///
    /// # Errors
    ///
    /// A session that broke.
    pub async fn of(session: &mut Session, job: &Job) -> Result<Self, EngineError> {
        let doing = || EngineError::while_doing("reading the server's sql_mode and time_zone");
        let rows = session
            .rows("SELECT @@GLOBAL.sql_mode, @@GLOBAL.time_zone")
            .await
            .map_err(doing())?;
        let text = |index: usize, name: &str| {
            let option = job.options.get(name).and_then(|value| value.as_str());
            let row = rows.first();
            option.map_or_else(
                || row.map_or(Ok(String::new()), |row| row.try_get_unchecked(index)),
                |option| Ok(option.to_owned()),
            )
        };
        Ok(Self {
            sql_mode: text(0, "sql_mode").map_err(doing())?,
            time_zone: text(1, "time_zone").map_err(doing())?,
        })
    }

    /// Runs the user's statement, foreign keys checked.
    ///
    /// # Errors
    ///
    /// The server's answer to the statement, or a session that broke.
    pub async fn run(&self, session: &mut Session, statement: &str) -> Result<(), sqlx::Error> {
        session.set_sql_mode(&self.sql_mode).await?;
        session.set_time_zone(&self.time_zone).await?;
        session.run("SET SESSION foreign_key_checks = 1").await?;
        let answer = session.run(statement).await.map(drop);
        // A session that can't go back to our settings is of no more use: that error counts first.
        session.run("SET SESSION foreign_key_checks = 0").await?;
        session.set_time_zone(OUR_TIME_ZONE).await?;
        session.set_sql_mode(OUR_SQL_MODE).await?;
        answer
    }

    /// Is it the same time all year round as in the sessions that copy?
    async fn is_utc(&self, session: &mut Session) -> Result<bool, EngineError> {
        // Both halves of a year, over the years for which servers keep moments.
        let moments = ["1971", "1995", "2024", "2037"]
            .into_iter()
            .flat_map(|year| ["01", "07"].map(|month| format!("'{year}-{month}-01 12:00:00'")))
            .map(|moment| format!("CONVERT_TZ({moment}, '{OUR_TIME_ZONE}', ?) <=> {moment}"));
        let statement = format!("SELECT {}", moments.collect::<Vec<_>>().join(" AND "));
        let mut query = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(statement));
        for _ in 0..8 {
            query = query.bind(&self.time_zone);
        }
        let same = query.fetch_one(session.connection()).await;
        same.map(|same| same == 1)
            .map_err(EngineError::while_doing("comparing the time zone with UTC"))
    }

    /// What a copy would get wrong, as its sessions are in UTC: a moment that becomes local time or the other way round, and
    /// what is computed from one.
    ///
    /// # Errors
    ///
    /// Permanent, with the column and what to do.
    pub async fn check_moments(
        &self,
        session: &mut Session,
        plan: &TablePlan,
    ) -> Result<(), EngineError> {
        let (Some(original), Some(shadow)) = (&plan.original, &plan.shadow) else {
            return Ok(());
        };
        let text = CreateText::parse(&shadow.create_statement)
            .map_err(|error| EngineError::permanent(format!("SHOW CREATE TABLE: {error}")))?;
        let Some(what) = converted(plan, original, shadow)
            .or_else(|| computed(shadow, &text))
            .or_else(|| defaulted(plan, shadow, &text))
        else {
            return Ok(());
        };
        if self.is_utc(session).await? {
            return Ok(());
        }
        Err(EngineError::permanent(format!(
            "statement {}: {}: {what}, which depends on the time zone; the server's is {}, and rows are copied in UTC. Submit with the \
             engine option time_zone = '+00:00' if UTC is what is meant; else it takes an ALTER TABLE by hand, with writes stopped",
            plan.task.number(),
            original.quoted(),
            self.time_zone
        )))
    }
}

fn is_moment(column: &Column) -> bool {
    column.data_type == DataType::Timestamp
}

fn converted(
    plan: &TablePlan,
    original: &TableDefinition,
    shadow: &TableDefinition,
) -> Option<String> {
    plan.carried.iter().find_map(|pair| {
        let (was, now) = (&original.columns[pair.source], &shadow.columns[pair.target]);
        (is_moment(was) != is_moment(now)).then(|| {
            format!(
                "column {} goes from {} to {}",
                was.name, was.column_type, now.column_type
            )
        })
    })
}

/// A stored column, or a key, whose expression reads a moment.
fn computed(shadow: &TableDefinition, text: &CreateText) -> Option<String> {
    let moments: Vec<String> = shadow
        .columns
        .iter()
        .filter(|column| is_moment(column))
        .map(|column| quote(&column.name))
        .collect();
    let reads = |expression: &str| {
        moments
            .iter()
            .any(|name| expression.contains(name.as_str()))
    };
    let in_keys: HashSet<usize> = shadow
        .keys
        .iter()
        .flat_map(|key| key.parts.iter().filter_map(|part| part.column))
        .collect();
    let is_kept = |name: &str| {
        shadow.columns.iter().any(|column| {
            column.name == name
                && (column.generated == Some(Generated::Stored)
                    || column.generated.is_some() && in_keys.contains(&column.ordinal))
        })
    };
    let of_expressions = |name: &str| {
        shadow
            .keys
            .iter()
            .any(|key| key.name == name && key.parts.iter().any(|part| part.column.is_none()))
    };
    text.elements.iter().find_map(|element| match element.kind {
        ElementKind::Column => {
            let (_, expression) = element.text.split_once(" GENERATED ALWAYS AS ")?;
            (is_kept(&element.name) && reads(expression))
                .then(|| format!("column {} is computed from a TIMESTAMP", element.name))
        }
        ElementKind::Key => (of_expressions(&element.name) && reads(&element.text))
            .then(|| format!("key {} is computed from a TIMESTAMP", element.name)),
        ElementKind::ForeignKey | ElementKind::Check => None,
    })
}

/// A new column that is filled with the local time of now.
fn defaulted(plan: &TablePlan, shadow: &TableDefinition, text: &CreateText) -> Option<String> {
    let is_now = |element: &Element| {
        let words = element.text.to_ascii_lowercase();
        let default = words.split_once(" default ").map_or("", |parts| parts.1);
        [
            "current_timestamp",
            "now(",
            "curdate(",
            "curtime(",
            "sysdate(",
        ]
        .iter()
        .any(|word| default.contains(word))
    };
    shadow
        .columns
        .iter()
        .filter(|column| {
            !is_moment(column)
                && column.generated.is_none()
                && plan
                    .carried
                    .iter()
                    .all(|pair| pair.target != column.ordinal)
        })
        .find(|column| {
            let of_kind = text.of_kind(ElementKind::Column);
            of_kind
                .into_iter()
                .any(|e| e.name == column.name && is_now(e))
        })
        .map(|column| format!("new column {} begins with the time of now", column.name))
}
