//! SQL as text: tokens, statements, `SHOW CREATE TABLE`, and how names and strings are quoted.

pub mod create_text;
pub mod literal;
pub mod statement;
pub mod token;

/// A name in back-ticks, for any statement.
pub fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// `` `schema`.`table` ``
pub fn quote_table(schema: &str, table: &str) -> String {
    format!("{}.{}", quote(schema), quote(table))
}

/// `text` as a string literal that reads the same in every `sql_mode`.
pub fn quote_text(text: &str) -> String {
    if text.contains('\\') {
        // A backslash means different things in different modes; hex does not.
        format!("_utf8mb4 0x{}", hex::encode(text))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}
