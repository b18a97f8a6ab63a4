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
    /// Numbers of operations, 95 % of them history
    #[arg(long, value_delimiter = ',', default_values_t = [100, 10_000, 100_000, 1_000_000])]
    pub sizes: Vec<u64>,
    /// Numbers of sessions that claim side by side
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32])]
    pub claimers: Vec<u32>,
    /// Calls of each kind for a latency
    #[arg(long, default_value_t = 1000)]
    pub samples: u32,
    /// Claims of all sessions together, for a rate
    #[arg(long, default_value_t = 4000)]
    pub burst: u64,
    /// How long a snapshot is held open before the polls that have to pass it
    #[arg(long, default_value_t = 60)]
    pub snapshot_seconds: u64,
    /// Leases that are kept alive by 8 drivers
    #[arg(long, default_value_t = 10_000)]
    pub leases: u64,
    /// Races of a stop with a claim
    #[arg(long, default_value_t = 10_000)]
    pub races: u64,
    /// Claims of 16 sessions, none of which may come away empty
    #[arg(long, default_value_t = 100_000)]
    pub tries: u64,
    /// Small numbers, for a first look
    #[arg(long)]
    pub quick: bool,
}

impl Options {
    fn sized(mut self) -> Self {
        if self.quick {
            self.sizes = vec![100, 10_000];
            self.samples = 300;
            self.burst = 1500;
            self.snapshot_seconds = 2;
            self.races = 300;
            self.tries = 3000;
        }
        self
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
    let options = options.sized();
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
    for &size in &options.sizes {
        let bench = Bench::prepare(&server, size).await?;
        phases::latency(&bench, &options, &mut note).await?;
        phases::empty_polls(&bench, &options, &mut note).await?;
        phases::rates(&bench, &options, &mut note).await?;
        if Some(&size) == options.sizes.last() {
            phases::heartbeats(&bench, &options, &mut note).await?;
            phases::polls_past_a_snapshot(&bench, &options, &mut note).await?;
        }
        bench.remove().await?;
    }
    let bench = Bench::prepare(&server, 100).await?;
    promises::stop_against_claim(&bench, &options, &mut note).await?;
    promises::nobody_goes_away_empty(&bench, &options, &mut note).await?;
    bench.remove().await?;
    Ok(figures)
}

/// One installation with `size` operations.
struct Bench {
    size: u64,
    settings: ConnectionSettings,
}

impl Bench {
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
