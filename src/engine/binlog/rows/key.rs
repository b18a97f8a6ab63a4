//! Keys of rows, comparable whether they came with an image or were read through SQL.

use super::value::Raw;
use super::{ColumnLayout, RowLayout};
use crate::engine::binlog::cursor::Malformed;
use crate::engine::table::DataType;
use crate::engine::table::key_range::KeyText;

/// A row's key as the application stored it, byte for byte.
///
/// Where the layout is [`RowLayout::ordered`], keys compare as the server's index does. Else
/// only equality means something, and keys that the server calls equal (`a` and `A` under a `_ci`
/// collation) may differ here. That is as it should be: an image always names the bytes that
/// were stored, so of two such keys one is always gone before the other comes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey(pub Box<[u8]>);

impl RowLayout {
    /// The key of a row that was read through SQL, comparable with those of row images.
    ///
    /// `None` where the layout is not [`RowLayout::ordered`]: nothing could be compared.
    pub fn key_of(&self, parts: &[KeyText]) -> Option<RowKey> {
        if !self.ordered {
            return None;
        }
        let parts = self.key.iter().zip(parts).map(|(&index, part)| {
            let column = &self.columns[index];
            Some(match part {
                KeyText::Bytes(bytes) => column.padded(bytes).into_owned(),
                KeyText::Plain(text) => match column.data_type {
                    DataType::Date | DataType::DateTime | DataType::Timestamp => {
                        text.as_bytes().to_vec()
                    }
                    _ if column.unsigned || is_unsigned(column.data_type) => {
                        text.parse::<u64>().ok()?.to_be_bytes().to_vec()
                    }
                    _ => signed_key(text.parse().ok()?),
                },
            })
        });
        join_key(parts.collect()).ok()
    }
}

/// Types whose keys the driver can put in the server's order by comparing bytes.
pub(super) fn is_ordered(data_type: DataType) -> bool {
    match data_type {
        DataType::TinyInt
        | DataType::SmallInt
        | DataType::MediumInt
        | DataType::Int
        | DataType::BigInt
        | DataType::Year
        | DataType::Bit
        | DataType::Enum
        | DataType::Set
        | DataType::Date
        | DataType::DateTime
        | DataType::Timestamp
        | DataType::Binary
        | DataType::VarBinary => true,
        // TIME has negative text, DECIMAL text of any length; text is ordered by its collation.
        DataType::Time
        | DataType::Decimal
        | DataType::Float
        | DataType::Double
        | DataType::Char
        | DataType::VarChar
        | DataType::TinyBlob
        | DataType::Blob
        | DataType::MediumBlob
        | DataType::LongBlob
        | DataType::TinyText
        | DataType::Text
        | DataType::MediumText
        | DataType::LongText
        | DataType::Json
        | DataType::Geometry
        | DataType::Vector => false,
    }
}

pub(super) fn key_bytes(value: &Raw<'_>, column: &ColumnLayout) -> Result<Vec<u8>, Malformed> {
    Ok(match value {
        Raw::Null => return Err(Malformed::new("a NULL in a key that has none")),
        Raw::Int(n) => signed_key(*n),
        Raw::Uint(n) => n.to_be_bytes().to_vec(),
        Raw::Float(_) | Raw::Double(_) | Raw::Json(_) => {
            return Err(Malformed::new(format!("column {} in a key", column.name)));
        }
        Raw::Number(text) | Raw::Time(text) => text.as_bytes().to_vec(),
        Raw::Bytes(bytes) => column.padded(bytes).into_owned(),
    })
}

/// Eight bytes in which negative numbers come first.
fn signed_key(n: i64) -> Vec<u8> {
    ((n as u64) ^ (1 << 63)).to_be_bytes().to_vec()
}

/// Joins the parts so that comparing the whole compares part by part: a zero byte inside a part
/// is followed by 0xff, and a part ends with two zeros.
pub(super) fn join_key(parts: Vec<Option<Vec<u8>>>) -> Result<RowKey, Malformed> {
    let mut key = Vec::with_capacity(16 * parts.len());
    for part in parts {
        for byte in part.ok_or_else(|| Malformed::new("a key part is missing"))? {
            key.push(byte);
            if byte == 0 {
                key.push(0xff);
            }
        }
        key.extend([0, 0]);
    }
    Ok(RowKey(key.into_boxed_slice()))
}

fn is_unsigned(data_type: DataType) -> bool {
    matches!(
        data_type,
        DataType::Year | DataType::Bit | DataType::Enum | DataType::Set
    )
}
