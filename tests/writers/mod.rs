//! Writers that know what every row must be: each owns the rows of its number and remembers what
//! was acknowledged. Those that nobody writes to must stay as they are. Nothing of this is shared with the engine.

#![allow(dead_code)] // each test binary uses its own part

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tokio::task::JoinHandle;

use crate::deployment::Deployment;
use crate::support::{self, PATIENCE, eventually};

/// What writers write to.
pub const TABLE: &str = "CREATE TABLE orders (\
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, worker INT NOT NULL, amount DECIMAL(12,4) NULL, \
    note VARCHAR(80) NULL, body JSON NULL, ratio DOUBLE NULL, small FLOAT NULL, at DATETIME(6) NULL, \
    touched TIMESTAMP(3) NULL, raw VARBINARY(40) NULL, KEY by_note (note), KEY by_worker (worker, at))";

/// What a row holds, column by column, as one text that the server makes of it.
type Rows = BTreeMap<i64, String>;

const SHOWN: &str = "CONCAT_WS('|', worker, IFNULL(amount, '-'), IFNULL(HEX(note), '-'), \
    IFNULL(body, '-'), IFNULL(CAST(ratio AS CHAR), '-'), IFNULL(CAST(small + 0e0 AS CHAR), '-'), \
    IFNULL(CONCAT(JSON_TYPE(body->'$.d'), JSON_TYPE(body->'$.u'), JSON_TYPE(body->'$.t'), JSON_TYPE(body->'$.e')), '-'), IFNULL(at, '-'), IFNULL(touched, '-'), IFNULL(HEX(raw), '-'))";

/// Rows of nobody have this worker.
const NOBODY: u64 = 100;

/// Rows that were there before have their writer's number and this.
const FILLED: u64 = 200;

const MOST_WRITERS: u64 = 32;

/// The table, with so many rows in it.
pub async fn create(deployment: &mut Deployment, rows: u32) {
    deployment.run(TABLE).await;
    fill(deployment, rows).await;
}

/// Every writer has up to a hundred of the rows, over all of the table; most are nobody's.
pub async fn fill(deployment: &mut Deployment, rows: u32) {
    let part = (u64::from(rows) / 100).max(2 * MOST_WRITERS);
    deployment
        .run(&format!(
            "SET SESSION cte_max_recursion_depth = 10000000; \
             INSERT INTO orders (worker, amount, note, body, ratio, small, at, touched, raw) \
             WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             SELECT IF(i % {part} < {MOST_WRITERS}, {FILLED} + i % {part}, {NOBODY}), i / 7, CONCAT('note ', i), \
                    JSON_OBJECT('i', i, 'f', i / 3, 's', CONCAT('x', i)), \
                    RAND(i), RAND(i), '2024-01-01' + INTERVAL i SECOND, '2024-01-01' + INTERVAL i SECOND, \
                    UNHEX(SHA2(i, 256)) FROM n"
        ))
        .await;
}

/// Tells whether the table holds the same rows as before.
pub async fn digest(deployment: &Deployment) -> String {
    let mut connection = connect(deployment).await;
    digest_of(&mut connection, "TRUE").await
}

async fn digest_of(connection: &mut MySqlConnection, condition: &str) -> String {
    let row = format!("CRC32(CONCAT(id, '|', {SHOWN}))");
    let sql = format!(
        "SELECT CONCAT_WS(' ', COUNT(*), SUM({row}), BIT_XOR({row})) FROM orders WHERE {condition}"
    );
    let row = connection.fetch_one(AssertSqlSafe(sql)).await;
    row.expect("the rows").try_get_unchecked(0).expect("a text")
}

async fn rows_of(connection: &mut MySqlConnection, condition: &str) -> Rows {
    let sql = format!("SELECT CAST(id AS SIGNED), {SHOWN} FROM orders WHERE {condition}");
    let rows = connection
        .fetch_all(AssertSqlSafe(sql))
        .await
        .expect("the rows");
    rows.iter()
        .map(|row| {
            (
                row.try_get_unchecked(0).expect("id"),
                row.try_get_unchecked(1).expect("text"),
            )
        })
        .collect()
}

pub struct Writers {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    longest_micros: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Rows>>,
    of_nobody: String,
}

/// A writer with so many rows deletes rather than inserts: else the table grows as long as the test runs.
const MOST_ROWS: usize = 500;

impl Writers {
    /// At a pace that leaves the change some of a small machine.
    pub async fn start(deployment: &Deployment, number: u64) -> Self {
        Self::start_each(deployment, number, Duration::from_millis(10)).await
    }

    /// Each writes once in `interval`; a write's wait counts from when it was due.
    pub async fn start_each(deployment: &Deployment, number: u64, interval: Duration) -> Self {
        assert!(number <= MOST_WRITERS);
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let longest_micros = Arc::new(AtomicU64::new(0));
        let seed = support::seed();
        let mut connection = connect(deployment).await;
        let of_nobody = digest_of(&mut connection, &of_nobody(number)).await;
        let mut tasks = Vec::new();
        for worker in 0..number {
            let mut writer = Writer::of(deployment, worker, seed).await;
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            let longest = Arc::clone(&longest_micros);
            tasks.push(tokio::spawn(async move {
                let mut due = Instant::now() + interval.mul_f64(writer.random.random());
                while !stop.load(Ordering::Relaxed) {
                    tokio::time::sleep_until(due.into()).await;
                    writer.write().await;
                    let micros =
                        u64::try_from(due.elapsed().as_micros()).expect("no write takes an age");
                    longest.fetch_max(micros, Ordering::Relaxed);
                    count.fetch_add(1, Ordering::Relaxed);
                    due += interval;
                }
                writer.rows
            }));
        }
        Self {
            stop,
            count,
            longest_micros,
            tasks,
            of_nobody,
        }
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until so many more have been acknowledged.
    pub async fn more(&self, number: u64) {
        let before = self.count();
        eventually("more writes", PATIENCE, async || {
            self.count() > before + number
        })
        .await;
    }

    /// Of the writes that ended since this was asked last.
    pub fn longest_wait(&self) -> Duration {
        Duration::from_micros(self.longest_micros.swap(0, Ordering::Relaxed))
    }

    /// All that the writers know of.
    pub async fn stop(self) -> Known {
        self.stop.store(true, Ordering::Relaxed);
        let writers = self.tasks.len() as u64;
        let mut rows = Rows::new();
        for task in self.tasks {
            rows.extend(task.await.expect("a writer"));
        }
        Known {
            rows,
            writers,
            of_nobody: self.of_nobody,
        }
    }

    /// Stops them, and compares the table with what they know.
    pub async fn check(self, deployment: &Deployment) {
        self.stop().await.check(deployment).await;
    }
}

/// The rows that none of so many writers touches.
fn of_nobody(writers: u64) -> String {
    format!("worker = {NOBODY} OR worker >= {FILLED} + {writers}")
}

struct Writer {
    connection: MySqlConnection,
    worker: u64,
    random: StdRng,
    rows: Rows,
    /// Keys that its rows had.
    former: Vec<i64>,
}

async fn connect(deployment: &Deployment) -> MySqlConnection {
    let mut connection = deployment.settings.connect().await.expect("a session");
    connection
        .execute(AssertSqlSafe(format!(
            "USE `{}`; SET time_zone = '+05:30'",
            deployment.schema
        )))
        .await
        .expect("the schema");
    connection
}

impl Writer {
    async fn of(deployment: &Deployment, worker: u64, seed: u64) -> Self {
        let mut connection = connect(deployment).await;
        let filled = format!("worker = {FILLED} + {worker}");
        let rows = rows_of(&mut connection, &filled).await;
        Self {
            connection,
            worker,
            random: StdRng::seed_from_u64(seed.wrapping_add(worker)),
            rows,
            former: Vec::new(),
        }
    }

    async fn write(&mut self) {
        let (worker, random) = (self.worker, &mut self.random);
        let note = format!("wörker {worker} {}", random.random::<u32>());
        let values = format!(
            "{}, '{note}', JSON_OBJECT('n', {}, 'd', CAST({} AS DECIMAL(10,2)), 'u', CAST(5 AS UNSIGNED), 't', NOW(6), 'e', 1e0), \
             {:e}, {:e}, NOW(6), NOW(3), x'{}'",
            random.random_range(-1_000_000..1_000_000),
            random.random::<u32>(),
            random.random_range(0..1000),
            random.random::<f64>(),
            random.random::<f32>(),
            hex::encode(random.random::<[u8; 12]>()),
        );
        let known: Vec<i64> = self.rows.keys().copied().collect();
        let choice = random.random_range(0..10);
        if known.is_empty() || choice < 4 && known.len() < MOST_ROWS {
            let id = self
                .run(&format!(
                    "INSERT INTO orders (worker, amount, note, body, ratio, small, at, touched, raw) VALUES ({worker}, {values})"
                ))
                .await;
            self.learn(id as i64).await;
            return;
        }
        let id = known[random.random_range(0..known.len())];
        match choice {
            4..=6 => {
                self.run(&format!(
                    "UPDATE orders SET note = '{note}', amount = amount + 1, touched = NOW(3) WHERE id = {id}"
                ))
                .await;
                self.learn(id).await;
            }
            7 => {
                let new = self.another_key();
                self.run(&format!("UPDATE orders SET id = {new} WHERE id = {id}"))
                    .await;
                let row = self.rows.remove(&id).expect("a known row");
                self.rows.insert(new, row);
                self.former.push(id);
            }
            _ => {
                self.run(&format!("DELETE FROM orders WHERE id = {id}"))
                    .await;
                self.rows.remove(&id);
                self.former.push(id);
            }
        }
    }

    /// Far above all others, far below them, or in between, where a row of its own was: on either side of what is copied.
    fn another_key(&mut self) -> i64 {
        let random = &mut self.random;
        let first = 1_000_000 + self.worker as i64 * 50_000_000;
        let far = loop {
            let far = first + random.random_range(0..45_000_000);
            if !self.rows.contains_key(&far) && !self.rows.contains_key(&-far) {
                break far;
            }
        };
        match random.random_range(0..4) {
            0 => far,
            1 => -far,
            _ if self.former.is_empty() => far,
            _ => {
                let one = random.random_range(0..self.former.len());
                self.former.swap_remove(one)
            }
        }
    }

    async fn run(&mut self, statement: &str) -> u64 {
        self.connection
            .execute(AssertSqlSafe(statement.to_owned()))
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"))
            .last_insert_id()
    }

    async fn learn(&mut self, id: i64) {
        let row = rows_of(&mut self.connection, &format!("id = {id}")).await;
        assert_eq!(row.len(), 1, "the row {id}");
        self.rows.extend(row);
    }
}

/// What the table must hold.
pub struct Known {
    rows: Rows,
    writers: u64,
    of_nobody: String,
}

impl Known {
    pub async fn check(&self, deployment: &Deployment) {
        let mut connection = connect(deployment).await;
        let of_nobody = of_nobody(self.writers);
        let found = rows_of(&mut connection, &format!("NOT ({of_nobody})")).await;
        let mut wrong = Vec::new();
        for (id, row) in &self.rows {
            if found.get(id) != Some(row) {
                wrong.push(format!(
                    "{id}: expected {row}\n     found {:?}",
                    found.get(id)
                ));
            }
        }
        wrong.extend(
            found
                .keys()
                .filter(|id| !self.rows.contains_key(id))
                .map(|id| format!("{id}: extra")),
        );
        assert!(
            wrong.is_empty(),
            "{} of {} rows are wrong:\n{}",
            wrong.len(),
            self.rows.len(),
            wrong[..wrong.len().min(10)].join("\n")
        );
        let untouched = digest_of(&mut connection, &of_nobody).await;
        assert_eq!(untouched, self.of_nobody, "rows that nobody wrote");
        connection.close().await.expect("an orderly end");
    }
}
