//! A copy that is held in the middle of the table, with a chunk in flight, for as long as a test likes.

use std::sync::Arc;

use lockkeeper::engine::{Engine, EngineError, Job, Orders, Outcome};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use tokio::task::JoinHandle;

use super::{Deployment, TestLease, open};
use crate::support::{PATIENCE, eventually};

pub struct HalfCopied {
    copying: JoinHandle<(Engine, Result<Outcome, EngineError>)>,
    blocker: MySqlConnection,
    pub lease: Arc<TestLease>,
}

/// The chunk that is in flight holds the row of `orders` at that place in the primary key, and has begun to read: what is
/// written from now on it does not see. The chunks before it have ended. The statement must leave the columns' number and
/// order alone.
pub async fn half_copied(db: &mut Deployment, mut job: Job, place: u32) -> HalfCopied {
    job.options["copy_threads"] = 1.into();
    let (mut engine, lease) = open(db, job).await;
    lease.order(Orders {
        throttle_level: 10,
        ..Orders::default()
    });
    let copying = tokio::spawn(async move {
        let outcome = engine.copy().await;
        (engine, outcome)
    });
    eventually("the copy is about to begin", PATIENCE, async || {
        assert!(!copying.is_finished(), "it failed");
        lease.progress().phase == "copy"
    })
    .await;
    let shadow = db.ours("_new").await;
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut blocker = settings.connect().await.expect("a session");
    // The chunk waits for this row of the shadow, which will never have been there.
    let insert = format!(
        "SET SESSION transaction_isolation = 'READ-COMMITTED'; BEGIN; \
         INSERT INTO `{shadow}` SELECT * FROM orders FORCE INDEX (PRIMARY) LIMIT 1 OFFSET {place}"
    );
    blocker
        .execute(AssertSqlSafe(insert))
        .await
        .expect("a lock on the shadow");
    lease.order(Orders::default());
    let waits = format!(
        "SELECT COUNT(*) FROM performance_schema.data_lock_waits AS w \
           JOIN performance_schema.data_locks AS d ON d.ENGINE_LOCK_ID = w.BLOCKING_ENGINE_LOCK_ID \
          WHERE d.OBJECT_SCHEMA = '{}' AND d.OBJECT_NAME = '{shadow}'",
        db.schema
    );
    eventually("a chunk is in flight", PATIENCE, async || {
        assert!(!copying.is_finished(), "it failed, or passed the row");
        let row = blocker.fetch_one(AssertSqlSafe(waits.clone())).await;
        row.expect("a count").get::<i64, _>(0) > 0
    })
    .await;
    assert!(
        lease.progress().rows_copied > 0,
        "the first chunk has ended"
    );
    HalfCopied {
        copying,
        blocker,
        lease,
    }
}

impl HalfCopied {
    /// Lets the chunk go on, and waits for the end of the copy.
    pub async fn copied(self) -> Engine {
        let (engine, outcome) = self.ended().await;
        assert_eq!(outcome.expect("the copy"), Outcome::Verified);
        engine
    }

    pub async fn ended(mut self) -> (Engine, Result<Outcome, EngineError>) {
        self.blocker
            .execute("ROLLBACK")
            .await
            .expect("the lock goes");
        let ended = tokio::time::timeout(PATIENCE, self.copying).await;
        ended.expect("in time").expect("no panic")
    }
}
