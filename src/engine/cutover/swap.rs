//! Which of two tables has the application's name: settled by identity, never by guessing.

use crate::engine::EngineError;
use crate::engine::names::{Owner, Role};
use crate::engine::session::Session;
use crate::engine::state::fence::{SwapRecord, SwapTable};
use crate::engine::syntax::quote_table;
use crate::engine::table::storage;

/// What became of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwapOutcome {
    /// The application's name is the shadow's.
    Swapped,
    /// The application's name is still the original's.
    NotSwapped,
    /// Neither can be said, and why.
    Unknown(String),
}

/// Looks at the tables of a swap that was written down.
///
/// The names of artifacts are read in `owner`'s epoch: call it after the take-over, and only
/// when no session that may have sent the RENAME is left.
pub async fn settle(
    session: &mut Session,
    schema: &str,
    owner: &Owner,
    record: &SwapRecord,
) -> Result<SwapOutcome, EngineError> {
    let mut settled: Option<SwapOutcome> = None;
    let knows_numbers = session.server_uuid().await? == record.server_uuid;
    for table in &record.tables {
        let table = match knows_numbers {
            true => table.clone(),
            false => SwapTable {
                original_id: 0,
                shadow_id: 0,
                ..table.clone()
            },
        };
        let one = settle_table(session, schema, owner, &table).await?;
        match (&settled, one) {
            (_, unknown @ SwapOutcome::Unknown(_)) => return Ok(unknown),
            (None, one) => settled = Some(one),
            (Some(other), one) if *other == one => {}
            (Some(_), _) => {
                return Ok(SwapOutcome::Unknown(format!(
                    "{} and another table of the same RENAME differ",
                    quote_table(schema, &table.name)
                )));
            }
        }
    }
    Ok(settled.unwrap_or(SwapOutcome::NotSwapped))
}

async fn settle_table(
    session: &mut Session,
    schema: &str,
    owner: &Owner,
    table: &SwapTable,
) -> Result<SwapOutcome, EngineError> {
    let old = owner.table(Role::Old(table.position));
    let shadow = owner.table(Role::Shadow(table.position));
    let name_there = storage::exists(session, schema, &table.name).await?;
    let old_there = storage::exists(session, schema, &old).await?;
    let shadow_there = storage::exists(session, schema, &shadow).await?;
    let unknown = |why: &str| {
        Ok(SwapOutcome::Unknown(format!(
            "{}: {why}; a person must look",
            quote_table(schema, &table.name)
        )))
    };
    // RENAME takes place as a whole or not at all, so the names alone tell.
    let by_name = match (name_there, old_there, shadow_there) {
        // Though somebody has dropped the application's own since.
        (_, true, false) => SwapOutcome::Swapped,
        (_, false, true) => SwapOutcome::NotSwapped,
        (false, _, _) => return unknown("there is no table of this name"),
        (true, true, true) => return unknown("both its former and its new shape are put aside"),
        // Somebody has dropped what was aside.
        (true, false, false) => {
            let now = storage::table_id(session, schema, &table.name).await?;
            return match now {
                Some(id) if id == table.original_id => Ok(SwapOutcome::NotSwapped),
                Some(id) if id == table.shadow_id => Ok(SwapOutcome::Swapped),
                _ => unknown("neither its former nor its new shape is there"),
            };
        }
    };
    if table.original_id == 0 || table.shadow_id == 0 {
        return Ok(by_name);
    }
    // The second witness: InnoDB's number goes with the table, whatever its name.
    let Some(now) = storage::table_id(session, schema, &table.name).await? else {
        return Ok(by_name);
    };
    let (in_use, aside, id_aside) = match by_name {
        SwapOutcome::Swapped => (table.shadow_id, &old, table.original_id),
        SwapOutcome::NotSwapped => (table.original_id, &shadow, table.shadow_id),
        SwapOutcome::Unknown(_) => return Ok(by_name),
    };
    // The application's own may be emptied or rebuilt by whoever likes to; nobody has anything to do with the other one.
    if now == in_use || storage::table_id(session, schema, aside).await? == Some(id_aside) {
        Ok(by_name)
    } else {
        unknown("it and the table that was put aside were rebuilt or replaced by somebody else")
    }
}
