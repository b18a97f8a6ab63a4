//! Which values a conversion changes, or does not take: what is known of pairs of types, as conditions on a row.

use crate::engine::syntax::quote_text;
use crate::engine::table::{Column, DataType};

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
    let mut add = |silent: bool, what: &str, condition: String| {
        found.push(Loss {
            condition,
            what: what.to_owned(),
            silent,
        });
    };
    if was.nullable && !now.nullable {
        add(false, "are NULL", format!("{name} IS NULL"));
    }
    if was.column_type == now.column_type && was.character_set == now.character_set {
        return found;
    }
    let text = |column: &Column| column.data_type.is_text();
    if let Some((low, high)) = range(now)
        && (was.data_type.is_number() || text(was))
    {
        if range(was).is_none_or(|(l, h)| l < low || h > high) && was.data_type.is_number() {
            add(
                false,
                &format!("are not between {low} and {high}"),
                format!("{name} NOT BETWEEN {low} AND {high}"),
            );
        }
        if range(was).is_none() && was.data_type.is_number() {
            add(
                true,
                "have digits after the point",
                format!("{name} <> ROUND({name})"),
            );
        }
    }
    if was.data_type == DataType::Decimal && now.data_type == DataType::Decimal {
        let (scale, digits) = (now.scale.unwrap_or(0), now.precision.unwrap_or(10));
        if was.scale.unwrap_or(0) > scale {
            add(
                true,
                &format!("have more than {scale} digits after the point"),
                format!("{name} <> ROUND({name}, {scale})"),
            );
        }
        let whole = digits.saturating_sub(scale);
        if was
            .precision
            .unwrap_or(10)
            .saturating_sub(was.scale.unwrap_or(0))
            > whole
        {
            add(
                false,
                &format!("have more than {whole} digits before the point"),
                format!("ABS({name}) >= POW(10, {whole})"),
            );
        }
        if now.unsigned && !was.unsigned {
            add(false, "are negative", format!("{name} < 0"));
        }
    }
    let approximate = |c: &Column| matches!(c.data_type, DataType::Float | DataType::Double);
    if was.data_type == DataType::Double && now.data_type == DataType::Float {
        add(
            true,
            "have more digits than a FLOAT",
            format!("CAST({name} AS FLOAT) <> {name}"),
        );
    }
    if let (true, Some(scale)) = (was.data_type.is_number() && approximate(now), now.scale) {
        add(
            true,
            &format!("have more than {scale} digits after the point"),
            format!("{name} <> ROUND({name}, {scale})"),
        );
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
        add(
            true,
            &format!("have more digits than a {kind}"),
            format!("CAST(CAST({name} AS {kind}) AS DECIMAL(65,{scale})) <> {name}"),
        );
    }
    if matches!(was.data_type, DataType::Float | DataType::Double)
        && now.data_type == DataType::Decimal
    {
        let scale = now.scale.unwrap_or(0);
        add(
            true,
            &format!("have more than {scale} digits after the point"),
            format!("{name} <> ROUND({name}, {scale})"),
        );
    }
    let time = [DataType::DateTime, DataType::Timestamp, DataType::Time];
    if time.contains(&was.data_type) && time.contains(&now.data_type) {
        let (had, has) = (was.scale.unwrap_or(0), now.scale.unwrap_or(0));
        if has < had {
            add(
                true,
                &format!("have more than {has} digits of a second"),
                format!("MICROSECOND({name}) MOD {} <> 0", 10u32.pow(6 - has.min(6))),
            );
        }
    }
    let exact = range(now).is_some() || now.data_type == DataType::Decimal;
    if time.contains(&was.data_type) && exact {
        let has = now.scale.unwrap_or(0).min(6);
        if has < was.scale.unwrap_or(0) {
            add(
                true,
                &format!("have more than {has} digits of a second"),
                format!("MICROSECOND({name}) MOD {} <> 0", 10u32.pow(6 - has)),
            );
        }
    }
    if text(was) && exact {
        let (scale, value) = (
            now.scale.unwrap_or(0),
            format!("CAST({name} AS DECIMAL(65,30))"),
        );
        add(
            true,
            &format!("have more than {scale} digits after the point"),
            format!("{value} <> ROUND({value}, {scale})"),
        );
    }
    if text(was) && time.contains(&now.data_type) {
        let has = now.scale.unwrap_or(0).min(6);
        let kind = match now.data_type {
            DataType::Time => "TIME(6)",
            _ => "DATETIME(6)",
        };
        add(
            true,
            &format!("have more than {has} digits of a second"),
            format!(
                "MICROSECOND(CAST({name} AS {kind})) MOD {} <> 0",
                10u32.pow(6 - has)
            ),
        );
    }
    if text(was) && now.data_type == DataType::Date {
        add(
            true,
            "have a time of day",
            format!("CAST({name} AS DATETIME(6)) <> CAST({name} AS DATE)"),
        );
    }
    if matches!(was.data_type, DataType::DateTime | DataType::Timestamp) {
        if now.data_type == DataType::Date {
            add(
                true,
                "have a time of day",
                format!("TIME({name}) <> '00:00:00'"),
            );
        }
        if now.data_type == DataType::Time {
            add(true, "lose their date", format!("{name} IS NOT NULL"));
        }
    }
    if text(was) && text(now) {
        if let (Some(from), Some(to)) = (&was.character_set, &now.character_set)
            && from != to
            && to != "utf8mb4"
        {
            add(
                false,
                &format!("have characters that {to} lacks"),
                format!(
                    "CAST(CONVERT(CONVERT({name} USING {to}) USING utf8mb4) AS BINARY) \
                     <> CAST(CONVERT({name} USING utf8mb4) AS BINARY)"
                ),
            );
        }
        if let Some(characters) = declared_length(now)
            && declared_length(was).is_none_or(|had| had > characters)
        {
            let shorter = format!("CHAR_LENGTH(TRIM(TRAILING ' ' FROM {name})) <= {characters}");
            add(
                false,
                &format!("are longer than {characters} characters"),
                format!("NOT ({shorter})"),
            );
            // Spaces past the end are cut without an error.
            add(
                true,
                &format!("have spaces after {characters} characters, which would be cut"),
                format!("CHAR_LENGTH({name}) > {characters} AND {shorter}"),
            );
        }
        if now.data_type == DataType::Char && was.data_type != DataType::Char {
            add(
                true,
                "end in spaces, which a CHAR does not keep",
                format!("{name} LIKE '% '"),
            );
        }
        if declared_length(now).is_none()
            && let Some(bytes) = now.max_bytes
            && was.max_bytes.is_none_or(|had| had > bytes)
        {
            add(
                false,
                &format!("are longer than {bytes} bytes"),
                format!("LENGTH({name}) > {bytes}"),
            );
        }
    }
    if was.data_type.is_binary()
        && now.data_type.is_binary()
        && let Some(bytes) = now.max_bytes
        && was.max_bytes.is_none_or(|had| had > bytes)
    {
        add(
            false,
            &format!("are longer than {bytes} bytes"),
            format!("LENGTH({name}) > {bytes}"),
        );
    }
    if was.data_type.is_binary()
        && now.data_type == DataType::Binary
        && was.column_type != now.column_type
    {
        let bytes = now.max_bytes.unwrap_or(1);
        add(
            true,
            &format!("are shorter than {bytes} bytes and would be padded"),
            format!("LENGTH({name}) < {bytes}"),
        );
    }
    if text(was) && now.data_type == DataType::Json {
        add(
            false,
            "are no JSON",
            format!("NOT JSON_VALID(CONVERT({name} USING utf8mb4))"),
        );
    }
    if was.data_type == DataType::Enum {
        add(
            false,
            "hold the empty value of an ENUM, which the server stores for what is no member",
            format!("{name} + 0 = 0"),
        );
    }
    let gone: Vec<&String> = was
        .members
        .iter()
        .filter(|member| !now.members.contains(member))
        .collect();
    if was.data_type == now.data_type && !gone.is_empty() {
        let condition = if was.data_type == DataType::Enum {
            let list: Vec<String> = gone.iter().map(|m| quote_text(m)).collect();
            format!("{name} IN ({})", list.join(", "))
        } else {
            let list: Vec<String> = gone
                .iter()
                .map(|m| format!("FIND_IN_SET({}, {name})", quote_text(m)))
                .collect();
            list.join(" OR ")
        };
        add(false, "hold a member that is removed", condition);
    }
    found.extend(crossings(name, was, now));
    found
}

/// What a value loses on its way to a type of another family, without an error of the server's.
fn crossings(name: &str, was: &Column, now: &Column) -> Vec<Loss> {
    use DataType::{
        Binary, Bit, Char, Date, DateTime, Double, Enum, Float, Json, Set, Time, Timestamp,
        VarChar, Year,
    };
    let text = was.data_type.is_text();
    let number = was.data_type.is_number();
    let readable = format!("CONVERT({name} USING utf8mb4)");
    let always = format!("{name} IS NOT NULL");
    let members = || {
        let members: Vec<String> = now.members.iter().map(|m| quote_text(m)).collect();
        format!(
            "{readable} COLLATE utf8mb4_0900_bin NOT IN ({})",
            members.join(", ")
        )
    };
    let scale = now.scale.unwrap_or(0).min(6);
    let known = match (was.data_type, now.data_type) {
        (Time, Date | DateTime | Timestamp) => {
            Some(("become moments of the day of the copy", always))
        }
        (Date, Time) => Some(("lose their date", always)),
        (Date | DateTime | Timestamp | Time, Year) => Some(("keep nothing but their year", always)),
        (Date | DateTime | Timestamp, Float) => Some(("have more digits than a FLOAT", always)),
        (DateTime | Timestamp | Time, Float | Double) if was.scale > Some(0) => Some((
            "have digits of a second, which would be rounded",
            format!("MICROSECOND({name}) <> 0"),
        )),
        (Float, Json) => Some((
            "have more digits than their text",
            digits_cut(name, "FLOAT"),
        )),
        (Float, _) if now.data_type.is_text() => Some((
            "have more digits than their text",
            digits_cut(name, "FLOAT"),
        )),
        (Json, _) if range(now).is_some() || now.data_type == DataType::Decimal => {
            let value = format!("CAST({name} AS DECIMAL(65,30))");
            let rounded = format!("{value} <> ROUND({value}, {})", now.scale.unwrap_or(0));
            Some((
                "have more digits after the point",
                format!("IF(JSON_TYPE({name}) IN ('DOUBLE', 'DECIMAL'), {rounded}, FALSE)"),
            ))
        }
        (_, Enum) if text => Some((
            "are written otherwise than every member (a number would be taken for a member's place)",
            members(),
        )),
        (_, Set) if text => Some((
            "are numbers, which would be taken for the bits of a SET",
            format!("{readable} REGEXP '^ *[0-9]+ *$' AND {}", members()),
        )),
        (_, Binary) if text => {
            let bytes = now.max_bytes.unwrap_or(1);
            Some((
                "would be padded with zeros",
                format!("LENGTH({name}) < {bytes}"),
            ))
        }
        (_, Year) if text || number => {
            let value = if text {
                format!("CAST({name} AS DECIMAL(65,30))")
            } else {
                name.to_owned()
            };
            // The number 0 is the year 0; the text '0' is 2000.
            let is_year = if text {
                String::new()
            } else {
                format!("{value} = 0 OR ")
            };
            Some((
                "would become another year",
                format!(
                    "NOT ({is_year}({value} BETWEEN 1901 AND 2155 AND {value} = ROUND({value})))"
                ),
            ))
        }
        (_, Bit) if number => Some((
            "are negative or have digits after the point, which bits have not",
            format!("{name} < 0 OR {name} <> ROUND({name})"),
        )),
        (_, Date) if number => Some((
            "have a time of day",
            format!("ABS({name}) > 99991231 OR {name} <> ROUND({name})"),
        )),
        (_, DateTime | Timestamp | Time) if number => Some((
            "have more digits of a second",
            format!("{name} <> ROUND({name}, {scale})"),
        )),
        (_, Double) if text => Some((
            "have more digits than a DOUBLE",
            digits_read(name, "DOUBLE"),
        )),
        (_, Float) if text => Some(("have more digits than a FLOAT", digits_read(name, "FLOAT"))),
        (_, Char) if was.data_type.is_binary() => Some((
            "end in spaces, which a CHAR does not keep",
            format!("RIGHT({name}, 1) = ' '"),
        )),
        (_, VarChar) if was.data_type.is_binary() => {
            now.character_set.as_ref().zip(declared_length(now)).map(
                |(character_set, characters)| {
                    let value = format!("CONVERT({name} USING {character_set})");
                    (
                        "have spaces past the end, which would be cut",
                        format!(
                            "CHAR_LENGTH({value}) > {characters} \
                         AND CHAR_LENGTH(TRIM(TRAILING ' ' FROM {value})) <= {characters}"
                        ),
                    )
                },
            )
        }
        _ => None,
    };
    let loss = known.map(|(what, condition)| Loss {
        condition,
        what: what.to_owned(),
        silent: true,
    });
    loss.into_iter().collect()
}

/// A number whose text reads back as another one.
fn digits_cut(name: &str, kind: &str) -> String {
    format!("CAST(CAST({name} AS CHAR) AS {kind}) <> {name}")
}

/// A text whose number reads back as another one. By way of text, as the server shows it: as it is, most decimal fractions are none
/// of binary ones.
fn digits_read(name: &str, kind: &str) -> String {
    format!(
        "CAST(CAST(CAST({name} AS {kind}) AS CHAR) AS DECIMAL(65,30)) <> CAST({name} AS DECIMAL(65,30))"
    )
}

/// Decimal digits that a number of the type keeps, whatever it is.
const FLOAT_DIGITS: u32 = 6;
const DOUBLE_DIGITS: u32 = 15;

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
