//! Rows that the changed table would not take: found by the server itself, before anything is copied.
//!
//! [`super::lossy`] knows of many conversions what can go wrong with them. Of the others, of CHECK constraints, of computed
//! columns and of partitions only the server knows. So rows are inserted into an empty table like the shadow, some thousands at a time,
//! and rolled back: nothing of it is in the binlog, and the row that is refused can be named. On a large table that ends
//! after a while, and the copy tells the rest.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::engine::EngineError;
use crate::engine::conversion::insert::{Rows, examples, from_original};
use crate::engine::conversion::types::same_type;
use crate::engine::names::{Owner, Role};
use crate::engine::session::Session;
use crate::engine::syntax::create_text::{CreateText, Element, ElementKind};
use crate::engine::syntax::token::{Dialect, tokens};
use crate::engine::syntax::{quote, quote_table};
use crate::engine::table::key_range::KeyColumns;
use crate::engine::table::{Column, Copied, DataType, KeyKind, TableDefinition, TablePlan};

/// How long rows are tried, at most.
const LIMIT: Duration = Duration::from_secs(10);

/// How long the search for rows that a CHECK refuses may take.
const SEARCH_LIMIT: Duration = Duration::from_secs(20);

/// Rows that are tried at a time.
const BATCH: u64 = 2_000;

/// Tries the rows of a planned copy, where that may tell something.
///
/// # Errors
///
/// Permanent, naming the first row that is refused, and why.
pub(crate) async fn check(
    session: &mut Session,
    owner: &Owner,
    plan: &TablePlan,
) -> Result<(), EngineError> {
    let Copied {
        original,
        shadow,
        key,
    } = plan.copied()?;
    let copy_key = &key.target_index;
    let key = KeyColumns::new(original, &key.source, &key.source_index);
    let was = original.text()?;
    let now = shadow.text()?;
    for new in new_checks(&was, &now) {
        violated(session, plan, original, shadow, &key, new).await?;
    }
    let converts = plan.carried.iter().any(|pair| {
        let (was, now) = (&original.columns[pair.source], &shadow.columns[pair.target]);
        !is_known(was, now)
    });
    let has_other_places = places(&now).is_some() && places(&now) != places(&was);
    if !converts && !has_other_places && !computes_more(&was, &now, shadow) {
        return Ok(());
    }
    let trial = owner.table(Role::Trial(plan.task.position));
    let result = async {
        make(session, shadow, copy_key, &trial).await?;
        rehearse(session, plan, original, shadow, &key, &trial).await
    }
    .await;
    session.drop_table(&shadow.schema, &trial).await?;
    result
}

/// Partitions of which a row may find none: by RANGE or LIST. A hash has one for each.
fn places(table: &CreateText) -> Option<&str> {
    let words = tokens(&table.options, Dialect::OF_THE_SERVER).unwrap_or_default();
    let by = words.windows(3).find(|three| {
        three[0].is("PARTITION")
            && three[1].is("BY")
            && (three[2].is("RANGE") || three[2].is("LIST"))
    })?;
    table.options.get(by[0].span.start..)
}

/// Constraints that the original doesn't have, and that rows are checked by.
fn new_checks<'a>(was: &CreateText, now: &'a CreateText) -> Vec<&'a Element> {
    let old: HashSet<&str> = was
        .of_kind(ElementKind::Check)
        .map(Element::without_name)
        .collect();
    now.of_kind(ElementKind::Check)
        .filter(|check| !old.contains(check.without_name()) && !check.text.contains("NOT ENFORCED"))
        .collect()
}

/// Are there CHECKs, computed columns or keys of expressions that the original doesn't have in the same words?
fn computes_more(was: &CreateText, now: &CreateText, shadow: &TableDefinition) -> bool {
    let old: HashSet<&str> = was.elements.iter().map(|e| e.text.as_str()).collect();
    let generated = |name: &str| {
        let column = shadow.columns.iter().find(|c| c.name == name);
        column.is_some_and(|column| column.generated.is_some())
    };
    let computed_key = |name: &str| {
        let key = shadow.keys.iter().find(|key| key.name == name);
        key.is_some_and(|key| key.parts.iter().any(|part| part.column.is_none()))
    };
    !new_checks(was, now).is_empty()
        || now.elements.iter().any(|element| {
            let computes = match element.kind {
                ElementKind::Column => generated(&element.name),
                ElementKind::Key => computed_key(&element.name),
                ElementKind::Check | ElementKind::ForeignKey => false,
            };
            computes && !old.contains(element.text.as_str())
        })
}

/// Whether a value of `was` is one of `now`, or [`super::lossy`] finds those that aren't.
fn is_known(was: &Column, now: &Column) -> bool {
    let text = |column: &Column| {
        column.character_set.is_some()
            && !matches!(column.data_type, DataType::Enum | DataType::Set)
    };
    let same_reference = was.srs_id == now.srs_id;
    (same_type(was, now) && same_reference)
        || (was.data_type.is_number() && now.data_type.is_number())
        || (text(was) && text(now))
        || (was.data_type.is_binary() && now.data_type.is_binary())
        || (was.data_type == now.data_type
            && matches!(
                was.data_type,
                DataType::Time | DataType::DateTime | DataType::Timestamp | DataType::Set
            ))
}

/// Looks for rows that a new CHECK refuses, in the whole table, where its words mean the same there.
async fn violated(
    session: &mut Session,
    plan: &TablePlan,
    original: &TableDefinition,
    shadow: &TableDefinition,
    key: &KeyColumns,
    check: &Element,
) -> Result<(), EngineError> {
    let Some(clause) = clause(check.without_name()) else {
        return Ok(());
    };
    let words = tokens(clause, Dialect::OF_THE_SERVER).unwrap_or_default();
    let unchanged = |name: &str| {
        plan.carried.iter().any(|pair| {
            let (was, now) = (&original.columns[pair.source], &shadow.columns[pair.target]);
            now.name == name && was.name == name && same_type(was, now)
        })
    };
    let columns = words.iter().filter_map(|word| {
        let name = word.identifier()?;
        shadow
            .columns
            .iter()
            .any(|c| c.name == name)
            .then_some(name)
    });
    if !columns.into_iter().all(unchanged) {
        return Ok(());
    }
    let condition = format!("NOT ({clause})");
    match examples(session, original, key, &condition, SEARCH_LIMIT).await {
        Ok(rows) if rows.is_empty() => Ok(()),
        Ok(rows) => Err(EngineError::permanent(format!(
            "rows of {} violate the new constraint {}, such as {}; correct them first, or add it NOT ENFORCED",
            original.quoted(),
            check.without_name(),
            rows.join(" and ")
        ))),
        // 3024: too many rows to look at. And what can't be asked like this is tried below.
        Err(error) => {
            tracing::info!(%error, "rows that a CHECK refuses were not looked for");
            Ok(())
        }
    }
}

/// `(…)` of `CHECK ((…))`.
fn clause(text: &str) -> Option<&str> {
    let from = text.find('(')?;
    let to = text.rfind(')')?;
    text.get(from..=to)
}

/// Makes `trial` an empty table that refuses what the shadow will refuse, duplicates aside. Of the copy's key there are none, and a
/// server may want one in every table.
async fn make(
    session: &mut Session,
    shadow: &TableDefinition,
    copy_key: &str,
    trial: &str,
) -> Result<(), EngineError> {
    let doing = || EngineError::while_doing("making an empty table to try rows on");
    session.drop_table(&shadow.schema, trial).await?;
    let quoted = quote_table(&shadow.schema, trial);
    session
        .run(&format!("CREATE TABLE {quoted} LIKE {}", shadow.quoted()))
        .await
        .map_err(doing())?;
    let needed = |part: &crate::engine::table::KeyPart| match part.column {
        None => true,
        Some(column) => shadow.columns[column].auto_increment,
    };
    let dropped: Vec<String> = shadow
        .keys
        .iter()
        .filter(|key| key.name != "PRIMARY" && key.name != copy_key)
        .filter(|key| key.kind != KeyKind::BTree || !key.parts.iter().any(needed))
        .map(|key| format!("DROP KEY {}", quote(&key.name)))
        .collect();
    if dropped.is_empty() {
        return Ok(());
    }
    session
        .run(&format!("ALTER TABLE {quoted} {}", dropped.join(", ")))
        .await
        .map(drop)
        .map_err(doing())
}

async fn rehearse(
    session: &mut Session,
    plan: &TablePlan,
    original: &TableDefinition,
    shadow: &TableDefinition,
    key: &KeyColumns,
    trial: &str,
) -> Result<(), EngineError> {
    let doing = || EngineError::while_doing("trying rows");
    let started = Instant::now();
    let into = quote_table(&shadow.schema, trial);
    let insert = from_original(plan, original, shadow, "INSERT", &into, key);
    let mut from = None;
    loop {
        if started.elapsed() > LIMIT {
            tracing::info!(
                table = original.quoted(),
                "too many rows to try; the copy will tell"
            );
            return Ok(());
        }
        let end = key.end_of_range(&original.quoted(), from.as_deref(), BATCH);
        let rows = session.rows(&end).await.map_err(doing())?;
        let to = rows.first().map(|row| key.read(row));
        let to = to.transpose().map_err(doing())?;
        let condition = key.between(from.as_deref(), to.as_deref());
        let batch = Rows {
            original,
            key,
            insert: &insert,
            tail: "",
            condition: &condition,
        };
        if let Some(complaint) = batch.complaint(session, trial).await? {
            return Err(EngineError::permanent(format!(
                "{complaint}; others may not, either: correct them first"
            )));
        }
        if to.is_none() {
            return Ok(());
        }
        from = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ranges_and_lists_may_have_no_place_for_a_row() {
        let places = |options: &str| {
            let text = format!("CREATE TABLE `t` (`id` int) {options}");
            let table = CreateText::parse(&text).unwrap();
            super::places(&table).map(str::to_owned)
        };
        assert_eq!(
            places(
                "COMMENT='x'\n/*!50100 PARTITION BY RANGE (`id`) (PARTITION a VALUES LESS THAN (3)) */"
            ),
            places(
                "COMMENT='y'\n/*!50100 PARTITION BY RANGE (`id`) (PARTITION a VALUES LESS THAN (3)) */"
            )
        );
        assert!(
            places("/*!50500 PARTITION BY LIST  COLUMNS(id) (PARTITION a VALUES IN (3)) */")
                .is_some()
        );
        assert_eq!(
            places("/*!50100 PARTITION BY HASH (`id`) PARTITIONS 4 */"),
            None
        );
        assert_eq!(places("COMMENT='PARTITION BY RANGE'"), None);
    }

    #[test]
    fn the_clause_of_a_constraint_is_between_its_outer_parentheses() {
        assert_eq!(clause("CHECK ((`a` > 0))"), Some("((`a` > 0))"));
        assert_eq!(clause("CHECK"), None);
    }
}
