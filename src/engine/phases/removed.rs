//! Tables that somebody removed: artifacts, told apart from a lease that somebody else has, and originals.
//!
//! A driver that was replaced finds no table of its epoch, and so does one whose tables were dropped by hand.
//! The fence tells which: it still names this driver only in the second case.

use crate::engine::names::CHECKPOINT;
use crate::engine::table::original::check_original;
use crate::engine::table::storage;
use crate::engine::{Engine, EngineError, ErrorKind};

const NO_SUCH_TABLE: u16 = 1146;

impl Engine {
    /// `error`, or what is behind it where it says that the lease was lost and it was not.
    pub(crate) async fn explained(&mut self, error: EngineError) -> EngineError {
        if error.server_number() == Some(NO_SUCH_TABLE)
            && let Some(gone) = self.original_that_is_gone().await
        {
            return gone;
        }
        if error.kind() != ErrorKind::LeaseLost || self.lease.orders().borrow().lost {
            return error;
        }
        match self.check_artifacts().await {
            Err(gone) if gone.kind() == ErrorKind::Permanent => gone,
            Ok(()) | Err(_) => error,
        }
    }

    /// Somebody dropped or renamed a table under change: a chunk or a look at its rows may be the first to meet that.
    async fn original_that_is_gone(&mut self) -> Option<EngineError> {
        let context = std::sync::Arc::clone(&self.running.as_ref()?.context);
        for original in context
            .copied()
            .filter_map(|at| context.plans[at].original.as_ref())
        {
            let looked = check_original(&mut self.control, original, "while it was copied").await;
            if let Err(gone) = looked
                && gone.kind() == ErrorKind::Permanent
            {
                return Some(gone);
            }
        }
        None
    }

    /// Are the tables that changes go to still there, and the checkpoint that is committed with them?
    ///
    /// # Errors
    ///
    /// Permanent if one is missing and no other driver has taken over.
    pub(crate) async fn check_artifacts(&mut self) -> Result<(), EngineError> {
        let Some(running) = &self.running else {
            return Ok(());
        };
        let context = std::sync::Arc::clone(&running.context);
        self.awake().await?;
        let schema = self.operation.job.schema_name.clone();
        let checkpoint = self.operation.sessions.owner().artifact(CHECKPOINT);
        let shadows = context
            .copied()
            .filter_map(|at| Some(&context.plans[at].shadow.as_ref()?.name));
        for table in shadows.chain([&checkpoint]) {
            if storage::exists(&mut self.control, &schema, table).await? {
                continue;
            }
            // Whoever took over has raised the fence before it renamed anything.
            self.operation.fence.check(&mut self.control).await?;
            return Err(EngineError::table_gone(&schema, table));
        }
        Ok(())
    }
}
