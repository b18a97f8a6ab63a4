//! Splits a text into SQL statements, as the mysql client does: at semicolons outside of quotes and comments.

use super::CliError;

/// What the control database keeps of one statement.
const MOST_BYTES: usize = 16_777_215;

/// Refuses what could not be stored, before anybody reads it.
pub(super) fn check(statements: &[String]) -> Result<(), CliError> {
    let longest = statements
        .iter()
        .zip(1..)
        .find(|(text, _)| text.len() > MOST_BYTES);
    longest.map_or(Ok(()), |(text, number)| {
        Err(CliError::usage(format!(
            "statement {number} has {} bytes, and at most {MOST_BYTES} can be stored; is it a schema change?",
            text.len()
        )))
    })
}

/// The statements of `text`, without their semicolons; comments between them are dropped.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut current = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let length = match character {
            '\'' | '"' | '`' => quoted(rest, character),
            '#' => line(rest),
            '-' if is_dash_comment(rest) => line(rest),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ => character.len_utf8(),
        };
        let (part, after) = rest.split_at(length);
        rest = after;
        let is_comment = part.len() > 1 && matches!(character, '#' | '-' | '/') || part == "#";
        if character == ';' {
            statements.push(std::mem::take(&mut current));
        } else if !(is_comment && current.trim().is_empty()) || part.starts_with("/*!") {
            current.push_str(part);
        }
    }
    statements.push(current);
    statements
        .into_iter()
        .map(|statement| statement.trim().to_owned())
        .filter(|statement| !statement.is_empty())
        .collect()
}

/// The length of a quoted text, quotes included; an unclosed one is all that is left.
fn quoted(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character == '\\' && quote != '`' {
            characters.next();
        } else if character == quote {
            if characters.peek().is_some_and(|(_, next)| *next == quote) {
                characters.next();
            } else {
                return at + quote.len_utf8();
            }
        }
    }
    text.len()
}

fn line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

/// `--` begins a comment only before white space or at the end.
fn is_dash_comment(text: &str) -> bool {
    text.strip_prefix("--")
        .is_some_and(|after| after.chars().next().is_none_or(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::{MOST_BYTES, check, split};

    #[test]
    fn a_statement_that_could_not_be_stored_is_refused_by_its_number() {
        let statements = ["x".repeat(MOST_BYTES), "x".repeat(MOST_BYTES + 1)];
        assert!(check(&statements[..1]).is_ok());
        let refused = check(&statements).unwrap_err().to_string();
        assert!(
            refused.starts_with("statement 2 has 16777216 bytes"),
            "{refused}"
        );
    }

    #[test]
    fn statements_end_at_semicolons_outside_of_quotes_and_comments() {
        let text = "-- first;\nALTER TABLE a COMMENT 'it''s; fine \\'; x'; # then;\n/* ; */ ALTER TABLE `b;` ADD c INT -- ;\n;;\n";
        assert_eq!(
            split(text),
            [
                "ALTER TABLE a COMMENT 'it''s; fine \\'; x'",
                "ALTER TABLE `b;` ADD c INT -- ;"
            ]
        );
    }

    #[test]
    fn minus_minus_without_a_space_is_arithmetic() {
        assert_eq!(split("SELECT 1--1; SELECT 2"), ["SELECT 1--1", "SELECT 2"]);
    }

    #[test]
    fn an_unclosed_quote_swallows_the_rest() {
        assert_eq!(
            split("ALTER TABLE a COMMENT 'x; y"),
            ["ALTER TABLE a COMMENT 'x; y"]
        );
        assert_eq!(split(" ; \n"), Vec::<String>::new());
    }
}
