//! The screen as lines of text: a pure function of what the views say, the size, and what the user is about to do.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::fleet::{Apply, Fleet, Last};
use crate::progress::{Operation, phase};
use crate::text::{amount, duration, folded};

/// How a span is painted; plain text has no need of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Bold,
    Faint,
    Good,
    Busy,
    Bad,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Line(pub Vec<(Tone, String)>);

impl Line {
    fn of(tone: Tone, text: impl Into<String>) -> Self {
        Self(vec![(tone, text.into())])
    }

    pub fn plain(&self) -> String {
        let text: String = self.0.iter().map(|(_, text)| text.as_str()).collect();
        text.trim_end().to_owned()
    }

    /// No longer than the terminal is wide.
    fn cut(self, width: usize) -> Self {
        let mut left = width;
        let mut spans = Vec::new();
        for (tone, text) in self.0 {
            let length = text.width();
            if length <= left {
                left -= length;
                spans.push((tone, text));
            } else {
                if left > 0 {
                    spans.push((tone, shortened(&text, left)));
                }
                break;
            }
        }
        Self(spans)
    }
}

pub(super) struct View<'a> {
    pub fleet: &'a Fleet,
    /// The apply that keys act on.
    pub selected: Option<u64>,
    /// A question, an answer, or what went wrong.
    pub message: &'a str,
    pub width: usize,
    /// None: as many lines as there are.
    pub height: Option<usize>,
    /// So many lines below the head are above the screen.
    pub scroll: usize,
    pub has_keys: bool,
}

const NAME_MOST: usize = 24;
/// So much of a name, and of a bar, is worth more than the numbers at the end of the line.
const NAME_LEAST: usize = 12;
const BAR_LEAST: usize = 4;
/// A long name may have what a bar of this width leaves.
const BAR_OF_LONG_NAMES: usize = 12;
/// Rows a second, time left, lag.
const NUMBERS: [usize; 3] = [8, 6, 6];
const WHAT: usize = 22;
const HEALTH_MOST: usize = 3;
const BARRIER_MOST: usize = 6;
const KEYS: &str = "↑↓ choose  s stop  S start  c cut over  r release  R revert  q quit";

pub(super) fn lines(view: &View<'_>) -> Vec<Line> {
    let Parts {
        mut lines,
        fixed,
        footer,
    } = parts(view);
    if let Some(height) = view.height {
        let room = height.saturating_sub(footer.len());
        if lines.len() > room {
            // One line says what is left out.
            let shown = room.saturating_sub(fixed + 1);
            let above = view.scroll.min(hidden(lines.len(), room));
            let below = (lines.len() - fixed).saturating_sub(above + shown);
            lines.drain(fixed..fixed + above);
            lines.truncate(fixed + shown);
            lines.push(Line::of(Tone::Faint, left_out(view, above, below)));
        }
        lines.resize(room, Line::default());
    }
    lines.extend(footer);
    lines.into_iter().map(|line| line.cut(view.width)).collect()
}

/// How far it can be scrolled.
pub(super) fn most_scroll(view: &View<'_>) -> usize {
    let Parts { lines, footer, .. } = parts(view);
    let room = view
        .height
        .map(|height| height.saturating_sub(footer.len()));
    room.map_or(0, |room| hidden(lines.len(), room))
}

/// Lines that don't fit, with one more that says so.
fn hidden(lines: usize, room: usize) -> usize {
    if lines > room { lines + 1 - room } else { 0 }
}

fn left_out(view: &View<'_>, above: usize, below: usize) -> String {
    let mut text = match (above, below) {
        (0, below) => format!("… {below} more lines: PgDn"),
        (above, 0) => format!("… {above} lines above: PgUp"),
        (above, below) => format!("… {below} more lines, {above} above: PgDn, PgUp"),
    };
    if view.fleet.applies.len() > 1 {
        text.push_str("; `lockkeeper watch APPLY` shows one apply");
    }
    text
}

/// Everything, however high the screen is.
struct Parts {
    lines: Vec<Line>,
    /// How many of them stay where they are.
    fixed: usize,
    footer: Vec<Line>,
}

fn parts(view: &View<'_>) -> Parts {
    let mut lines = vec![head(view)];
    lines.extend(health_lines(view));
    let fixed = lines.len();
    if view.fleet.now.is_empty() {
        lines.push(Line::default());
        lines.push(Line::of(Tone::Plain, "Reading …"));
    } else if view.fleet.applies.is_empty() {
        lines.push(Line::default());
        lines.push(Line::of(
            Tone::Plain,
            "Nothing is going on; `lockkeeper submit` asks for a change.",
        ));
        if let Some(last) = &view.fleet.last {
            lines.extend(wrapped(&ended(last), view.width, "", tone(&last.state)));
        }
    }
    for apply in &view.fleet.applies {
        lines.push(Line::default());
        lines.extend(apply_lines(view, apply));
    }
    let footer = footer(view);
    lines.extend(event_lines(view, lines.len() + footer.len()));
    Parts {
        lines,
        fixed,
        footer,
    }
}

/// The gravest first, and no more of them than leave room for the deployments.
fn health_lines(view: &View<'_>) -> Vec<Line> {
    let room = view.height.map_or(usize::MAX, |height| height / 4);
    let mut lines = Vec::new();
    let mut told = 0;
    for health in view.fleet.health.iter().take(HEALTH_MOST) {
        let text = format!("{}: {}", health.severity, health.sentence);
        let these = wrapped(&text, view.width, "", Tone::Bad);
        if told > 0 && lines.len() + these.len() > room {
            break;
        }
        lines.extend(these);
        told += 1;
    }
    let left = view.fleet.health_total.saturating_sub(told);
    if left > 0 {
        let text = format!("… and {left} more: `lockkeeper doctor`");
        lines.push(Line::of(Tone::Bad, text));
    }
    lines
}

fn ended(last: &Last) -> String {
    let mut text = format!(
        "The last one, apply {} ({}), ended {} at {} UTC",
        last.apply_id,
        last.name,
        words(&last.state),
        last.finished_at
    );
    if last.state != "completed" {
        text.push_str(&format!(" after {} of {}", last.completed, last.operations));
        if !last.error.is_empty() {
            text.push_str(&format!(": {}", last.error));
        }
        text.push_str(&format!("; `lockkeeper why {}`", last.apply_id));
    }
    text
}

fn head(view: &View<'_>) -> Line {
    let fleet = view.fleet;
    let left = format!(
        "Lockkeeper  {}  {}",
        count(fleet.applies.len() as u64, "apply", "applies"),
        count(fleet.drivers_alive, "driver", "drivers"),
    );
    let right = match fleet.now.as_str() {
        "" => String::new(),
        now => format!("{now} UTC"),
    };
    let gap = view
        .width
        .saturating_sub(left.width() + right.width())
        .max(1);
    Line(vec![
        (Tone::Bold, left),
        (Tone::Faint, format!("{}{right}", " ".repeat(gap))),
    ])
}

fn apply_lines(view: &View<'_>, apply: &Apply) -> Vec<Line> {
    let mark = if view.selected == Some(apply.apply_id) {
        "▶"
    } else {
        " "
    };
    let mut title = format!(
        "  {}  {}  {} of {} done  {:.0} %",
        apply.schema,
        apply.cutover_policy,
        apply.completed,
        apply.operations.len(),
        apply.percent,
    );
    if let Some(seconds) = apply.seconds_left {
        title.push_str(&format!("  {} left", duration(seconds)));
    }
    if apply.throttle_level > 0 {
        title.push_str(&format!("  throttle {}", apply.throttle_level));
    }
    // What matters most comes first: a narrow terminal shows no more.
    let mut lines = vec![Line(vec![
        (
            Tone::Bold,
            format!("{mark} {} {}  ", apply.apply_id, apply.name),
        ),
        (tone(&apply.state), words(&apply.state)),
        (Tone::Bold, title),
    ])];
    // Above the deployments, which may be more than the screen has lines.
    lines.extend(wrapped(&barrier(apply), view.width, "    ", Tone::Plain));
    let columns = Columns::of(view.width, apply);
    for operation in &apply.operations {
        lines.push(columns.line(operation));
        for (text, tone) in remarks(operation) {
            lines.extend(wrapped(&text, view.width, "      ", tone));
        }
    }
    lines
}

/// The barrier, who is at it, and whose turn it is.
fn barrier(apply: &Apply) -> String {
    let waiting = apply.at_barrier();
    if waiting.is_empty() {
        return String::new();
    }
    let named = &waiting[..waiting.len().min(BARRIER_MOST)];
    let mut text = format!("at the barrier: {}", named.join(", "));
    if waiting.len() > named.len() {
        text.push_str(&format!(" and {} more", waiting.len() - named.len()));
    }
    if let Some(next) = &apply.next_swap {
        text.push_str(&format!("; next swap: {next}"));
    }
    text
}

/// Why it waits, in the words of every other surface; and what went wrong.
fn remarks(operation: &Operation) -> Vec<(String, Tone)> {
    let mut remarks = Vec::new();
    if let Some(error) = &operation.error {
        // A change that is done, and of which something is to be said, has not failed.
        let tone = match operation.state.as_str() {
            "completed" => Tone::Faint,
            _ => Tone::Bad,
        };
        remarks.push((error.clone(), tone));
    }
    let tone = match operation {
        one if one.is_stale => Tone::Bad,
        one if one.driver.is_some() && one.throttled_by.is_some() => Tone::Busy,
        _ => Tone::Faint,
    };
    if let Some(waiting) = &operation.waiting {
        remarks.push((waiting.clone(), tone));
    }
    remarks
}

/// Widths that fit one apply on one screen.
struct Columns {
    name: usize,
    bar: usize,
    /// How many of [`NUMBERS`] are shown, each whole.
    numbers: usize,
    driver: usize,
}

impl Columns {
    fn of(width: usize, apply: &Apply) -> Self {
        let longest = |text: fn(&Operation) -> &str| {
            let lengths = apply.operations.iter().map(|one| text(one).width());
            lengths.max().unwrap_or_default()
        };
        let driver = if width >= 120 {
            longest(driver).min(30)
        } else {
            0
        };
        let name = longest(|one| &one.deployment);
        // "  name bar 100 % what rows/s left lag" and the driver where there is room.
        let left_by = |numbers: usize| {
            let numbers: usize = NUMBERS[..numbers].iter().map(|width| width + 1).sum();
            let driver = if driver > 0 { driver + 2 } else { 0 };
            width.saturating_sub(2 + 1 + 7 + WHAT + numbers + driver)
        };
        let fits = |numbers: &usize| left_by(*numbers) >= name.min(NAME_LEAST) + BAR_LEAST;
        let numbers = (0..=NUMBERS.len()).rev().find(fits).unwrap_or_default();
        let room = left_by(numbers);
        let most = NAME_MOST.max(room.saturating_sub(BAR_OF_LONG_NAMES));
        let name = name.min(most).min(room.saturating_sub(BAR_LEAST)).max(4);
        let bar = room.saturating_sub(name).clamp(BAR_LEAST, 60);
        Self {
            name,
            bar,
            numbers,
            driver,
        }
    }

    fn line(&self, operation: &Operation) -> Line {
        let tone = tone(&operation.state);
        let filled =
            (operation.percent.clamp(0.0, 100.0) / 100.0 * self.bar as f64).floor() as usize;
        let number =
            |value: Option<f64>, show: fn(f64) -> String| value.map(show).unwrap_or_default();
        let numbers = [
            number(operation.rows_per_second, rate),
            number(operation.seconds_left, duration),
            number(operation.lag_seconds, |lag| format!("+{}", duration(lag))),
        ];
        let numbers = NUMBERS.iter().zip(numbers).take(self.numbers);
        let numbers: String = numbers
            .map(|(width, number)| format!(" {number:>width$}"))
            .collect();
        let mut spans = vec![
            (
                Tone::Plain,
                format!("  {} ", padded(&operation.deployment, self.name)),
            ),
            (tone, "█".repeat(filled)),
            (Tone::Faint, "░".repeat(self.bar - filled)),
            (
                Tone::Plain,
                format!("{:>4.0} % ", operation.percent.floor()),
            ),
            (tone, padded(&what(operation), WHAT)),
            (Tone::Plain, numbers),
        ];
        if self.driver > 0 {
            spans.push((
                Tone::Faint,
                format!("  {}", shortened(driver(operation), self.driver)),
            ));
        }
        Line(spans)
    }
}

fn driver(operation: &Operation) -> &str {
    operation.driver.as_deref().unwrap_or_default()
}

/// The state, and what the driver is at within it.
fn what(operation: &Operation) -> String {
    match (operation.state.as_str(), operation.phase.as_deref()) {
        ("running", Some("copy")) => "copying".to_owned(),
        ("running", Some("verify")) => phase("verifying", operation.percent_verified),
        ("running", Some("index")) => "building indexes".to_owned(),
        ("running", Some("catch_up")) => "catching up".to_owned(),
        ("running", Some(other)) => words(other),
        ("waiting_for_cutover", _) => "▐ at the barrier".to_owned(),
        (state, _) => words(state),
    }
}

fn footer(view: &View<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    if !view.message.is_empty() {
        lines.extend(wrapped(view.message, view.width, "", Tone::Bold));
    }
    if view.has_keys {
        lines.push(Line::of(Tone::Faint, KEYS));
    }
    lines
}

fn event_lines(view: &View<'_>, used: usize) -> Vec<Line> {
    let room = match view.height {
        Some(height) => height.saturating_sub(used + 1),
        None => 5,
    };
    if view.fleet.events.is_empty() || room == 0 {
        return Vec::new();
    }
    let mut lines = vec![Line::default()];
    // The latest at the bottom, as in a log.
    let shown: Vec<_> = view.fleet.events.iter().take(room).collect();
    for event in shown.into_iter().rev() {
        lines.push(Line(vec![
            (Tone::Faint, format!("{}  ", event.at)),
            (Tone::Plain, event.sentence.clone()),
        ]));
    }
    lines
}

/// The text on as many lines as it takes, each after `indent`.
fn wrapped(text: &str, width: usize, indent: &str, tone: Tone) -> Vec<Line> {
    if text.is_empty() {
        return Vec::new();
    }
    folded(text, Some(width), indent, indent)
        .into_iter()
        .map(|line| Line::of(tone, line))
        .collect()
}

fn tone(state: &str) -> Tone {
    match state {
        "completed" => Tone::Good,
        "failed" | "halted" | "paused" | "failed_retryable" | "running_degraded" => Tone::Bad,
        "running" | "cutting_over" | "reverting" | "cancelling" | "revert_window" => Tone::Busy,
        _ => Tone::Plain,
    }
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn rate(rows: f64) -> String {
    format!("{}/s", amount(rows))
}

/// Without its middle where it is too long: names of shards differ at their ends.
fn shortened(text: &str, most: usize) -> String {
    if text.width() <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let (first, last) = (kept / 3, kept - kept / 3);
    let beginning = fitting(text.chars(), first);
    let end = fitting(text.chars().rev(), last);
    let end = end.into_iter().rev();
    beginning.into_iter().chain(['…']).chain(end).collect()
}

/// The first characters, which may be two columns wide.
fn fitting(characters: impl Iterator<Item = char>, mut columns: usize) -> Vec<char> {
    let fits = |character: &char| {
        let left = columns.checked_sub(character.width().unwrap_or_default());
        columns = left.unwrap_or_default();
        left.is_some()
    };
    characters.take_while(fits).collect()
}

/// As wide as its column: `format!` would count characters.
fn padded(text: &str, width: usize) -> String {
    let text = shortened(text, width);
    let rest = width.saturating_sub(text.width());
    text + &" ".repeat(rest)
}

#[cfg(test)]
#[path = "screen_test.rs"]
mod tests;
