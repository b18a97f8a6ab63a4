//! The comparison before the barrier: what differs is repaired once, and then a clean pass is wanted.

use std::sync::Arc;

use crate::engine::context::{Context, Halt};
use crate::engine::state::checkpoint::Stage;
use crate::engine::verify::{Different, TableVerify};
use crate::engine::{Engine, EngineError, fail_point};

impl Engine {
    /// Compares everything; repairs once; wants a clean pass after that.
    pub(super) async fn verify(&mut self) -> Result<(), Halt> {
        loop {
            self.phase("verify");
            fail_point::at("verify.pass.before");
            let different = self.compare().await?;
            let (running, _, head) = self.parts()?;
            let context = Arc::clone(&running.context);
            if different.iter().all(|(_, rows)| rows.is_empty()) {
                head.failed_verification = None;
                for table in context.copied() {
                    context.progress.task_phase(table, "verified");
                }
                return Ok(self.enter(Stage::Verified).await?);
            }
            let text = shown(&context, &different);
            tracing::warn!(%text, "the copy differs from the original");
            head.failed_verification = Some(text.clone());
            let repaired = head.repaired;
            self.write_head().await?;
            fail_point::at("verify.failed.after");
            if repaired {
                return Err(EngineError::permanent(format!(
                    "the copy differs from the original again after a repair: {text}; report \
                     this"
                ))
                .into());
            }
            for (verify, rows) in &different {
                verify.repair(rows).await?;
            }
            fail_point::at("verify.repair.after");
            // Not before: after a crash in between, a successor would blame a repair that nobody made.
            if let Some(head) = &mut self.head {
                head.repaired = true;
            }
            self.write_head().await?;
            fail_point::at("verify.repaired.after");
            self.catch_up().await?;
        }
    }

    pub(super) async fn compare(&mut self) -> Result<Vec<(TableVerify, Vec<Different>)>, Halt> {
        let (running, _, _) = self.parts()?;
        let context = Arc::clone(&running.context);
        let place = Arc::clone(&running.place);
        let mut different = Vec::new();
        for table in context.copied() {
            let verify = TableVerify::new(&context, table, &place)?;
            let rows = context.unless_silent(verify.run()).await?;
            different.push((verify, rows));
        }
        Ok(different)
    }
}

fn shown(context: &Context, different: &[(TableVerify, Vec<Different>)]) -> String {
    let mut texts = Vec::new();
    for (table, (_, rows)) in context.copied().zip(different) {
        let Some(original) = &context.plans[table].original else {
            continue;
        };
        if rows.is_empty() {
            continue;
        }
        let some: Vec<String> = rows.iter().take(5).map(Different::shown).collect();
        texts.push(format!(
            "{}: {} rows: {}",
            original.quoted(),
            rows.len(),
            some.join(", ")
        ));
    }
    texts.join("; ")
}
