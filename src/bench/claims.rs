//! What a claim costs, beside the plain form of its predicate and beside the least that any claim could cost.
//!
//! Everything is measured in one run on one server, since only the ratios mean something: the *floor* is a
//! procedure with one UPDATE by primary key and a commit; the *plain form* is one SELECT with NOT EXISTS over
//! the siblings, ORDER BY and LIMIT 1 FOR UPDATE SKIP LOCKED, and an UPDATE, on the same operations.

mod data;
mod measure;
mod phases;
mod promises;

use std::time::Duration;

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use crate::config::ConnectionSettings;
use crate::install;
use crate::server::{Server, ServerOptions};

use super::error::BenchError;
use super::report::Figure;

/// How much to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Numbers of operations, 95 % of them history [default: 100,10000,100000,1000000]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..))]
    pub sizes: Option<Vec<u64>>,
    /// Numbers of sessions that claim side by side
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32], value_parser = clap::value_parser!(u32).range(1..))]
    pub claimers: Vec<u32>,
    /// Calls of each kind for a latency [default: 1000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: Option<u32>,
    /// Claims of all sessions together, for a rate [default: 4000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub burst: Option<u64>,
    /// How long a snapshot is held open before the polls that have to pass it [default: 60]
    #[arg(long)]
    pub snapshot_seconds: Option<u64>,
    /// Leases that are kept alive by 8 drivers
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(8..))]
    pub leases: u64,
    /// Races of a stop with a claim [default: 10000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub races: Option<u64>,
    /// Claims of 16 sessions, none of which may come away empty [default: 100000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(16..))]
    pub tries: Option<u64>,
    /// Small numbers, for a first look
    #[arg(long)]
    pub quick: bool,
}

/// What is measured: as it was asked for, else as `--quick` has it, or not.
#[derive(Clone, Debug)]
struct Amounts {
    sizes: Vec<u64>,
    claimers: Vec<u32>,
    samples: u32,
    burst: u64,
    snapshot_seconds: u64,
    leases: u64,
    races: u64,
    tries: u64,
}

impl From<Options> for Amounts {
    fn from(asked: Options) -> Self {
        fn or<T>(asked: Option<T>, is_quick: bool, quick: T, usual: T) -> T {
            asked.unwrap_or(if is_quick { quick } else { usual })
        }
        let quick = asked.quick;
        Self {
            sizes: or(
                asked.sizes,
                quick,
                vec![100, 10_000],
                vec![100, 10_000, 100_000, 1_000_000],
            ),
            claimers: asked.claimers,
            samples: or(asked.samples, quick, 300, 1000),
            burst: or(asked.burst, quick, 1500, 4000),
            snapshot_seconds: or(asked.snapshot_seconds, quick, 2, 60),
            leases: asked.leases,
            races: or(asked.races, quick, 300, 10_000),
            tries: or(asked.tries, quick, 3000, 100_000),
        }
    }
}

/// Measures all; `shown` gets each figure as soon as it is known.
///
/// # Errors
///
/// [`BenchError`] if there is no server, or if it refuses anything.
pub async fn run(
    options: Options,
    mut shown: impl FnMut(&Figure),
) -> Result<Vec<Figure>, BenchError> {
    let amounts = Amounts::from(options);
    let server = Server::named_or_start(
        ServerOptions::durable("bench")
            .flag("--innodb-buffer-pool-size=1G")
            .flag("--loose-innodb-redo-log-capacity=1G"),
    )
    .await?;
    let mut figures = Vec::new();
    let mut note = |figure: Figure| {
        shown(&figure);
        figures.push(figure);
    };
    for &size in &amounts.sizes {
        let bench = Bench::prepare(&server, size).await?;
        phases::latency(&bench, &amounts, &mut note).await?;
        phases::empty_polls(&bench, &amounts, &mut note).await?;
        phases::rates(&bench, &amounts, &mut note).await?;
        if Some(&size) == amounts.sizes.last() {
            phases::heartbeats(&bench, &amounts, &mut note).await?;
            phases::polls_past_a_snapshot(&bench, &amounts, &mut note).await?;
        }
        bench.remove().await?;
    }
    let bench = Bench::prepare(&server, 100).await?;
    promises::stop_against_claim(&bench, &amounts, &mut note).await?;
    promises::nobody_goes_away_empty(&bench, &amounts, &mut note).await?;
    bench.remove().await?;
    Ok(figures)
}

/// One installation with `size` operations.
struct Bench {
    size: u64,
    settings: ConnectionSettings,
}

impl Bench {
    fn figure(&self, what: impl Into<String>, value: f64, unit: &'static str) -> Figure {
        Figure::new(self.size, what, value, unit)
    }

    async fn prepare(server: &Server, size: u64) -> Result<Self, BenchError> {
        let settings = server
            .administrator()
            .clone()
            .with_schema(&format!("bench_claims_{size}"));
        let bench = Self { size, settings };
        bench.remove().await?;
        install::install(&bench.settings).await?;
        data::fill(&mut bench.connect().await?, size).await?;
        Ok(bench)
    }

    async fn connect(&self) -> Result<MySqlConnection, sqlx::Error> {
        self.settings.connect().await
    }

    async fn sessions(&self, count: u32) -> Result<Vec<MySqlConnection>, sqlx::Error> {
        let mut sessions = Vec::new();
        for _ in 0..count {
            sessions.push(self.connect().await?);
        }
        Ok(sessions)
    }

    async fn remove(&self) -> Result<(), sqlx::Error> {
        let mut session = self.settings.clone().without_schema().connect().await?;
        let statement = format!("DROP DATABASE IF EXISTS `{}`", self.settings.schema());
        session.execute(AssertSqlSafe(statement)).await?;
        session.close().await
    }
}

/// Takes part in no lock: gives the purge of old row versions a moment, as between two polls of a driver.
const BREATH: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::{Amounts, Options};

    #[test]
    fn what_was_asked_for_holds_in_a_first_look_too() {
        let command = Options::augment_args(clap::Command::new("claims"));
        let asked = ["claims", "--quick", "--sizes", "1000000"];
        let matches = command.try_get_matches_from(asked).expect("understood");
        let options = Options::from_arg_matches(&matches).expect("options");
        let amounts = Amounts::from(options);
        assert_eq!((amounts.sizes, amounts.samples), (vec![1_000_000], 300));
    }
}
