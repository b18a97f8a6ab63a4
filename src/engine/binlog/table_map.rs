//! Table maps: which table the rows that follow belong to, and the types of its columns.

use super::cursor::{Cursor, Malformed};

/// How one column's value is stored in a row image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Little-endian integers of 1 to 8 bytes.
    Int(u8),
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Year,
    Date,
    Time(u8),
    DateTime(u8),
    Timestamp(u8),
    /// VARCHAR, CHAR, BINARY, VARBINARY: a length of one or two bytes first.
    String {
        length_bytes: u8,
    },
    /// BLOB, TEXT, GEOMETRY, VECTOR: a length of one to four bytes first.
    Blob {
        length_bytes: u8,
    },
    Json {
        length_bytes: u8,
    },
    /// One or two bytes.
    Enum(u8),
    /// Up to eight bytes.
    Set(u8),
    /// Up to eight bytes, highest first.
    Bit(u8),
}

/// A table map event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMap {
    pub table_id: u64,
    pub schema: String,
    pub table: String,
    pub columns: Vec<Stored>,
}

/// The beginning of a table map.
pub struct Names<'a> {
    pub table_id: u64,
    pub schema: &'a [u8],
    pub table: &'a [u8],
    rest: Cursor<'a>,
}

/// The name of the table only: most maps in a stream are of tables that nobody asked for.
pub fn names(data: &[u8]) -> Result<Names<'_>, Malformed> {
    let mut c = Cursor::new(data);
    let table_id = c.uint(6)?;
    c.bytes(2)?;
    let length = usize::from(c.u8()?);
    let schema = c.bytes(length)?;
    c.bytes(1)?;
    let length = usize::from(c.u8()?);
    let table = c.bytes(length)?;
    c.bytes(1)?;
    Ok(Names {
        table_id,
        schema,
        table,
        rest: c,
    })
}

/// Reads a whole table map.
///
/// # Errors
///
/// [`Malformed`] on unknown column types too: a value of unknown length cannot be passed over.
pub fn read(data: &[u8]) -> Result<TableMap, Malformed> {
    let Names {
        table_id,
        schema,
        table,
        rest: mut c,
    } = names(data)?;
    let count = c.length_encoded()? as usize;
    let types = c.bytes(count)?;
    let length = c.length_encoded()? as usize;
    let mut metadata = Cursor::new(c.bytes(length)?);
    let columns = types
        .iter()
        .map(|t| stored(*t, &mut metadata))
        .collect::<Result<Vec<_>, _>>()?;
    if !metadata.is_empty() {
        return Err(Malformed::new(
            "a table map with more metadata than columns",
        ));
    }
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(TableMap {
        table_id,
        schema: name(schema),
        table: name(table),
        columns,
    })
}

fn stored(column_type: u8, metadata: &mut Cursor<'_>) -> Result<Stored, Malformed> {
    Ok(match column_type {
        1 => Stored::Int(1),
        2 => Stored::Int(2),
        9 => Stored::Int(3),
        3 => Stored::Int(4),
        8 => Stored::Int(8),
        4 => {
            metadata.u8()?;
            Stored::Float
        }
        5 => {
            metadata.u8()?;
            Stored::Double
        }
        246 => Stored::Decimal {
            precision: metadata.u8()?,
            scale: metadata.u8()?,
        },
        13 => Stored::Year,
        10 | 14 => Stored::Date,
        17 => Stored::Timestamp(metadata.u8()?),
        18 => Stored::DateTime(metadata.u8()?),
        19 => Stored::Time(metadata.u8()?),
        15 => Stored::String {
            length_bytes: if metadata.u16()? > 255 { 2 } else { 1 },
        },
        252 | 255 | 242 => Stored::Blob {
            length_bytes: metadata.u8()?,
        },
        245 => Stored::Json {
            length_bytes: metadata.u8()?,
        },
        16 => {
            let (bits, bytes) = (metadata.u8()?, metadata.u8()?);
            Stored::Bit(bytes + u8::from(bits > 0))
        }
        254 => {
            let (first, second) = (metadata.u8()?, metadata.u8()?);
            // Two bits of the length are hidden, inverted, in the type.
            let real_type = first | 0x30;
            match real_type {
                247 => Stored::Enum(second),
                248 => Stored::Set(second),
                254 => {
                    let length = u16::from(second) | u16::from((first & 0x30) ^ 0x30) << 4;
                    Stored::String {
                        length_bytes: if length > 255 { 2 } else { 1 },
                    }
                }
                other => return Err(Malformed::new(format!("a string of type {other}"))),
            }
        }
        other => return Err(Malformed::new(format!("a column of type {other}"))),
    })
}
