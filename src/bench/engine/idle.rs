//! Each way while nobody else is at work.

use super::change::Changed;
use super::ways::{self, Run, Way};
use super::{Bench, Options, Report, Shape};
use crate::bench::report::median;
use crate::bench::{BenchError, Figure};

/// A driver's own CPU for a million rows, and its memory.
const MOST_CPU_SECONDS: f64 = 1.0;
const MOST_MEGABYTES: f64 = 40.0;
/// A change with its verification, beside a copy without any.
const MOST_OF_FLOOR: f64 = 1.3;
/// On the table with many indexes.
const MOST_OF_PEER: f64 = 0.5;

pub(super) async fn measure<F: FnMut(&str)>(
    bench: &Bench,
    options: &Options,
    all: &[Way],
    report: &mut Report<F>,
) -> Result<(), BenchError> {
    let on = format!("{} idle", bench.shape.name());
    let mut runs: Vec<Vec<Run>> = all.iter().map(|_| Vec::new()).collect();
    // In turns, so that a busy minute of the machine falls on all of them.
    for _ in 0..options.runs() {
        for (way, runs) in all.iter().zip(&mut runs) {
            bench.renew().await?;
            runs.extend(ways::change_if_able(bench, *way, report).await?);
        }
    }
    let mut seconds = Vec::new();
    for (way, runs) in all.iter().zip(&runs) {
        if runs.is_empty() {
            continue;
        }
        let took = median(runs.iter().map(|run| run.seconds).collect());
        seconds.push((*way, took));
        report.note(Figure::new(&on, way.name(), took, "s"));
        let cpu: Vec<f64> = runs.iter().filter_map(|run| run.server_cpu).collect();
        if !cpu.is_empty() {
            let what = format!("{}: CPU of the server", way.name());
            report.note(Figure::new(&on, what, median(cpu), "s"));
        }
        let own: Vec<&Changed> = runs.iter().filter_map(|run| run.changed.as_ref()).collect();
        if !own.is_empty() {
            driver(&on, bench.rows, &own, report);
        }
    }
    ratios(&on, bench.shape, &seconds, report);
    Ok(())
}

/// Where our own time went, and what the driver itself used.
fn driver<F: FnMut(&str)>(on: &str, rows: u64, runs: &[&Changed], report: &mut Report<F>) {
    let Some(first) = runs.first() else { return };
    for (phase, _) in first.seconds() {
        let seconds = runs.iter().flat_map(|run| run.seconds());
        let of_phase = seconds.filter(|(name, _)| *name == phase);
        let took = median(of_phase.map(|(_, seconds)| seconds).collect());
        report.note(Figure::new(on, format!("  of it {phase}"), took, "s"));
    }
    let cpu: Vec<f64> = runs.iter().filter_map(|run| run.cpu_seconds).collect();
    if !cpu.is_empty() {
        let a_million = median(cpu) / (rows as f64 / 1e6);
        let what = "CPU of the driver, a million rows";
        let figure = Figure::new(on, what, a_million, "s");
        // What starting up costs says nothing about rows.
        report.note(match rows >= 1_000_000 {
            true => figure.at_most(MOST_CPU_SECONDS),
            false => figure,
        });
    }
    let memory: Vec<f64> = runs.iter().filter_map(|run| run.peak_megabytes).collect();
    if !memory.is_empty() {
        let figure = Figure::new(on, "memory of the driver, at most", median(memory), "MB");
        report.note(figure.at_most(MOST_MEGABYTES));
    }
}

fn ratios<F: FnMut(&str)>(on: &str, shape: Shape, seconds: &[(Way, f64)], report: &mut Report<F>) {
    let of = |way| seconds.iter().find(|(w, _)| *w == way).map(|(_, s)| *s);
    let Some(ours) = of(Way::Lockkeeper) else {
        return;
    };
    if let Some(floor) = of(Way::Floor) {
        let figure = Figure::new(on, "lockkeeper / floor", ours / floor, "");
        report.note(figure.at_most(MOST_OF_FLOOR));
    }
    for (way, what) in [
        (Way::Copy, "lockkeeper / COPY"),
        (Way::Inplace, "lockkeeper / INPLACE"),
    ] {
        if let Some(other) = of(way) {
            report.note(Figure::new(on, what, ours / other, ""));
        }
    }
    let peers = seconds.iter().filter(|(way, _)| way.peer().is_some());
    if let Some(fastest) = peers.map(|(_, s)| *s).min_by(f64::total_cmp) {
        let figure = Figure::new(on, "lockkeeper / fastest other tool", ours / fastest, "");
        report.note(match shape {
            Shape::B => figure.at_most(MOST_OF_PEER),
            Shape::A | Shape::C => figure,
        });
    }
}
