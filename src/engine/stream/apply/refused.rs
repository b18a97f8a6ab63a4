//! Which row of a batch the server refused.

use sqlx::{AssertSqlSafe, MySqlConnection};

use super::{Applier, Transaction};
use crate::engine::EngineError;
use crate::engine::binlog::rows::Change;
use crate::engine::conversion::staging::CHANGED;
use crate::engine::state::checkpoint::run;

impl Applier {
    /// Finds the row of the batch that the server refused, by halves.
    pub(super) async fn name_row(
        &self,
        connection: &mut MySqlConnection,
        transaction: Transaction,
        error: EngineError,
    ) -> EngineError {
        let mut suspects: Vec<&Change> = self.pending.values().collect();
        let _ = run(connection, "ROLLBACK".into(), "giving up a batch").await;
        while suspects.len() > 1 {
            let second = suspects.split_off(suspects.len() / 2);
            if !self.is_refused(connection, &suspects, transaction).await {
                suspects = second;
            }
        }
        let Some(change) = suspects.first() else {
            return error;
        };
        if !self.is_refused(connection, &suspects, transaction).await {
            // Several together: two rows of one unique value, say.
            return error;
        }
        let Some(staging) = self.staging.get(change.table).and_then(Option::as_ref) else {
            return error;
        };
        let mut stage = String::new();
        if transaction == Transaction::Own {
            stage.push_str("BEGIN; ");
        }
        stage.push_str(&format!(
            "{}; {}{}",
            staging.clear, staging.insert_prefix, change.tuple
        ));
        let key = match run(connection, stage, "looking at a refused row").await {
            Ok(_) => sqlx::query_scalar(AssertSqlSafe(staging.key_text.clone()))
                .fetch_one(&mut *connection)
                .await
                .map_err(|e| tracing::debug!(%e, "a refused row's key cannot be shown")),
            Err(_) => Err(()),
        };
        let _ = run(connection, "ROLLBACK".into(), "giving up a batch").await;
        let key: String = key.unwrap_or_default();
        let said = error.message();
        let said = match said.contains(CHANGED) {
            true => "a value would become another one by its conversion",
            false => said.rsplit("): ").next().unwrap_or(&said),
        };
        EngineError::permanent(format!("the row {key} is refused: {said}"))
    }

    async fn is_refused(
        &self,
        connection: &mut MySqlConnection,
        changes: &[&Change],
        transaction: Transaction,
    ) -> bool {
        let mut refused = false;
        for statement in self.batch(changes, transaction).done() {
            let done = run(connection, statement, "looking for a refused row").await;
            if done.is_err() {
                refused = true;
                break;
            }
        }
        let _ = run(connection, "ROLLBACK".into(), "giving up a batch").await;
        refused
    }
}
