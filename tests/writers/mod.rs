//! Writers that know what every row must be: each owns the rows of its number and remembers what
//! was acknowledged. Nothing of this is shared with the engine.

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

/// What a row holds, column by column, as one text that the server makes of it.
pub type Rows = BTreeMap<i64, String>;

const SHOWN: &str = "CONCAT_WS('|', worker, IFNULL(amount, '-'), IFNULL(HEX(note), '-'), \
    IFNULL(body, '-'), IFNULL(CAST(ratio AS CHAR), '-'), IFNULL(CAST(small + 0e0 AS CHAR), '-'), \
    IFNULL(CONCAT(JSON_TYPE(body->'$.d'), JSON_TYPE(body->'$.u'), JSON_TYPE(body->'$.t'), JSON_TYPE(body->'$.e')), '-'), IFNULL(at, '-'), IFNULL(touched, '-'), IFNULL(HEX(raw), '-'))";

pub async fn fill(deployment: &mut Deployment, rows: u32) {
    deployment
        .run(&format!(
            "SET SESSION cte_max_recursion_depth = 10000000; \
             INSERT INTO orders (worker, amount, note, body, ratio, small, at, touched, raw) \
             WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             SELECT 100, i / 7, CONCAT('note ', i), JSON_OBJECT('i', i, 'f', i / 3, 's', CONCAT('x', i)), \
                    RAND(i), RAND(i), '2024-01-01' + INTERVAL i SECOND, '2024-01-01' + INTERVAL i SECOND, \
                    UNHEX(SHA2(i, 256)) FROM n"
        ))
        .await;
}

pub struct Writers {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    longest_micros: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Rows>>,
    others: u64,
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
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let longest_micros = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for worker in 0..number {
            let mut connection = connect(deployment).await;
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            let longest = Arc::clone(&longest_micros);
            tasks.push(tokio::spawn(async move {
                let mut rows = Rows::new();
                let mut random = StdRng::seed_from_u64(worker);
                let mut due = Instant::now() + interval.mul_f64(random.random());
                while !stop.load(Ordering::Relaxed) {
                    tokio::time::sleep_until(due.into()).await;
                    write(&mut connection, worker, &mut rows, &mut random).await;
                    let micros =
                        u64::try_from(due.elapsed().as_micros()).expect("no write takes an age");
                    longest.fetch_max(micros, Ordering::Relaxed);
                    count.fetch_add(1, Ordering::Relaxed);
                    due += interval;
                }
                rows
            }));
        }
        Self {
            stop,
            count,
            longest_micros,
            tasks,
            others: number,
        }
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Of the writes that ended since this was asked last.
    pub fn longest_wait(&self) -> Duration {
        Duration::from_micros(self.longest_micros.swap(0, Ordering::Relaxed))
    }

    /// All rows that the writers know of.
    pub async fn stop(self) -> Rows {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Rows::new();
        for task in self.tasks {
            all.extend(task.await.expect("a writer"));
        }
        all
    }
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

async fn write(
    connection: &mut MySqlConnection,
    worker: u64,
    rows: &mut Rows,
    random: &mut StdRng,
) {
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
    let known: Vec<i64> = rows.keys().copied().collect();
    let choice = random.random_range(0..10);
    if known.is_empty() || choice < 4 && known.len() < MOST_ROWS {
        let id: u64 = connection
            .execute(AssertSqlSafe(format!(
                "INSERT INTO orders (worker, amount, note, body, ratio, small, at, touched, raw) VALUES ({worker}, {values})"
            )))
            .await
            .expect("an insert")
            .last_insert_id();
        let shown = show(connection, id as i64).await;
        rows.insert(id as i64, shown);
        return;
    }
    let id = known[random.random_range(0..known.len())];
    match choice {
        4..=6 => {
            connection
                .execute(AssertSqlSafe(format!(
                    "UPDATE orders SET note = '{note}', amount = amount + 1, touched = NOW(3) WHERE id = {id}"
                )))
                .await
                .expect("an update");
            let shown = show(connection, id).await;
            rows.insert(id, shown);
        }
        7 => {
            // The row gets another key, far away from its old one.
            let new = 1_000_000 + worker as i64 * 100_000_000 + random.random_range(0..90_000_000);
            connection
                .execute(AssertSqlSafe(format!(
                    "UPDATE orders SET id = {new} WHERE id = {id}"
                )))
                .await
                .expect("a key change");
            if let Some(row) = rows.remove(&id) {
                rows.insert(new, row);
            }
        }
        _ => {
            connection
                .execute(AssertSqlSafe(format!("DELETE FROM orders WHERE id = {id}")))
                .await
                .expect("a delete");
            rows.remove(&id);
        }
    }
}

async fn show(connection: &mut MySqlConnection, id: i64) -> String {
    let sql = format!("SELECT {SHOWN} FROM orders WHERE id = {id}");
    let row = connection
        .fetch_one(AssertSqlSafe(sql))
        .await
        .expect("the row");
    row.try_get_unchecked(0).expect("its text")
}

/// Compares the table with what the writers know.
pub async fn check(deployment: &mut Deployment, expected: &Rows) {
    let mut connection = connect(deployment).await;
    let sql = format!("SELECT CAST(id AS SIGNED), {SHOWN} FROM orders WHERE worker < 100");
    let rows = connection
        .fetch_all(AssertSqlSafe(sql))
        .await
        .expect("the rows");
    let found: Rows = rows
        .iter()
        .map(|row| {
            (
                row.try_get_unchecked(0).expect("id"),
                row.try_get_unchecked(1).expect("text"),
            )
        })
        .collect();
    let mut wrong = Vec::new();
    for (id, row) in expected {
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
            .filter(|id| !expected.contains_key(id))
            .map(|id| format!("{id}: extra")),
    );
    assert!(
        wrong.is_empty(),
        "{} of {} rows are wrong:\n{}",
        wrong.len(),
        expected.len(),
        wrong
            .iter()
            .take(10)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
    connection.close().await.expect("an orderly end");
}
