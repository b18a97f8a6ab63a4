//! What a column's type is to another one: the same, converted, compared.

use crate::engine::table::{Column, DataType};

/// The type of a column, with its character set, as a column definition takes it.
pub fn type_text(column: &Column) -> String {
    let mut text = column.column_type.clone();
    if let (Some(set), Some(collation)) = (&column.character_set, &column.collation) {
        text.push_str(&format!(" CHARACTER SET {set} COLLATE {collation}"));
    }
    text
}

/// Whether a value of one is a value of the other, unconverted.
pub fn same_type(a: &Column, b: &Column) -> bool {
    a.data_type == b.data_type
        && a.column_type == b.column_type
        && a.character_set == b.character_set
        && a.collation == b.collation
}

/// `value`, of the column `from`, as ALTER TABLE would store it in `to`.
///
/// ALTER takes a number into whatever is no number by its text: a FLOAT's few digits, a DOUBLE(10,3)'s three, the zeros of
/// ZEROFILL; an ENUM finds its member by that text, and JSON reads it. `INSERT … SELECT` would store the number itself: other
/// digits, the member that is so far down the list, or nothing that JSON takes.
pub fn as_altered(value: &str, from: &Column, to: &Column) -> String {
    let goes_by_text = matches!(
        to.data_type,
        DataType::Char
            | DataType::VarChar
            | DataType::Binary
            | DataType::VarBinary
            | DataType::Enum
            | DataType::Set
            | DataType::Json
    );
    // ALTER makes bits from the whole number that a value is; they would be the bytes of its text.
    let goes_by_integer = to.data_type == DataType::Bit
        && (from.data_type.is_string()
            || matches!(
                from.data_type,
                DataType::Json | DataType::Float | DataType::Double | DataType::Date
            ));
    if goes_by_integer {
        format!("CAST({value} AS SIGNED)")
    } else if is_number(from.data_type) && goes_by_text {
        format!("CONCAT({value})")
    } else if to.data_type == DataType::Set && only_numbers_tell(from, to) {
        member_number(value)
    } else {
        value.to_owned()
    }
}

/// Whether a member that both have has the same number in both.
pub fn same_numbers(from: &Column, to: &Column) -> bool {
    from.data_type == to.data_type
        && (to.members.starts_with(&from.members) || from.members.starts_with(&to.members))
}

/// The text of an empty member is also that of a SET without any, and of an ENUM's value that is none.
pub fn has_empty_member(column: &Column) -> bool {
    column.members.iter().any(String::is_empty)
}

/// Whether values of both, ENUMs or SETs, have the same numbers, and texts that tell less.
pub fn only_numbers_tell(from: &Column, to: &Column) -> bool {
    same_numbers(from, to) && (has_empty_member(from) || has_empty_member(to))
}

/// The number of an ENUM's or a SET's value; `+ 0` would make it a DOUBLE, which has fewer digits than a SET members.
pub fn member_number(value: &str) -> String {
    format!("CAST({value} AS UNSIGNED)")
}

/// `value`, of a column that was or becomes `other`, in a form in which both can be compared
/// without one more conversion that loses something.
pub fn comparable(value: &str, column: &Column, other: &Column) -> String {
    let is_time = |c: &Column| {
        matches!(
            c.data_type,
            DataType::Date | DataType::Time | DataType::DateTime | DataType::Timestamp
        )
    };
    let is_binary = |c: &Column| c.data_type.is_string() && c.character_set.is_none();
    let is_bit = |c: &Column| c.data_type == DataType::Bit;
    let is_numeric = |c: &Column| is_bit(c) || is_number(c.data_type);
    if is_bit(column) && is_numeric(other) {
        // As bytes, one of another length is another one.
        format!("CAST({value} AS UNSIGNED)")
    } else if (is_number(column.data_type) && is_numeric(other))
        || (is_time(column) && is_time(other))
    {
        value.to_owned()
    } else if is_binary(column) || is_binary(other) {
        format!("CAST({value} AS BINARY)")
    } else {
        format!("CAST(CAST({value} AS CHAR CHARACTER SET utf8mb4) AS BINARY)")
    }
}

fn is_number(data_type: DataType) -> bool {
    data_type.is_number() || data_type == DataType::Year
}
