//! Row images on their way into the shadow: through a temporary table with the original's column
//! types.
//!
//! `INSERT … SELECT` from there converts a value exactly as the copy does, whatever the change is:
//! an ENUM becomes its text, a FLOAT its digits. Temporary tables are neither logged nor durable,
//! so this costs little. Nothing is compared outside the server: which row an image replaces is
//! decided by the shadow's own key.

use super::losses;
use super::types::{as_altered, comparable, same_type, type_text};
use crate::engine::EngineError;
use crate::engine::syntax::{quote, quote_table, quote_text};
use crate::engine::table::{Carried, Column, Copied, TableDefinition, TablePlan};

/// The statements of one table's way from image to shadow.
#[derive(Debug, Clone)]
pub struct Staging {
    /// Run once a session.
    pub create: Vec<String>,
    /// Empties the staging tables.
    pub clear: String,
    /// Drops them, as far as they are there.
    pub remove: String,
    /// What comes before the tuples of an `INSERT`.
    pub insert_prefix: String,
    /// Takes the staged rows over.
    pub take_over: Vec<String>,
    /// The same where other rows give way: see `Routing::values_meet`.
    pub take_over_from_others: Vec<String>,
    /// Asks for the key of the one row that is staged, as people read it.
    pub key_text: String,
    /// Columns, and what asks whether the value of the staged row, once that is taken over, is another one there.
    pub changed: Vec<(String, String)>,
}

/// The column whose name the server's refusal quotes when a value does not survive its conversion.
pub const CHANGED: &str = "value_changed_by_conversion";

/// Under `sql_require_primary_key` the server wants one of temporary tables, too.
pub const ROW_NUMBER: &str = "lk_row BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY";

/// What a way needs besides what every way does.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// Columns of the target that no image has a value for: a row keeps what it has there.
    pub kept: Vec<usize>,
    /// Pairs whose values may be other ones after the conversion without an error of the
    /// server's: they are compared.
    compared: Vec<(usize, usize)>,
    /// Pairs of whose values [`losses`] knows which ones the server would change without an error: those are refused.
    guarded: Vec<(usize, usize)>,
}

impl Extras {
    /// For the way from a table to its copy.
    pub fn there(plan: &TablePlan) -> Self {
        Self {
            guarded: plan.guarded.iter().map(|c| (c.source, c.target)).collect(),
            ..Self::default()
        }
    }

    /// For the way from a changed table back to the former one.
    pub fn back(plan: &TablePlan) -> Self {
        let (Some(live), Some(former)) = (&plan.original, &plan.shadow) else {
            return Self::default();
        };
        let carried = plan.carried.iter();
        Self {
            kept: left_behind(&plan.carried, former)
                .map(|c| c.ordinal)
                .collect(),
            compared: carried
                .map(|c| (c.source, c.target))
                .filter(|&(s, t)| !same_type(&live.columns[s], &former.columns[t]))
                .collect(),
            guarded: Vec::new(),
        }
    }
}

/// Columns of the target that nothing comes to.
pub fn left_behind<'a>(
    carried: &'a [Carried],
    target: &'a TableDefinition,
) -> impl Iterator<Item = &'a Column> {
    target.columns.iter().filter(|column| {
        column.generated.is_none() && !carried.iter().any(|c| c.target == column.ordinal)
    })
}

impl Staging {
    /// For the changes of a plan's original, applied to its shadow, by way of temporary tables `name`.
    ///
    /// # Errors
    ///
    /// Permanent for a table that is not copied.
    pub fn of_plan(plan: &TablePlan, name: &str, extras: &Extras) -> Result<Self, EngineError> {
        let way = StagedWay::new(plan, name, extras)?;
        Ok(Self {
            create: way.create(),
            clear: way.clear(),
            remove: way.remove(),
            insert_prefix: way.insert_prefix(),
            take_over: way.take_over("INSERT"),
            take_over_from_others: way.take_over("REPLACE"),
            key_text: way.key_text(),
            changed: way.questions(),
        })
    }
}

/// What the statements are made from.
struct StagedWay<'a> {
    from: &'a TableDefinition,
    to: &'a TableDefinition,
    /// Pairs of column indexes, in the order of `from`'s columns. The nth is staged as `c<n>`; of what `extras` keeps, as `x<n>`.
    carried: Vec<(usize, usize)>,
    key: Vec<(usize, usize)>,
    extras: &'a Extras,
    /// `to` and its index over the key, as SQL has them.
    target: String,
    index: String,
    /// Images.
    stage: String,
    /// Their keys as `to` sees them, where its key has other types.
    keys: String,
    /// Takes no row: what is written to it fails the batch.
    changed: String,
}

impl<'a> StagedWay<'a> {
    fn new(plan: &'a TablePlan, name: &str, extras: &'a Extras) -> Result<Self, EngineError> {
        let Copied {
            original: from,
            shadow: to,
            key,
        } = plan.copied()?;
        let mut carried: Vec<(usize, usize)> =
            plan.carried.iter().map(|c| (c.source, c.target)).collect();
        carried.sort_unstable();
        let sources = key.source.iter().copied();
        let temporary = |part: &str| quote_table(&from.schema, &format!("{name}{part}"));
        Ok(Self {
            from,
            to,
            carried,
            key: sources.zip(key.target.iter().copied()).collect(),
            extras,
            target: to.quoted(),
            index: quote(&key.target_index),
            stage: temporary(""),
            keys: temporary("_k"),
            changed: temporary("_v"),
        })
    }

    /// The staged value of a column of `from`.
    fn staged(&self, source: usize) -> String {
        let at = self.carried.iter().position(|c| c.0 == source);
        format!("c{}", at.unwrap_or(0))
    }

    fn target_column(&self, index: usize) -> String {
        format!("{}.{}", self.target, quote(&self.to.columns[index].name))
    }

    /// Whether rows can be found in `to` by their keys as they are staged.
    fn has_same_key(&self) -> bool {
        let mut pairs = self.key.iter();
        pairs.all(|&(s, t)| same_type(&self.from.columns[s], &self.to.columns[t]))
    }

    fn is_checked(&self) -> bool {
        !self.extras.compared.is_empty() || !self.extras.guarded.is_empty()
    }

    fn create(&self) -> Vec<String> {
        let typed = |name: String, column: &Column| format!("{name} {} NULL", type_text(column));
        let images = self.carried.iter().enumerate();
        let mut columns: Vec<String> = images
            .map(|(at, &(s, _))| typed(format!("c{at}"), &self.from.columns[s]))
            .collect();
        let kept = self.extras.kept.iter().enumerate();
        columns.extend(kept.map(|(at, &t)| typed(format!("x{at}"), &self.to.columns[t])));
        if !self.extras.kept.is_empty() {
            columns.push("lk_had TINYINT NOT NULL DEFAULT 0".into());
        }
        let mut create = vec![create_temporary(&self.stage, &columns)];
        if !self.has_same_key() {
            let key = self.key.iter().enumerate();
            let columns: Vec<String> = key
                .map(|(at, &(_, t))| typed(format!("k{at}"), &self.to.columns[t]))
                .collect();
            create.push(create_temporary(&self.keys, &columns));
        }
        if self.is_checked() {
            create.push(format!(
                "CREATE TEMPORARY TABLE IF NOT EXISTS {} ({CHANGED} INT NOT NULL PRIMARY KEY) ENGINE=InnoDB",
                self.changed
            ));
        }
        create
    }

    fn clear(&self) -> String {
        match self.has_same_key() {
            true => format!("DELETE FROM {}", self.stage),
            false => format!("DELETE FROM {}; DELETE FROM {}", self.stage, self.keys),
        }
    }

    fn remove(&self) -> String {
        format!(
            "DROP TEMPORARY TABLE IF EXISTS {}, {}, {}",
            self.stage, self.keys, self.changed
        )
    }

    fn insert_prefix(&self) -> String {
        let columns: Vec<String> = (0..self.carried.len())
            .map(|at| format!(", c{at}"))
            .collect();
        format!(
            "INSERT INTO {} (lk_there{}) VALUES ",
            self.stage,
            columns.concat()
        )
    }

    /// `verb` is what rows come into the target by.
    fn take_over(&self, verb: &str) -> Vec<String> {
        let mut statements = Vec::new();
        if !self.extras.kept.is_empty() {
            statements.push(self.keep());
        }
        if !self.has_same_key() {
            statements.push(self.convert_keys());
        }
        statements.push(self.delete());
        statements.extend(self.insert(verb));
        if !self.extras.guarded.is_empty() {
            statements.push(self.refuse_losses());
        }
        if !self.extras.compared.is_empty() {
            statements.push(self.refuse_differences());
        }
        statements
    }

    /// Where a staged row is the target's.
    fn same_row(&self) -> String {
        let key = self.key.iter();
        let same: Vec<String> = key
            .map(|&(s, t)| {
                format!(
                    "{} = {}.{}",
                    self.target_column(t),
                    self.stage,
                    self.staged(s)
                )
            })
            .collect();
        same.join(" AND ")
    }

    /// Notes what the rows have that are there, and images have not.
    fn keep(&self) -> String {
        let kept = self.extras.kept.iter().enumerate();
        let set: Vec<String> = kept
            .map(|(at, &t)| format!("{}.x{at} = {}", self.stage, self.target_column(t)))
            .collect();
        format!(
            "UPDATE {stage} STRAIGHT_JOIN {target} FORCE INDEX ({index}) ON {same} SET {stage}.lk_had = 1, {set}",
            stage = self.stage,
            target = self.target,
            index = self.index,
            same = self.same_row(),
            set = set.join(", ")
        )
    }

    fn convert_keys(&self) -> String {
        let columns: Vec<String> = (0..self.key.len()).map(|at| format!("k{at}")).collect();
        let staged: Vec<String> = self.key.iter().map(|&(s, _)| self.staged(s)).collect();
        format!(
            "INSERT INTO {} (lk_there, {}) SELECT 0, {} FROM {}",
            self.keys,
            columns.join(", "),
            staged.join(", "),
            self.stage
        )
    }

    /// All touched rows go first, so that a value that moved from one row to another meets
    /// no former owner. No aliases: under LOCK TABLES each would need a lock of its own.
    fn delete(&self) -> String {
        let (keys, same) = if self.has_same_key() {
            (&self.stage, self.same_row())
        } else {
            let key = self.key.iter().enumerate();
            let same: Vec<String> = key
                .map(|(at, &(_, t))| format!("{} = {}.k{at}", self.target_column(t), self.keys))
                .collect();
            (&self.keys, same.join(" AND "))
        };
        format!(
            "DELETE {target} FROM {keys} STRAIGHT_JOIN {target} FORCE INDEX ({index}) ON {same}",
            target = self.target,
            index = self.index
        )
    }

    fn insert(&self, verb: &str) -> Vec<String> {
        let columns = &self.to.columns;
        let carried = self.carried.iter();
        let mut names: Vec<String> = carried.map(|&(_, t)| quote(&columns[t].name)).collect();
        let carried = self.carried.iter().enumerate();
        let mut values: Vec<String> = carried
            .map(|(at, &(s, t))| as_altered(&format!("c{at}"), &self.from.columns[s], &columns[t]))
            .collect();
        let insert = |names: &[String], values: &[String], condition: &str| {
            format!(
                "{verb} INTO {} ({}) SELECT {} FROM {} WHERE lk_there = 1{condition}",
                self.target,
                names.join(", "),
                values.join(", "),
                self.stage
            )
        };
        if self.extras.kept.is_empty() {
            return vec![insert(&names, &values, "")];
        }
        let fresh = insert(&names, &values, " AND lk_had = 0");
        for (at, &t) in self.extras.kept.iter().enumerate() {
            names.push(quote(&columns[t].name));
            values.push(format!("x{at}"));
        }
        vec![fresh, insert(&names, &values, " AND lk_had = 1")]
    }

    /// The server refuses the NULL if there is such a row, and the batch with it.
    fn refuse(&self, rows: &str, conditions: impl Iterator<Item = (usize, String)>) -> String {
        let conditions: Vec<String> = conditions.map(|(_, condition)| condition).collect();
        format!(
            "INSERT INTO {} SELECT NULL {rows} ({}) LIMIT 1",
            self.changed,
            conditions.join(" OR ")
        )
    }

    fn refuse_losses(&self) -> String {
        self.refuse(&self.staged_rows(), self.losses())
    }

    fn refuse_differences(&self) -> String {
        self.refuse(&self.rows_of_both(), self.differences())
    }

    /// A question for each column that is checked.
    fn questions(&self) -> Vec<(String, String)> {
        let question = |rows: String| {
            move |(s, condition): (usize, String)| {
                let column = self.from.columns[s].name.clone();
                (column, format!("SELECT 1 {rows} ({condition}) LIMIT 1"))
            }
        };
        self.losses()
            .map(question(self.staged_rows()))
            .chain(self.differences().map(question(self.rows_of_both())))
            .collect()
    }

    fn staged_rows(&self) -> String {
        format!("FROM {} WHERE lk_there = 1 AND", self.stage)
    }

    fn rows_of_both(&self) -> String {
        format!(
            "FROM {stage} STRAIGHT_JOIN {target} FORCE INDEX ({index}) ON {same} WHERE {stage}.lk_there = 1 AND",
            stage = self.stage,
            target = self.target,
            index = self.index,
            same = self.same_row(),
        )
    }

    /// Column by column, when the server would change a value without an error.
    fn losses(&self) -> impl Iterator<Item = (usize, String)> {
        self.extras.guarded.iter().map(|&(s, t)| {
            let value = self.staged(s);
            let losses = losses::silent_losses(&value, &self.from.columns[s], &self.to.columns[t]);
            let losses: Vec<String> = losses.iter().map(|loss| format!("({loss})")).collect();
            (s, losses.join(" OR "))
        })
    }

    /// The same, by what became of it.
    fn differences(&self) -> impl Iterator<Item = (usize, String)> {
        self.extras.compared.iter().map(|&(s, t)| {
            let (was, now) = (&self.from.columns[s], &self.to.columns[t]);
            let staged = format!("{}.{}", self.stage, self.staged(s));
            let differs = format!(
                "NOT ({} <=> {})",
                comparable(&staged, was, now),
                comparable(&self.target_column(t), now, was)
            );
            (s, differs)
        })
    }

    fn key_text(&self) -> String {
        let key = self.key.iter();
        let shown: Vec<String> = key
            .map(|&(s, _)| {
                let (column, value) = (&self.from.columns[s], self.staged(s));
                let value = match column.character_set.is_some() || !column.data_type.is_string() {
                    true => format!("CAST({value} AS CHAR CHARACTER SET utf8mb4)"),
                    false => format!("CONCAT('0x', HEX({value}))"),
                };
                format!(
                    "CONCAT({}, {value})",
                    quote_text(&format!("{} = ", column.name))
                )
            })
            .collect();
        format!(
            "SELECT CONCAT_WS(', ', {}) FROM {}",
            shown.join(", "),
            self.stage
        )
    }
}

fn create_temporary(table: &str, columns: &[String]) -> String {
    format!(
        "CREATE TEMPORARY TABLE IF NOT EXISTS {table} ({ROW_NUMBER}, lk_there TINYINT NOT NULL, {}) ENGINE=InnoDB",
        columns.join(", ")
    )
}
