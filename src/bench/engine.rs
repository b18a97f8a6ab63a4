//! What a change of a large table costs, beside the server's own ways, other tools, and the least that a copy costs.
//!
//! Everything is measured in one run on one server, since only the ratios mean something. Each way changes a table
//! that was made anew, on a server that has written out what was filled in.

mod change;
mod idle;
mod load;
mod loaded;
mod peers;
mod swaps;
mod tables;
mod ways;

use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::Row as _;
use sqlx::mysql::MySqlConnection;

use super::error::BenchError;
use super::report::Figure;
use crate::config::ConnectionSettings;
use crate::load::until_written_out;
use crate::server::{Server, ServerOptions};

pub use change::serve;
pub use tables::Shape;
pub use ways::Way;

/// How much to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Tables: A is sysbench's, B has six secondary indexes, C a random binary key
    #[arg(long, value_delimiter = ',', ignore_case = true, default_values = ["A", "B", "C"])]
    pub tables: Vec<Shape>,
    /// Ways to change them
    #[arg(long, value_delimiter = ',', default_values = ["lockkeeper", "floor", "inplace", "copy", "gh-ost", "pt-osc"])]
    pub ways: Vec<Way>,
    /// Rows of each table [default: 1000000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..))]
    pub rows: Option<u64>,
    /// How often each way is measured on an idle server; the median counts [default: 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: Option<u32>,
    /// Writes a second of the load
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub load: u32,
    /// Swaps under load whose longest waits are compared [default: 10]
    #[arg(long)]
    pub swaps: Option<u32>,
    /// Leave the load out
    #[arg(long)]
    pub idle_only: bool,
    /// Small numbers, for a first look
    #[arg(long)]
    pub quick: bool,
}

impl Options {
    fn rows(&self) -> u64 {
        self.rows
            .unwrap_or(if self.quick { 100_000 } else { 1_000_000 })
    }

    fn runs(&self) -> u32 {
        self.runs.unwrap_or(if self.quick { 1 } else { 3 })
    }

    fn swaps(&self) -> u32 {
        self.swaps.unwrap_or(if self.quick { 2 } else { 10 })
    }

    /// Traffic without a change, to compare with.
    fn calm_seconds(&self) -> f64 {
        if self.quick { 0.5 } else { 5.0 }
    }
}

/// Measures all; `shown` gets each line as soon as it is known.
///
/// # Errors
///
/// [`BenchError`] if there is no server, or if a change fails.
pub async fn run(options: Options, shown: impl FnMut(&str)) -> Result<Vec<Figure>, BenchError> {
    let server = Server::named_or_start(
        ServerOptions::durable("bench")
            .flag("--innodb-buffer-pool-size=2G")
            .flag("--loose-innodb-redo-log-capacity=2G")
            // Off by default below 32 processors; then a commit may wait 100 ms for another session that lost its
            // processor in mid-write, which happens to 1 in 100 as soon as all are busy, whoever makes them so.
            .flag("--loose-innodb-log-writer-threads=ON"),
    )
    .await?;
    let mut report = Report {
        figures: Vec::new(),
        shown,
    };
    let mut ways = options.ways.clone();
    ways.retain(|way| match way.peer() {
        Some(program) if !peers::is_on_path(program) => {
            report.say(&format!("{program}: not on PATH"));
            false
        }
        _ => true,
    });
    let mut settings = server.administrator().clone().connect().await?;
    report.say(&surroundings(&mut settings).await?);
    for &shape in &options.tables {
        let bench = Bench::prepare(&server, shape, options.rows()).await?;
        idle::measure(&bench, &options, &ways, &mut report).await?;
        if !options.idle_only {
            loaded::measure(&bench, &options, &ways, &mut report).await?;
        }
        bench.remove().await?;
        if !options.idle_only {
            swaps::measure(&server, shape, &options, &mut report).await?;
        }
    }
    Ok(report.figures)
}

/// Lines for people, and the figures among them.
struct Report<F> {
    figures: Vec<Figure>,
    shown: F,
}

impl<F: FnMut(&str)> Report<F> {
    fn say(&mut self, text: &str) {
        (self.shown)(text);
    }

    fn note(&mut self, figure: Figure) {
        (self.shown)(&figure.to_string());
        self.figures.push(figure);
    }
}

/// One schema with one table.
struct Bench {
    shape: Shape,
    rows: u64,
    settings: ConnectionSettings,
    server_pid: Option<u32>,
    operations: AtomicU64,
}

impl Bench {
    async fn prepare(server: &Server, shape: Shape, rows: u64) -> Result<Self, BenchError> {
        let name = format!("bench_engine_{}_{rows}", shape.name().to_lowercase());
        let bench = Self {
            shape,
            rows,
            settings: server.administrator().clone().with_schema(&name),
            server_pid: server.pid(),
            operations: AtomicU64::new(0),
        };
        bench.remove().await?;
        let mut session = bench.settings.clone().without_schema().connect().await?;
        tables::run(
            &mut session,
            &format!("SET sql_log_bin = 0; CREATE DATABASE {name}; USE {name}"),
        )
        .await?;
        tables::make_source(&mut session, shape, rows).await?;
        Ok(bench)
    }

    async fn session(&self) -> Result<MySqlConnection, sqlx::Error> {
        self.settings.connect().await
    }

    fn next_operation(&self) -> u64 {
        self.operations.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The table as it was before any change, and nothing of former ones.
    async fn renew(&self) -> Result<(), BenchError> {
        let mut session = self.session().await?;
        let left: Vec<String> = sqlx::query_scalar(
            "SELECT CAST(TABLE_NAME AS CHAR) FROM information_schema.TABLES \
              WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME <> 'source'",
        )
        .fetch_all(&mut session)
        .await?;
        for table in left {
            tables::run(&mut session, &format!("DROP TABLE `{table}`")).await?;
        }
        tables::make_changed(self, self.shape, self.rows).await?;
        Ok(until_written_out(&mut session).await?)
    }

    async fn remove(&self) -> Result<(), sqlx::Error> {
        let mut session = self.settings.clone().without_schema().connect().await?;
        let name = self.settings.schema();
        tables::run(&mut session, &format!("DROP DATABASE IF EXISTS `{name}`")).await
    }
}

/// What the figures depend on.
async fn surroundings(session: &mut MySqlConnection) -> Result<String, BenchError> {
    let row = sqlx::query(
        "SELECT CAST(VERSION() AS CHAR), @@GLOBAL.sync_binlog, @@GLOBAL.innodb_flush_log_at_trx_commit, \
                CAST(@@GLOBAL.gtid_mode AS CHAR), CAST(@@GLOBAL.innodb_buffer_pool_size / 1048576 AS SIGNED), \
                COALESCE((SELECT v.VARIABLE_VALUE FROM performance_schema.global_variables AS v \
                           WHERE v.VARIABLE_NAME = 'innodb_log_writer_threads'), 'unknown')",
    )
    .fetch_one(session)
    .await?;
    let version: String = row.try_get_unchecked(0)?;
    let sync: i64 = row.try_get_unchecked(1)?;
    let flush: i64 = row.try_get_unchecked(2)?;
    let gtid: String = row.try_get_unchecked(3)?;
    let pool: i64 = row.try_get_unchecked(4)?;
    let log_writers: String = row.try_get_unchecked(5)?;
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let busy = sysinfo::System::load_average().one;
    Ok(format!(
        "MySQL {version}, sync_binlog {sync}, innodb_flush_log_at_trx_commit {flush}, gtid_mode {gtid}, \
         innodb_log_writer_threads {log_writers}, buffer pool {pool} MB; {processors} processors, load average {busy:.1} before the start"
    ))
}
