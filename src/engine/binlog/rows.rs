//! Row images as tuples of SQL literals, ready for the staging table.

mod key;
mod value;

use std::borrow::Cow;

use super::cursor::{Cursor, Malformed};
use super::table_map::{Stored, TableMap};
use crate::engine::table::{CopyKey, DataType, TableDefinition, TablePlan, Way};
pub use key::RowKey;
use key::{is_ordered, join_key, key_bytes};
use value::{Raw, is_stored_as, read, write};

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which of the watched tables.
    pub table: usize,
    pub key: RowKey,
    /// Whether the row is there afterwards.
    pub upsert: bool,
    /// `(1,…)` or `(0,…)`: whether it is there, then a literal for each carried column; of a row that is gone
    /// the key's only.
    pub tuple: Box<str>,
    /// An ENUM holds the empty value that the server stores for what is no member. In strict mode no literal makes one.
    pub no_member: bool,
}

impl Change {
    /// Roughly what it takes in memory.
    pub fn bytes(&self) -> usize {
        self.tuple.len() + self.key.0.len() + 96
    }
}

/// How the row images of one table become tuples.
#[derive(Debug, Clone)]
pub struct RowLayout {
    schema: String,
    table: String,
    columns: Vec<ColumnLayout>,
    /// Positions of the key's columns, in the key's order.
    key: Vec<usize>,
    ordered: bool,
    /// A row that gets another key cannot be followed.
    fixed_keys: bool,
    /// It has foreign keys: changes of other tables' rows may change its own.
    child: bool,
    /// See [`RowLayout::with_copy`].
    copy: Option<String>,
}

#[derive(Debug, Clone)]
struct ColumnLayout {
    name: String,
    data_type: DataType,
    unsigned: bool,
    carried: bool,
    /// BINARY(n): the binlog leaves trailing zeros out.
    pad_to: usize,
}

impl ColumnLayout {
    /// A value with all of its bytes.
    fn padded<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if bytes.len() >= self.pad_to {
            return Cow::Borrowed(bytes);
        }
        let mut padded = bytes.to_vec();
        padded.resize(self.pad_to, 0);
        Cow::Owned(padded)
    }
}

/// A rows event that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(
        "table {table} has {found} columns in the binlog, and {expected} when the change began"
    )]
    ColumnCount {
        table: String,
        found: usize,
        expected: usize,
    },
    #[error("column {table}.{column} has another type in the binlog than when the change began")]
    ColumnType { table: String, column: String },
    #[error(
        "a session wrote {table} without a full row image: column {column} is missing; sessions must not \
         set binlog_row_image or binlog_row_value_options while the table is changed"
    )]
    MissingColumn { table: String, column: String },
    #[error(
        "a row of {table} got another key; what its former self has in columns that are gone \
         cannot follow it"
    )]
    KeyChanged { table: String },
}

impl RowLayout {
    /// The layout of `definition`, of which `carried` (indexes) go over and `key` identifies a row.
    pub fn new(definition: &TableDefinition, carried: &[usize], key: &CopyKey) -> Self {
        let columns = definition
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| ColumnLayout {
                name: column.name.clone(),
                data_type: column.data_type,
                unsigned: column.unsigned,
                carried: carried.contains(&index),
                pad_to: match column.data_type {
                    DataType::Binary => column.max_bytes.unwrap_or(0) as usize,
                    _ => 0,
                },
            });
        let ordered = key
            .source
            .iter()
            .all(|&i| is_ordered(definition.columns[i].data_type));
        Self {
            schema: definition.schema.clone(),
            table: definition.name.clone(),
            columns: columns.collect(),
            key: key.source.clone(),
            ordered,
            fixed_keys: false,
            child: false,
            copy: None,
        }
    }

    /// Of a table that is copied as planned; `None` where nothing is copied.
    pub fn of_plan(plan: &TablePlan) -> Option<Self> {
        let carried: Vec<usize> = plan.carried.iter().map(|c| c.source).collect();
        let mut layout = Self::new(plan.original.as_ref()?, &carried, plan.key.as_ref()?);
        if let Some(shadow) = &plan.shadow {
            layout = layout.with_copy(&shadow.name);
        }
        if !plan.foreign_keys.is_empty() {
            layout = layout.of_child();
        }
        (plan.way == Way::Copy).then_some(layout)
    }

    /// The same, of a table whose changes go to this one of ours.
    pub fn with_copy(self, name: &str) -> Self {
        Self {
            copy: Some(name.to_owned()),
            ..self
        }
    }

    /// Where its changes go.
    pub fn copy(&self) -> Option<&str> {
        self.copy.as_deref()
    }

    /// The same, for a target that keeps more of a row than its images hold: of a row that gets another
    /// key it would lose that.
    pub fn with_fixed_keys(self) -> Self {
        Self {
            fixed_keys: true,
            ..self
        }
    }

    /// The same, for a table with foreign keys.
    pub fn of_child(self) -> Self {
        Self {
            child: true,
            ..self
        }
    }

    pub fn is_child(&self) -> bool {
        self.child
    }

    /// Whether [`RowKey`]s compare as the server orders them.
    pub fn ordered(&self) -> bool {
        self.ordered
    }

    /// Whether a table map names this table.
    pub fn is_of(&self, schema: &[u8], table: &[u8]) -> bool {
        self.schema.as_bytes() == schema && self.table.as_bytes() == table
    }

    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The table's name alone.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// `schema.table`.
    pub fn table_name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    /// Whether the table is still what it was when the layout was made.
    pub fn check(&self, map: &TableMap) -> Result<(), RowsError> {
        if map.columns.len() != self.columns.len() {
            return Err(RowsError::ColumnCount {
                table: self.table_name(),
                found: map.columns.len(),
                expected: self.columns.len(),
            });
        }
        for (column, stored) in self.columns.iter().zip(&map.columns) {
            if !is_stored_as(column.data_type, *stored) {
                return Err(RowsError::ColumnType {
                    table: self.table_name(),
                    column: column.name.clone(),
                });
            }
        }
        Ok(())
    }
}

/// What kind of rows event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsKind {
    Write,
    Update,
    Delete,
}

/// Decodes the body of a rows event (what follows its post-header) and hands each change on.
///
/// # Errors
///
/// See [`RowsError`]. Changes that were handed on before stay valid.
pub fn decode(
    kind: RowsKind,
    table: usize,
    layout: &RowLayout,
    map: &TableMap,
    body: &[u8],
    mut on_change: impl FnMut(Change),
) -> Result<(), RowsError> {
    let mut c = Cursor::new(body);
    let count = c.length_encoded().map_err(RowsError::from)? as usize;
    if count != layout.columns.len() {
        return Err(RowsError::ColumnCount {
            table: layout.table_name(),
            found: count,
            expected: layout.columns.len(),
        });
    }
    let first = c.bytes(count.div_ceil(8))?;
    let second = match kind {
        RowsKind::Update => c.bytes(count.div_ceil(8))?,
        RowsKind::Write | RowsKind::Delete => first,
    };
    let decoder = Decoder { layout, map, table };
    while !c.is_empty() {
        match kind {
            RowsKind::Write => on_change(decoder.row(&mut c, first)?),
            RowsKind::Delete => on_change(decoder.gone(&mut c, first)?),
            RowsKind::Update => {
                let before = decoder.gone(&mut c, first)?;
                let after = decoder.row(&mut c, second)?;
                // A row that got another key leaves its old one.
                if before.key != after.key {
                    if layout.fixed_keys {
                        return Err(RowsError::KeyChanged {
                            table: layout.table_name(),
                        });
                    }
                    on_change(before);
                }
                on_change(after);
            }
        }
    }
    Ok(())
}

struct Decoder<'a> {
    layout: &'a RowLayout,
    map: &'a TableMap,
    table: usize,
}

fn bit(bitmap: &[u8], at: usize) -> bool {
    bitmap[at / 8] >> (at % 8) & 1 == 1
}

impl Decoder<'_> {
    /// A row that is there afterwards: every carried column must be in the image.
    fn row(&self, c: &mut Cursor<'_>, present: &[u8]) -> Result<Change, RowsError> {
        self.image(c, present, true)
    }

    /// A row that is no longer there: the key is enough.
    fn gone(&self, c: &mut Cursor<'_>, present: &[u8]) -> Result<Change, RowsError> {
        self.image(c, present, false)
    }

    fn image(&self, c: &mut Cursor<'_>, present: &[u8], upsert: bool) -> Result<Change, RowsError> {
        let columns = &self.layout.columns;
        let in_image = (0..columns.len()).filter(|&i| bit(present, i)).count();
        let nulls = c.bytes(in_image.div_ceil(8))?;
        let mut sql = String::from(if upsert { "(1" } else { "(0" });
        let mut key_parts: Vec<Option<Vec<u8>>> = vec![None; self.layout.key.len()];
        let mut no_member = false;
        let mut at = 0;
        for (index, column) in columns.iter().enumerate() {
            let key_part = self.layout.key.iter().position(|k| *k == index);
            let needed = if upsert {
                column.carried
            } else {
                key_part.is_some()
            };
            if !bit(present, index) {
                if needed || key_part.is_some() {
                    return Err(RowsError::MissingColumn {
                        table: self.layout.table_name(),
                        column: column.name.clone(),
                    });
                }
                if column.carried {
                    sql.push_str(",NULL");
                }
                continue;
            }
            let null = bit(nulls, at);
            at += 1;
            let stored = self.map.columns[index];
            let value = if null {
                Raw::Null
            } else {
                read(c, stored, column)?
            };
            if let Some(part) = key_part {
                key_parts[part] = Some(key_bytes(&value, column)?);
            }
            if column.carried {
                sql.push(',');
                if needed {
                    no_member |= matches!((stored, &value), (Stored::Enum(_), Raw::Uint(0)));
                    write(&value, column, &mut sql)?;
                } else {
                    sql.push_str("NULL");
                }
            }
        }
        sql.push(')');
        let key = join_key(key_parts)?;
        Ok(Change {
            table: self.table,
            key,
            upsert,
            tuple: sql.into_boxed_str(),
            no_member,
        })
    }
}
