//! Whether the server changes metadata only where it changes a table in place: it says of a rebuild, too, that it is in place.

use super::Planner;
use super::trial_keys::TrialKeys;
use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::engine::syntax::quote_table;
use crate::engine::syntax::statement::{Action, Alter};
use crate::engine::table::TableDefinition;
use crate::engine::table::storage::{Kept, StoredIndexes};

/// What a statement that changes metadata only is run with.
pub(super) const TAIL: &str = "ALGORITHM=INPLACE, LOCK=NONE";

impl Planner<'_> {
    /// Tried on the empty copy, of which something else may be left than it was.
    pub(super) async fn is_metadata_only(
        &self,
        session: &mut Session,
        alter: &Alter,
        original: &TableDefinition,
        on_trial: &Alter,
        keys: &TrialKeys<'_>,
    ) -> Result<bool, EngineError> {
        let drops_partition = alter
            .clauses
            .iter()
            .any(|clause| clause.action == Action::DropPartition);
        match self.kept(session, on_trial, drops_partition).await? {
            Kept::All => Ok(true),
            Kept::NotAll => Ok(false),
            Kept::Partitions => {
                // What becomes of a table's indexes is the same with partitions and without, and shown without.
                let name = self.owner.shadow_of(self.task);
                self.empty_copy(session, original, &name, keys).await?;
                let table = quote_table(self.schema, &name);
                session
                    .run(&format!("ALTER TABLE {table} REMOVE PARTITIONING"))
                    .await
                    .map_err(EngineError::while_doing(
                        "trying the statement on an empty copy without partitions",
                    ))?;
                Ok(self.kept(session, on_trial, false).await? == Kept::All)
            }
        }
    }

    /// What is left of the empty copy's storage if the statement is run in place.
    async fn kept(
        &self,
        session: &mut Session,
        on_trial: &Alter,
        drops_partition: bool,
    ) -> Result<Kept, EngineError> {
        let name = self.owner.shadow_of(self.task);
        let before = StoredIndexes::of(session, self.schema, &name).await?;
        let statement = on_trial.on(self.schema, &name, TAIL);
        if self.run_as_user(session, &statement).await?.is_err() {
            return Ok(Kept::NotAll);
        }
        let after = StoredIndexes::of(session, self.schema, &name).await?;
        Ok(before.kept_by(&after, drops_partition))
    }
}
