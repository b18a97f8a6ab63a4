//! Tables as the engine sees them: definitions, keys, and what is planned for each.
//!
//! `catalog` fills these from the server, `plan` decides on them, and the copy, the capture
//! and the verification only read them. Column indexes are positions in
//! [`TableDefinition::columns`], which is the order of row images in the binlog.

pub mod catalog;
pub mod cut;
pub(super) mod dependents;
pub mod foreign_key;
pub mod key_range;
pub(super) mod original;
pub mod storage;
pub mod surroundings;

use serde::{Deserialize, Serialize};

use super::syntax::create_text::CreateText;
use super::syntax::quote_table;
use super::{EngineError, JobTask};
use foreign_key::ForeignKeys;

/// The type of a column, without its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DataType {
    TinyInt,
    SmallInt,
    MediumInt,
    Int,
    BigInt,
    Decimal,
    Float,
    Double,
    Bit,
    Year,
    Date,
    Time,
    DateTime,
    Timestamp,
    Char,
    VarChar,
    Binary,
    VarBinary,
    TinyBlob,
    Blob,
    MediumBlob,
    LongBlob,
    TinyText,
    Text,
    MediumText,
    LongText,
    Enum,
    Set,
    Json,
    Geometry,
    Vector,
}

/// How a generated column gets its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Generated {
    Virtual,
    Stored,
}

/// A column. Generated, invisible and generated-primary-key columns are listed as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    /// 0-based position in the table, and in row images.
    pub ordinal: usize,
    pub data_type: DataType,
    /// As `information_schema.columns.column_type` spells it: `int unsigned`, `enum('a','b')`.
    pub column_type: String,
    pub unsigned: bool,
    pub nullable: bool,
    /// `None` for what is not text: numbers, times, BINARY, BLOB, JSON, GEOMETRY.
    /// ENUM and SET have one.
    pub character_set: Option<String>,
    pub collation: Option<String>,
    /// Longest value in bytes, for text and binary strings (`character_octet_length`).
    pub max_bytes: Option<u64>,
    /// Digits of a number, bits of a BIT.
    pub precision: Option<u32>,
    /// Digits after the point of a number, or of a time's seconds.
    pub scale: Option<u32>,
    /// Members of an ENUM or SET, in order.
    pub members: Vec<String>,
    pub generated: Option<Generated>,
    pub auto_increment: bool,
    pub invisible: bool,
    /// Spatial reference system of a geometry column that is bound to one.
    pub srs_id: Option<u32>,
    /// Default as the catalogue shows it; `None` for no default and for NULL alike.
    pub default: Option<String>,
}

impl DataType {
    /// Neither BIT nor YEAR, which some conversions treat as numbers and others don't.
    pub fn is_number(self) -> bool {
        self.is_integer() || matches!(self, Self::Decimal | Self::Float | Self::Double)
    }

    pub fn is_integer(self) -> bool {
        matches!(
            self,
            Self::TinyInt | Self::SmallInt | Self::MediumInt | Self::Int | Self::BigInt
        )
    }

    /// Strings of characters; not ENUM and SET, which have a character set too.
    pub fn is_text(self) -> bool {
        matches!(
            self,
            Self::Char
                | Self::VarChar
                | Self::TinyText
                | Self::Text
                | Self::MediumText
                | Self::LongText
        )
    }

    /// Strings of bytes without a character set.
    pub fn is_binary(self) -> bool {
        matches!(
            self,
            Self::Binary
                | Self::VarBinary
                | Self::TinyBlob
                | Self::Blob
                | Self::MediumBlob
                | Self::LongBlob
        )
    }

    /// Whether values are strings of bytes to SQL.
    pub fn is_string(self) -> bool {
        self.is_text() || self.is_binary()
    }
}

impl Column {
    /// Whether texts compare in `now` as they do here, by the same bytes: under the same collation, or from utf8mb3 to utf8mb4
    /// under its namesake, which has the same weights for all that utf8mb3 can hold.
    pub fn compares_as(&self, now: &Self) -> bool {
        let in_utf8 = |column: &Self, set: &str| -> Option<String> {
            let rest = column.collation.as_deref()?.strip_prefix(set)?;
            rest.strip_prefix('_').map(str::to_owned)
        };
        self.collation == now.collation
            || in_utf8(self, "utf8mb3").is_some_and(|rest| in_utf8(now, "utf8mb4") == Some(rest))
    }
}

/// Part of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPart {
    /// `None` for an expression (functional key part).
    pub column: Option<usize>,
    /// Characters (text) or bytes (binary) of a prefix key part.
    pub prefix: Option<u32>,
    pub descending: bool,
}

/// What kind of index a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyKind {
    BTree,
    FullText,
    Spatial,
}

/// A key or index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// `PRIMARY` for the primary key.
    pub name: String,
    pub unique: bool,
    pub kind: KeyKind,
    pub visible: bool,
    pub parts: Vec<KeyPart>,
    /// As in `SHOW CREATE TABLE`, ready to stand after `ADD`: ``UNIQUE KEY `u` (`a`,`b`(10) DESC)``.
    pub definition: String,
}

/// A table as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDefinition {
    pub schema: String,
    pub name: String,
    pub columns: Vec<Column>,
    /// The primary key first, where there is one.
    pub keys: Vec<Key>,
    /// `SHOW CREATE TABLE`.
    pub create_statement: String,
    /// Rows, roughly (`information_schema.tables.table_rows`).
    pub estimated_rows: u64,
    /// Bytes of data and of indexes, roughly.
    pub data_bytes: u64,
    pub index_bytes: u64,
    pub auto_increment: Option<u64>,
    /// What makes two tables of one name different: InnoDB's table id.
    pub table_id: u64,
    /// InnoDB's ids of all its partitions, or its own alone: each is another once the rows in it were taken away or exchanged by
    /// something else than rows. Empty where that isn't known.
    #[serde(default)]
    pub storage_ids: Vec<u64>,
    /// How many instant changes its rows have seen: more of them once a column was dropped, even if one of the same definition was
    /// added in its place. `None` where that isn't known.
    #[serde(default)]
    pub row_versions: Option<u64>,
}

impl TableDefinition {
    /// `` `schema`.`name` ``.
    pub fn quoted(&self) -> String {
        quote_table(&self.schema, &self.name)
    }

    /// Its `SHOW CREATE TABLE` in parts.
    ///
    /// # Errors
    ///
    /// Only for text that no server makes.
    pub fn text(&self) -> Result<CreateText, EngineError> {
        create_text(&self.create_statement)
    }
}

/// A `SHOW CREATE TABLE` in parts.
///
/// # Errors
///
/// Only for text that no server makes.
pub fn create_text(statement: &str) -> Result<CreateText, EngineError> {
    CreateText::parse(statement)
        .map_err(|error| EngineError::permanent(format!("SHOW CREATE TABLE: {error}")))
}

/// How a statement is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// `ALGORITHM=INSTANT`, executed at the cutover.
    Instant,
    /// In place, metadata only, executed at the cutover.
    InPlaceMetadata,
    /// A shadow table, filled while the application writes.
    Copy,
    /// `CREATE TABLE`, executed at the cutover.
    Create,
    /// `DROP TABLE`: a rename into a holding name at the cutover.
    Drop,
}

/// A column whose values go from the original to the shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Index in the original's columns.
    pub source: usize,
    /// Index in the shadow's columns. Never a generated column.
    pub target: usize,
}

/// The key that chunks and row images go by: unique, NOT NULL, without prefixes or expressions,
/// not approximate, and present in both tables over the same (carried) columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyKey {
    /// Index name in the original.
    pub source_index: String,
    /// Index name in the shadow.
    pub target_index: String,
    /// Column indexes in the original, in the order of `source_index`.
    pub source: Vec<usize>,
    /// The same columns in the shadow.
    pub target: Vec<usize>,
}

/// What will be done for one statement. `plan::plan` makes it and, for [`Way::Copy`], leaves the
/// empty shadow table behind with all its indexes; the copy engine drops those that it defers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TablePlan {
    pub task: JobTask,
    pub way: Way,
    /// The table as it is now; `None` for `CREATE TABLE`.
    pub original: Option<TableDefinition>,
    /// The table as it will be, under its artifact name; only for [`Way::Copy`].
    pub shadow: Option<TableDefinition>,
    /// All columns that go over, generated ones left out; only for [`Way::Copy`].
    pub carried: Vec<Carried>,
    /// Only for [`Way::Copy`].
    pub key: Option<CopyKey>,
    /// The statement with its table name replaced by nothing else than a qualified, quoted one, for the ways
    /// that run it at the cutover.
    pub executable: Option<String>,
    /// What becomes of the table's foreign keys; only for [`Way::Copy`]. The shadow has none.
    #[serde(default)]
    pub foreign_keys: ForeignKeys,
    /// Of `carried`, those whose values the server may change without an error, which nobody consented to: each change that
    /// is applied is compared with what became of it.
    #[serde(default)]
    pub guarded: Vec<Carried>,
}

/// What a plan has where the table is copied.
#[derive(Debug, Clone, Copy)]
pub struct Copied<'a> {
    pub original: &'a TableDefinition,
    pub shadow: &'a TableDefinition,
    pub key: &'a CopyKey,
}

impl TablePlan {
    /// What the server says of the shadow, with the name that people know the table by.
    pub fn in_own_names(&self, text: &str) -> String {
        match (&self.original, &self.shadow) {
            (Some(original), Some(shadow)) => text.replace(&shadow.name, &original.name),
            _ => text.to_owned(),
        }
    }

    /// # Errors
    ///
    /// Permanent for a table that is not copied.
    pub fn copied(&self) -> Result<Copied<'_>, EngineError> {
        match (&self.original, &self.shadow, &self.key) {
            (Some(original), Some(shadow), Some(key)) => Ok(Copied {
                original,
                shadow,
                key,
            }),
            _ => Err(EngineError::permanent(
                "a table that is not copied has no shadow",
            )),
        }
    }
}
