//! Rows of the original under the shadow's types, where no expression converts them: through a temporary table.

use super::digest::Digest;
use crate::engine::EngineError;
use crate::engine::conversion::staging::ROW_NUMBER;
use crate::engine::conversion::types::{as_altered, type_text};
use crate::engine::syntax::quote;
use crate::engine::table::key_range::KeyColumns;
use crate::engine::table::{TableDefinition, TablePlan};

/// The original's rows under the shadow's types, for conversions that no expression has.
pub(super) struct Converted {
    pub create: String,
    pub clear: String,
    /// What comes before the condition.
    pub fill: String,
    /// Its columns' names, and those of the shadow's that they stand for.
    names: Vec<(String, String)>,
}

impl Converted {
    /// What the server says of it, in the shadow's names.
    pub fn in_own_names(&self, text: &str) -> String {
        let quoted = |name: &str| format!("'{name}'");
        let names = self.names.iter();
        names.fold(text.to_owned(), |text, (name, own)| {
            text.replace(&quoted(name), &quoted(own))
        })
    }
}

/// The table `name` that the original's rows go through, and the digests of both sides.
pub(super) fn convert(
    plan: &TablePlan,
    original: &TableDefinition,
    shadow: &TableDefinition,
    name: &str,
    key: &KeyColumns,
) -> Result<(Converted, Digest), EngineError> {
    // The key keeps its name, so that the same expressions read it.
    let bare: Vec<String> = plan
        .carried
        .iter()
        .enumerate()
        .map(|(at, c)| {
            match plan
                .key
                .as_ref()
                .is_some_and(|k| k.source.contains(&c.source))
            {
                true => original.columns[c.source].name.clone(),
                false => format!("lk c{at}"),
            }
        })
        .collect();
    let names: Vec<String> = bare.iter().map(|name| quote(name)).collect();
    let columns: Vec<String> = plan
        .carried
        .iter()
        .zip(&names)
        .map(|(c, name)| format!("{name} {} NULL", type_text(&shadow.columns[c.target])))
        .collect();
    let sources: Vec<String> = plan
        .carried
        .iter()
        .map(|c| {
            let from = &original.columns[c.source];
            as_altered(&quote(&from.name), from, &shadow.columns[c.target])
        })
        .collect();
    let of_converted = Digest::of_converted(plan, &names)
        .ok_or_else(|| EngineError::permanent("a table that is not copied has no shadow"))?;
    let own: Vec<String> = plan
        .carried
        .iter()
        .map(|c| quote(&shadow.columns[c.target].name))
        .collect();
    let of_shadow = Digest::of_converted(plan, &own)
        .ok_or_else(|| EngineError::permanent("a table that is not copied has no shadow"))?;
    let converted = Converted {
        create: format!(
            "CREATE TEMPORARY TABLE {name} ({ROW_NUMBER}, {}) ENGINE=InnoDB",
            columns.join(", ")
        ),
        clear: format!("DELETE FROM {name}"),
        fill: format!(
            "INSERT INTO {name} ({}) SELECT {} FROM {} FORCE INDEX ({}) WHERE ",
            names.join(", "),
            sources.join(", "),
            original.quoted(),
            key.index()
        ),
        names: bare
            .into_iter()
            .zip(&plan.carried)
            .map(|(name, c)| (name, shadow.columns[c.target].name.clone()))
            .collect(),
    };
    Ok((
        converted,
        Digest {
            original: of_converted,
            shadow: of_shadow,
        },
    ))
}
