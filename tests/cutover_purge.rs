//! Under load InnoDB's purge holds tables, and is nobody to give way to.

mod deployment;
mod support;

use std::time::Duration;

use deployment::Deployment;
use lockkeeper::engine::session::blocker;

/// Purge holds a table for each row that it removes, without a session, as a prepared XA transaction does whose client is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_of_the_table_is_no_blocker() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE t (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, a INT NOT NULL, b VARCHAR(60) NOT NULL, KEY (a));
         INSERT INTO t (a, b) WITH RECURSIVE k (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM k WHERE n < 200)
         SELECT x.n, REPEAT('x', 50) FROM k AS x JOIN k AS y",
    )
    .await;
    let schema = db.text("SELECT DATABASE()").await;
    let mut helper = db.session(1).await;
    let mut sightings = 0;
    // The session that writes holds the table, too, but not for hours.
    support::eventually("purge is seen at work", Duration::from_secs(120), async || {
        db.run("UPDATE t SET a = a + 1").await;
        for _ in 0..10 {
            let tables = [(schema.as_str(), "t")];
            let held = blocker::holding(&mut helper, &tables, Duration::from_secs(3600)).await;
            assert_eq!(held.expect("the look"), []);
            let seen = db
                .text(
                    "SELECT COUNT(*) FROM performance_schema.metadata_locks AS l \
                       JOIN performance_schema.threads AS t ON t.THREAD_ID = l.OWNER_THREAD_ID \
                      WHERE l.OBJECT_SCHEMA = DATABASE() AND l.OBJECT_NAME = 't' AND t.PROCESSLIST_ID IS NULL",
                )
                .await;
            sightings += u32::from(seen != "0");
        }
        sightings >= 20
    })
    .await;
}
