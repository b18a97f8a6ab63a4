//! Splits a text into SQL statements, as the mysql client does: at semicolons outside of quotes and comments.

use serde_json::Value;

use super::CliError;

/// What `apply_submit` takes of one statement: `sql/functions/_json_shape.sql`.
const MOST_CHARACTERS: usize = 65_535;
/// What it takes of all together, as the JSON array that they are sent in: `sql/procedures/_submit_read.sql`.
const MOST_BYTES: usize = 1_048_576;

/// Refuses what the server would refuse, before anybody is asked to read it.
pub(super) fn check(statements: &[String]) -> Result<(), CliError> {
    for (text, number) in statements.iter().zip(1..) {
        let characters = text.chars().count();
        if characters > MOST_CHARACTERS {
            return Err(CliError::usage(format!(
                "statement {number} has {characters} characters, and at most {MOST_CHARACTERS} are taken; is it a schema change?"
            )));
        }
    }
    let bytes = Value::from(statements).to_string().len();
    if bytes > MOST_BYTES {
        return Err(CliError::usage(format!(
            "the statements have {bytes} bytes as JSON, and at most {MOST_BYTES} are taken; submit several applies"
        )));
    }
    Ok(())
}

/// The statements of `text`, without their semicolons; comments between them are dropped.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut current = String::new();
    // Editors of some systems begin a file with a mark that nobody sees.
    let mut rest = text.trim_start_matches('\u{feff}');
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
    use super::{MOST_BYTES, MOST_CHARACTERS, check, split};

    #[test]
    fn a_statement_that_would_be_refused_is_named_by_its_number() {
        let statements = ["ö".repeat(MOST_CHARACTERS), "ö".repeat(MOST_CHARACTERS + 1)];
        assert!(check(&statements[..1]).is_ok());
        let refused = check(&statements).unwrap_err().to_string();
        assert!(
            refused.starts_with("statement 2 has 65536 characters"),
            "{refused}"
        );
    }

    #[test]
    fn statements_that_are_too_much_together_are_refused() {
        // A quotation mark takes two bytes in JSON; 16 of 65,532 and a comma, the brackets.
        let mut statements = vec!["\"".repeat(32_766); 16];
        assert!(check(&statements).is_ok());
        statements[15].push_str(&"x".repeat(15));
        assert!(check(&statements).is_ok());
        statements[15].push('x');
        let refused = check(&statements).unwrap_err().to_string();
        let begin = format!("the statements have {} bytes", MOST_BYTES + 1);
        assert!(refused.starts_with(&begin), "{refused}");
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
