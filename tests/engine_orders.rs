//! Orders are obeyed in every phase, also by a copy that pauses, and a resume goes on from there.

mod deployment;
mod support;
mod writers;

use std::time::Duration;

use deployment::{Deployment, TestLease, copied, swapped_alike};
use lockkeeper::engine::{Directive, Engine, Job, Orders, Outcome};
use sqlx::{AssertSqlSafe, Executor as _};
use support::PATIENCE;
use writers::Writers;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_obeyed_and_the_next_epoch_resumes_from_there() {
    let mut db = Deployment::fresh().await;
    writers::create(&mut db, 30_000).await;
    let writers = Writers::start(&db, 2).await;
    let job = Job {
        options: serde_json::json!({ "chunk_seconds": 0.05 }),
        ..db.job(&["ALTER TABLE orders MODIFY id BIGINT NOT NULL AUTO_INCREMENT"])
    };

    let lease = TestLease::held();
    lease.order(Orders {
        throttle_level: 9,
        ..Orders::default()
    });
    let (target, first, held) = (db.target(), job.clone(), lease.clone());
    let copy = tokio::spawn(async move {
        let mut engine = Engine::open(target, first, held).await.expect("the engine");
        let outcome = engine.copy().await.expect("the copy");
        engine.close().await;
        outcome
    });
    let shadow = format!("_lk_{}_7_1_0_new", db.installation);
    support::eventually("the first chunks are copied", PATIENCE, async || {
        let mut session = db.settings.connect().await.expect("a session");
        let sql = format!("SELECT 1 FROM `{}`.`{shadow}` LIMIT 1", db.schema);
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_optional(&mut session)
            .await
            .is_ok_and(|r| r.is_some())
    })
    .await;
    lease.order(Orders {
        directive: Directive::Stop,
        throttle_level: 10,
        ..Orders::default()
    });
    let stopped = tokio::time::timeout(PATIENCE, copy).await;
    let stopped = stopped.expect("a paused copy hears of the stop");
    assert_eq!(stopped.expect("the engine"), Outcome::Stopped);
    let so_far: u64 = db
        .text(&format!("SELECT CAST(COUNT(*) AS CHAR) FROM `{shadow}`"))
        .await
        .parse()
        .expect("a number");
    assert!(
        so_far < 30_000,
        "a throttled copy was stopped at its beginning, {so_far} rows were copied"
    );

    let second = Job {
        lease_epoch: 2,
        ..job
    };
    let (mut engine, lease) = copied(&db, second).await;
    lease.direct(Directive::Cutover);
    assert_eq!(
        engine.keep_current().await.expect("the hold"),
        Outcome::CutoverAsked
    );
    engine.cut_over().await.expect("the swap");
    let known = writers.stop().await;
    engine.finish().await.expect("the end");
    engine.close().await;
    known.check(&db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_leaves_the_original_and_nothing_else() {
    let mut db = Deployment::fresh().await;
    writers::create(&mut db, 2_000).await;
    let job = db.job(&["ALTER TABLE orders MODIFY id BIGINT NOT NULL AUTO_INCREMENT"]);
    let (mut engine, lease) = copied(&db, job).await;
    lease.direct(Directive::Cancel);
    assert_eq!(
        engine.keep_current().await.expect("the hold"),
        Outcome::CancelAsked
    );
    engine.remove_artifacts().await.expect("removal");
    engine.close().await;
    let left: Vec<String> = db
        .tables()
        .await
        .into_iter()
        .filter(|t| !t.ends_with("_fence"))
        .collect();
    assert_eq!(left, ["orders"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_ends_though_its_applier_waits_and_nothing_is_written_afterwards() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, n INT); INSERT INTO orders VALUES (1, 1), (2, 2)",
    )
    .await;
    let job = db.job(&["ALTER TABLE orders MODIFY id BIGINT NOT NULL"]);
    let (mut engine, lease) = copied(&db, job.clone()).await;
    let shadow = db.ours("_new").await;
    let mut other = db.settings.connect().await.expect("a session");
    let lock = format!("LOCK TABLES `{}`.`{shadow}` READ", db.schema);
    other
        .execute(AssertSqlSafe(lock))
        .await
        .expect("the shadow, locked");
    db.run("UPDATE orders SET n = -1 WHERE id = 1").await;
    let waits = format!(
        "SELECT COUNT(*) FROM performance_schema.metadata_locks \
          WHERE LOCK_STATUS = 'PENDING' AND OBJECT_NAME = '{shadow}'"
    );
    support::eventually("the applier waits", PATIENCE, async || {
        db.text(&waits).await == "1"
    })
    .await;

    lease.direct(Directive::Stop);
    assert_eq!(
        engine.keep_current().await.expect("the hold"),
        Outcome::Stopped
    );
    // Less than the server itself waits for the lock, again and again.
    let ended = tokio::time::timeout(Duration::from_secs(28), engine.close()).await;
    ended.expect("an engine that ends");
    assert_eq!(db.text(&waits).await, "0", "its session waits on");
    other
        .execute("UNLOCK TABLES")
        .await
        .expect("the shadow, free");
    let written = format!("SELECT n FROM `{shadow}` WHERE id = 1");
    assert_eq!(db.text(&written).await, "1");

    let second = Job {
        lease_epoch: 2,
        ..job
    };
    let (engine, _lease) = copied(&db, second).await;
    let content = "SELECT GROUP_CONCAT(id, ':', n ORDER BY id) FROM orders";
    assert_eq!(swapped_alike(&mut db, engine, content).await, "1:-1,2:2");
}

/// The next driver's stream begins before its copy has come to the later tables.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_later_table_that_change_while_nobody_works_are_followed() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE first (id INT PRIMARY KEY, n INT); INSERT INTO first VALUES (1, 1);
         CREATE TABLE later (id INT PRIMARY KEY, n INT);
         INSERT INTO later WITH RECURSIVE k (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM k WHERE n < 199)
         SELECT 200 * a.n + b.n, 1 FROM k AS a JOIN k AS b",
    )
    .await;
    let paused = |directive| Orders {
        directive,
        throttle_level: 10,
        ..Orders::default()
    };
    let job = Job {
        options: serde_json::json!({"chunk_seconds": 0.01, "copy_threads": 1}),
        ..db.job(&[
            "ALTER TABLE first MODIFY n BIGINT",
            "ALTER TABLE later MODIFY n BIGINT",
        ])
    };
    let (mut engine, lease) = deployment::open(&db, job.clone()).await;
    lease.order(Orders {
        throttle_level: 9,
        ..Orders::default()
    });
    let copy = tokio::spawn(async move {
        let outcome = engine.copy().await.expect("the copy");
        engine.close().await;
        outcome
    });
    let copied = |epoch: u64| {
        format!(
            "SELECT COUNT(*) FROM `_lk_{}_7_{epoch}_1_new`",
            db.installation
        )
    };
    let first_rows = copied(1);
    let mut session = db
        .settings
        .clone()
        .with_schema(&db.schema)
        .connect()
        .await
        .expect("a session");
    support::eventually(
        "the later table's first rows are copied",
        PATIENCE,
        async || {
            let rows = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(first_rows.clone()));
            rows.fetch_one(&mut session)
                .await
                .is_ok_and(|rows| rows > 0)
        },
    )
    .await;
    lease.order(paused(Directive::Stop));
    assert_eq!(copy.await.expect("the engine"), Outcome::Stopped);
    assert_ne!(db.text(&copied(1)).await, "40000", "not all of it");

    db.run("UPDATE later SET n = 2 WHERE id < 500; DELETE FROM later WHERE id BETWEEN 500 AND 599")
        .await;
    let next = Job {
        lease_epoch: 2,
        ..job
    };
    let (mut engine, lease) = deployment::open(&db, next).await;
    let place = format!(
        "SELECT CAST(value AS CHAR) FROM `_lk_{}_7_2_checkpoint` WHERE name = 'position'",
        db.installation
    );
    let before = db.text(&place).await;
    lease.order(paused(Directive::None));
    let copy = tokio::spawn(async move {
        deployment::copy(&mut engine).await;
        engine
    });
    support::eventually(
        "the stream has brought these changes",
        PATIENCE,
        async || {
            assert!(!copy.is_finished(), "it is paused");
            db.text(&place).await != before
        },
    )
    .await;
    lease.order(Orders::default());
    let content = "SELECT CONCAT_WS(',', COUNT(*), SUM(n), SUM(id)) FROM later";
    deployment::swapped_alike(&mut db, copy.await.expect("the copy"), content).await;
}
