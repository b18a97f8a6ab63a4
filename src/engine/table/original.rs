//! Whether a table is still the one that a change was planned for.

use super::{TableDefinition, catalog};
use crate::engine::EngineError;
use crate::engine::session::Session;

/// Whether `original` is still the table that the change was planned for.
pub async fn check_original(
    session: &mut Session,
    original: &TableDefinition,
    when: &str,
) -> Result<(), EngineError> {
    match difference(session, original).await? {
        None => Ok(()),
        Some(what) => Err(EngineError::permanent(format!(
            "{} {what} ({when}); submit the change again",
            original.quoted()
        ))),
    }
}

/// What somebody else did to the table, if it is no longer the one that was planned for.
pub async fn difference(
    session: &mut Session,
    original: &TableDefinition,
) -> Result<Option<&'static str>, EngineError> {
    // The numbers are read without a lock: while a statement commits they may be neither the former nor the new ones. The second
    // look comes behind that statement, because SHOW CREATE TABLE waits for it.
    for _ in 0..2 {
        let now = catalog::table(session, &original.schema, &original.name).await?;
        let Some(now) = now else {
            return Ok(Some("is gone: somebody else dropped or renamed it"));
        };
        let same = now.columns == original.columns
            && now.keys == original.keys
            && now.text()?.meaning() == original.text()?.meaning();
        if !same {
            return Ok(Some("was altered by somebody else"));
        }
        let known = !now.storage_ids.is_empty() && !original.storage_ids.is_empty();
        let same_rows = !known || now.storage_ids == original.storage_ids;
        let same_columns = match (now.row_versions, original.row_versions) {
            (Some(now), Some(then)) => now == then,
            (None, _) | (_, None) => true,
        };
        if same_rows && same_columns {
            return Ok(None);
        }
    }
    Ok(Some(
        "was emptied or replaced by somebody else, or a partition or a column of it",
    ))
}
