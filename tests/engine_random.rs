//! Tables, changes and writes by chance: what goes through the engine ends as the server's own ALTER of a twin that was written
//! to alike. `LOCKKEEPER_TEST_ROUNDS` asks for more of them.

mod chance;
mod deployment;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chance::Table;
use deployment::{Deployment, TestLease};
use lockkeeper::engine::{Engine, EngineError, Job, Orders};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::mysql::{MySqlConnection, MySqlDatabaseError};
use sqlx::{AssertSqlSafe, Executor as _};
use support::{PATIENCE, eventually};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_by_chance_end_as_the_servers_own_alter_ends() {
    let rounds = std::env::var("LOCKKEEPER_TEST_ROUNDS").ok();
    let rounds = rounds.map_or(10, |text| {
        text.parse().expect("LOCKKEEPER_TEST_ROUNDS: a number")
    });
    let mut random = StdRng::seed_from_u64(support::seed());
    for round in 0..rounds {
        change_by_chance(round, StdRng::from_rng(&mut random)).await;
    }
}

async fn change_by_chance(round: u32, mut random: StdRng) {
    let table = Table::by_chance(&mut random);
    let definition = table.definition();
    let change = table.change(&mut random);
    eprintln!("round {round}: CREATE TABLE t ({definition}); ALTER TABLE t {change}");

    let mut db = Deployment::fresh().await;
    db.create_far().await;
    let create = format!("CREATE TABLE t ({definition})");
    let fill = table.fill(&mut random);
    for statement in [create].iter().chain(&fill) {
        db.run(statement).await;
        db.run_far(statement).await;
    }

    let writer = Writer::start(&db, table, StdRng::from_rng(&mut random)).await;
    let job = Job {
        options: serde_json::json!({ "chunk_seconds": 0.01, "allow_lossy": true, "hold_old_table_seconds": 0 }),
        ..db.job(&[&format!("ALTER TABLE t {change}")])
    };
    let lease = TestLease::held();
    let engine = Engine::open(db.target(), job, lease.clone()).await;
    let mut engine = engine.expect("the engine");
    let copied = {
        let copy = tokio::time::timeout(PATIENCE, engine.copy());
        let slowed = slow_down_at_times(&lease, &mut random);
        tokio::select! {
            copied = copy => copied,
            () = slowed => unreachable!("it goes on for ever"),
        }
    };
    copied
        .expect("in time")
        .unwrap_or_else(|error| fail(&error));
    lease.order(Orders::default());
    writer.more(20).await;
    let differences = engine.differences().await.expect("a comparison");
    assert_eq!(differences, Vec::<String>::new());

    writer.become_neutral().await;
    let swapped = tokio::time::timeout(PATIENCE, engine.cut_over()).await;
    swapped
        .expect("in time")
        .unwrap_or_else(|error| fail(&error));
    engine.finish().await.expect("the end");
    engine.remove_due().await.expect("removed");
    engine.close().await;
    writer.more(20).await;
    writer.stop().await;

    db.run_far(&format!("ALTER TABLE t {change}")).await;
    db.is_as_its_twin("t", &change).await;
}

fn fail<T>(error: &EngineError) -> T {
    panic!("{}", error.message())
}

/// So that writes fall on every part of the copy, whatever the machine.
async fn slow_down_at_times(lease: &TestLease, random: &mut StdRng) {
    let mut interval = tokio::time::interval(Duration::from_millis(30));
    loop {
        interval.tick().await;
        lease.order(Orders {
            throttle_level: random.random_range(0..10),
            ..Orders::default()
        });
    }
}

/// Writes to the table and to its twin in the same transactions.
struct Writer {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    /// Held while a transaction is open.
    is_neutral: Arc<Mutex<bool>>,
    task: JoinHandle<()>,
}

impl Writer {
    async fn start(db: &Deployment, table: Table, mut random: StdRng) -> Self {
        let mut session = db.settings.connect().await.expect("a session");
        let schemas = [db.schema.clone(), db.far()];
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let is_neutral = Arc::new(Mutex::new(false));
        let task = tokio::spawn({
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            let is_neutral = Arc::clone(&is_neutral);
            async move {
                let mut interval = tokio::time::interval(Duration::from_millis(4));
                while !stop.load(Ordering::Relaxed) {
                    interval.tick().await;
                    let is_neutral = is_neutral.lock().await;
                    let statements = if *is_neutral {
                        table.neutral_transaction(&mut random)
                    } else {
                        table.transaction(&mut random)
                    };
                    write(&mut session, &schemas, &statements).await;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self {
            stop,
            count,
            is_neutral,
            task,
        }
    }

    /// From here on what is written means the same before the swap and after it.
    async fn become_neutral(&self) {
        *self.is_neutral.lock().await = true;
    }

    async fn more(&self, number: u64) {
        let before = self.count.load(Ordering::Relaxed);
        eventually("more writes", PATIENCE, async || {
            assert!(!self.task.is_finished(), "the writer failed");
            self.count.load(Ordering::Relaxed) > before + number
        })
        .await;
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the writer");
    }
}

/// Rows changed, or the server's number of the error.
type Answer = Result<u64, u16>;

async fn write(session: &mut MySqlConnection, schemas: &[String; 2], statements: &[String]) {
    run(session, "BEGIN").await.expect("a transaction");
    for statement in statements {
        let ends = ["COMMIT", "ROLLBACK", "SAVEPOINT"];
        if ends.iter().any(|end| statement.starts_with(end)) {
            run(session, statement).await.expect("an end");
            continue;
        }
        let mut answers = Vec::new();
        for schema in schemas {
            run(session, &format!("USE `{schema}`"))
                .await
                .expect("a schema");
            answers.push(run(session, statement).await);
        }
        assert_eq!(answers[0], answers[1], "{statement}");
    }
}

async fn run(session: &mut MySqlConnection, statement: &str) -> Answer {
    let result = session.execute(AssertSqlSafe(statement.to_owned())).await;
    result
        .map(|done| done.rows_affected())
        .map_err(|error| match error.as_database_error() {
            Some(refused) => refused.downcast_ref::<MySqlDatabaseError>().number(),
            None => panic!("{statement}: {error}"),
        })
}
