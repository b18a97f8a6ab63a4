//! One driver with many operations at once: what it holds in memory, what its heartbeats cost, how fairly it shares.

use std::time::{Duration, Instant};

use sqlx::Row as _;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::process::{Child, ChildStdin};

use super::error::BenchError;
use super::process;
use super::report::Figure;
use crate::config::{ConnectionSettings, Credentials, DEFAULT_SCHEMA, Secret};
use crate::drive::child;
use crate::install;
use crate::server::{Server, ServerOptions};

const MOST_MEGABYTES: f64 = 200.0;
/// One; a beat on the border of the time may count on one side only.
const COMMITS_A_BEAT: f64 = 1.1;
/// How often the views are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Something is wrong if it takes longer than this until all have begun, or until all have ended.
const LIMIT: Duration = Duration::from_secs(900);

/// How much to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Operations, each on a deployment of its own [default: 100]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub operations: Option<u64>,
    /// Servers that hold the deployments, a schema each
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=10))]
    pub servers: u64,
    /// Rows of each table
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub rows: u64,
    /// How long heartbeats are counted while every copy is paused
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub beat_seconds: u64,
    /// Few operations, for a first look
    #[arg(long)]
    pub quick: bool,
}

/// Measures all; `shown` gets each line as soon as it is known.
///
/// # Errors
///
/// [`BenchError`] if there are no servers, or if an operation doesn't come to its end.
pub async fn run(options: Options, mut shown: impl FnMut(&str)) -> Result<Vec<Figure>, BenchError> {
    let fleet = Fleet::start(&options).await?;
    let mut figures = Vec::new();
    let mut note = |what: &str, value: f64, unit, most: Option<f64>| {
        let figure = Figure::new(fleet.operations, what, value, unit);
        let figure = match most {
            Some(most) => figure.at_most(most),
            None => figure,
        };
        shown(&figure.to_string());
        figures.push(figure);
    };
    let mut control = fleet.control.connect().await?;
    fleet.submit(&mut control).await?;
    fleet.throttle(&mut control, 10).await?;
    let mut driver = fleet.drive()?;
    // Each copy waits: nothing but heartbeats is committed.
    fleet
        .look(&mut control, &mut driver, |state| {
            state.paused == fleet.operations
        })
        .await?;
    let (beats, commits) = heartbeats(&mut control).await?;
    tokio::time::sleep(Duration::from_secs(options.beat_seconds)).await;
    let (more_beats, more_commits) = heartbeats(&mut control).await?;
    let beats = (more_beats - beats) as f64;
    note(
        "heartbeats a second",
        beats / options.beat_seconds as f64,
        "",
        None,
    );
    note(
        "commits a heartbeat, all leases together",
        (more_commits - commits) as f64 / beats,
        "",
        Some(COMMITS_A_BEAT),
    );
    let memory = driver.memory();
    if let Some(memory) = memory {
        note("memory of the driver, copies paused", memory, "MB", None);
    }

    fleet.throttle(&mut control, 0).await?;
    let start = Instant::now();
    let mut first = None;
    let mut half = None;
    fleet
        .look(&mut control, &mut driver, |state| {
            if state.completed > 0 && first.is_none() {
                first = Some((start.elapsed(), state.clone()));
            }
            if state.percent >= 50.0 && half.is_none() {
                half = Some(state.clone());
            }
            state.completed == fleet.operations
        })
        .await?;
    let total = start.elapsed().as_secs_f64();
    if let Some((at, state)) = first {
        note(
            "until the first operation has ended",
            at.as_secs_f64(),
            "s",
            None,
        );
        note("  copied by then, on average", state.percent, "%", None);
        note("  copied by then, the least of all", state.least, "%", None);
    }
    if let Some(state) = half {
        note(
            "when half of all is copied: the least of all",
            state.least,
            "%",
            None,
        );
        note("  deviation between operations", state.deviation, "%", None);
    }
    note("until the last operation has ended", total, "s", None);
    if let Some(cpu) = driver.child.id().and_then(process::cpu_seconds) {
        note("CPU of the driver", cpu, "s", None);
    }
    if let Some(memory) = driver.memory() {
        note(
            "memory of the driver, at most",
            memory,
            "MB",
            Some(MOST_MEGABYTES),
        );
    }
    Ok(figures)
}

struct Fleet {
    operations: u64,
    control: ConnectionSettings,
    account: Credentials,
    deployments: Vec<ConnectionSettings>,
    /// Stopped and removed when they are dropped.
    _servers: Vec<Server>,
}

impl Fleet {
    async fn start(options: &Options) -> Result<Self, BenchError> {
        let operations = options
            .operations
            .unwrap_or(if options.quick { 10 } else { 100 });
        let account = Credentials {
            user: "bench_driver".to_owned(),
            password: Secret::new(hex::encode(rand::random::<[u8; 16]>())),
        };
        let control_server = Server::start(ServerOptions::durable("bench-control")).await?;
        let control = control_server
            .administrator()
            .clone()
            .with_schema(DEFAULT_SCHEMA);
        install::install(&control).await?;
        let mut servers = vec![control_server];
        let mut deployments = Vec::new();
        for number in 0..options.servers.min(operations) {
            let server = Server::start(ServerOptions::durable(&format!("bench-{number}"))).await?;
            let settings = server.administrator().clone();
            let schemas = (number..operations).step_by(options.servers as usize);
            fill(&settings, &account, schemas, options.rows).await?;
            deployments.push(settings);
            servers.push(server);
        }
        Ok(Self {
            operations,
            control,
            account,
            deployments,
            _servers: servers,
        })
    }

    /// One apply an operation: its schema is its own.
    async fn submit(&self, control: &mut MySqlConnection) -> Result<(), BenchError> {
        for (number, server) in (0..self.operations).zip(self.deployments.iter().cycle()) {
            let name = format!("cell-{number}");
            sqlx::query("CALL deployment_register(?, ?, ?, ?, NULL)")
                .bind(&name)
                .bind(number)
                .bind(&server.host)
                .bind(server.port)
                .execute(&mut *control)
                .await?;
            let options = serde_json::json!({"name": name, "deployments": [name]});
            sqlx::query("CALL apply_submit(?, 'ALTER TABLE t MODIFY k BIGINT NOT NULL', ?)")
                .bind(format!("cell_{number}"))
                .bind(options.to_string())
                .execute(&mut *control)
                .await?;
        }
        Ok(())
    }

    async fn throttle(&self, control: &mut MySqlConnection, level: u8) -> Result<(), BenchError> {
        let applies: Vec<u64> = sqlx::query_scalar("SELECT a.apply_id FROM apply_status AS a")
            .fetch_all(&mut *control)
            .await?;
        for apply in applies {
            sqlx::query("CALL apply_throttle(?, ?, 'bench')")
                .bind(apply)
                .bind(level)
                .execute(&mut *control)
                .await?;
        }
        Ok(())
    }

    fn drive(&self) -> Result<Driver, BenchError> {
        let failed = BenchError::process("a driver");
        let mut child = child::command(&self.control, &self.account)
            .map_err(&failed)?
            .args(["--concurrency", &self.operations.to_string()])
            .spawn()
            .map_err(&failed)?;
        Ok(Driver {
            _input: child.stdin.take(),
            child,
        })
    }

    /// Looks until `is_there` says so.
    async fn look(
        &self,
        control: &mut MySqlConnection,
        driver: &mut Driver,
        mut is_there: impl FnMut(&State) -> bool,
    ) -> Result<(), BenchError> {
        let start = Instant::now();
        loop {
            let state = State::read(control).await?;
            if is_there(&state) {
                return Ok(());
            }
            let ended = driver
                .child
                .try_wait()
                .map_err(BenchError::process("the driver"))?;
            if let Some(status) = ended {
                return Err(BenchError::Tool(format!("the driver ended with {status}")));
            }
            if state.failed > 0 || start.elapsed() > LIMIT {
                return Err(BenchError::Tool(format!(
                    "after {:.0} s {} of {} operations have failed and {} have ended: {}",
                    start.elapsed().as_secs_f64(),
                    state.failed,
                    self.operations,
                    state.completed,
                    state.error
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

struct Driver {
    child: Child,
    /// It ends when this is closed.
    _input: Option<ChildStdin>,
}

impl Driver {
    fn memory(&self) -> Option<f64> {
        self.child.id().and_then(process::peak_megabytes)
    }
}

/// All operations at one moment.
#[derive(Clone, Debug)]
struct State {
    /// Claimed, planned, and kept from copying by the throttle.
    paused: u64,
    completed: u64,
    failed: u64,
    /// Copied on average, and of the one that is least far; of an ended one, all.
    percent: f64,
    least: f64,
    deviation: f64,
    error: String,
}

impl State {
    async fn read(control: &mut MySqlConnection) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(
            "SELECT CAST(COUNT(o.throttled_by) AS UNSIGNED),
                    CAST(COALESCE(SUM(o.state = 'completed'), 0) AS UNSIGNED),
                    CAST(COALESCE(SUM(o.state = 'failed'), 0) AS UNSIGNED),
                    CAST(AVG(IF(o.state = 'completed', 100, COALESCE(o.percent, 0))) AS DOUBLE),
                    CAST(MIN(IF(o.state = 'completed', 100, COALESCE(o.percent, 0))) AS DOUBLE),
                    CAST(STDDEV_POP(IF(o.state = 'completed', 100, COALESCE(o.percent, 0))) AS DOUBLE),
                    CAST(COALESCE(MAX(o.error), '') AS CHAR)
               FROM operation_status AS o",
        )
        .fetch_one(control)
        .await?;
        Ok(Self {
            paused: row.try_get(0)?,
            completed: row.try_get(1)?,
            failed: row.try_get(2)?,
            percent: row.try_get(3)?,
            least: row.try_get(4)?,
            deviation: row.try_get(5)?,
            error: row.try_get(6)?,
        })
    }
}

/// Heartbeats and commits that the control database has seen so far.
async fn heartbeats(control: &mut MySqlConnection) -> Result<(u64, u64), sqlx::Error> {
    let row = sqlx::query(
        "SELECT (SELECT CAST(COALESCE(SUM(p.count_star), 0) AS UNSIGNED)
                   FROM performance_schema.events_statements_summary_by_program AS p
                  WHERE p.object_name = 'driver_heartbeat'),
                (SELECT CAST(g.variable_value AS UNSIGNED)
                   FROM performance_schema.global_status AS g
                  WHERE g.variable_name = 'Binlog_cache_use')",
    )
    .fetch_one(control)
    .await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

async fn fill(
    settings: &ConnectionSettings,
    account: &Credentials,
    numbers: impl Iterator<Item = u64>,
    rows: u64,
) -> Result<(), sqlx::Error> {
    let mut session = settings.connect().await?;
    // The password is hexadecimal: it needs no quoting.
    let mut statements = vec![
        "SET SESSION sql_log_bin = 0, cte_max_recursion_depth = 1000000".to_owned(),
        format!(
            "CREATE USER {user}@'%' IDENTIFIED BY '{}'",
            account.password.expose(),
            user = account.user
        ),
        format!("GRANT ALL ON *.* TO {}@'%'", account.user),
    ];
    for number in numbers {
        statements.push(format!(
            "CREATE DATABASE cell_{number};
             CREATE TABLE cell_{number}.t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, KEY (k));
             INSERT INTO cell_{number}.t (k, c)
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             SELECT i, SHA2(i, 256) FROM n"
        ));
    }
    for statement in statements {
        session.execute(AssertSqlSafe(statement)).await?;
    }
    Ok(())
}
