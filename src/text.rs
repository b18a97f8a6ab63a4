//! Text as wide as the terminal, or as what stores it.

use std::io::IsTerminal;

use unicode_width::UnicodeWidthStr as _;

/// Columns and lines of the terminal.
pub(crate) fn size() -> (usize, usize) {
    // One that does not know its size, as where a script pretends to be a terminal, says 0.
    let told = crossterm::terminal::size().ok();
    let (width, height) = told.filter(|(width, _)| *width > 0).unwrap_or((80, 24));
    (usize::from(width.max(20)), usize::from(height.max(6)))
}

/// How wide text on `out` may be; `None` where it is no terminal: whatever reads it wants its lines whole.
pub(crate) fn width_of(out: &impl IsTerminal) -> Option<usize> {
    out.is_terminal().then(|| size().0)
}

/// At most so many characters; one that was longer ends in an ellipsis.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// One line as one or several, broken between words: the first after `first`, the others after `rest`. A word that is longer
/// than a line has one of its own.
pub(crate) fn folded(text: &str, width: Option<usize>, first: &str, rest: &str) -> Vec<String> {
    let Some(width) = width else {
        return vec![format!("{first}{text}")];
    };
    let mut lines: Vec<String> = Vec::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in words(text, width.saturating_sub(rest.width())) {
        if !is_empty && line.width() + 1 + word.width() > width {
            lines.push(std::mem::replace(&mut line, rest.to_owned()));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(&word);
        is_empty = false;
    }
    lines.push(line);
    lines
}

/// The words of a text; what stands in backticks is one, as a command is copied, unless it is longer than `most`.
fn words(text: &str, most: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_quoted = false;
    for word in text.split_whitespace() {
        match words.last_mut() {
            Some(last) if is_quoted && last.width() + 1 + word.width() <= most => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
        is_quoted ^= word.matches('`').count() % 2 == 1;
    }
    words
}

/// An argument as a shell takes it, in a command to copy.
pub(crate) fn shell_quoted(argument: &str) -> String {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./:=@,%+".contains(character);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

/// A time that people read at a glance, in at most six characters.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds.max(0.0) {
        s if s < 10.0 => format!("{s:.1}s"),
        s if s < 100.0 => format!("{s:.0}s"),
        s if s < 5940.0 => format!("{:.0}m", s / 60.0),
        s if s < 172_800.0 => format!("{:.1}h", s / 3600.0),
        s => format!("{:.1}d", s / 86_400.0),
    }
}

/// So many rows, roughly.
pub(crate) fn amount(rows: f64) -> String {
    match rows {
        rows if rows >= 1e7 => format!("{:.0}M", rows / 1e6),
        rows if rows >= 1e6 => format!("{:.1}M", rows / 1e6),
        rows if rows >= 1e4 => format!("{:.0}k", rows / 1e3),
        rows => format!("{rows:.0}"),
    }
}

/// `LOCKKEEPER_GOLDEN=write` writes what is shown as the new expected text.
#[cfg(test)]
#[track_caller]
pub(crate) fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("LOCKKEEPER_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, text).expect("written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name} differs");
}

#[cfg(test)]
mod tests {
    use super::{amount, duration, folded, shell_quoted};

    #[test]
    fn times_and_amounts_fit_their_columns() {
        for seconds in [0.0, 9.94, 99.4, 5_900.0, 170_000.0, 8_000_000.0] {
            assert!(duration(seconds).len() <= 6, "{}", duration(seconds));
        }
        for rows in [0.0, 9_999.0, 999_499.0, 9_999_999.0, 99_999_999_999.0] {
            assert!(amount(rows).len() <= 7, "{}", amount(rows));
        }
        assert_eq!(duration(10_800.0), "3.0h");
        assert_eq!(
            (amount(1_500_000.0), amount(12_000_000.0)),
            ("1.5M".to_owned(), "12M".to_owned())
        );
    }

    #[test]
    fn a_line_is_broken_between_words_and_a_long_word_stays_whole() {
        let text = "one two three4567890 five";
        assert_eq!(
            folded(text, Some(10), "- ", "  "),
            ["- one two", "  three4567890", "  five"]
        );
        assert_eq!(folded(text, None, "- ", "  "), [format!("- {text}")]);
        let commands = "or see `why 1`, or `a b c d e f` then";
        assert_eq!(
            folded(commands, Some(12), "", "  "),
            ["or see", "  `why 1`,", "  or", "  `a b c d e", "  f` then"]
        );
        assert_eq!(folded("", Some(10), "- ", "  "), ["- "]);
        assert_eq!(folded("東京 大阪", Some(8), "", ""), ["東京", "大阪"]);
    }

    #[test]
    fn a_shell_reads_an_argument_back_as_it_was() {
        assert_eq!(shell_quoted("--schema"), "--schema");
        assert_eq!(shell_quoted("COMMENT 'x'"), r"'COMMENT '\''x'\'''");
        assert_eq!(shell_quoted(""), "''");
    }
}
