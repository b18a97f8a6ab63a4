//! Triggers and foreign keys that came to a table after preflight had found none: they would follow the old table.

use sqlx::Row;

use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::engine::syntax::{quote_table, quote_text};
use crate::engine::table::surroundings::Surroundings;

/// Looks soon after somebody has made one, and while the table is locked, when no more can come. It opens no table, so that
/// any session may ask.
///
/// # Errors
///
/// Permanent, naming the first that is found.
pub(crate) async fn refuse(
    session: &mut Session,
    schema: &str,
    table: &str,
) -> Result<(), EngineError> {
    let doing = || EngineError::while_doing("looking for new triggers");
    let rows = session
        .rows(&question(schema, table))
        .await
        .map_err(doing())?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    let dependent: String = row.try_get_unchecked(0).map_err(doing())?;
    Err(EngineError::permanent(format!(
        "{dependent} since the change began, and would follow the old table; drop it, and submit the change again"
    )))
}

/// Refuses to drop a table that others point at: it would be renamed, and they would follow it to where it is dropped for good.
pub(crate) fn refuse_children(
    number: u32,
    (schema, table): (&str, &str),
    around: &Surroundings,
) -> Result<(), EngineError> {
    let children: Vec<String> = around
        .referenced_by
        .iter()
        .filter(|key| (key.child_schema.as_str(), key.child_table.as_str()) != (schema, table))
        .map(|key| format!("{} of {}.{}", key.name, key.child_schema, key.child_table))
        .collect();
    if children.is_empty() {
        return Ok(());
    }
    Err(EngineError::permanent(format!(
        "statement {number}: foreign keys point at {}: {}; drop them first",
        quote_table(schema, table),
        children.join(", ")
    )))
}

fn question(schema: &str, table: &str) -> String {
    let to = quote_text(&format!(" has come to {}", quote_table(schema, table)));
    let (schema, table) = (quote_text(schema), quote_text(table));
    format!(
        "SELECT CONCAT('trigger ', t.TRIGGER_NAME, {to}) FROM information_schema.TRIGGERS AS t \
          WHERE t.EVENT_OBJECT_SCHEMA = {schema} AND t.EVENT_OBJECT_TABLE = {table} \
          UNION ALL \
         SELECT CONCAT('foreign key ', k.CONSTRAINT_NAME, ' of ', k.CONSTRAINT_SCHEMA, '.', k.TABLE_NAME, {to}) \
           FROM information_schema.REFERENTIAL_CONSTRAINTS AS k \
          WHERE k.UNIQUE_CONSTRAINT_SCHEMA = {schema} AND k.REFERENCED_TABLE_NAME = {table}"
    )
}
