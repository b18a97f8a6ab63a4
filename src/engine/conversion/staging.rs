//! Row images on their way into the shadow: through a temporary table with the original's column
//! types.
//!
//! `INSERT … SELECT` from there converts a value exactly as the copy does, whatever the change is:
//! an ENUM becomes its text, a FLOAT its digits. Temporary tables are neither logged nor durable,
//! so this costs little. Nothing is compared outside the server: which row an image replaces is
//! decided by the shadow's own key.

use super::losses;
use crate::engine::EngineError;
use crate::engine::syntax::quote;
use crate::engine::table::{Column, Copied, DataType, TablePlan};

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
    /// The same where other rows give way: see [`crate::engine::stream::routing::Routing::values_meet`].
    pub take_over_from_others: Vec<String>,
    /// Asks for the key of the one row that is staged, as people read it.
    pub key_text: String,
}

/// The column whose name the server's refusal quotes when a value does not survive its conversion.
pub const CHANGED: &str = "value_changed_by_conversion";

/// What a way needs besides what every way does.
#[derive(Debug, Clone, Default)]
pub struct WayBack {
    /// Columns of the target that no image has a value for: a row keeps what it has there.
    pub kept: Vec<usize>,
    /// Pairs whose values may be other ones after the conversion without an error of the
    /// server's: they are compared.
    pub compared: Vec<(usize, usize)>,
    /// Pairs of whose values [`losses`] knows which ones the server would change without an error: those are refused.
    pub guarded: Vec<(usize, usize)>,
}

/// A table that rows are read from or written to.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    pub columns: &'a [Column],
    /// Qualified and quoted.
    pub table: &'a str,
    pub key_index: &'a str,
}

impl Staging {
    /// For changes of `from` that are applied to `to`.
    ///
    /// `carried` and `key` are pairs of column indexes, `carried` in the order of `from`'s columns.
    pub fn new(
        schema: &str,
        name: &str,
        from: Side<'_>,
        to: Side<'_>,
        carried: &[(usize, usize)],
        key: &[(usize, usize)],
        back: &WayBack,
    ) -> Self {
        let stage = format!("{}.{}", quote(schema), quote(name));
        let columns = carried
            .iter()
            .enumerate()
            .map(|(at, &(source, _))| format!("c{at} {} NULL", type_text(&from.columns[source])))
            .chain(kept_columns(back, to));
        let mut create = vec![create_temporary(&stage, columns)];
        let mut clear = format!("DELETE FROM {stage}");
        let column_of = |source: usize| carried.iter().position(|c| c.0 == source).unwrap_or(0);
        let target = |index: usize| format!("{}.{}", to.table, quote(&to.columns[index].name));
        let mut take_over = Vec::new();
        let staged_key: Vec<String> = key
            .iter()
            .map(|&(s, t)| format!("{} = {stage}.c{}", target(t), column_of(s)))
            .collect();
        let staged_key = staged_key.join(" AND ");
        if !back.kept.is_empty() {
            let kept = back.kept.iter().enumerate();
            let set: Vec<String> = kept
                .map(|(at, &t)| format!("{stage}.x{at} = {}", target(t)))
                .collect();
            take_over.push(format!(
                "UPDATE {stage} STRAIGHT_JOIN {table} FORCE INDEX ({index}) ON {staged_key} \
                 SET {stage}.lk_had = 1, {set}",
                table = to.table,
                index = quote(to.key_index),
                set = set.join(", ")
            ));
        }

        // Rows go by their key as the shadow sees it.
        let same_key = key
            .iter()
            .all(|&(s, t)| same_type(&from.columns[s], &to.columns[t]));
        let (keys, key_columns): (String, Vec<String>) = if same_key {
            (
                stage.clone(),
                key.iter()
                    .map(|&(s, _)| format!("{stage}.c{}", column_of(s)))
                    .collect(),
            )
        } else {
            let keys = format!("{}.{}", quote(schema), quote(&format!("{name}_k")));
            let types = key
                .iter()
                .enumerate()
                .map(|(at, &(_, t))| format!("k{at} {} NULL", type_text(&to.columns[t])));
            create.push(create_temporary(&keys, types));
            clear.push_str(&format!("; DELETE FROM {keys}"));
            let from_columns: Vec<String> = key
                .iter()
                .map(|&(s, _)| format!("c{}", column_of(s)))
                .collect();
            take_over.push(format!(
                "INSERT INTO {keys} (lk_there, {}) SELECT 0, {} FROM {stage}",
                (0..key.len())
                    .map(|at| format!("k{at}"))
                    .collect::<Vec<_>>()
                    .join(", "),
                from_columns.join(", ")
            ));
            let columns = (0..key.len()).map(|at| format!("{keys}.k{at}")).collect();
            (keys, columns)
        };
        let condition: Vec<String> = key
            .iter()
            .zip(&key_columns)
            .map(|(&(_, t), column)| format!("{} = {column}", target(t)))
            .collect();
        // All touched rows go first, so that a value that moved from one row to another meets
        // no former owner. No aliases: under LOCK TABLES each would need a lock of its own.
        take_over.push(format!(
            "DELETE {table} FROM {keys} STRAIGHT_JOIN {table} FORCE INDEX ({index}) ON {on}",
            table = to.table,
            index = quote(to.key_index),
            on = condition.join(" AND ")
        ));
        let names: Vec<String> = carried
            .iter()
            .map(|&(_, t)| quote(&to.columns[t].name))
            .collect();
        let values: Vec<String> = carried
            .iter()
            .enumerate()
            .map(|(at, &(s, t))| as_altered(&format!("c{at}"), &from.columns[s], &to.columns[t]))
            .collect();
        let insert = |names: &[String], values: &[String], condition: &str| {
            format!(
                "INSERT INTO {} ({}) SELECT {} FROM {stage} WHERE lk_there = 1{condition}",
                to.table,
                names.join(", "),
                values.join(", ")
            )
        };
        if back.kept.is_empty() {
            take_over.push(insert(&names, &values, ""));
        } else {
            take_over.push(insert(&names, &values, " AND lk_had = 0"));
            let kept = back.kept.iter();
            let names: Vec<String> = names
                .iter()
                .cloned()
                .chain(kept.map(|&t| quote(&to.columns[t].name)))
                .collect();
            let values: Vec<String> = values
                .iter()
                .cloned()
                .chain((0..back.kept.len()).map(|at| format!("x{at}")))
                .collect();
            take_over.push(insert(&names, &values, " AND lk_had = 1"));
        }
        let changed = format!("{}.{}", quote(schema), quote(&format!("{name}_v")));
        if !back.compared.is_empty() || !back.guarded.is_empty() {
            create.push(format!(
                "CREATE TEMPORARY TABLE IF NOT EXISTS {changed} ({CHANGED} INT NOT NULL PRIMARY KEY) \
                 ENGINE=InnoDB"
            ));
        }
        if !back.guarded.is_empty() {
            let lost: Vec<String> = back
                .guarded
                .iter()
                .flat_map(|&(s, t)| {
                    let value = format!("c{}", column_of(s));
                    losses::silent_losses(&value, &from.columns[s], &to.columns[t])
                })
                .map(|condition| format!("({condition})"))
                .collect();
            take_over.push(format!(
                "INSERT INTO {changed} SELECT NULL FROM {stage} WHERE lk_there = 1 AND ({}) LIMIT 1",
                lost.join(" OR ")
            ));
        }
        if !back.compared.is_empty() {
            let differs: Vec<String> = back
                .compared
                .iter()
                .map(|&(s, t)| {
                    let (was, now) = (&from.columns[s], &to.columns[t]);
                    let staged = format!("{stage}.c{}", column_of(s));
                    format!(
                        "NOT ({} <=> {})",
                        comparable(&staged, was, now),
                        comparable(&target(t), now, was)
                    )
                })
                .collect();
            // The server refuses the NULL if there is such a row, and the batch with it.
            take_over.push(format!(
                "INSERT INTO {changed} SELECT NULL FROM {stage} STRAIGHT_JOIN {table} \
                 FORCE INDEX ({index}) ON {staged_key} \
                 WHERE {stage}.lk_there = 1 AND ({differs}) LIMIT 1",
                table = to.table,
                index = quote(to.key_index),
                differs = differs.join(" OR ")
            ));
        }
        let shown: Vec<String> = key
            .iter()
            .map(|&(s, _)| {
                let column = &from.columns[s];
                let value = format!("c{}", column_of(s));
                let value = match column.character_set.is_some() || !column.data_type.is_string() {
                    true => format!("CAST({value} AS CHAR CHARACTER SET utf8mb4)"),
                    false => format!("CONCAT('0x', HEX({value}))"),
                };
                let name = crate::engine::syntax::quote_text(&format!("{} = ", column.name));
                format!("CONCAT({name}, {value})")
            })
            .collect();
        let mut list = "lk_there".to_owned();
        (0..carried.len()).for_each(|at| list.push_str(&format!(", c{at}")));
        let remove: Vec<String> = ["", "_k", "_v"]
            .map(|part| format!("{}.{}", quote(schema), quote(&format!("{name}{part}"))))
            .to_vec();
        Self {
            create,
            clear,
            remove: format!("DROP TEMPORARY TABLE IF EXISTS {}", remove.join(", ")),
            insert_prefix: format!("INSERT INTO {stage} ({list}) VALUES "),
            take_over_from_others: from_others(&take_over, to.table),
            take_over,
            key_text: format!("SELECT CONCAT_WS(', ', {}) FROM {stage}", shown.join(", ")),
        }
    }

    /// For the changes of a plan's original, applied to its shadow.
    pub fn of_plan(plan: &TablePlan, name: &str, back: &WayBack) -> Result<Self, EngineError> {
        let Copied {
            original,
            shadow,
            key,
        } = plan.copied()?;
        let index = &key.target_index;
        let mut carried: Vec<(usize, usize)> =
            plan.carried.iter().map(|c| (c.source, c.target)).collect();
        carried.sort_unstable();
        let key: Vec<(usize, usize)> = key
            .source
            .iter()
            .copied()
            .zip(key.target.iter().copied())
            .collect();
        let from = Side {
            columns: &original.columns,
            table: &original.quoted(),
            key_index: "",
        };
        let to = Side {
            columns: &shadow.columns,
            table: &shadow.quoted(),
            key_index: index,
        };
        Ok(Self::new(
            &original.schema,
            name,
            from,
            to,
            &carried,
            &key,
            back,
        ))
    }
}

fn from_others(take_over: &[String], table: &str) -> Vec<String> {
    let insert = format!("INSERT INTO {table} (");
    let replace = format!("REPLACE INTO {table} (");
    let others = take_over.iter();
    others
        .map(|statement| statement.replacen(&insert, &replace, 1))
        .collect()
}

fn kept_columns(back: &WayBack, to: Side<'_>) -> Vec<String> {
    let mut columns: Vec<String> = back
        .kept
        .iter()
        .enumerate()
        .map(|(at, &t)| format!("x{at} {} NULL", type_text(&to.columns[t])))
        .collect();
    if !columns.is_empty() {
        columns.push("lk_had TINYINT NOT NULL DEFAULT 0".into());
    }
    columns
}

/// `value`, of a column that was or becomes `other`, in a form in which both can be compared
/// without one more conversion that loses something.
fn comparable(value: &str, column: &Column, other: &Column) -> String {
    let is_time = |c: &Column| {
        matches!(
            c.data_type,
            DataType::Date | DataType::Time | DataType::DateTime | DataType::Timestamp
        )
    };
    let is_binary = |c: &Column| c.data_type.is_string() && c.character_set.is_none();
    if (is_number(column.data_type) && is_number(other.data_type))
        || (is_time(column) && is_time(other))
    {
        value.to_owned()
    } else if is_binary(column) || is_binary(other) {
        format!("CAST({value} AS BINARY)")
    } else {
        format!("CAST(CAST({value} AS CHAR CHARACTER SET utf8mb4) AS BINARY)")
    }
}

/// Under `sql_require_primary_key` the server wants one of temporary tables, too.
pub const ROW_NUMBER: &str = "lk_row BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY";

/// `value`, of the column `from`, as ALTER TABLE would store it in `to`.
///
/// ALTER takes a number into whatever is no number by its text: a FLOAT's few digits, a DOUBLE(10,3)'s three, the zeros of
/// ZEROFILL; an ENUM finds its member by that text, and JSON reads it. `INSERT … SELECT` would store the number itself: other
/// digits, the member that is so far down the list, or nothing that JSON takes.
pub fn as_altered(value: &str, from: &Column, to: &Column) -> String {
    let goes_by_text = matches!(
        to.data_type,
        DataType::Char
            | DataType::VarChar
            | DataType::Binary
            | DataType::VarBinary
            | DataType::Enum
            | DataType::Set
            | DataType::Json
    );
    match is_number(from.data_type) && goes_by_text {
        true => format!("CONCAT({value})"),
        false => value.to_owned(),
    }
}

fn create_temporary(table: &str, columns: impl Iterator<Item = String>) -> String {
    let columns: Vec<String> = columns.collect();
    format!(
        "CREATE TEMPORARY TABLE IF NOT EXISTS {table} ({ROW_NUMBER}, lk_there TINYINT NOT NULL, {}) ENGINE=InnoDB",
        columns.join(", ")
    )
}

/// The type of a column, with its character set, as a column definition takes it.
pub fn type_text(column: &Column) -> String {
    let mut text = column.column_type.clone();
    if let (Some(set), Some(collation)) = (&column.character_set, &column.collation) {
        text.push_str(&format!(" CHARACTER SET {set} COLLATE {collation}"));
    }
    text
}

/// Whether a value of one is a value of the other, unconverted.
pub fn same_type(a: &Column, b: &Column) -> bool {
    a.data_type == b.data_type
        && a.column_type == b.column_type
        && a.character_set == b.character_set
        && a.collation == b.collation
}

fn is_number(data_type: DataType) -> bool {
    data_type.is_number() || data_type == DataType::Year
}
