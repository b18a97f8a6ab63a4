//! One value of an image: from its bytes to a literal.

use super::ColumnLayout;
use crate::engine::binlog::cursor::{Cursor, Malformed};
use crate::engine::binlog::table_map::Stored;
use crate::engine::binlog::{decimal, jsonb, time};
use crate::engine::syntax::literal;
use crate::engine::table::DataType;

/// A value between its bytes and its literal.
pub(super) enum Raw<'a> {
    Null,
    Int(i64),
    Uint(u64),
    Float(f32),
    Double(f64),
    /// A number as text.
    Number(String),
    /// A date or time as text.
    Time(String),
    Bytes(&'a [u8]),
    Json(&'a [u8]),
}

pub(super) fn read<'a>(
    c: &mut Cursor<'a>,
    stored: Stored,
    column: &ColumnLayout,
) -> Result<Raw<'a>, Malformed> {
    Ok(match stored {
        Stored::Int(length) => {
            let number = c.uint(length.into())?;
            if column.unsigned {
                Raw::Uint(number)
            } else {
                let shift = 64 - 8 * u32::from(length);
                Raw::Int((number << shift) as i64 >> shift)
            }
        }
        Stored::Float => Raw::Float(f32::from_bits(c.u32()?)),
        Stored::Double => Raw::Double(f64::from_bits(c.u64()?)),
        Stored::Decimal { precision, scale } => {
            Raw::Number(decimal::read(c, precision.into(), scale.into())?)
        }
        Stored::Year => Raw::Uint(match c.u8()? {
            0 => 0,
            year => 1900 + u64::from(year),
        }),
        Stored::Date => Raw::Time(time::date(c)?),
        Stored::Time(digits) => Raw::Time(time::time(c, digits)?),
        Stored::DateTime(digits) => Raw::Time(time::datetime(c, digits)?),
        Stored::Timestamp(digits) => Raw::Time(time::timestamp(c, digits)?),
        Stored::String { length_bytes } | Stored::Blob { length_bytes } => {
            let length = c.uint(length_bytes.into())? as usize;
            Raw::Bytes(c.bytes(length)?)
        }
        Stored::Json { length_bytes } => {
            let length = c.uint(length_bytes.into())? as usize;
            Raw::Json(c.bytes(length)?)
        }
        Stored::Enum(length) | Stored::Set(length) => Raw::Uint(c.uint(length.into())?),
        Stored::Bit(length) => Raw::Uint(c.uint_be(length.into())?),
    })
}

pub(super) fn write(
    value: &Raw<'_>,
    column: &ColumnLayout,
    sql: &mut String,
) -> Result<(), Malformed> {
    use std::fmt::Write;
    // Writing to a String cannot fail.
    let _ = match value {
        Raw::Null => write!(sql, "NULL"),
        Raw::Int(n) => write!(sql, "{n}"),
        Raw::Uint(n) => write!(sql, "{n}"),
        // With an exponent it is a DOUBLE, which holds every FLOAT, and the shortest text that
        // reads back as the same number is exact.
        Raw::Float(n) => write!(sql, "{:e}", f64::from(*n)),
        Raw::Double(n) => write!(sql, "{n:e}"),
        Raw::Number(text) => write!(sql, "{text}"),
        Raw::Time(text) => write!(sql, "'{text}'"),
        Raw::Bytes(bytes) => {
            literal::bytes(&column.padded(bytes), sql);
            Ok(())
        }
        Raw::Json(document) => {
            jsonb::expression(document, sql)?;
            Ok(())
        }
    };
    Ok(())
}

pub(super) fn is_stored_as(data_type: DataType, stored: Stored) -> bool {
    match data_type {
        DataType::TinyInt => stored == Stored::Int(1),
        DataType::SmallInt => stored == Stored::Int(2),
        DataType::MediumInt => stored == Stored::Int(3),
        DataType::Int => stored == Stored::Int(4),
        DataType::BigInt => stored == Stored::Int(8),
        DataType::Decimal => matches!(stored, Stored::Decimal { .. }),
        DataType::Float => stored == Stored::Float,
        DataType::Double => stored == Stored::Double,
        DataType::Bit => matches!(stored, Stored::Bit(_)),
        DataType::Year => stored == Stored::Year,
        DataType::Date => stored == Stored::Date,
        DataType::Time => matches!(stored, Stored::Time(_)),
        DataType::DateTime => matches!(stored, Stored::DateTime(_)),
        DataType::Timestamp => matches!(stored, Stored::Timestamp(_)),
        DataType::Char | DataType::VarChar | DataType::Binary | DataType::VarBinary => {
            matches!(stored, Stored::String { .. })
        }
        DataType::TinyBlob
        | DataType::Blob
        | DataType::MediumBlob
        | DataType::LongBlob
        | DataType::TinyText
        | DataType::Text
        | DataType::MediumText
        | DataType::LongText
        | DataType::Geometry
        | DataType::Vector => matches!(stored, Stored::Blob { .. }),
        DataType::Enum => matches!(stored, Stored::Enum(_)),
        DataType::Set => matches!(stored, Stored::Set(_)),
        DataType::Json => matches!(stored, Stored::Json { .. }),
    }
}
