//! What depends on the time zone: rows are copied in UTC, and a statement of the user's may mean another one.

use std::collections::HashSet;

use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::engine::session::user::UserSettings;
use crate::engine::syntax::create_text::{CreateText, Element, ElementKind};
use crate::engine::syntax::quote;
use crate::engine::table::{Column, Copied, DataType, Generated, TableDefinition, TablePlan};

/// What a copy would get wrong, as its sessions are in UTC: a moment that becomes local time or the other way round, and
/// what is computed from one.
///
/// # Errors
///
/// Permanent, with the column and what to do.
pub(super) async fn check(
    session: &mut Session,
    user: &UserSettings,
    plan: &TablePlan,
) -> Result<(), EngineError> {
    let Copied {
        original, shadow, ..
    } = plan.copied()?;
    let text = shadow.text()?;
    let Some(what) = converted(plan, original, shadow)
        .or_else(|| computed(shadow, &text))
        .or_else(|| defaulted(plan, shadow, &text))
    else {
        return Ok(());
    };
    if user.is_utc(session).await? {
        return Ok(());
    }
    Err(EngineError::permanent(format!(
        "statement {}: {}: {what}, which depends on the time zone; the server's is {}, and rows are copied in UTC. Submit with the \
         engine option time_zone = '+00:00' if UTC is what is meant; else it takes an ALTER TABLE by hand, with writes stopped",
        plan.task.number(),
        original.quoted(),
        user.time_zone
    )))
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
