//! The way back: how what is written to the changed table reaches the former one.
//!
//! It is a plan like any other, with the two tables' parts exchanged. What the former table has and
//! the changed one has not stays in the rows that are there; what cannot come back is named.

use crate::engine::EngineError;
use crate::engine::conversion::losses::losses;
use crate::engine::conversion::staging::left_behind;
use crate::engine::conversion::types::same_type;
use crate::engine::table::{
    Carried, Column, CopyKey, DataType, Generated, TableDefinition, TablePlan, Way,
};

/// The plan of the way back of one copied table.
///
/// # Errors
///
/// Permanent if rows cannot be found again in the former table.
pub fn plan(
    forward: &TablePlan,
    live: TableDefinition,
    former: TableDefinition,
) -> Result<TablePlan, EngineError> {
    let Some(key) = &forward.key else {
        return Err(EngineError::permanent("a copied table has no key"));
    };
    let carried = pairs(forward, &live, &former);
    let key = CopyKey {
        source_index: key.target_index.clone(),
        target_index: key.source_index.clone(),
        source: key.target.clone(),
        target: key.source.clone(),
    };
    let found = key
        .source
        .iter()
        .all(|k| carried.iter().any(|c| c.source == *k));
    if !found {
        return Err(EngineError::permanent(format!(
            "rows of {} are found by columns that the former table computes",
            live.quoted()
        )));
    }
    Ok(TablePlan {
        task: forward.task.clone(),
        way: Way::Copy,
        original: Some(live),
        shadow: Some(former),
        carried,
        key: Some(key),
        executable: None,
        foreign_keys: forward.foreign_keys.clone(),
        guarded: Vec::new(),
    })
}

/// Whether every value of `narrow` is one of `wide`.
fn is_wider(wide: &Column, narrow: &Column) -> bool {
    let both = |is: fn(DataType) -> bool| is(wide.data_type) && is(narrow.data_type);
    (both(DataType::is_text) || both(DataType::is_integer)) && losses("", narrow, wide).is_empty()
}

fn pairs(forward: &TablePlan, live: &TableDefinition, former: &TableDefinition) -> Vec<Carried> {
    let mut pairs: Vec<Carried> = forward
        .carried
        .iter()
        .map(|c| Carried {
            source: c.target,
            target: c.source,
        })
        .collect();
    // What became a stored, computed column was not carried over, but every image has its value.
    for column in &former.columns {
        let twin = live.columns.iter().find(|other| {
            other.name.eq_ignore_ascii_case(&column.name)
                && other.generated == Some(Generated::Stored)
        });
        if let Some(twin) = twin
            && !pairs
                .iter()
                .any(|p| p.target == column.ordinal || p.source == twin.ordinal)
        {
            pairs.push(Carried {
                source: twin.ordinal,
                target: column.ordinal,
            });
        }
    }
    pairs.retain(|pair| former.columns[pair.target].generated.is_none());
    pairs.sort_unstable_by_key(|pair| pair.source);
    pairs
}

/// What people should know before the cutover about a revert after it.
pub fn warnings(plans: &[TablePlan]) -> Vec<String> {
    let mut found = Vec::new();
    for forward in plans {
        if forward.way != Way::Copy {
            found.push(format!(
                "no revert window stays open, not for the other statements either: {}",
                no_former_table(forward)
            ));
            continue;
        }
        let (Some(original), Some(shadow)) = (&forward.original, &forward.shadow) else {
            continue;
        };
        let table = original.quoted();
        let back = pairs(forward, shadow, original);
        for column in left_behind(&back, original) {
            let name = &column.name;
            let lacks_default =
                !column.nullable && column.default.is_none() && !column.auto_increment;
            found.push(match lacks_default {
                true => format!(
                    "{table}: column {name} is gone after the cutover and has no default; the \
                     first row that is inserted then closes the revert window"
                ),
                false => format!(
                    "{table}: column {name} is gone after the cutover; rows inserted then come \
                     back with its default"
                ),
            });
        }
        for pair in &back {
            let (new, old) = (&shadow.columns[pair.source], &original.columns[pair.target]);
            if !same_type(new, old) && !is_wider(old, new) {
                found.push(format!(
                    "{table}: a value of {} that {} cannot hold closes the revert window",
                    new.name, old.column_type
                ));
            } else if new.nullable && !old.nullable {
                found.push(format!(
                    "{table}: a NULL in {} closes the revert window",
                    new.name
                ));
            }
        }
        for key in original.keys.iter().filter(|key| key.unique) {
            if !shadow.keys.iter().any(|k| k.unique && k.name == key.name) {
                found.push(format!(
                    "{table}: two rows that are equal in the former unique key {} close the \
                     revert window",
                    key.name
                ));
            }
        }
    }
    found
}

/// Why a statement cannot be taken back.
pub fn no_former_table(plan: &TablePlan) -> String {
    format!(
        "statement {} is executed without a copy, so there is no former table to go back to: {}",
        plan.task.number(),
        match plan.way {
            Way::Drop =>
                "the dropped table stays under its holding name for a while, and RENAME TABLE brings it back",
            Way::Create => "the table that it makes stays; DROP TABLE takes it away",
            Way::Instant | Way::InPlaceMetadata | Way::Copy =>
                "the opposite change undoes it, but brings back no values that it drops; with FORCE in the statement it is a copy",
        }
    )
}
