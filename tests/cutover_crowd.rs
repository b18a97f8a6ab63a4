//! Swap after swap while 32 writers write: nothing acknowledged is lost, and how long the longest of them waited.

mod deployment;
mod support;
mod writers;

use std::time::Duration;

use deployment::{Deployment, copied};
use lockkeeper::engine::Job;
use writers::Writers;

/// Each of the 32 writers writes once in so long: together 640 writes a second.
const PACE: Duration = Duration::from_millis(50);

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
    writers::create(&mut db, 2_000).await;
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
        let (mut engine, _lease) = copied(&db, job).await;
        writers.longest_wait();
        let swapped = engine.cut_over().await.expect("the swap");
        // Whoever has waited for the swap has come back after this.
        writers.more(64).await;
        waits.push(writers.longest_wait());
        locked.push(swapped.locked_for);
        engine.finish().await.expect("the end");
        engine.close().await;
    }
    let written = writers.count();
    writers.check(&db).await;
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
