//! What the swap itself costs those who write: many swaps of one table, which need not be large for that.

use std::time::Duration;

use super::change::{self, now_micros};
use super::load::Load;
use super::tables::CHANGED;
use super::{Bench, Options, Report, Shape};
use crate::bench::report::median;
use crate::bench::{BenchError, Figure};
use crate::server::Server;

const MOST_ROWS: u64 = 100_000;
/// Looked at after each swap's end, too: whoever has waited meanwhile comes at once.
const AFTER: Duration = Duration::from_millis(500);
/// The longest wait around a swap, in those of as long a time with no change under way.
const MOST_OF_CALM: f64 = 1.5;

pub(super) async fn measure<F: FnMut(&str)>(
    server: &Server,
    shape: Shape,
    options: &Options,
    report: &mut Report<F>,
) -> Result<(), BenchError> {
    if options.swaps() == 0 {
        return Ok(());
    }
    let rows = options.rows().min(MOST_ROWS);
    let bench = Bench::prepare(server, shape, rows).await?;
    bench.renew().await?;
    let text = shape.text();
    let load = Load::start(&bench, shape, rows, options.load).await?;
    tokio::time::sleep(AFTER).await;
    let mut locked = Vec::new();
    let mut windows = Vec::new();
    for number in 0..options.swaps() {
        let calm = now_micros();
        // Longer than any swap should take, so that the same length can be cut out of it.
        tokio::time::sleep(4 * AFTER).await;
        let what = if number % 2 == 0 {
            text.widen
        } else {
            text.narrow
        };
        let statement = format!("ALTER TABLE {CHANGED} {what}");
        let changed = change::in_child(&bench.settings, bench.next_operation(), &statement).await?;
        tokio::time::sleep(AFTER).await;
        locked.push(changed.locked_seconds * 1000.0);
        windows.push((calm, changed.verified, changed.swapped));
    }
    let record = load.stop().await?;
    let after = AFTER.as_micros() as u64;
    let around = windows
        .iter()
        .map(|(_, from, to)| record.longest(*from, to + after));
    let around: Vec<f64> = around.collect();
    let calm = windows.iter().map(|(calm, from, to)| {
        let length = to + after - from;
        record.longest(*calm, calm + length.min(4 * after))
    });
    let calm = median(calm.collect());
    let on = format!("{} swaps", shape.name());
    let most = around.iter().copied().fold(0.0, f64::max);
    let around = median(around);
    for (what, value) in [
        ("tables locked, median", median(locked)),
        (
            "longest wait in as long a time without a change, median",
            calm,
        ),
        ("longest wait around a swap, median", around),
        ("longest wait around a swap, of all swaps", most),
    ] {
        report.note(Figure::new(&on, what, value, "ms"));
    }
    let what = "longest wait around a swap / without a change";
    report.note(Figure::new(&on, what, around / calm, "").at_most(MOST_OF_CALM));
    let wrong = record.wrong_rows(&mut bench.session().await?).await?;
    let what = "rows that lost a write, or have one too many";
    report.note(Figure::new(&on, what, wrong as f64, "rows").at_most(0.0));
    bench.remove().await?;
    Ok(())
}
