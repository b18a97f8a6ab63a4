//! Tables that fit a terminal, plain lines where there is none, JSON where it was asked for.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::{ColumnConstraint, ContentArrangement, Table as Grid, TableComponent, presets};
use serde_json::Value;

use super::Global;
use super::answer::Table;
use crate::text::{folded, size, width_of};

/// `2026-11-21 21:57:58` and a little more.
const LONGEST_UNWRAPPED: u16 = 22;
/// What a column keeps that is wrapped.
const LEAST: u16 = 10;

/// Some of the answer did not get to where it was to go.
static IS_CUT: AtomicBool = AtomicBool::new(false);

/// Text to standard output; a reader that has left, as `head` does, is no failure.
pub(super) fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
        && !IS_CUT.swap(true, Ordering::Relaxed)
    {
        note(&format!(
            "lockkeeper: standard output cannot be written: {error}"
        ));
    }
}

/// Whether all that was to be written was, or nobody wanted it.
pub(super) fn is_whole() -> bool {
    !IS_CUT.load(Ordering::Relaxed)
}

/// A line to standard error, whether somebody reads it or not.
pub(super) fn note(text: &str) {
    beside(&format!("{text}\n"));
}

/// A sentence to standard error: on as many lines as the terminal needs.
pub(super) fn fold_beside(text: &str) {
    for folded in folded(text, width_of(&std::io::stderr()), "", "") {
        note(&folded);
    }
}

/// Text to standard error.
pub(super) fn beside(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Where a text belongs: what was asked for, or what is said beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Answer,
    Beside,
}

impl To {
    /// A plan is the answer of a dry run, where that isn't JSON.
    pub(super) fn of_plan(is_dry_run: bool, global: &Global) -> Self {
        match is_dry_run && !global.json {
            true => Self::Answer,
            false => Self::Beside,
        }
    }

    pub(super) fn width(self) -> Option<usize> {
        match self {
            Self::Answer => width_of(&std::io::stdout()),
            Self::Beside => width_of(&std::io::stderr()),
        }
    }

    pub(super) fn write(self, text: &str) {
        match self {
            Self::Answer => write(text),
            Self::Beside => beside(text),
        }
    }
}

pub(super) fn line(text: &str) {
    write(&format!("{text}\n"));
}

/// A sentence: on as many lines as the terminal needs.
pub(super) fn fold(first: &str, rest: &str, text: &str) {
    for folded in folded(text, width_of(&std::io::stdout()), first, rest) {
        line(&folded);
    }
}

pub(super) fn json(value: &Value) {
    line(&serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()));
}

/// Unless the user has said otherwise (https://no-color.org: any text but an empty one).
pub(super) fn wants_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|text| text.is_empty())
}

/// The rows of a read: all of them as JSON, else the columns that `shown` names, under its titles.
pub(super) fn rows(global: &Global, table: &Table, shown: &[(&str, &str)], empty: &str) {
    if global.json {
        json(&table.json());
    } else if table.rows.is_empty() {
        line(empty);
    } else {
        write(&grid(table, shown));
    }
}

/// `shown` columns under their titles. On a terminal, columns with nothing in them are left out.
pub(super) fn grid(table: &Table, shown: &[(&str, &str)]) -> String {
    let terminal = std::io::stdout().is_terminal();
    let cell = |row: usize, column: &str| {
        let text = without_fraction(table.text(row, column));
        match terminal {
            true => text,
            // A message of the server may have several lines.
            false => text.replace(['\n', '\r'], " "),
        }
    };
    let shown: Vec<&(&str, &str)> = shown
        .iter()
        .filter(|(column, _)| {
            !terminal || (0..table.rows.len()).any(|row| !cell(row, column).is_empty())
        })
        .collect();
    let mut grid = Grid::new();
    grid.set_header(shown.iter().map(|(_, title)| *title));
    for row in 0..table.rows.len() {
        grid.add_row(shown.iter().map(|(column, _)| cell(row, column)));
    }
    if terminal {
        grid.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        for style in [
            TableComponent::HorizontalLines,
            TableComponent::MiddleIntersections,
            TableComponent::TopBorder,
            TableComponent::TopBorderIntersections,
            TableComponent::BottomBorder,
            TableComponent::BottomBorderIntersections,
            TableComponent::VerticalLines,
            TableComponent::MiddleHeaderIntersections,
        ] {
            grid.remove_style(style);
        }
        grid.set_content_arrangement(ContentArrangement::Dynamic);
        let lengths: Vec<u16> = grid.column_max_content_widths();
        let whole = whole_columns(&lengths, size().0);
        for (column, is_whole) in grid.column_iter_mut().zip(whole) {
            if is_whole {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
    } else {
        // One line a row, whatever reads it.
        grid.load_preset(presets::NOTHING);
        grid.set_content_arrangement(ContentArrangement::Disabled);
        grid.force_no_tty();
    }
    let text: Vec<String> = grid
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    format!("{}\n", text.join("\n"))
}

/// Sentences are wrapped; names, numbers and moments are not, but for the last ones where there is no room.
fn whole_columns(lengths: &[u16], width: usize) -> Vec<bool> {
    let mut whole: Vec<bool> = lengths
        .iter()
        .map(|length| *length <= LONGEST_UNWRAPPED)
        .collect();
    let needed = |length: u16, is_whole: bool| {
        let least = if is_whole { length } else { length.min(LEAST) };
        // A blank on either side.
        usize::from(least) + 2
    };
    for at in (0..lengths.len()).rev() {
        let columns = lengths.iter().zip(&whole);
        let sum: usize = columns.map(|(length, is)| needed(*length, *is)).sum();
        if sum <= width {
            break;
        }
        whole[at] &= lengths[at] <= LEAST;
    }
    whole
}

/// People read a moment to the second; `--json` has the microseconds.
pub(super) fn without_fraction(text: String) -> String {
    match text.split_once('.') {
        Some((moment, fraction))
            if moment.len() == "2026-01-01 00:00:00".len()
                && fraction.len() == 6
                && moment.as_bytes()[10] == b' ' =>
        {
            moment.to_owned()
        }
        Some(_) | None => text,
    }
}

/// An event's detail: an object as `attempts 0, locked_milliseconds 80.8`, any other text as it is.
pub(super) fn detail(text: String) -> String {
    let Ok(Value::Object(object)) = serde_json::from_str(&text) else {
        return text;
    };
    let parts: Vec<String> = object
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name} {text}"),
            Value::Number(number) if number.is_f64() => {
                format!("{name} {:.1}", number.as_f64().unwrap_or_default())
            }
            other => format!("{name} {other}"),
        })
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{detail, whole_columns, without_fraction};

    #[test]
    fn the_last_columns_are_wrapped_where_a_table_is_wider_than_the_terminal() {
        let operations = [1, 10, 19, 8, 3, 6, 6, 22];
        assert_eq!(whole_columns(&operations, 120), [true; 8]);
        let mut narrow = [true; 8];
        narrow[7] = false;
        assert_eq!(whole_columns(&operations, 80), narrow);
        assert_eq!(whole_columns(&[4, 70], 120), [true, false], "a sentence");
    }

    #[test]
    fn an_object_in_a_detail_is_told_in_words() {
        let told = |text: &str| detail(text.to_owned());
        let swapped = r#"{"attempts": 0, "locked_milliseconds": 80.80444800000001}"#;
        assert_eq!(told(swapped), "attempts 0, locked_milliseconds 80.8");
        assert_eq!(told("stop: lunch"), "stop: lunch");
        assert_eq!(told("7"), "7");
    }

    #[test]
    fn only_moments_lose_their_fraction() {
        let short = |text: &str| without_fraction(text.to_owned());
        assert_eq!(short("2026-11-21 21:57:58.603457"), "2026-11-21 21:57:58");
        assert_eq!(short("12.500000"), "12.500000");
        assert_eq!(short("waits. for it"), "waits. for it");
    }
}
