//! Values as SQL literals that no session setting can bend.

/// Appends `bytes` as a binary string, byte for byte.
///
/// Readable bytes go in quotes, half as long as in hexadecimal. The session's `sql_mode` is ours:
/// a backslash escapes.
pub fn bytes(bytes: &[u8], sql: &mut String) {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            sql.push_str("_binary");
            quoted(text, sql);
        }
        Err(_) => {
            sql.push_str("x'");
            sql.push_str(&hex::encode(bytes));
            sql.push('\'');
        }
    }
}

/// Appends `text` as a utf8mb4 string.
pub fn text(text: &str, sql: &mut String) {
    sql.push_str("_utf8mb4");
    quoted(text, sql);
}

fn quoted(text: &str, sql: &mut String) {
    sql.push('\'');
    // Multi-byte characters hold neither byte, so runs can be copied whole.
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '\\', '\0']) {
        sql.push_str(&rest[..at]);
        sql.push_str(match rest.as_bytes()[at] {
            b'\'' => "''",
            b'\\' => "\\\\",
            _ => "\\0",
        });
        rest = &rest[at + 1..];
    }
    sql.push_str(rest);
    sql.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_backslashes_and_zeros_are_escaped_and_the_rest_is_not() {
        let mut sql = String::new();
        bytes(b"a'b\\c\0d\xc3\xa9", &mut sql);
        bytes(b"\xff\x00'", &mut sql);
        assert_eq!(sql, "_binary'a''b\\\\c\\0dé'x'ff0027'");
    }
}
