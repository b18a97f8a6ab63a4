//! The demo: a whole rollout on servers of its own, under live traffic, with a driver killed in the middle, and a check
//! that takes nobody's word for the outcome.

mod drivers;
mod keep;
mod report;
mod screen;
mod servers;
mod sizes;
mod stage;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::signal::unix::{SignalKind, signal};

use crate::load::{self, Change, Running, Traffic};

use drivers::Drivers;
use report::{Outcome, Report};
use screen::Screen;
use servers::Fleet;
use sizes::Sizes;
use stage::Watch;

/// How the demo is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The servers stay, for a look at the views.
    pub keep: bool,
}

/// Somebody ended it.
#[derive(Debug, thiserror::Error)]
#[error("stopped; the servers are removed")]
pub struct Interrupted;

/// Runs it. Returns when nothing was lost and all was in order.
///
/// # Errors
///
/// What was lost, or out of order, or did not come to an end in time.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("signals")?;
    let sizes = Sizes::default();
    // Dropping the rollout takes everything down: sessions, drivers, servers and their folders.
    tokio::select! {
        outcome = rollout(&sizes, options) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Interrupted.into()),
        _ = terminated.recv() => Err(Interrupted.into()),
    }
}

async fn rollout(sizes: &Sizes, options: Options) -> anyhow::Result<()> {
    let start = Instant::now();
    let screen = Screen::new();
    screen.step("Starting a control server and three deployments");
    let fleet = Fleet::start(sizes).await?;
    screen.step(&format!(
        "Filling {} rows into an orders table on each of them",
        report::grouped(sizes.rows)
    ));
    let before = fleet.fill(sizes).await?;

    screen.step(&format!(
        "Live traffic: {} writes a second on each deployment",
        sizes.writes_per_second
    ));
    let traffic = start_traffic(&fleet, sizes).await?;
    // What writes wait for without any change under way.
    tokio::time::sleep(sizes.quiet).await;

    let change = load::widen_orders();
    screen.step(&format!(
        "Submitting, under the barrier policy: {}",
        change.statement
    ));
    let counters = traffic.iter().map(Running::counters);
    counters.for_each(|counters| counters.forget_longest());
    let apply_id = fleet.submit(&change, sizes).await?;
    let mut drivers = Drivers::new(&fleet)?;
    drivers.start_one()?;
    drivers.start_one()?;
    let ended = Watch {
        fleet: &fleet,
        sizes,
        screen: &screen,
        traffic: &traffic,
        apply_id,
    }
    .until_settled(&mut drivers)
    .await;
    // Writers see the new tables for a while, and no driver any more.
    tokio::time::sleep(sizes.after).await;
    let records = stop_traffic(traffic).await?;
    drivers.end().await;
    screen.finish();

    let killed = drivers.killed();
    if let Err(error) = ended {
        drivers.show_logs();
        if options.keep {
            screen.text(&keep::keep(fleet)?);
        }
        return Err(error);
    }
    screen.step("Comparing every row with what was acknowledged");
    let report = make_report(&fleet, &change, apply_id, before, records, killed).await?;
    screen.text(&report.text(start.elapsed()));
    let verdict = report.verdict();
    if options.keep {
        screen.text(&keep::keep(fleet)?);
    }
    ensure!(verdict.is_ok(), "{}", verdict.err().unwrap_or_default());
    Ok(())
}

async fn start_traffic(fleet: &Fleet, sizes: &Sizes) -> anyhow::Result<Vec<Running>> {
    let starts = fleet
        .deployments
        .iter()
        .enumerate()
        .map(|(at, deployment)| {
            Traffic {
                settings: deployment.application.clone(),
                rows: sizes.rows,
                writers: sizes.writers,
                writes_per_second: sizes.writes_per_second,
                seed: rand::random::<u32>() as u64 + at as u64,
            }
            .start()
        });
    Ok(futures_util::future::try_join_all(starts).await?)
}

async fn stop_traffic(traffic: Vec<Running>) -> anyhow::Result<Vec<load::Record>> {
    let stops = traffic.into_iter().map(Running::stop);
    Ok(futures_util::future::try_join_all(stops).await?)
}

async fn make_report(
    fleet: &Fleet,
    change: &Change,
    apply_id: u64,
    before: Vec<load::Before>,
    records: Vec<load::Record>,
    killed: Vec<String>,
) -> anyhow::Result<Report> {
    let mut control = fleet.control.connect().await?;
    let submitted_micros = stage::submitted_micros(&mut control, apply_id).await?;
    let order = load::swap_order(&mut control, apply_id, fleet.deployments.len()).await?;
    let checks = fleet
        .deployments
        .iter()
        .zip(before.iter().zip(&records))
        .map(|(deployment, (before, record))| async move {
            let mut session = deployment.administrator.connect().await?;
            Ok::<_, anyhow::Error>(load::check(&mut session, change, before, record).await?)
        });
    let checks = futures_util::future::try_join_all(checks).await?;
    let outcomes = fleet
        .deployments
        .iter()
        .zip(checks.into_iter().zip(records))
        .map(|(deployment, (checked, record))| Outcome {
            deployment: deployment.name.clone(),
            checked,
            samples: record.samples,
        })
        .collect();
    Ok(Report {
        outcomes,
        order,
        submitted_micros,
        killed,
    })
}

/// How often the views are read while the rollout runs.
const LOOK: Duration = Duration::from_millis(250);
