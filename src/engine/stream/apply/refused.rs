//! Which row of a batch the server refused.

use sqlx::{AssertSqlSafe, MySqlConnection};

use super::{Applier, Transaction};
use crate::engine::EngineError;
use crate::engine::binlog::rows::Change;
use crate::engine::conversion::insert::said;
use crate::engine::conversion::staging::{CHANGED, Staging};
use crate::engine::state::checkpoint::run;
use crate::engine::stream::running::Flow;
use crate::engine::table::TablePlan;

impl Applier {
    /// Finds the row of the batch that the server refused, by halves.
    pub(super) async fn name_row(
        &self,
        connection: &mut MySqlConnection,
        transaction: Transaction,
        error: EngineError,
    ) -> EngineError {
        let mut suspects: Vec<&Change> = self.pending.values().collect();
        // A part of a batch may be refused for what the whole is not: a row that has taken over another's value of a unique key meets
        // that one, which the whole takes away first.
        let is_that = |refusal: &EngineError| refusal.server_number() == error.server_number();
        let _ = run(connection, "ROLLBACK".into(), "giving up a batch").await;
        while suspects.len() > 1 {
            let second = suspects.split_off(suspects.len() / 2);
            let first = self.refusal(connection, &suspects, transaction).await;
            if !first.is_some_and(|refusal| is_that(&refusal)) {
                suspects = second;
            }
        }
        let Some(change) = suspects.first() else {
            return error;
        };
        let refusal = self.refusal(connection, &suspects, transaction).await;
        let Some(refusal) = refusal.filter(is_that) else {
            // Several together: two rows of one unique value, say.
            return self.in_own_names(error);
        };
        let staging = self.staging.get(change.table).and_then(Option::as_ref);
        let plan = self.plans.get(change.table);
        let (Some(staging), Some(plan)) = (staging, plan) else {
            return error;
        };
        let row = self.stage(connection, staging, change, transaction).await;
        let (what, next) = match refusal.message().contains(CHANGED) {
            true => {
                let columns = changed(connection, staging).await;
                let what = format!("{columns} would become another value by its conversion");
                (what, ", or consent with the engine option allow_lossy")
            }
            false => (words(plan, &refusal), ""),
        };
        let _ = run(connection, "ROLLBACK".into(), "giving up a batch").await;
        let table = plan.original.as_ref().map(|table| table.quoted());
        let refused = format!(
            "row {row} of {} is refused: {what}",
            table.unwrap_or_default()
        );
        EngineError::permanent(match self.flow {
            Flow::Forward => {
                format!("{refused}; correct it and submit the change again{next}")
            }
            // There is no more to do: the window closes.
            Flow::Back => refused,
        })
    }

    /// Puts the one change where the batch would, in a transaction, and says which row it is.
    async fn stage(
        &self,
        connection: &mut MySqlConnection,
        staging: &Staging,
        change: &Change,
        transaction: Transaction,
    ) -> String {
        let begin = match transaction {
            Transaction::Own => "BEGIN; ",
            Transaction::Callers => "",
        };
        let stage = format!(
            "{begin}{}; {}{}",
            staging.clear, staging.insert_prefix, change.tuple
        );
        let key = match run(connection, stage, "looking at a refused row").await {
            Ok(_) => sqlx::query_scalar(AssertSqlSafe(staging.key_text.clone()))
                .fetch_one(&mut *connection)
                .await
                .map_err(|e| tracing::debug!(%e, "a refused row's key cannot be shown")),
            Err(_) => Err(()),
        };
        key.unwrap_or_default()
    }

    /// What the server says of `changes` alone; nothing is left of them.
    async fn refusal(
        &self,
        connection: &mut MySqlConnection,
        changes: &[&Change],
        transaction: Transaction,
    ) -> Option<EngineError> {
        let mut refusal = None;
        for statement in self.batch(changes, transaction).done() {
            let done = run(connection, statement, "looking for a refused row").await;
            if let Err(error) = done {
                refusal = Some(error);
                break;
            }
        }
        let _ = run(connection, "ROLLBACK".into(), "giving up a batch").await;
        refusal
    }

    fn in_own_names(&self, error: EngineError) -> EngineError {
        let plans = self.plans.iter();
        EngineError::permanent(plans.fold(error.message(), |text, plan| plan.in_own_names(&text)))
    }
}

/// Which values of the staged row its conversion changes.
async fn changed(connection: &mut MySqlConnection, staging: &Staging) -> String {
    for statement in &staging.take_over {
        // The last of them is what refuses the row.
        let _ = run(connection, statement.clone(), "looking at a refused row").await;
    }
    let mut columns = Vec::new();
    for (column, question) in &staging.changed {
        let asked = sqlx::query(AssertSqlSafe(question.clone()));
        if matches!(asked.fetch_optional(&mut *connection).await, Ok(Some(_))) {
            columns.push(column.as_str());
        }
    }
    format!("column {}", columns.join(" and column "))
}

/// What the server says, of the table and its constraints as people know them.
fn words(plan: &TablePlan, refusal: &EngineError) -> String {
    let (Some(shadow), Some(cause)) = (&plan.shadow, refusal.cause()) else {
        return plan.in_own_names(&refusal.message());
    };
    plan.in_own_names(&said(cause, &shadow.name, Some(&shadow.create_statement)))
}
