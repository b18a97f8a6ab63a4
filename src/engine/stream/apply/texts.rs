//! What a batch is sent as: few, long statements, each of which is one round trip.

use super::{Applier, Transaction};
use crate::engine::EngineError;
use crate::engine::binlog::gtid::Position;
use crate::engine::binlog::rows::Change;
use crate::engine::session::OUR_SQL_MODE;

/// One statement of a batch is no longer than this, nor than half of what the server takes, but for a single larger row.
const STATEMENT_BYTES: usize = 1 << 20;

/// For values that are stored already and that strict mode takes from a row alone: into a table of the same types, never
/// into the shadow.
const LAX_SQL_MODE: &str = "NO_ENGINE_SUBSTITUTION,ALLOW_INVALID_DATES";

impl Applier {
    /// The batch, and the place that it leads to.
    pub(super) fn statements(
        &self,
        position: &Position,
        transaction: Transaction,
    ) -> Result<Vec<String>, EngineError> {
        let pending: Vec<&Change> = self.pending.values().collect();
        let mut texts = self.batch(&pending, transaction);
        texts.add(&self.store.set_position(position)?);
        if !pending.is_empty() {
            texts.add(&self.store.mark()?);
        }
        texts.add("COMMIT");
        Ok(texts.done())
    }

    pub(super) fn batch(&self, pending: &[&Change], transaction: Transaction) -> Texts {
        let bound = match self.longest_statement {
            0 => STATEMENT_BYTES,
            longest => STATEMENT_BYTES.min(longest / 2),
        };
        let mut texts = Texts {
            bound,
            ..Texts::default()
        };
        if transaction == Transaction::Own {
            texts.add("BEGIN");
        }
        for (table, staging) in self.staging.iter().enumerate() {
            let Some(staging) = staging else { continue };
            let mut changes = pending.iter().filter(|c| c.table == table).peekable();
            if changes.peek().is_none() {
                continue;
            }
            texts.add(&staging.clear);
            let mut insert = String::new();
            let mut no_member = false;
            for change in changes {
                if insert.len() + change.tuple.len() > bound && !insert.is_empty() {
                    texts.add(&std::mem::take(&mut insert));
                }
                insert.push_str(if insert.is_empty() {
                    &staging.insert_prefix
                } else {
                    ","
                });
                insert.push_str(&change.tuple);
                if change.no_member && !no_member {
                    no_member = true;
                    texts.add(&format!("SET SESSION sql_mode = '{LAX_SQL_MODE}'"));
                }
            }
            texts.add(&insert);
            if no_member {
                texts.add(&format!("SET SESSION sql_mode = '{OUR_SQL_MODE}'"));
            }
            let take_over = match self.routing.values_meet(table) {
                true => &staging.take_over_from_others,
                false => &staging.take_over,
            };
            take_over.iter().for_each(|statement| texts.add(statement));
        }
        texts
    }

    /// The server would end the session without a word of the reason.
    pub(super) fn check_length(&self, statements: &[String]) -> Result<(), EngineError> {
        let longest = statements.iter().map(String::len).max().unwrap_or(0);
        if self.longest_statement == 0 || longest < self.longest_statement {
            return Ok(());
        }
        Err(EngineError::retryable(format!(
            "a row was written whose copy takes a statement of {longest} bytes, and \
             max_allowed_packet is {}; set it to more than that globally, and the change goes on \
             from its checkpoint, or cancel",
            self.longest_statement
        )))
    }
}

/// Statements gathered into texts of bounded length.
#[derive(Default)]
pub(super) struct Texts {
    bound: usize,
    whole: Vec<String>,
    current: String,
}

impl Texts {
    fn add(&mut self, statement: &str) {
        if statement.is_empty() {
            return;
        }
        if self.current.len() + statement.len() > self.bound && !self.current.is_empty() {
            self.whole.push(std::mem::take(&mut self.current));
        }
        if !self.current.is_empty() {
            self.current.push(';');
        }
        self.current.push_str(statement);
    }

    pub(super) fn done(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.whole.push(self.current);
        }
        self.whole
    }
}
