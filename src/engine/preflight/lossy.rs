//! Values that a new type can't hold: found in the rows before they are copied.
//!
//! Copying runs in strict mode, so most of what doesn't fit is an error by itself, though late.
//! Some of it isn't: digits after the point are rounded, times lose their fraction, trailing spaces
//! go. That is refused unless it is consented to.

use std::time::Duration;

use sqlx::Row;

use crate::engine::EngineError;
use crate::engine::conversion::insert::examples;
use crate::engine::conversion::losses::{Loss, losses};
use crate::engine::options::Consent;
use crate::engine::session::Session;
use crate::engine::syntax::quote;
use crate::engine::table::key_range::KeyColumns;
use crate::engine::table::{Carried, Column, Copied, Key, KeyKind, TableDefinition, TablePlan};
use crate::server_error;

/// How long the search for one bad value may take on a table; what isn't found by then is
/// left to the copy, where it is an error, or to the user's consent.
const SEARCH_LIMIT: Duration = Duration::from_secs(20);

/// The same once the table is copied, while nobody waits for an answer.
const LATER_SEARCH_LIMIT: Duration = Duration::from_secs(120);

/// What may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consented {
    ToNothing,
    /// What can't be found in time may be.
    ToTheUnseen,
}

/// Looks for rows that don't fit, and for rows that an added unique key would make equal.
///
/// # Errors
///
/// Permanent, naming the column, how many rows are concerned, and what to do.
pub async fn check(
    session: &mut Session,
    consent: &Consent,
    plan: &TablePlan,
) -> Result<(), EngineError> {
    let Copied {
        original,
        shadow,
        key,
    } = plan.copied()?;
    for pair in &plan.carried {
        let (was, now) = (&original.columns[pair.source], &shadow.columns[pair.target]);
        for loss in losses(&quote(&was.name), was, now) {
            let consent = match loss.silent && consent.covers(&was.name) {
                // Rows are told apart by it: the comparison would find one in the place of another.
                true if key.source.contains(&pair.source) => Consented::ToTheUnseen,
                true => continue,
                false => Consented::ToNothing,
            };
            one(session, plan, (was, now), &loss, consent, SEARCH_LIMIT).await?;
        }
    }
    for key in shadow.keys.iter().filter(|key| key.unique) {
        duplicates(session, plan, key).await?;
    }
    Ok(())
}

/// The pairs of columns that rows of now may pass and rows of later may not, without the server's saying so.
pub fn guarded(consent: &Consent, plan: &TablePlan) -> Vec<Carried> {
    let (Some(original), Some(shadow)) = (&plan.original, &plan.shadow) else {
        return Vec::new();
    };
    let pairs = plan.carried.iter().filter(|pair| {
        let (was, now) = (&original.columns[pair.source], &shadow.columns[pair.target]);
        let silent = losses(&quote(&was.name), was, now)
            .iter()
            .any(|loss| loss.silent);
        silent && !consent.covers(&was.name)
    });
    pairs.copied().collect()
}

/// Looks once more for rows whose value would be changed silently: those that came while chunks were copied are in no event
/// that was compared.
///
/// # Errors
///
/// As [`check`].
pub async fn check_guarded(session: &mut Session, plan: &TablePlan) -> Result<(), EngineError> {
    for pair in &plan.guarded {
        let Copied {
            original, shadow, ..
        } = plan.copied()?;
        let (was, now) = (&original.columns[pair.source], &shadow.columns[pair.target]);
        for loss in losses(&quote(&was.name), was, now)
            .iter()
            .filter(|loss| loss.silent)
        {
            let consent = Consented::ToNothing;
            one(session, plan, (was, now), loss, consent, LATER_SEARCH_LIMIT).await?;
        }
    }
    Ok(())
}

async fn one(
    session: &mut Session,
    plan: &TablePlan,
    (was, now): (&Column, &Column),
    loss: &Loss,
    consent: Consented,
    limit: Duration,
) -> Result<(), EngineError> {
    let Copied { original, key, .. } = plan.copied()?;
    let key = &KeyColumns::new(original, &key.source, &key.source_index);
    let statement = format!(
        "SELECT /*+ MAX_EXECUTION_TIME({}) */ COUNT(*) FROM {} WHERE {}",
        limit.as_millis(),
        original.quoted(),
        loss.condition
    );
    let change = format!(
        "column {} of {}: from {} to {}",
        was.name,
        original.quoted(),
        was.column_type,
        now.column_type
    );
    match session.rows(&statement).await {
        Ok(rows) => {
            let count: i64 = rows
                .first()
                .map_or(Ok(0), |row| row.try_get_unchecked(0))
                .map_err(EngineError::while_doing("counting rows that don't fit"))?;
            if count == 0 {
                return Ok(());
            }
            let remedy = match (loss.silent, consent) {
                (true, Consented::ToNothing) => {
                    "correct them, or consent with the option allow_lossy"
                }
                (true, Consented::ToTheUnseen) => {
                    "the column is part of the key that rows are told apart by: correct them first"
                }
                (false, _) => "correct them first",
            };
            let such_as = match examples(session, original, key, &loss.condition, limit).await {
                Ok(rows) => format!(", such as {}", rows.join(" and ")),
                // They are there, whichever they are.
                Err(error) if server_error::number(&error) == Some(3024) => String::new(),
                Err(error) => {
                    let doing = EngineError::while_doing("looking for rows that don't fit");
                    return Err(doing(error));
                }
            };
            Err(EngineError::permanent(format!(
                "{change}: {count} rows {}{such_as}; {remedy}",
                loss.what
            )))
        }
        // 3024: the table is too big to look at every row now.
        Err(error) if server_error::number(&error) == Some(3024) => {
            if loss.silent && consent == Consented::ToNothing {
                Err(EngineError::permanent(format!(
                    "{change}: rows may be there whose value {}, which is not said to be wanted; \
                     consent with the option allow_lossy",
                    loss.what
                )))
            } else {
                tracing::info!(change, "too many rows to look at; the copy will tell");
                Ok(())
            }
        }
        Err(error) => Err(EngineError::while_doing(format!(
            "looking for values that don't fit {change}"
        ))(error)),
    }
}

/// Two rows that the new unique key would make equal, both named.
async fn duplicates(session: &mut Session, plan: &TablePlan, key: &Key) -> Result<(), EngineError> {
    let Copied {
        original,
        shadow,
        key: copy_key,
    } = plan.copied()?;
    let Some(columns) = key_in_original(plan, original, shadow, key) else {
        return Ok(());
    };
    let address: Vec<String> = copy_key
        .source
        .iter()
        .map(|c| quote(&original.columns[*c].name))
        .collect();
    let names: Vec<&str> = copy_key
        .source
        .iter()
        .map(|c| original.columns[*c].name.as_str())
        .collect();
    let address = match address.as_slice() {
        [one] => format!("CAST({one} AS CHAR)"),
        several => format!("CONCAT_WS(',', {})", several.join(", ")),
    };
    let not_null: Vec<String> = columns
        .iter()
        .map(|c| format!("({c}) IS NOT NULL"))
        .collect();
    let statement = format!(
        "SELECT /*+ MAX_EXECUTION_TIME({}) */ MIN({address}), MAX({address}), COUNT(*) FROM {} \
          WHERE {} GROUP BY {} HAVING COUNT(*) > 1 LIMIT 1",
        SEARCH_LIMIT.as_millis(),
        original.quoted(),
        not_null.join(" AND "),
        columns.join(", ")
    );
    match session.rows(&statement).await {
        Ok(rows) => {
            let Some(row) = rows.first() else {
                return Ok(());
            };
            let side = |i: usize| {
                row.try_get_unchecked::<String, _>(i)
                    .unwrap_or_else(|_| "?".into())
            };
            Err(EngineError::permanent(format!(
                "unique key {} of {} would make rows equal: those with {} {} and {}, perhaps more; \
                 correct one of them first",
                key.name,
                original.quoted(),
                names.join(","),
                side(0),
                side(1)
            )))
        }
        Err(error) if server_error::number(&error) == Some(3024) => {
            tracing::info!(
                key = key.name,
                "too many rows to compare; the copy will tell"
            );
            Ok(())
        }
        Err(error) => Err(EngineError::while_doing(format!(
            "looking for duplicates in {}",
            key.name
        ))(error)),
    }
}

/// The new key's parts as expressions over the original, or `None` if it makes no rows equal
/// that a unique key of the original keeps apart, or if that can't be asked before the copy.
fn key_in_original(
    plan: &TablePlan,
    original: &TableDefinition,
    shadow: &TableDefinition,
    key: &Key,
) -> Option<Vec<String>> {
    if key.kind != KeyKind::BTree {
        return None;
    }
    let mut expressions = Vec::new();
    let mut sources = Vec::new();
    for part in &key.parts {
        let target = part.column?;
        let pair = plan.carried.iter().find(|c| c.target == target)?;
        let (was, now) = (&original.columns[pair.source], &shadow.columns[target]);
        let mut expression = quote(&was.name);
        if let (Some(set), Some(collation)) = (&now.character_set, &now.collation)
            && !was.compares_as(now)
        {
            was.character_set.as_ref()?;
            expression = format!("(CONVERT({expression} USING {set}) COLLATE {collation})");
        }
        if let Some(prefix) = part.prefix {
            expression = format!("LEFT({expression}, {prefix})");
        } else if was.compares_as(now) {
            sources.push(pair.source);
        }
        expressions.push(expression);
    }
    // A unique key over a part of these columns keeps all rows apart already.
    let kept_apart = original.keys.iter().any(|other| {
        other.unique
            && other.kind == KeyKind::BTree
            && other.parts.iter().all(|part| {
                part.prefix.is_none()
                    && part
                        .column
                        .is_some_and(|c| sources.contains(&c) && !original.columns[c].nullable)
            })
    }) || original.keys.iter().any(|other| {
        // The same key, NULLs and all.
        other.unique
            && other.parts.len() == key.parts.len()
            && sources.len() == key.parts.len()
            && other
                .parts
                .iter()
                .zip(&sources)
                .all(|(part, source)| part.prefix.is_none() && part.column == Some(*source))
    });
    (!kept_apart).then_some(expressions)
}
