//! What a value loses on its way to a type of another family, without an error of the server's.

use super::{Loss, changed, declared_length, is_exact};
use crate::engine::syntax::quote_text;
use crate::engine::table::{Column, DataType};

/// The one that is known of the pair.
pub(super) fn crossings(name: &str, was: &Column, now: &Column) -> Option<Loss> {
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
        (Date | DateTime | Timestamp, Time) => Some(("lose their date", always)),
        (DateTime | Timestamp, Date) => {
            Some(("have a time of day", format!("TIME({name}) <> '00:00:00'")))
        }
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
        (Json, _) if is_exact(now) || now.data_type == Bit => {
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
    known.map(|(what, condition)| changed(what, condition))
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
