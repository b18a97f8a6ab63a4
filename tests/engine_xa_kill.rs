//! Case 34, in a process of its own: drivers are killed while XA transactions are prepared, committed and rolled back.

mod deployment;
mod driver_process;
mod support;
mod xa_support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use deployment::Deployment;
use driver_process::{Driver, died, freezes_at};
use lockkeeper::config::ConnectionSettings;
use lockkeeper::engine::Outcome;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use support::{PATIENCE, eventually};
use xa_support::*;

/// Not a test of its own: a driver that can be killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the other tests"]
async fn child() {
    let options = serde_json::json!({ "chunk_seconds": 0.05, "copy_threads": 1 });
    driver_process::child(&[CHANGE], options, async |engine, _, _| {
        assert_eq!(engine.copy().await?, Outcome::Verified);
        engine.cut_over().await?;
        engine.finish().await
    })
    .await;
}

/// The COMMIT comes while a chunk that doesn't see it yet is on its way. The driver dies when the chunk is there and
/// what was held for it is not; a position from between PREPARE and COMMIT was stored. Verification would mend what is
/// lost by that, so the copy is looked at before.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_committed_while_its_chunk_is_in_flight_is_read_again_with_its_prepare() {
    let mut db = filled_on(support::server().await.administrator().clone(), 4000).await;
    let steps = "copy.chunk.before=1:stop,copy.chunk.after=2:abort";
    let mut driver = Driver::start(&db, 1, steps);
    driver.frozen().await;
    // The second chunk meets this row, and waits.
    let shadow = db.ours("_new").await;
    let mut blocker = session(&db).await;
    let insert = format!("BEGIN; INSERT INTO `{shadow}` (id) VALUES (2001)");
    run(&mut blocker, &insert).await;
    driver.wake();
    let waits = "SELECT COUNT(*) FROM performance_schema.data_lock_waits AS w \
                   JOIN performance_schema.data_locks AS d ON d.ENGINE_LOCK_ID = w.BLOCKING_ENGINE_LOCK_ID \
                  WHERE d.OBJECT_SCHEMA = DATABASE()";
    let mut onlooker = session(&db).await;
    eventually("the second chunk waits", PATIENCE, async || {
        let row = onlooker.fetch_one(waits).await.expect("a count");
        row.get::<i64, _>(0) > 0
    })
    .await;
    let name = xid(&db, b"flight");
    prepare(
        &db,
        &name,
        "UPDATE orders SET n = -1 WHERE id IN (2002, 3500)",
    )
    .await;
    // Rows of the first chunk are applied at once.
    let sql = format!("SELECT n FROM `{shadow}` WHERE id = 5");
    for (n, end) in [(-2, "DO 0".to_owned()), (-3, format!("XA COMMIT {name}"))] {
        db.run(&format!("{end}; UPDATE orders SET n = {n} WHERE id = 5"))
            .await;
        eventually("it is applied", PATIENCE, async || {
            let row = onlooker.fetch_one(AssertSqlSafe(sql.clone())).await;
            row.expect("the row").get::<i64, _>(0) == n
        })
        .await;
    }
    run(&mut blocker, "ROLLBACK").await;
    died(driver.end().await, "the second chunk");

    let mut driver = freezes_at(&db, 2, "verify.pass.before").await;
    let shadow = db.ours("_new").await;
    let there = format!("SELECT COUNT(*) FROM `{shadow}` WHERE n = -1");
    assert_eq!(db.text(&there).await, "2");
    let expected = db.text(CONTENT).await;
    driver.wake();
    assert!(driver.end().await.success());
    assert_eq!(db.text(CONTENT).await, expected);
    assert_eq!(db.column_type("orders", "id").await, "bigint");
}

/// Rows, and what they hold afterwards; `None` is no row.
type Writes = Vec<(i64, Option<i64>)>;

/// A transaction manager: it owns the rows of its number, and knows what each of them must be.
async fn manage(
    db: (ConnectionSettings, String),
    worker: u64,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> BTreeMap<i64, i64> {
    let settings = db.0.with_schema(&db.1);
    let mut session = connect(settings.clone()).await;
    let mut other = connect(settings).await;
    let mut random = StdRng::seed_from_u64(support::seed().wrapping_add(worker));
    let mut rows = BTreeMap::new();
    // Prepared, with the rows as they will be if it is committed.
    let mut open: Vec<(String, Writes)> = Vec::new();
    for number in 0.. {
        let ends = stop.load(Ordering::Relaxed);
        while open.len() > if ends { 0 } else { 2 } {
            let (xid, writes) = open.remove(random.random_range(0..open.len()));
            let commits = random.random_bool(0.7);
            let end = if commits { "COMMIT" } else { "ROLLBACK" };
            run(&mut other, &format!("XA {end} {xid}")).await;
            if commits {
                take_over(&mut rows, writes);
            }
        }
        if ends {
            break;
        }
        // Rows of one that is still prepared are locked.
        let locked = |id: &i64| {
            open.iter()
                .any(|(_, writes)| writes.iter().any(|w| w.0 == *id))
        };
        let ids: Vec<i64> = (0..random.random_range(1..6))
            .map(|_| 100_000 * (worker as i64 + 1) + random.random_range(0..200))
            .filter(|id| !locked(id))
            .collect();
        let mut writes: Writes = Vec::new();
        let mut statements = String::new();
        for id in ids {
            let n = random.random_range(0..1_000_000);
            let write = match random.random_range(0..4) {
                0 => format!("DELETE FROM orders WHERE id = {id}"),
                _ => format!("REPLACE INTO orders (id, n) VALUES ({id}, {n})"),
            };
            writes.push((id, write.starts_with("REPLACE").then_some(n)));
            statements.push_str(&write);
            statements.push_str("; ");
        }
        let xid = format!("'{}',X'00{worker:02x}{number:08x}',9", db.1);
        let begin = format!("XA START {xid}; {statements}XA END {xid}");
        match random.random_range(0..4) {
            0 => {
                run(&mut session, &format!("{begin}; XA COMMIT {xid} ONE PHASE")).await;
                take_over(&mut rows, writes);
            }
            1 => {
                run(&mut session, &format!("BEGIN; {statements}COMMIT")).await;
                take_over(&mut rows, writes);
            }
            _ => {
                run(&mut session, &format!("{begin}; XA PREPARE {xid}")).await;
                open.push((xid, writes));
            }
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
    rows
}

fn take_over(rows: &mut BTreeMap<i64, i64>, writes: Writes) {
    for (id, n) in writes {
        match n {
            Some(n) => rows.insert(id, n),
            None => rows.remove(&id),
        };
    }
}

/// Drivers are killed as they copy, catch up and cut over, with transactions prepared all the time.
async fn managers_and_killed_drivers(mut db: Deployment, kills: u32) {
    let (stop, count) = (Arc::default(), Arc::<AtomicU64>::default());
    let managers: Vec<_> = (0..3)
        .map(|worker| {
            let place = (db.settings.clone(), db.schema.clone());
            tokio::spawn(manage(place, worker, Arc::clone(&stop), Arc::clone(&count)))
        })
        .collect();
    let mut random = StdRng::seed_from_u64(support::seed());
    let mut killed = 0;
    for epoch in 1..=u64::from(kills) {
        let wait = Duration::from_millis(random.random_range(300..3000));
        // It ends by itself only if the swap found a moment without a prepared one.
        match Driver::start(&db, epoch, "").killed_after(wait).await {
            Some(status) => assert!(status.success(), "epoch {epoch}"),
            None => killed += 1,
        }
    }
    assert!(killed > 0, "no driver was killed");
    let before = count.load(Ordering::Relaxed);
    let mut driver = Driver::start(&db, u64::from(kills) + 1, "");
    eventually("they work beside the last driver", PATIENCE, async || {
        count.load(Ordering::Relaxed) > before + 100
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let mut expected = BTreeMap::new();
    for manager in managers {
        expected.extend(manager.await.expect("a manager"));
    }
    assert!(driver.end().await.success(), "the last driver failed");
    let rows = db
        .root
        .fetch_all("SELECT CAST(id AS SIGNED), CAST(n AS SIGNED) FROM orders WHERE id >= 100000")
        .await
        .expect("the rows");
    let found: BTreeMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(found, expected);
    assert_eq!(db.column_type("orders", "id").await, "bigint");
    let others = db
        .text("SELECT CONCAT(COUNT(*), ' ', SUM(n)) FROM orders WHERE id < 100000")
        .await;
    assert_eq!(others, "30000 450015000");
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_managers_lose_nothing_to_drivers_that_are_killed() {
    let settings = support::server().await.administrator().clone();
    managers_and_killed_drivers(filled_on(settings, 30_000).await, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_do_they_without_gtids() {
    let server = without_gtids().await;
    let settings = server.administrator().clone();
    managers_and_killed_drivers(filled_on(settings, 30_000).await, 6).await;
}
