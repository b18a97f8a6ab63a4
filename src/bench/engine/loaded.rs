//! Each way while an application writes.

use std::time::Duration;

use super::change::{Changed, now_micros};
use super::load::{Load, Record, Waits};
use super::ways::{self, Run, Way};
use super::{Bench, Options, Report};
use crate::bench::{BenchError, Figure};

/// The 99th percentile during the copy, in those of the time before.
const MOST_OF_P99: f64 = 3.0;

pub(super) async fn measure<F: FnMut(&str)>(
    bench: &Bench,
    options: &Options,
    all: &[Way],
    report: &mut Report<F>,
) -> Result<(), BenchError> {
    let on = format!("{} loaded", bench.shape.name());
    let mut seconds = Vec::new();
    for way in all {
        let Some(loaded) = change(bench, options, *way, report).await? else {
            continue;
        };
        let Loaded { run, record, .. } = &loaded;
        seconds.push((*way, run.seconds));
        report.note(Figure::new(&on, way.name(), run.seconds, "s"));
        if let Some(cpu) = run.server_cpu {
            let what = format!("{}: CPU of the server", way.name());
            report.note(Figure::new(&on, what, cpu, "s"));
        }
        let before = record.waits(&[(loaded.began, run.began)]);
        waits(&on, "before", &before, report);
        match &run.changed {
            None => {
                let during = record.waits(&[(run.began, run.ended)]);
                waits(&on, "during", &during, report);
            }
            Some(changed) => of_our_own(&on, changed, record, &before, report),
        }
        let what = "  writes a second";
        report.note(Figure::new(&on, what, loaded.writes_a_second, ""));
        if way.follows_writes() {
            let wrong = record.wrong_rows(&mut bench.session().await?).await?;
            let what = "  rows that lost a write, or have one too many";
            report.note(Figure::new(&on, what, wrong as f64, "rows").at_most(0.0));
        }
    }
    let of = |way| seconds.iter().find(|(w, _)| *w == way).map(|(_, s)| *s);
    for (way, what) in [
        (Way::Floor, "lockkeeper / floor (which follows no write)"),
        (Way::Inplace, "lockkeeper / INPLACE"),
        (Way::Copy, "lockkeeper / COPY (which lets writes wait)"),
    ] {
        if let Some((ours, other)) = of(Way::Lockkeeper).zip(of(way)) {
            report.note(Figure::new(&on, what, ours / other, ""));
        }
    }
    Ok(())
}

/// A change among writes.
struct Loaded {
    run: Run,
    record: Record,
    /// When the calm before it began, in microseconds since 1970.
    began: u64,
    writes_a_second: f64,
}

/// Changes the table, with a time of writes alone before and behind it.
async fn change<F: FnMut(&str)>(
    bench: &Bench,
    options: &Options,
    way: Way,
    report: &mut Report<F>,
) -> Result<Option<Loaded>, BenchError> {
    let calm = Duration::from_secs_f64(options.calm_seconds());
    bench.renew().await?;
    let load = Load::start(bench, bench.shape, bench.rows, options.load).await?;
    // The first writes find cold caches.
    tokio::time::sleep(calm / 2).await;
    let began = now_micros();
    tokio::time::sleep(calm).await;
    let run = ways::change_if_able(bench, way, report).await?;
    tokio::time::sleep(calm / 2).await;
    let ended = now_micros();
    let record = load.stop().await?;
    let seconds = (ended - began) as f64 / 1e6 + calm.as_secs_f64() / 2.0;
    Ok(run.map(|run| Loaded {
        run,
        began,
        writes_a_second: record.writes() as f64 / seconds,
        record,
    }))
}

/// What writes waited for, phase by phase.
fn of_our_own<F: FnMut(&str)>(
    on: &str,
    changed: &Changed,
    record: &Record,
    before: &Waits,
    report: &mut Report<F>,
) {
    let copying = record.waits(&[(changed.copying(), changed.verified)]);
    waits(on, "during the copy", &copying, report);
    let ratio = copying.p99 / before.p99;
    let figure = Figure::new(on, "  p99 during the copy / before", ratio, "");
    report.note(figure.at_most(MOST_OF_P99));
    let longest = record.longest(changed.verified, changed.finished);
    let what = "  longest wait around the swap";
    report.note(Figure::new(on, what, longest, "ms"));
    let attempts = f64::from(changed.attempts);
    report.note(Figure::new(on, "  attempts that gave way", attempts, ""));
    for (phase, took) in changed.seconds() {
        report.note(Figure::new(on, format!("  of it {phase}"), took, "s"));
    }
    for (phase, spans) in changed.spans() {
        let p99 = record.waits(&spans).p99;
        report.note(Figure::new(on, format!("  p99 in {phase}"), p99, "ms"));
    }
}

fn waits<F: FnMut(&str)>(on: &str, when: &str, waits: &Waits, report: &mut Report<F>) {
    for (what, value) in [
        ("p50", waits.half),
        ("p99", waits.p99),
        ("longest", waits.longest),
    ] {
        let what = format!("  {what} of a write {when}");
        report.note(Figure::new(on, what, value, "ms"));
    }
}
