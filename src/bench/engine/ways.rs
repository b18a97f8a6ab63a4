//! The ways to make the same change of the same table.

use std::time::Instant;

use super::change::{self, Changed, now_micros};
use super::peers;
use super::tables::{self, CHANGED, Shape, run};
use super::{Bench, Report};
use crate::bench::{BenchError, process};

/// How a table is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// Our engine, with its verification
    Lockkeeper,
    /// Chunks by two threads into a bare table, its indexes after that; no write is followed
    Floor,
    /// The server's own rebuild while writes go on; it changes no type
    Inplace,
    /// The server's own copy; writes wait
    Copy,
    /// Where it is on PATH
    GhOst,
    /// pt-online-schema-change, where it is on PATH
    PtOsc,
}

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lockkeeper => "lockkeeper, verified",
            Self::Floor => "floor: chunks, 2 threads, indexes after",
            Self::Inplace => "ALTER ... FORCE, ALGORITHM=INPLACE",
            Self::Copy => "ALTER ..., ALGORITHM=COPY",
            Self::GhOst => "gh-ost",
            Self::PtOsc => "pt-online-schema-change",
        }
    }

    /// The program of another tool.
    pub(super) fn peer(self) -> Option<&'static str> {
        match self {
            Self::Lockkeeper | Self::Floor | Self::Inplace | Self::Copy => None,
            Self::GhOst | Self::PtOsc => Some(self.name()),
        }
    }

    /// Whether the table afterwards is one in which writes may be looked for.
    pub(super) fn follows_writes(self) -> bool {
        self != Self::Floor
    }
}

/// What a change took.
pub(super) struct Run {
    /// Microseconds since 1970.
    pub began: u64,
    pub ended: u64,
    pub seconds: f64,
    /// Of the server, where it runs on this machine and is ours.
    pub server_cpu: Option<f64>,
    /// Of our own engine only.
    pub changed: Option<Changed>,
}

/// Changes the table of `bench`, which is as it was made.
pub(super) async fn change(
    bench: &Bench,
    way: Way,
    shape: Shape,
    rows: u64,
) -> Result<Run, BenchError> {
    let widen = shape.text().widen;
    let statement = format!("ALTER TABLE {CHANGED} {widen}");
    let server_cpu = || bench.server_pid.and_then(process::cpu_seconds);
    let before = server_cpu();
    let (began, start) = (now_micros(), Instant::now());
    let mut changed = None;
    match way {
        Way::Lockkeeper => {
            let operation = bench.next_operation();
            changed = Some(change::in_child(&bench.settings, operation, &statement).await?);
        }
        Way::Floor => tables::floor(bench, shape, rows).await?,
        Way::Inplace => {
            let rebuild = format!("ALTER TABLE {CHANGED} FORCE, ALGORITHM=INPLACE, LOCK=NONE");
            run(&mut bench.session().await?, &rebuild).await?;
        }
        Way::Copy => {
            let copy = format!("{statement}, ALGORITHM=COPY");
            run(&mut bench.session().await?, &copy).await?;
        }
        Way::GhOst | Way::PtOsc => peers::change(way, bench, widen).await?,
    }
    let seconds = start.elapsed().as_secs_f64();
    let server_cpu = before
        .zip(server_cpu())
        .map(|(before, after)| after - before);
    Ok(Run {
        began,
        ended: now_micros(),
        seconds,
        server_cpu,
        changed,
    })
}

/// As [`change`]; of another tool that fails it is said why, and nothing more.
pub(super) async fn change_if_able<F: FnMut(&str)>(
    bench: &Bench,
    way: Way,
    report: &mut Report<F>,
) -> Result<Option<Run>, BenchError> {
    match change(bench, way, bench.shape, bench.rows).await {
        Err(error) if way.peer().is_some() => {
            report.say(&format!("{}: {error}", way.name()));
            Ok(None)
        }
        changed => changed.map(Some),
    }
}
