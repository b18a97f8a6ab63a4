//! The report at the end: what was checked, what writes had to wait, in which order the swaps took place.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use crate::load::{Checked, Sample, SwapOrder};

/// One deployment's end.
pub(super) struct Outcome {
    pub deployment: String,
    pub checked: Checked,
    /// Every write, in the order in which they were due.
    pub samples: Vec<Sample>,
}

pub(super) struct Report {
    pub outcomes: Vec<Outcome>,
    pub order: SwapOrder,
    pub submitted_micros: u64,
    /// The drivers that were killed on purpose.
    pub killed: Vec<String>,
}

impl Report {
    pub fn text(&self, took: Duration) -> String {
        let mut text = String::from("\n");
        let _ = writeln!(text, "{}", self.deployments());
        text.push_str(
            "writes: acknowledged, and compared value by value. untouched: rows that no writer wrote, compared by digest.\n\
             cutover: the longest wait of one write during its deployment's swap, from when it was due; served: from when \
             it was sent (far apart: this machine is too busy for the traffic). p99: of all writes before and after the \
             submit, from when each was due.\n\n",
        );
        let _ = writeln!(text, "Swaps, in the order in which they took place:");
        let _ = writeln!(text, "{}\n", self.swaps());
        for driver in &self.killed {
            let _ = writeln!(
                text,
                "{driver} was killed in mid-copy; others finished its work."
            );
        }
        for finding in self.findings() {
            let _ = writeln!(text, "WRONG: {finding}");
        }
        let writes: u64 = self
            .outcomes
            .iter()
            .map(|outcome| outcome.checked.writes)
            .sum();
        let verdict = match self.verdict() {
            Ok(()) => format!(
                "PASSED in {} s: all {} acknowledged writes are in the new tables, every other row is as it was, the swaps \
                 were strictly in order. The longest answer to a write at a cutover took {}.",
                took.as_secs(),
                grouped(writes),
                milliseconds(self.longest_at_a_cutover())
            ),
            Err(why) => format!("FAILED after {} s: {why}", took.as_secs()),
        };
        let _ = write!(text, "{verdict}");
        text
    }

    /// Nothing was lost, and all was in order.
    pub fn verdict(&self) -> Result<(), String> {
        match self.findings().len() {
            0 => Ok(()),
            number => Err(format!(
                "the independent check has {number} findings; they are listed above"
            )),
        }
    }

    fn findings(&self) -> Vec<String> {
        let of_tables = self.outcomes.iter().flat_map(|outcome| {
            let findings = outcome.checked.findings.iter();
            findings.map(|finding| format!("{}: {finding}", outcome.deployment))
        });
        of_tables
            .chain(self.order.findings.iter().cloned())
            .collect()
    }

    fn deployments(&self) -> Table {
        let mut table = plain_table();
        table.set_header([
            "deployment",
            "rows",
            "writes",
            "untouched",
            "cutover",
            "served",
            "p99\nbefore",
            "p99\nduring",
            "wrong",
        ]);
        for outcome in &self.outcomes {
            let waits = |from, to| waits(&outcome.samples, from, to);
            let first = outcome.samples.iter().map(|sample| sample.due_micros);
            let settled = first.min().unwrap_or_default() + SETTLING_MICROS;
            let before = waits(settled, self.submitted_micros);
            let during = waits(self.submitted_micros, u64::MAX);
            table.add_row([
                outcome.deployment.clone(),
                grouped(outcome.checked.rows),
                grouped(outcome.checked.writes),
                grouped(outcome.checked.untouched),
                milliseconds(self.longest_at_cutover_of(outcome, |sample| sample.waited_micros)),
                milliseconds(self.longest_at_cutover_of(outcome, |sample| sample.served_micros)),
                milliseconds(p99(before)),
                milliseconds(p99(during)),
                outcome.checked.findings.len().to_string(),
            ]);
        }
        right_aligned(table, 1..9)
    }

    fn swaps(&self) -> Table {
        let mut table = plain_table();
        table.set_header([
            "#",
            "deployment",
            "at (UTC)",
            "took",
            "tables\nlocked",
            "attempts",
            "driver",
        ]);
        for swap in &self.order.swaps {
            let took = Duration::from_micros(swap.ended_micros.saturating_sub(swap.began_micros));
            let locked = swap
                .locked_milliseconds
                .map(|ms| Duration::from_secs_f64(ms.max(0.0) / 1000.0));
            table.add_row([
                swap.position.to_string(),
                swap.deployment.clone(),
                time_of_day(&swap.ended_at),
                milliseconds(took),
                locked.map_or_else(String::new, milliseconds),
                swap.attempts
                    .map_or_else(String::new, |attempts| attempts.to_string()),
                swap.driver.clone(),
            ]);
        }
        right_aligned(table, 3..6)
    }

    /// From when it was begun: on a machine that is too slow for this load, writes wait for each other the whole time.
    fn longest_at_a_cutover(&self) -> Duration {
        let all = self
            .outcomes
            .iter()
            .map(|outcome| self.longest_at_cutover_of(outcome, |sample| sample.served_micros));
        all.max().unwrap_or_default()
    }

    /// The longest wait of a write that was under way while its deployment was being swapped.
    fn longest_at_cutover_of(&self, outcome: &Outcome, wait: fn(&Sample) -> u64) -> Duration {
        let of_it = |swap: &&crate::load::Swap| swap.deployment == outcome.deployment;
        let longest = self.order.swaps.iter().filter(of_it).flat_map(|swap| {
            outcome.samples.iter().filter(|sample| {
                sample.due_micros <= swap.ended_micros
                    && sample.due_micros + sample.waited_micros >= swap.began_micros
            })
        });
        let longest = longest.map(wait).max();
        Duration::from_micros(longest.unwrap_or_default())
    }
}

/// The first seconds of the traffic, which still pay for what came before it, are nothing to compare with.
const SETTLING_MICROS: u64 = 3_000_000;

fn waits(samples: &[Sample], from_micros: u64, to_micros: u64) -> Vec<u64> {
    samples
        .iter()
        .filter(|sample| (from_micros..to_micros).contains(&sample.due_micros))
        .map(|sample| sample.waited_micros)
        .collect()
}

fn p99(mut waits: Vec<u64>) -> Duration {
    waits.sort_unstable();
    let at = waits.len() * 99 / 100;
    Duration::from_micros(waits.get(at).or(waits.last()).copied().unwrap_or_default())
}

/// All happens within minutes: the day would only take room.
fn time_of_day(moment: &str) -> String {
    let time = moment.split_once(' ').map_or(moment, |(_, time)| time);
    time.get(..12).unwrap_or(time).to_owned()
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

fn right_aligned(mut table: Table, columns: std::ops::Range<usize>) -> Table {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_padding((1, 0));
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms >= 10.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{ms:.1} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn a_percentile_of_nothing_is_nothing() {
        assert_eq!(p99(Vec::new()), Duration::ZERO);
        assert_eq!(p99(vec![5]), Duration::from_micros(5));
        assert_eq!(p99((1..=100).collect()), Duration::from_micros(100));
    }
}
