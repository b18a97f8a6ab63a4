//! Which column became which, and the key that rows are found by in both tables.

use std::collections::HashMap;

use crate::engine::EngineError;
use crate::engine::conversion::key_order::keeps_order;
use crate::engine::conversion::types::has_empty_member;
use crate::engine::syntax::statement::Alter;
use crate::engine::table::{Carried, Column, CopyKey, DataType, Key, KeyKind, TableDefinition};

/// The columns whose values go from the original to the shadow.
///
/// The definitions alone can't tell when two columns swap names in one statement, or when one
/// is dropped and another of the same name is added, so the statement's own clauses say what
/// was renamed and dropped. The order of columns is a second witness: without `FIRST` or
/// `AFTER` those that stay keep it.
///
/// # Errors
///
/// Permanent if the two witnesses disagree.
pub fn carried(
    alter: &Alter,
    original: &TableDefinition,
    shadow: &TableDefinition,
) -> Result<Vec<Carried>, EngineError> {
    let fold = |name: &str| name.to_lowercase();
    let renamed: HashMap<String, &str> = alter
        .renamed_columns()
        .map(|(old, new)| (fold(old), new))
        .collect();
    let dropped: Vec<String> = alter.dropped_columns().map(fold).collect();
    let targets: HashMap<String, usize> = shadow
        .columns
        .iter()
        .map(|c| (fold(&c.name), c.ordinal))
        .collect();
    let mut pairs = Vec::new();
    for column in &original.columns {
        let old = fold(&column.name);
        if dropped.contains(&old) {
            continue;
        }
        let new = renamed.get(&old).map_or(old, |new| fold(new));
        let Some(target) = targets.get(&new) else {
            return Err(doubt(original, &column.name));
        };
        pairs.push(Carried {
            source: column.ordinal,
            target: *target,
        });
    }
    let moves = alter.clauses.iter().any(|clause| clause.moves_column);
    let in_order = pairs.windows(2).all(|two| two[0].target < two[1].target);
    if !moves && !in_order {
        let column = pairs
            .windows(2)
            .find(|two| two[0].target >= two[1].target)
            .map_or("", |two| &original.columns[two[1].source].name);
        return Err(doubt(original, column));
    }
    // The server computes these; they are never written.
    pairs.retain(|pair| shadow.columns[pair.target].generated.is_none());
    Ok(pairs)
}

fn doubt(original: &TableDefinition, column: &str) -> EngineError {
    EngineError::permanent(format!(
        "it can't be told for certain what becomes of column {column} of {}; write the renames \
         and the other changes as separate applies",
        original.quoted()
    ))
}

/// The key that chunks and row images go by.
///
/// # Errors
///
/// Permanent if there is none, with what is missing.
pub fn copy_key(
    original: &TableDefinition,
    shadow: &TableDefinition,
    carried: &[Carried],
) -> Result<CopyKey, EngineError> {
    let target_of: HashMap<usize, usize> = carried.iter().map(|c| (c.source, c.target)).collect();
    let mut reasons = Vec::new();
    let mut best: Option<(_, CopyKey)> = None;
    for key in original.keys.iter().filter(|key| key.unique) {
        let source = match plain_columns(key, original) {
            Ok(columns) => columns,
            Err(reason) => {
                reasons.push(format!("{}: {reason}", key.name));
                continue;
            }
        };
        let target: Option<Vec<usize>> = source.iter().map(|c| target_of.get(c).copied()).collect();
        let Some(target) = target else {
            reasons.push(format!(
                "{}: a column of it is dropped or computed",
                key.name
            ));
            continue;
        };
        if let Some((was, now)) = source
            .iter()
            .zip(&target)
            .map(|(s, t)| (&original.columns[*s], &shadow.columns[*t]))
            .find(|(was, now)| !same_equality(was, now))
        {
            reasons.push(format!(
                "{}: {} goes from {} to {}, and other values may then be equal",
                key.name,
                was.name,
                described(was),
                described(now)
            ));
            continue;
        }
        let twin = shadow.keys.iter().find(|other| {
            other.unique
                && plain_columns(other, shadow).is_ok_and(|columns| {
                    let mut columns = columns;
                    let mut wanted = target.clone();
                    columns.sort_unstable();
                    wanted.sort_unstable();
                    columns == wanted
                })
        });
        let Some(twin) = twin else {
            reasons.push(format!(
                "{}: the changed table has no unique key of the same columns",
                key.name
            ));
            continue;
        };
        // One that rows can be compared by. Of those, what becomes the primary key: it is there from the start, and by any other
        // key a value of it that goes from one row to another would be a duplicate for a while. Then what was the primary
        // key, else the first: without a primary key, rows lie in its order.
        let compares = source
            .iter()
            .zip(&target)
            .all(|(s, t)| keeps_order(&original.columns[*s], &shadow.columns[*t]));
        let cost = (
            !compares,
            twin.name != "PRIMARY",
            key.name != "PRIMARY",
            shadow.keys.iter().position(|other| other.name == twin.name),
        );
        if best.as_ref().is_none_or(|(other, _)| cost < *other) {
            best = Some((
                cost,
                CopyKey {
                    source_index: key.name.clone(),
                    target_index: twin.name.clone(),
                    source,
                    target,
                },
            ));
        }
    }
    best.map(|(_, key)| key).ok_or_else(|| {
        let why = if reasons.is_empty() {
            "it has no unique key".to_owned()
        } else {
            reasons.join("; ")
        };
        EngineError::permanent(format!(
            "no unique key of {} can tell its rows apart before and after the change ({why}); a \
             primary key, or a unique key of NOT NULL columns, must stay",
            original.quoted()
        ))
    })
}

/// So many bits a DOUBLE has.
const MAX_EXACT_MEMBERS: usize = 53;

/// The key's columns, if it is one that rows can be found by.
fn plain_columns(key: &Key, table: &TableDefinition) -> Result<Vec<usize>, String> {
    if key.kind != KeyKind::BTree {
        return Err("it is no ordinary index".into());
    }
    if !key.visible {
        return Err("it is invisible".into());
    }
    let mut columns = Vec::new();
    for part in &key.parts {
        let Some(ordinal) = part.column else {
            return Err("a part of it is an expression".into());
        };
        let column = &table.columns[ordinal];
        if part.prefix.is_some() {
            return Err(format!("only a prefix of {} is in it", column.name));
        }
        if column.nullable {
            return Err(format!("{} may be NULL", column.name));
        }
        if matches!(column.data_type, DataType::Float | DataType::Double) {
            return Err(format!("{} is approximate", column.name));
        }
        // The server looks such a value up by its text, which is that of no member at all.
        if column.data_type == DataType::Set && has_empty_member(column) {
            return Err(format!(
                "{} has an empty member, by which no row is found",
                column.name
            ));
        }
        // The server compares a SET with a bound as a DOUBLE, and the 64th member makes it negative there: rows would be in other ranges
        // than they are taken to be in.
        if column.data_type == DataType::Set && column.members.len() > MAX_EXACT_MEMBERS {
            return Err(format!(
                "{} has more than {MAX_EXACT_MEMBERS} members, which the server does not compare exactly",
                column.name
            ));
        }
        columns.push(ordinal);
    }
    Ok(columns)
}

/// Are two values equal in the new type exactly if they were in the old one?
fn same_equality(was: &Column, now: &Column) -> bool {
    if was.column_type == now.column_type && was.collation == now.collation {
        return true;
    }
    let both =
        |types: &[DataType]| types.contains(&was.data_type) && types.contains(&now.data_type);
    if both(&[
        DataType::TinyInt,
        DataType::SmallInt,
        DataType::MediumInt,
        DataType::Int,
        DataType::BigInt,
    ]) || both(&[DataType::Decimal])
        || both(&[DataType::Bit])
        || both(&[DataType::DateTime])
        || both(&[DataType::Timestamp])
        || both(&[DataType::Time])
    {
        // What doesn't fit is an error in strict mode, and fewer digits are a lossy change.
        return was.scale.unwrap_or(0) <= now.scale.unwrap_or(0);
    }
    if both(&[DataType::Char, DataType::VarChar]) {
        return was.compares_as(now);
    }
    if was.data_type == now.data_type && was.data_type == DataType::VarBinary {
        return true;
    }
    // More members at the end: the numbers of the others stay.
    if both(&[DataType::Enum]) || both(&[DataType::Set]) {
        return was.collation == now.collation && now.members.starts_with(&was.members);
    }
    false
}

fn described(column: &Column) -> String {
    match &column.collation {
        Some(collation) => format!("{} {collation}", column.column_type),
        None => column.column_type.clone(),
    }
}
