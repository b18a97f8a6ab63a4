//! Rows as typed digests that the server counts itself.
//!
//! A row's digest is SHA-256 over all carried columns, so written that no two different rows
//! look alike: numbers as their exact text, strings as their bytes, then the length of every
//! string but the first, then which columns are NULL. That text has one meaning only: read from the end up to the
//! first string, and from the beginning up to it. The original's values are first converted as the change converts
//! them.

use crate::engine::conversion::types::{has_empty_member, member_number, only_numbers_tell};
use crate::engine::syntax::quote;
use crate::engine::table::{Column, DataType, TablePlan};

/// Digest expressions of one plan: equal where the rows are.
#[derive(Debug, Clone)]
pub struct Digest {
    pub original: String,
    pub shadow: String,
}

impl Digest {
    /// For the carried columns of `plan`.
    ///
    /// `None` where a conversion has no counterpart in an expression; then the original's rows must
    /// go through a table with the shadow's types first, see [`Digest::of_converted`].
    pub fn new(plan: &TablePlan) -> Option<Self> {
        let (original, shadow) = (plan.original.as_ref()?, plan.shadow.as_ref()?);
        let mut from = Vec::new();
        let mut to = Vec::new();
        for carried in &plan.carried {
            let (source, target) = (
                &original.columns[carried.source],
                &shadow.columns[carried.target],
            );
            let (a, b) = pair(source, target)?;
            from.push(Value::new(a, source, target));
            to.push(Value::new(b, source, target));
        }
        Some(Self {
            original: row(&from),
            shadow: row(&to),
        })
    }

    /// The digest over columns `names` that have the shadow's types already.
    pub fn of_converted(plan: &TablePlan, names: &[String]) -> Option<String> {
        let shadow = plan.shadow.as_ref()?;
        let values: Vec<Value> = plan
            .carried
            .iter()
            .zip(names)
            .map(|(carried, name)| {
                let column = &shadow.columns[carried.target];
                let mut value = Value::new(own(name, column), column, column);
                // A NULL that the shadow cannot hold must show on the original's side.
                value.nullable = true;
                value
            })
            .collect();
        Some(row(&values))
    }
}

/// One column's part of the digest.
struct Value {
    text: String,
    /// Whether the text has a length to be told.
    is_string: bool,
    nullable: bool,
}

impl Value {
    fn new(text: String, from: &Column, to: &Column) -> Self {
        // The whole text is bounded by max_allowed_packet: what may be large comes as a digest of its own.
        let is_large = matches!(
            to.data_type,
            DataType::MediumText | DataType::LongText | DataType::MediumBlob | DataType::LongBlob
        );
        Self {
            text: match is_large {
                true => format!("SHA2({text},256)"),
                false => text,
            },
            is_string: is_text_like(to.data_type) && !is_large,
            nullable: from.nullable || to.nullable,
        }
    }
}

fn is_text_like(data_type: DataType) -> bool {
    data_type.is_string()
        || matches!(
            data_type,
            // As text, in case members differ.
            DataType::Enum | DataType::Set | DataType::Json | DataType::Geometry | DataType::Vector
        )
}

/// Between two parts. It makes the whole text one of bytes: of several collations the server would give up utf8mb4, and then
/// convert that text to whatever character set comes next, or fail. It costs less than any other, too.
const MARK: &str = "_binary'#' COLLATE `binary`";

fn row(values: &[Value]) -> String {
    let mut parts: Vec<String> = values.iter().map(|v| v.text.clone()).collect();
    // The first one is what the others leave.
    for value in values.iter().filter(|v| v.is_string).skip(1) {
        parts.push(format!("LENGTH({})", value.text));
    }
    let nullable: Vec<&Value> = values.iter().filter(|v| v.nullable).collect();
    let text = if nullable.is_empty() {
        // The server makes this text a third faster than the other one, and the text costs more than its digest.
        match parts.split_first() {
            Some((first, rest)) if !rest.is_empty() => {
                format!("CONCAT({first},{MARK},{})", rest.join(",'#',"))
            }
            _ => format!("CONCAT({})", parts.join("")),
        }
    } else {
        // NULLs are left out by CONCAT_WS, and told apart at the end: a bit each, as one text is cheaper than many.
        for some in nullable.chunks(60) {
            let bits = some.iter().enumerate();
            let bits: Vec<String> = bits
                .map(|(bit, value)| format!("ISNULL({})*{}", value.text, 1_u64 << bit))
                .collect();
            parts.push(bits.join("+"));
        }
        format!("CONCAT_WS({MARK},{})", parts.join(","))
    };
    format!("UNHEX(SHA2({text},256))")
}

/// A column's own value, exactly.
fn own(name: &str, column: &Column) -> String {
    match column.data_type {
        // The shortest text of a DOUBLE reads back as the same bits; a FLOAT's own text has six digits.
        DataType::Float | DataType::Double => format!("CAST({name} AS DOUBLE)"),
        DataType::Bit => format!("({name} + 0)"),
        DataType::Json => json(name),
        DataType::Vector => format!("CAST({name} AS BINARY)"),
        DataType::Enum | DataType::Set if has_empty_member(column) => member_number(name),
        DataType::Enum | DataType::Set => members(name),
        t if t.is_string() => bytes_of(name, column),
        _ => name.to_owned(),
    }
}

/// The members of an ENUM's or a SET's value.
fn members(name: &str) -> String {
    format!("CAST({name} AS CHAR CHARACTER SET utf8mb4)")
}

/// Text and the type of the whole: 1 and 1.0 differ in text, a date and its text in the type.
fn json(expression: &str) -> String {
    format!("CONCAT(CAST({expression} AS CHAR CHARACTER SET utf8mb4), JSON_TYPE({expression}))")
}

/// A string's bytes. Strings of different character sets would else be converted to a common one.
fn bytes_of(name: &str, column: &Column) -> String {
    match column.character_set.as_deref() {
        None | Some("utf8mb4" | "utf8mb3" | "utf8" | "ascii") => name.to_owned(),
        Some(_) => format!("CAST({name} AS BINARY)"),
    }
}

/// What kind of value a column holds, as far as conversions go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Integer,
    Decimal,
    Approximate,
    Text,
    Binary,
    Date,
    DateTime,
    Time,
    Members,
    Json,
    Other,
}

fn family(column: &Column) -> Family {
    match column.data_type {
        DataType::TinyInt
        | DataType::SmallInt
        | DataType::MediumInt
        | DataType::Int
        | DataType::BigInt
        | DataType::Year => Family::Integer,
        DataType::Decimal => Family::Decimal,
        DataType::Float | DataType::Double => Family::Approximate,
        DataType::Date => Family::Date,
        DataType::DateTime | DataType::Timestamp => Family::DateTime,
        DataType::Time => Family::Time,
        DataType::Enum | DataType::Set => Family::Members,
        DataType::Json => Family::Json,
        DataType::Bit | DataType::Geometry | DataType::Vector => Family::Other,
        DataType::Char
        | DataType::VarChar
        | DataType::TinyText
        | DataType::Text
        | DataType::MediumText
        | DataType::LongText => Family::Text,
        DataType::Binary
        | DataType::VarBinary
        | DataType::TinyBlob
        | DataType::Blob
        | DataType::MediumBlob
        | DataType::LongBlob => Family::Binary,
    }
}

/// The expressions for a value before and after the change; equal where it was converted right.
fn pair(source: &Column, target: &Column) -> Option<(String, String)> {
    let (s, t) = (quote(&source.name), quote(&target.name));
    let after = own(&t, target);
    // A collation orders bytes, and changes none.
    let same_bytes = source.data_type == target.data_type
        && source.column_type == target.column_type
        && source.character_set == target.character_set;
    if same_bytes {
        return Some((own(&s, source), after));
    }
    let seconds = target.scale.unwrap_or(0);
    let before = match (family(source), family(target)) {
        (Family::Integer, Family::Integer)
            if !is_zero_filled(source) && !is_zero_filled(target) =>
        {
            s
        }
        (Family::Integer | Family::Decimal, Family::Decimal) => {
            format!(
                "CAST({s} AS DECIMAL({},{}))",
                target.precision?, target.scale?
            )
        }
        (Family::Approximate, Family::Approximate) if !has_digits(target) => {
            match target.data_type {
                DataType::Float => format!("CAST(CAST({s} AS FLOAT) AS DOUBLE)"),
                _ => format!("CAST({s} AS DOUBLE)"),
            }
        }
        (Family::Text, Family::Text) => {
            let trimmed = match target.data_type {
                // Trailing spaces of a CHAR are not stored.
                DataType::Char if source.data_type != DataType::Char => {
                    format!("TRIM(TRAILING ' ' FROM {s})")
                }
                _ => s,
            };
            match source.character_set == target.character_set {
                true => bytes_of(&trimmed, target),
                false => {
                    let set = target.character_set.as_deref()?;
                    bytes_of(&format!("CONVERT({trimmed} USING {set})"), target)
                }
            }
        }
        (Family::Members, Family::Members) if only_numbers_tell(source, target) => {
            return Some((member_number(&s), member_number(&t)));
        }
        // The text of a SET lists its members in the order of the type.
        (Family::Members, Family::Members)
            if target.data_type == DataType::Enum
                || target.members.starts_with(&source.members) =>
        {
            return Some((members(&s), members(&t)));
        }
        (Family::Members, Family::Text) if target.data_type != DataType::Char => {
            let set = target.character_set.as_deref()?;
            bytes_of(&format!("CONVERT({s} USING {set})"), target)
        }
        (Family::Binary, Family::Binary)
            if target.data_type != DataType::Binary && source.data_type != DataType::Binary =>
        {
            s
        }
        (Family::Date | Family::DateTime, Family::DateTime) => {
            format!("CAST({s} AS DATETIME({seconds}))")
        }
        (Family::Time, Family::Time) => format!("CAST({s} AS TIME({seconds}))"),
        // Whatever else there is goes through a table with the new types.
        _ => return None,
    };
    Some((before, after))
}

fn is_zero_filled(column: &Column) -> bool {
    column.column_type.contains("zerofill") || column.data_type == DataType::Year
}

/// FLOAT(7,3) and the like round.
fn has_digits(column: &Column) -> bool {
    column.column_type.contains('(')
}
