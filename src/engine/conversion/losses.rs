//! Which values a conversion changes, or does not take: what is known of pairs of types, as conditions on a row.

mod crossings;

use super::types::{member_number, same_numbers};
use crate::engine::syntax::quote_text;
use crate::engine::table::{Column, DataType};
use crossings::crossings;

/// A way in which a value may not survive.
pub struct Loss {
    /// True for a row whose value would not be the same.
    pub condition: String,
    pub what: String,
    /// The server changes the value without an error even in strict mode.
    pub silent: bool,
}

/// The conditions under which a value `name`, of the column `was`, would become another one in `now` without an error.
pub fn silent_losses(name: &str, was: &Column, now: &Column) -> Vec<String> {
    let losses = losses(name, was, now).into_iter();
    losses
        .filter(|loss| loss.silent)
        .map(|loss| loss.condition)
        .collect()
}

/// All ways in which a value `name`, of the column `was`, may not survive in `now`.
pub fn losses(name: &str, was: &Column, now: &Column) -> Vec<Loss> {
    let mut found = Vec::new();
    if was.nullable && !now.nullable {
        found.push(refused("are NULL", format!("{name} IS NULL")));
    }
    if was.column_type == now.column_type && was.character_set == now.character_set {
        return found;
    }
    found.extend(in_numbers(name, was, now));
    found.extend(in_fractions_of_a_second(name, was, now));
    found.extend(in_texts_that_are_read(name, was, now));
    found.extend(in_strings(name, was, now));
    found.extend(in_members(name, was, now));
    found.extend(crossings(name, was, now));
    found
}

/// The server changes the value and says nothing.
fn changed(what: impl Into<String>, condition: String) -> Loss {
    Loss {
        condition,
        what: what.into(),
        silent: true,
    }
}

/// The server does not take the value.
fn refused(what: impl Into<String>, condition: String) -> Loss {
    Loss {
        condition,
        what: what.into(),
        silent: false,
    }
}

fn more_digits_than(scale: u32, value: &str) -> Loss {
    changed(
        format!("have more than {scale} digits after the point"),
        format!("{value} <> ROUND({value}, {scale})"),
    )
}

fn more_of_a_second_than(scale: u32, value: &str) -> Loss {
    changed(
        format!("have more than {scale} digits of a second"),
        format!(
            "MICROSECOND({value}) MOD {} <> 0",
            10u32.pow(6 - scale.min(6))
        ),
    )
}

fn longer_than(bytes: u64, name: &str) -> Loss {
    refused(
        format!("are longer than {bytes} bytes"),
        format!("LENGTH({name}) > {bytes}"),
    )
}

/// Whether the column holds exact numbers, whole or decimal.
fn is_exact(column: &Column) -> bool {
    column.data_type.is_integer() || column.data_type == DataType::Decimal
}

fn is_approximate(column: &Column) -> bool {
    matches!(column.data_type, DataType::Float | DataType::Double)
}

/// Times with fractions of a second.
fn has_seconds(column: &Column) -> bool {
    matches!(
        column.data_type,
        DataType::DateTime | DataType::Timestamp | DataType::Time
    )
}

/// From number to number.
fn in_numbers(name: &str, was: &Column, now: &Column) -> Vec<Loss> {
    let mut found = Vec::new();
    if !was.data_type.is_number() {
        return found;
    }
    let scale = now.scale.unwrap_or(0);
    if let Some((low, high)) = range(now) {
        if range(was).is_none_or(|(l, h)| l < low || h > high) {
            found.push(refused(
                format!("are not between {low} and {high}"),
                format!("{name} NOT BETWEEN {low} AND {high}"),
            ));
        }
        if range(was).is_none() {
            found.push(changed(
                "have digits after the point",
                format!("{name} <> ROUND({name})"),
            ));
        }
    }
    if was.data_type == DataType::Decimal && now.data_type == DataType::Decimal {
        if was.scale.unwrap_or(0) > scale {
            found.push(more_digits_than(scale, name));
        }
        let whole = digits_before_point(now);
        if digits_before_point(was) > whole {
            found.push(refused(
                format!("have more than {whole} digits before the point"),
                format!("ABS({name}) >= POW(10, {whole})"),
            ));
        }
        if now.unsigned && !was.unsigned {
            found.push(refused("are negative", format!("{name} < 0")));
        }
    }
    if was.data_type == DataType::Double && now.data_type == DataType::Float {
        found.push(changed(
            "have more digits than a FLOAT",
            format!("CAST({name} AS FLOAT) <> {name}"),
        ));
    }
    if let (true, Some(scale)) = (is_approximate(now), now.scale) {
        found.push(more_digits_than(scale, name));
    }
    let kind = match now.data_type {
        DataType::Float => Some(("FLOAT", FLOAT_DIGITS)),
        DataType::Double => Some(("DOUBLE", DOUBLE_DIGITS)),
        _ => None,
    };
    if let Some((kind, kept)) = kind
        && exact_digits(was).is_some_and(|digits| digits > kept)
    {
        let scale = was.scale.unwrap_or(0);
        found.push(changed(
            format!("have more digits than a {kind}"),
            format!("CAST(CAST({name} AS {kind}) AS DECIMAL(65,{scale})) <> {name}"),
        ));
    }
    if is_approximate(was) && now.data_type == DataType::Decimal {
        found.push(more_digits_than(scale, name));
    }
    found
}

/// From a time to another one, or to a number.
fn in_fractions_of_a_second(name: &str, was: &Column, now: &Column) -> Option<Loss> {
    let (had, has) = (was.scale.unwrap_or(0), now.scale.unwrap_or(0));
    let applies = has_seconds(was) && (has_seconds(now) || is_exact(now));
    (applies && has.min(6) < had).then(|| more_of_a_second_than(has.min(6), name))
}

/// From text to a number, a time or a document.
fn in_texts_that_are_read(name: &str, was: &Column, now: &Column) -> Option<Loss> {
    if !was.data_type.is_text() {
        return None;
    }
    let scale = now.scale.unwrap_or(0);
    if is_exact(now) {
        let value = format!("CAST({name} AS DECIMAL(65,30))");
        return Some(more_digits_than(scale, &value));
    }
    match now.data_type {
        DataType::Time => {
            let value = format!("CAST({name} AS TIME(6))");
            Some(more_of_a_second_than(scale.min(6), &value))
        }
        DataType::DateTime | DataType::Timestamp => {
            let value = format!("CAST({name} AS DATETIME(6))");
            Some(more_of_a_second_than(scale.min(6), &value))
        }
        DataType::Date => Some(changed(
            "have a time of day",
            format!("CAST({name} AS DATETIME(6)) <> CAST({name} AS DATE)"),
        )),
        DataType::Json => Some(refused(
            "are no JSON",
            format!("NOT JSON_VALID(CONVERT({name} USING utf8mb4))"),
        )),
        _ => None,
    }
}

/// From text to text, and from bytes to bytes.
fn in_strings(name: &str, was: &Column, now: &Column) -> Vec<Loss> {
    let mut found = Vec::new();
    let shrinks_to = now
        .max_bytes
        .filter(|bytes| was.max_bytes.is_none_or(|had| had > *bytes));
    if was.data_type.is_text() && now.data_type.is_text() {
        found.extend(in_characters(name, was, now));
        if declared_length(now).is_none()
            && let Some(bytes) = shrinks_to
        {
            found.push(longer_than(bytes, name));
        }
    }
    if was.data_type.is_binary() && now.data_type.is_binary() {
        found.extend(shrinks_to.map(|bytes| longer_than(bytes, name)));
        if now.data_type == DataType::Binary && was.column_type != now.column_type {
            let bytes = now.max_bytes.unwrap_or(1);
            found.push(changed(
                format!("are shorter than {bytes} bytes and would be padded"),
                format!("LENGTH({name}) < {bytes}"),
            ));
        }
    }
    found
}

fn in_characters(name: &str, was: &Column, now: &Column) -> Vec<Loss> {
    let mut found = Vec::new();
    if let (Some(from), Some(to)) = (&was.character_set, &now.character_set)
        && from != to
        && to != "utf8mb4"
    {
        found.push(refused(
            format!("have characters that {to} lacks"),
            format!(
                "CAST(CONVERT(CONVERT({name} USING {to}) USING utf8mb4) AS BINARY) \
                 <> CAST(CONVERT({name} USING utf8mb4) AS BINARY)"
            ),
        ));
    }
    if let Some(characters) = declared_length(now)
        && declared_length(was).is_none_or(|had| had > characters)
    {
        let shorter = format!("CHAR_LENGTH(TRIM(TRAILING ' ' FROM {name})) <= {characters}");
        found.push(refused(
            format!("are longer than {characters} characters"),
            format!("NOT ({shorter})"),
        ));
        // Spaces past the end are cut without an error.
        found.push(changed(
            format!("have spaces after {characters} characters, which would be cut"),
            format!("CHAR_LENGTH({name}) > {characters} AND {shorter}"),
        ));
    }
    if now.data_type == DataType::Char && was.data_type != DataType::Char {
        found.push(changed(
            "end in spaces, which a CHAR does not keep",
            format!("{name} LIKE '% '"),
        ));
    }
    found
}

/// Values of an ENUM or a SET.
fn in_members(name: &str, was: &Column, now: &Column) -> Vec<Loss> {
    let mut found = Vec::new();
    if was.data_type == DataType::Enum {
        found.push(refused(
            "hold the empty value of an ENUM, which the server stores for what is no member",
            format!("{name} + 0 = 0"),
        ));
    }
    let members = was.members.iter();
    let gone: Vec<String> = members
        .filter(|member| !now.members.contains(member))
        .map(|member| quote_text(member))
        .collect();
    if was.data_type == now.data_type && !gone.is_empty() {
        let condition = if was.data_type == DataType::Enum {
            format!("{name} IN ({})", gone.join(", "))
        } else {
            let sets = gone.iter().map(|m| format!("FIND_IN_SET({m}, {name})"));
            sets.collect::<Vec<_>>().join(" OR ")
        };
        found.push(refused("hold a member that is removed", condition));
    }
    if was.data_type == DataType::Set
        && now.data_type == DataType::Set
        && !same_numbers(was, now)
        && let Some(at) = was.members.iter().position(String::is_empty)
    {
        found.push(changed(
            "hold the empty member of a SET, which has no text to be found by",
            format!("{} & {} <> 0", member_number(name), 1_u64 << at),
        ));
    }
    found
}

/// Decimal digits that a number of the type keeps, whatever it is.
const FLOAT_DIGITS: u32 = 6;
const DOUBLE_DIGITS: u32 = 15;

fn digits_before_point(column: &Column) -> u32 {
    let digits = column.precision.unwrap_or(10);
    digits.saturating_sub(column.scale.unwrap_or(0))
}

/// How many digits a value of an exact type may have; none where each fits the 24 bits of a FLOAT.
fn exact_digits(column: &Column) -> Option<u32> {
    match column.data_type {
        DataType::Int => Some(10),
        DataType::BigInt => Some(20),
        DataType::Decimal => column.precision,
        _ => None,
    }
}

/// The whole numbers that an integer type holds.
fn range(column: &Column) -> Option<(i128, i128)> {
    let bits = match column.data_type {
        DataType::TinyInt => 8,
        DataType::SmallInt => 16,
        DataType::MediumInt => 24,
        DataType::Int => 32,
        DataType::BigInt => 64,
        _ => return None,
    };
    Some(if column.unsigned {
        (0, (1i128 << bits) - 1)
    } else {
        (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
    })
}

/// The n of CHAR(n) and VARCHAR(n).
fn declared_length(column: &Column) -> Option<u64> {
    if !matches!(column.data_type, DataType::Char | DataType::VarChar) {
        return None;
    }
    let (_, rest) = column.column_type.split_once('(')?;
    rest.split_once(')')?.0.parse().ok()
}
