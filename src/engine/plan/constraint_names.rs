//! The names that constraints have on an empty copy: they are unique in a schema.

use std::collections::HashMap;

use super::trial_keys::TrialKeys;
use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::engine::syntax::create_text::ElementKind;
use crate::engine::syntax::statement::Alter;
use crate::engine::syntax::token::{Dialect, tokens};
use crate::engine::syntax::{quote, quote_table};
use crate::engine::table::surroundings::Surroundings;
use crate::engine::table::{Key, TableDefinition, TablePlan};

/// A CHECK constraint of the original and its name in an empty copy.
pub(crate) struct CheckName {
    pub original: String,
    pub copy: String,
    pub text: String,
}

/// LIKE numbers CHECK constraints anew. A name that the server made from the table's is made
/// from the copy's, so that the swap gives it back: RENAME renames those.
pub(super) async fn name_checks(
    session: &mut Session,
    original: &TableDefinition,
    copy: &str,
) -> Result<(), EngineError> {
    let doing = || EngineError::while_doing("naming the constraints of an empty copy");
    let checks = check_names(original, copy)?;
    if checks.is_empty() {
        return Ok(());
    }
    let table = quote_table(&original.schema, copy);
    let made = Surroundings::of(session, &original.schema, copy).await?;
    let dropped: Vec<String> = made
        .map(|s| s.checks)
        .unwrap_or_default()
        .iter()
        .map(|name| format!("DROP CHECK {}", quote(name)))
        .collect();
    let added: Vec<String> = checks
        .iter()
        .map(|check| format!("ADD CONSTRAINT {} {}", quote(&check.copy), check.text))
        .collect();
    for clauses in [dropped, added] {
        session
            .run(&format!("ALTER TABLE {table} {}", clauses.join(", ")))
            .await
            .map_err(doing())?;
    }
    Ok(())
}

pub(crate) fn check_names(
    original: &TableDefinition,
    copy: &str,
) -> Result<Vec<CheckName>, EngineError> {
    let text = original.text()?;
    let prefix = format!("{}_chk_", original.name).to_lowercase();
    let number =
        |name: &str| -> Option<u64> { name.to_lowercase().strip_prefix(&prefix)?.parse().ok() };
    let checks: Vec<_> = text.of_kind(ElementKind::Check).collect();
    // A name of the user's can't be kept, as long as the original has it.
    let mut free = checks
        .iter()
        .filter_map(|c| number(&c.name))
        .max()
        .unwrap_or(0);
    Ok(checks
        .iter()
        .map(|check| {
            let number = number(&check.name).unwrap_or_else(|| {
                free += 1;
                free
            });
            CheckName {
                original: check.name.clone(),
                copy: format!("{copy}_chk_{number}"),
                text: check.without_name().to_owned(),
            }
        })
        .collect())
}

/// Whether the definition has parts that the server spells as it likes.
pub(crate) fn has_expressions(table: &TableDefinition) -> Result<bool, EngineError> {
    let has_checks = table.text()?.of_kind(ElementKind::Check).next().is_some();
    let is_functional = |key: &Key| key.parts.iter().any(|part| part.column.is_none());
    Ok(has_checks
        || table
            .columns
            .iter()
            .any(|column| column.generated.is_some())
        || table.keys.iter().any(is_functional))
}

/// What a name may have of characters.
const LONGEST_NAME: usize = 64;

/// RENAME makes the names of the copy's CHECK constraints from the table's own, and fails where they become too long.
///
/// # Errors
///
/// Permanent, with the name.
pub(crate) fn fit_the_name(
    original: &TableDefinition,
    shadow: &TableDefinition,
) -> Result<(), EngineError> {
    let made = format!("{}_chk_", shadow.name);
    let parsed = shadow.text()?;
    let too_long = parsed
        .of_kind(ElementKind::Check)
        .filter_map(|check| check.name.strip_prefix(&made))
        .map(|number| format!("{}_chk_{number}", original.name))
        .find(|name| name.chars().count() > LONGEST_NAME);
    match too_long {
        None => Ok(()),
        Some(name) => Err(EngineError::permanent(format!(
            "{} has CHECK constraints, and after a copy one would be called {name}, which is longer than the {LONGEST_NAME} \
             characters that MySQL allows; drop them in an apply of its own, or give the table a name of at most {} characters",
            original.quoted(),
            LONGEST_NAME - "_chk_10".len()
        ))),
    }
}

/// The statement with the names that constraints have on an empty copy: they are unique in a
/// schema and therefore differ from the original's. A shadow that is there already has those that the statement gives.
pub(crate) fn on_names_of(
    alter: &Alter,
    original: &TableDefinition,
    shadow: Option<&TableDefinition>,
    copy: &str,
    keys: &TrialKeys<'_>,
    dialect: Dialect,
) -> Result<Alter, EngineError> {
    let checks: HashMap<String, String> = check_names(original, copy)?
        .into_iter()
        .map(|check| (check.original.to_lowercase(), check.copy))
        .collect();
    let taken: Vec<String> = match shadow {
        Some(shadow) => shadow
            .text()?
            .of_kind(ElementKind::Check)
            .map(|check| check.name.to_lowercase())
            .collect(),
        None => Vec::new(),
    };
    let check = |name: &str| {
        let name = name.to_lowercase();
        let other = || {
            Some(format!(
                "{copy}_new{}",
                taken.iter().position(|taken| *taken == name)?
            ))
        };
        checks.get(&name).cloned().or_else(other)
    };
    let mut on_copy =
        alter.with_constraint_names(|name| check(name).or_else(|| keys.name_on(copy, name)));
    for clause in &mut on_copy.clauses {
        clause.text = with_check_names(&clause.text, dialect, check);
    }
    Ok(on_copy)
}

/// A clause that gives a new CHECK the name of one of the original's: one that the statement drops, else the server refuses it on
/// the copy as it would on the table itself. It may stand beside a column's definition, too.
fn with_check_names(
    clause: &str,
    dialect: Dialect,
    translate: impl Fn(&str) -> Option<String>,
) -> String {
    let words = tokens(clause, dialect).unwrap_or_default();
    let mut text = clause.to_owned();
    // The last first, so that the others stay where they are.
    for three in words.windows(3).rev() {
        let [constraint, name, check] = three else {
            continue;
        };
        if constraint.is("CONSTRAINT")
            && check.is("CHECK")
            && let Some(other) = name.identifier().and_then(&translate)
        {
            text.replace_range(name.span.clone(), &quote(&other));
        }
    }
    text
}

/// What the server says of an empty copy, in the names of the original.
pub(crate) fn in_own_names(
    text: &str,
    original: &TableDefinition,
    copy: &str,
    keys: &TrialKeys<'_>,
) -> Result<String, EngineError> {
    let text = keys.in_own_names(copy, text);
    // The last first: the tenth begins as the first does. All begin as the copy's own name.
    let checks = check_names(original, copy)?.into_iter().rev();
    let text = checks.fold(text, |text, check| {
        text.replace(&check.copy, &check.original)
    });
    Ok(text.replace(copy, &original.name))
}

/// What people should know before the swap: constraints whose names the old table keeps.
///
/// The server renames a constraint with its table where it has made the name from the table's, and no other; and to give one
/// another name it checks all rows again, which is a copy.
pub(crate) fn warnings(plans: &[TablePlan]) -> Vec<String> {
    plans.iter().filter_map(warning).collect()
}

fn warning(plan: &TablePlan) -> Option<String> {
    let (original, shadow) = (plan.original.as_ref()?, plan.shadow.as_ref()?);
    let made = format!("{}_chk_", original.name).to_lowercase();
    let is_made = |name: &str| {
        let number = name.to_lowercase();
        number
            .strip_prefix(&made)
            .is_some_and(|number| number.parse::<u64>().is_ok())
    };
    let now = shadow.text().ok()?;
    let renamed: Vec<String> = check_names(original, &shadow.name)
        .ok()?
        .into_iter()
        .filter(|check| !is_made(&check.original))
        .filter(|check| {
            // One that the statement drops has no name afterwards.
            now.of_kind(ElementKind::Check)
                .any(|now| now.name.eq_ignore_ascii_case(&check.copy))
        })
        .map(|check| {
            let name = check.copy.replace(&shadow.name, &original.name);
            format!("{} becomes {name}", check.original)
        })
        .collect();
    (!renamed.is_empty()).then(|| {
        format!(
            "{}: names of CHECK constraints are unique in a schema, and the old table keeps them: {}; \
             statements that name them have to name the new ones",
            original.quoted(),
            renamed.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_check_takes_the_name_of_the_one_that_is_dropped_wherever_it_stands() {
        let other = |name: &str| (name == "pos").then(|| "x_chk_1".to_owned());
        for (clause, expected) in [
            (
                "ADD CONSTRAINT pos CHECK (n > 0)",
                "ADD CONSTRAINT `x_chk_1` CHECK (n > 0)",
            ),
            (
                "ADD (a INT constraint `pos` /* why */ check (a > 0), CONSTRAINT neg CHECK (a < 9))",
                "ADD (a INT constraint `x_chk_1` /* why */ check (a > 0), CONSTRAINT neg CHECK (a < 9))",
            ),
            (
                "ADD CONSTRAINT pos UNIQUE (n)",
                "ADD CONSTRAINT pos UNIQUE (n)",
            ),
            (
                "COMMENT 'CONSTRAINT pos CHECK'",
                "COMMENT 'CONSTRAINT pos CHECK'",
            ),
        ] {
            let text = with_check_names(clause, Dialect::default(), other);
            assert_eq!(text, expected);
        }
    }
}
