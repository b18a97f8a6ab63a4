//! What a swap does while the tables are locked and everybody waits.

use std::time::Instant;

use sqlx::Row;

use super::handover::Handover;
use super::without_copy;
use crate::engine::plan::filler::{self, Filler};
use crate::engine::session::Session;
use crate::engine::state::fence::Fence;
use crate::engine::stream::drain::Drain;
use crate::engine::syntax::create_text::CreateText;
use crate::engine::syntax::quote_table;
use crate::engine::table::foreign_key::ForeignKey;
use crate::engine::table::{TablePlan, catalog, create_text, dependents};
use crate::engine::{EngineError, fail_point};

/// The names of one table's swap.
pub(crate) struct SwapNames {
    /// What the application uses.
    pub live: String,
    /// What takes its place.
    pub next: String,
    /// Where it goes.
    pub aside: String,
    /// Defaults that what takes its place has until then.
    pub fillers: Vec<Filler>,
    /// Foreign keys that it gets.
    pub foreign_keys: Vec<ForeignKey>,
}

/// Where an attempt failed while the tables were locked.
pub(crate) enum UnderLock {
    /// Nothing was swapped.
    Before(EngineError),
    /// The RENAME was sent.
    Rename(sqlx::Error),
}

/// What the locked tables show.
#[derive(Default)]
struct Seen {
    /// Of tables that are behind the ones that they replace.
    counters: Vec<Counter>,
    handover: Handover,
}

/// The next number of a table, which must not fall behind.
struct Counter {
    table: String,
    wanted: u64,
}

/// One swap, its tables locked.
pub(crate) struct Locked<'a> {
    pub fence: &'a Fence,
    pub plans: &'a [TablePlan],
    pub names: &'a [SwapNames],
    /// Swapping back: the old tables' definitions need not be the planned ones.
    pub back: bool,
}

impl Locked<'_> {
    /// Looks again, drains, renames and unlocks. What needs no locked table is asked beside, of `helper` and of the stream: everybody waits.
    pub async fn swap(
        &self,
        pinned: &mut Session,
        helper: &mut Session,
        drain: &mut dyn Drain,
        deadline: Instant,
    ) -> Result<(), UnderLock> {
        let schema = self.fence.schema();
        let began = Instant::now();
        // All three to their ends: an answer that nobody reads would stay on its session.
        let (seen, dependents, gathered) = tokio::join!(
            self.look_again(pinned),
            self.refuse_dependents(helper),
            drain.gather(deadline)
        );
        let seen = seen.map_err(UnderLock::Before)?;
        dependents.map_err(UnderLock::Before)?;
        gathered.map_err(UnderLock::Before)?;
        let looked = began.elapsed();
        fail_point::at("cutover.drain.before");
        drain
            .drain(pinned.connection(), deadline)
            .await
            .map_err(UnderLock::Before)?;
        fail_point::at("cutover.drain.after");
        let drained = began.elapsed();
        for swap in self.names {
            filler::drop(pinned, schema, &swap.next, &swap.fillers)
                .await
                .map_err(UnderLock::Before)?;
        }
        self.keep_counters(pinned, &seen.counters)
            .await
            .map_err(UnderLock::Before)?;
        let renames: Vec<String> = self
            .names
            .iter()
            .map(|swap| {
                format!(
                    "{live} TO {aside}, {next} TO {live}",
                    live = quote_table(schema, &swap.live),
                    aside = quote_table(schema, &swap.aside),
                    next = quote_table(schema, &swap.next),
                )
            })
            .collect();
        let mut statements = seen.handover.before;
        statements.push(format!("RENAME TABLE {}", renames.join(", ")));
        statements.extend(seen.handover.after);
        // In the same round trip: those who wait do not wait for this process to have its turn on a processor as well.
        statements.push("UNLOCK TABLES".to_owned());
        let statement = statements.join("; ");
        fail_point::at("cutover.rename.before");
        pinned.run(&statement).await.map_err(UnderLock::Rename)?;
        fail_point::at("cutover.rename.after");
        tracing::debug!(?looked, ?drained, renamed = ?began.elapsed(), "since the tables were locked");
        Ok(())
    }

    /// Asks everything that must hold now, in one round trip: the fence is still ours, and nobody
    /// has changed a definition since the plan.
    async fn look_again(&self, pinned: &mut Session) -> Result<Seen, EngineError> {
        let mut question = self.fence.question();
        for table in self.names.iter().flat_map(|swap| [&swap.live, &swap.next]) {
            question.push_str("; SHOW CREATE TABLE ");
            question.push_str(&quote_table(self.fence.schema(), table));
        }
        let rows = match pinned.rows(&question).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.fence.unanswered(error)),
        };
        self.fence.judge(rows.first())?;
        let mut texts = Vec::new();
        for row in rows.iter().skip(1) {
            let text: String = row
                .try_get_unchecked(1)
                .map_err(EngineError::while_doing("reading the locked tables"))?;
            texts.push(create_text(&text)?);
        }
        let mut seen = Seen::default();
        for (index, swap) in self.names.iter().enumerate() {
            let (Some(live), Some(next)) = (texts.get(2 * index), texts.get(2 * index + 1)) else {
                return Err(EngineError::retryable("a locked table was not shown"));
            };
            if !self.back {
                self.same_shapes(swap, live, next)?;
            }
            if let Some(wanted) = live.auto_increment
                && next.auto_increment.is_none_or(|next| next < wanted)
            {
                seen.counters.push(Counter {
                    table: swap.next.clone(),
                    wanted,
                });
            }
            let schema = self.fence.schema();
            let keys = ForeignKey::of(live, schema)?;
            seen.handover.add(schema, swap, &keys);
        }
        Ok(seen)
    }

    /// Has nobody given the application's tables a trigger or a foreign key? While they are locked nobody can.
    async fn refuse_dependents(&self, helper: &mut Session) -> Result<(), EngineError> {
        for swap in self.names {
            dependents::refuse(helper, self.fence.schema(), &swap.live).await?;
        }
        Ok(())
    }

    /// Has nobody changed either table's definition since the plan?
    fn same_shapes(
        &self,
        swap: &SwapNames,
        live: &CreateText,
        next: &CreateText,
    ) -> Result<(), EngineError> {
        let planned = self.plans.iter().find_map(|plan| {
            let (original, shadow) = (plan.original.as_ref()?, plan.shadow.as_ref()?);
            (original.name == swap.live)
                .then_some([&original.create_statement, &shadow.create_statement])
        });
        let Some([original, shadow]) = planned else {
            return Ok(());
        };
        for (name, now, planned) in [(&swap.live, live, original), (&swap.next, next, shadow)] {
            if now.meaning() != create_text(planned)?.meaning() {
                return Err(without_copy::changed_by_others(self.fence.schema(), name));
            }
        }
        Ok(())
    }

    /// A number that the old table has given away must not be given again, though its row was
    /// deleted and never copied.
    async fn keep_counters(
        &self,
        pinned: &mut Session,
        counters: &[Counter],
    ) -> Result<(), EngineError> {
        for Counter { table, wanted } in counters {
            // The drained rows have moved it on, as a rule.
            let text = catalog::create_statement(pinned, self.fence.schema(), table).await?;
            let now = text
                .and_then(|text| CreateText::parse(&text).ok())
                .and_then(|text| text.auto_increment);
            if now.is_none_or(|now| now < *wanted) {
                let table = quote_table(self.fence.schema(), table);
                pinned
                    .run(&format!(
                        "ALTER TABLE {table} AUTO_INCREMENT = {wanted}, ALGORITHM=INPLACE"
                    ))
                    .await
                    .map_err(EngineError::while_doing("keeping the table's counter"))?;
            }
        }
        Ok(())
    }
}
