//! Triggers that name a column which a statement without a copy takes away: the server lets that pass, and refuses every write
//! of the application from then on (1054).

use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::engine::syntax::quote;
use crate::engine::table::TableDefinition;

/// # Errors
///
/// Permanent if a trigger of `before` uses a column that `after` has not.
pub async fn check(
    session: &mut Session,
    number: u32,
    before: &TableDefinition,
    after: &TableDefinition,
) -> Result<(), EngineError> {
    let gone: Vec<&str> = before
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .filter(|name| {
            !after
                .columns
                .iter()
                .any(|c| c.name.eq_ignore_ascii_case(name))
        })
        .collect();
    if gone.is_empty() {
        return Ok(());
    }
    let triggers: Vec<(String, String)> = sqlx::query_as(
        "SELECT CAST(t.TRIGGER_NAME AS CHAR), CAST(t.ACTION_STATEMENT AS CHAR) FROM information_schema.TRIGGERS AS t \
          WHERE t.EVENT_OBJECT_SCHEMA = ? AND t.EVENT_OBJECT_TABLE = ? ORDER BY t.TRIGGER_NAME",
    )
    .bind(&before.schema)
    .bind(&before.name)
    .fetch_all(session.connection())
    .await
    .map_err(EngineError::while_doing("reading the table's triggers"))?;
    for (trigger, text) in triggers {
        if let Some(column) = gone.iter().find(|column| names(&text, column)) {
            return Err(EngineError::permanent(format!(
                "statement {number} takes column {} from {}, and trigger {} uses it: every write would be refused afterwards; \
                 change the trigger first, or drop it",
                quote(column),
                before.quoted(),
                quote(&trigger)
            )));
        }
    }
    Ok(())
}

/// Whether a trigger's text has `NEW.column` or `OLD.column`.
fn names(text: &str, column: &str) -> bool {
    let text = text.to_lowercase().replace('`', "");
    let column = column.to_lowercase();
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    ["new", "old"].iter().any(|row| {
        text.match_indices(row).any(|(at, _)| {
            let is_whole = !text[..at].ends_with(is_word);
            let rest = text[at + row.len()..].trim_start();
            let named = rest.strip_prefix('.').map(str::trim_start);
            let behind = named.and_then(|rest| rest.strip_prefix(column.as_str()));
            is_whole && behind.is_some_and(|behind| !behind.starts_with(is_word))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_column_of_the_row_is_told_from_what_looks_like_it() {
        for text in [
            "SET NEW.total = 1",
            "set new . `Total` = 1",
            "INSERT INTO log VALUES (OLD.total)",
        ] {
            assert!(names(text, "total"), "{text}");
        }
        for text in [
            "SET NEW.totals = 1",
            "SET renew.total = 1",
            "UPDATE other SET total = 1",
            "SET NEW.subtotal = 1",
        ] {
            assert!(!names(text, "total"), "{text}");
        }
    }
}
