//! The server's binary JSON as an SQL expression that rebuilds the very same value.
//!
//! JSON text carries null, booleans, strings, and the numbers that the parser reads back as they
//! were. It takes a whole number of up to 32 bits for signed and a larger one for unsigned, and before
//! 9.7 the last digit of a long fraction is not sure to be read as it was written (MySQL's bug 116160).
//! DECIMAL, dates, times and binary values lose their type in text. A document that holds one of
//! these is built with `JSON_OBJECT`, `JSON_ARRAY` and `CAST`.

use super::cursor::{Cursor, Malformed};
use super::{decimal, time};
use crate::engine::syntax::literal;

const SMALL_OBJECT: u8 = 0x00;
const LARGE_OBJECT: u8 = 0x01;
const SMALL_ARRAY: u8 = 0x02;
const LARGE_ARRAY: u8 = 0x03;
const LITERAL: u8 = 0x04;
const INT16: u8 = 0x05;
const UINT16: u8 = 0x06;
const INT32: u8 = 0x07;
const UINT32: u8 = 0x08;
const INT64: u8 = 0x09;
const UINT64: u8 = 0x0a;
const DOUBLE: u8 = 0x0b;
const STRING: u8 = 0x0c;
const OPAQUE: u8 = 0x0f;

/// The server allows 100 levels.
const DEEPEST: usize = 110;

/// One value and where its bytes are.
#[derive(Clone, Copy)]
struct Node<'a> {
    kind: u8,
    /// What follows the type byte; for inlined values the two or four bytes themselves.
    data: &'a [u8],
}

/// Appends an expression for `document`, the content of a JSON column, to `sql`.
///
/// # Errors
///
/// [`Malformed`] where the bytes are not what the server writes.
pub fn expression(document: &[u8], sql: &mut String) -> Result<(), Malformed> {
    // A column that was added to a row with `INSERT IGNORE` may hold no bytes at all; the
    // server reads it as JSON null.
    let Some((&kind, data)) = document.split_first() else {
        sql.push_str("CAST('null' AS JSON)");
        return Ok(());
    };
    let node = Node { kind, data };
    write_expression(node, 0, sql)
}

fn write_expression(node: Node<'_>, depth: usize, sql: &mut String) -> Result<(), Malformed> {
    if survives_text(node, depth)? {
        let mut text = String::new();
        write_text(node, &mut text)?;
        sql.push_str("CAST(");
        literal::text(&text, sql);
        sql.push_str(" AS JSON)");
        return Ok(());
    }
    match node.kind {
        SMALL_OBJECT | LARGE_OBJECT => {
            sql.push_str("JSON_OBJECT(");
            for at in 0..count(node)? {
                if at > 0 {
                    sql.push(',');
                }
                literal::text(key(node, at)?, sql);
                sql.push(',');
                write_expression(child(node, at)?, depth + 1, sql)?;
            }
            sql.push(')');
        }
        SMALL_ARRAY | LARGE_ARRAY => {
            sql.push_str("JSON_ARRAY(");
            for at in 0..count(node)? {
                if at > 0 {
                    sql.push(',');
                }
                write_expression(child(node, at)?, depth + 1, sql)?;
            }
            sql.push(')');
        }
        UINT16 | UINT32 | UINT64 => {
            let number = unsigned(node)?;
            sql.push_str(&format!("CAST(CAST({number} AS UNSIGNED) AS JSON)"));
        }
        INT64 => {
            let number = Cursor::new(node.data).i64()?;
            sql.push_str(&format!("CAST(CAST({number} AS SIGNED) AS JSON)"));
        }
        // SQL's own parser reads a number with an exponent exactly.
        DOUBLE => sql.push_str(&format!("CAST({:e} AS JSON)", double(node)?)),
        OPAQUE => write_opaque(node, sql)?,
        other => return Err(Malformed::new(format!("JSON of type {other}"))),
    }
    Ok(())
}

/// Whether the server's parser reads the text of `node` back as exactly this value.
fn survives_text(node: Node<'_>, depth: usize) -> Result<bool, Malformed> {
    if depth > DEEPEST {
        return Err(Malformed::new("JSON that is nested too deeply"));
    }
    Ok(match node.kind {
        SMALL_OBJECT | LARGE_OBJECT | SMALL_ARRAY | LARGE_ARRAY => {
            for at in 0..count(node)? {
                if !survives_text(child(node, at)?, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        LITERAL | INT16 | INT32 | STRING => true,
        INT64 => Cursor::new(node.data).i64()? <= i64::from(u32::MAX),
        UINT16 | UINT32 | UINT64 => unsigned(node)? > u64::from(u32::MAX),
        DOUBLE => is_short(double(node)?),
        OPAQUE => false,
        other => return Err(Malformed::new(format!("JSON of type {other}"))),
    })
}

fn write_text(node: Node<'_>, text: &mut String) -> Result<(), Malformed> {
    match node.kind {
        SMALL_OBJECT | LARGE_OBJECT => {
            text.push('{');
            for at in 0..count(node)? {
                if at > 0 {
                    text.push(',');
                }
                write_string(key(node, at)?, text);
                text.push(':');
                write_text(child(node, at)?, text)?;
            }
            text.push('}');
        }
        SMALL_ARRAY | LARGE_ARRAY => {
            text.push('[');
            for at in 0..count(node)? {
                if at > 0 {
                    text.push(',');
                }
                write_text(child(node, at)?, text)?;
            }
            text.push(']');
        }
        LITERAL => text.push_str(match Cursor::new(node.data).u8()? {
            0 => "null",
            1 => "true",
            2 => "false",
            other => return Err(Malformed::new(format!("JSON literal {other}"))),
        }),
        INT16 => text.push_str(&Cursor::new(node.data).i16()?.to_string()),
        INT32 => text.push_str(&Cursor::new(node.data).i32()?.to_string()),
        INT64 => text.push_str(&Cursor::new(node.data).i64()?.to_string()),
        UINT16 | UINT32 | UINT64 => text.push_str(&unsigned(node)?.to_string()),
        DOUBLE => {
            // An exponent keeps it a double: 1e0 is one, 1 would be an integer.
            text.push_str(&format!("{:e}", double(node)?));
        }
        STRING => write_string(string(node)?, text),
        other => return Err(Malformed::new(format!("JSON of type {other} as text"))),
    }
    Ok(())
}

fn write_string(value: &str, text: &mut String) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            c if (c as u32) < 0x20 => text.push_str(&format!("\\u{:04x}", c as u32)),
            c => text.push(c),
        }
    }
    text.push('"');
}

fn write_opaque(node: Node<'_>, sql: &mut String) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(node.data);
    let field_type = cursor.u8()?;
    let length = variable_length(&mut cursor)?;
    let data = cursor.bytes(length)?;
    match field_type {
        // DECIMAL: precision, scale, digits.
        246 => {
            let mut c = Cursor::new(data);
            let (precision, scale) = (c.u8()?, c.u8()?);
            let digits = decimal::read(&mut c, precision.into(), scale.into())?;
            sql.push_str(&format!(
                "CAST(CAST({digits} AS DECIMAL({precision},{scale})) AS JSON)"
            ));
        }
        // DATE, TIME, DATETIME, TIMESTAMP: 64 packed bits.
        10 | 11 | 12 | 7 => {
            let packed = Cursor::new(data).i64()?;
            let (kind, text) = match field_type {
                10 => ("DATE", time::packed_date(packed)),
                11 => ("TIME(6)", time::packed_time(packed)),
                12 => ("DATETIME(6)", time::packed_datetime(packed)),
                _ => {
                    let text = time::packed_datetime(packed);
                    of_column("TIMESTAMP(6)", &format!("'{text}'"), sql);
                    return Ok(());
                }
            };
            sql.push_str(&format!("CAST(CAST('{text}' AS {kind}) AS JSON)"));
        }
        // Bytes remember the column type that they came from. BIT: the highest first.
        16 => {
            let number = data.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
            of_column(
                &format!("BIT({})", 8 * data.len()),
                &number.to_string(),
                sql,
            );
        }
        15 | 249..=254 => {
            let mut bytes = String::new();
            literal::bytes(data, &mut bytes);
            match field_type {
                249 => of_column("TINYBLOB", &bytes, sql),
                250 => of_column("MEDIUMBLOB", &bytes, sql),
                251 => of_column("LONGBLOB", &bytes, sql),
                252 => of_column("BLOB", &bytes, sql),
                254 => of_column(&format!("BINARY({})", data.len()), &bytes, sql),
                // VARBINARY, which a cast makes.
                _ => sql.push_str(&format!("CAST(CAST({bytes} AS BINARY) AS JSON)")),
            }
        }
        other => {
            return Err(Malformed::new(format!(
                "opaque JSON of column type {other}"
            )));
        }
    }
    Ok(())
}

/// `value` as JSON has it from a column of this type: no cast gives one to JSON.
fn of_column(column_type: &str, value: &str, sql: &mut String) {
    sql.push_str(&format!(
        "(SELECT CAST(t.c AS JSON) FROM JSON_TABLE(JSON_ARRAY({value}),'$[*]' COLUMNS (c {column_type} PATH '$' \
         ERROR ON EMPTY ERROR ON ERROR)) AS t)"
    ));
}

fn double(node: Node<'_>) -> Result<f64, Malformed> {
    Ok(f64::from_bits(Cursor::new(node.data).u64()?))
}

/// Whether digits and power of ten are both exact as doubles: then one multiplication or division gives the number itself.
fn is_short(number: f64) -> bool {
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let count = digits.chars().filter(char::is_ascii_digit).count();
    let exponent: i32 = exponent.parse().unwrap_or(i32::MAX);
    let fraction = i32::try_from(count.saturating_sub(1)).unwrap_or(i32::MAX);
    count <= 15 && (-22..=22).contains(&exponent.saturating_sub(fraction))
}

fn unsigned(node: Node<'_>) -> Result<u64, Malformed> {
    let mut c = Cursor::new(node.data);
    Ok(match node.kind {
        UINT16 => u64::from(c.u16()?),
        UINT32 => u64::from(c.u32()?),
        _ => c.u64()?,
    })
}

fn string(node: Node<'_>) -> Result<&str, Malformed> {
    let mut c = Cursor::new(node.data);
    let length = variable_length(&mut c)?;
    std::str::from_utf8(c.bytes(length)?).map_err(|_| Malformed::new("JSON string not in UTF-8"))
}

/// Seven bits a byte, lowest first; the highest bit says that more follow.
fn variable_length(c: &mut Cursor<'_>) -> Result<usize, Malformed> {
    let mut length = 0_usize;
    for shift in [0, 7, 14, 21, 28] {
        let byte = c.u8()?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(Malformed::new("JSON length of more than five bytes"))
}

fn is_large(node: Node<'_>) -> bool {
    matches!(node.kind, LARGE_OBJECT | LARGE_ARRAY)
}

fn is_object(node: Node<'_>) -> bool {
    matches!(node.kind, SMALL_OBJECT | LARGE_OBJECT)
}

/// An offset or a count: two bytes in small containers, four in large ones.
fn offset(node: Node<'_>, at: usize) -> Result<usize, Malformed> {
    let mut c = Cursor::new(node.data.get(at..).ok_or_else(Malformed::short)?);
    Ok(match is_large(node) {
        true => c.u32()? as usize,
        false => usize::from(c.u16()?),
    })
}

fn word(node: Node<'_>) -> usize {
    if is_large(node) { 4 } else { 2 }
}

fn count(node: Node<'_>) -> Result<usize, Malformed> {
    offset(node, 0)
}

fn key<'a>(node: Node<'a>, at: usize) -> Result<&'a str, Malformed> {
    let word = word(node);
    // Count, size, then for each key its offset and two bytes of length.
    let entry = 2 * word + at * (word + 2);
    let start = offset(node, entry)?;
    let length_at = entry + word;
    let length = node.data.get(length_at..).ok_or_else(Malformed::short)?;
    let length = usize::from(Cursor::new(length).u16()?);
    let bytes = node
        .data
        .get(start..start + length)
        .ok_or_else(Malformed::short)?;
    std::str::from_utf8(bytes).map_err(|_| Malformed::new("JSON key not in UTF-8"))
}

fn child<'a>(node: Node<'a>, at: usize) -> Result<Node<'a>, Malformed> {
    let word = word(node);
    let keys = if is_object(node) {
        count(node)? * (word + 2)
    } else {
        0
    };
    let entry = 2 * word + keys + at * (word + 1);
    let kind = *node.data.get(entry).ok_or_else(Malformed::short)?;
    let inlined = match kind {
        LITERAL | INT16 | UINT16 => true,
        INT32 | UINT32 => is_large(node),
        _ => false,
    };
    let start = if inlined {
        entry + 1
    } else {
        offset(node, entry + 1)?
    };
    let data = node.data.get(start..).ok_or_else(Malformed::short)?;
    Ok(Node { kind, data })
}
