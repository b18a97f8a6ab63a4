//! Swap after swap while 32 writers write: nothing acknowledged is lost, and how long the longest of them waited.

mod deployment;
mod support;
mod writers;

use std::time::Duration;

use deployment::{Deployment, TestLease};
use lockkeeper::engine::{Engine, Job, Outcome};
use writers::Writers;

/// Each of the 32 writers writes once in so long: together 640 writes a second.
const PACE: Duration = Duration::from_millis(50);

const TABLE: &str = "CREATE TABLE orders (\
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, worker INT NOT NULL, amount DECIMAL(12,4) NULL, \
    note VARCHAR(80) NULL, body JSON NULL, ratio DOUBLE NULL, small FLOAT NULL, at DATETIME(6) NULL, \
    touched TIMESTAMP(3) NULL, raw VARBINARY(40) NULL, KEY by_note (note), KEY by_worker (worker, at))";

/// `LOCKKEEPER_SWAPS` of them, else few.
fn swaps() -> u64 {
    let number = std::env::var("LOCKKEEPER_SWAPS").ok();
    number.map_or(5, |number| {
        number.parse().expect("LOCKKEEPER_SWAPS is a number")
    })
}

/// Case 72.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_of_32_writers_is_there_after_many_swaps() {
    let mut db = Deployment::fresh().await;
    db.run(TABLE).await;
    writers::fill(&mut db, 2_000).await;
    let writers = Writers::start_each(&db, 32, PACE).await;
    let (mut waits, mut locked) = (Vec::new(), Vec::new());
    for number in 0..swaps() {
        let digits = 13 - number % 2;
        let job = Job {
            operation_id: 7 + number,
            ..db.job(&[&format!(
                "ALTER TABLE orders MODIFY amount DECIMAL({digits},4) NULL"
            )])
        };
        let mut engine = Engine::open(db.target(), job, TestLease::held())
            .await
            .expect("the engine");
        assert_eq!(engine.copy().await.expect("the copy"), Outcome::Verified);
        writers.longest_wait();
        let swapped = engine.cut_over().await.expect("the swap");
        // Whoever has waited for the swap has come back after this.
        let before = writers.count();
        support::eventually("writes go on", Duration::from_secs(120), async || {
            writers.count() > before + 64
        })
        .await;
        waits.push(writers.longest_wait());
        locked.push(swapped.locked_for);
        engine.finish().await.expect("the end");
        engine.close().await;
    }
    let written = writers.count();
    let expected = writers.stop().await;
    writers::check(&mut db, &expected).await;
    waits.sort_unstable();
    locked.sort_unstable();
    println!("{written} writes, {} swaps", waits.len());
    for (what, times) in [
        ("longest wait of a write around a swap", &waits),
        ("tables locked", &locked),
    ] {
        println!(
            "{what}: least {:?}, median {:?}, most {:?}",
            times[0],
            times[times.len() / 2],
            times[times.len() - 1]
        );
    }
}
