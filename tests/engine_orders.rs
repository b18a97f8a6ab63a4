//! Orders are obeyed in every phase, also by a copy that pauses, and a resume goes on from there.

mod deployment;
mod support;
mod writers;

use std::time::Duration;

use deployment::{Deployment, TestLease};
use lockkeeper::engine::{Directive, Engine, Job, Orders, Outcome};
use writers::Writers;

const TABLE: &str = "CREATE TABLE orders (\
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, worker INT NOT NULL, amount DECIMAL(12,4) NULL, \
    note VARCHAR(80) NULL, body JSON NULL, ratio DOUBLE NULL, small FLOAT NULL, at DATETIME(6) NULL, \
    touched TIMESTAMP(3) NULL, raw VARBINARY(40) NULL, KEY by_note (note), KEY by_worker (worker, at))";

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_obeyed_and_the_next_epoch_resumes_from_there() {
    let mut deployment = Deployment::fresh().await;
    deployment.run(TABLE).await;
    writers::fill(&mut deployment, 30_000).await;
    let writers = Writers::start(&deployment, 2).await;
    let job = Job {
        options: serde_json::json!({ "chunk_seconds": 0.05 }),
        ..deployment.job(&["ALTER TABLE orders MODIFY id BIGINT NOT NULL AUTO_INCREMENT"])
    };

    let lease = TestLease::held();
    lease.order(Orders {
        throttle_level: 9,
        ..Orders::default()
    });
    let (target, first, held) = (deployment.target(), job.clone(), lease.clone());
    let copy = tokio::spawn(async move {
        let mut engine = Engine::open(target, first, held).await.expect("the engine");
        let outcome = engine.copy().await.expect("the copy");
        engine.close().await;
        outcome
    });
    let shadow = format!("_lk_{}_7_1_0_new", deployment.installation);
    support::eventually(
        "the first chunks are copied",
        Duration::from_secs(120),
        async || {
            let mut session = deployment.settings.connect().await.expect("a session");
            let sql = format!("SELECT 1 FROM `{}`.`{shadow}` LIMIT 1", deployment.schema);
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .fetch_optional(&mut session)
                .await
                .is_ok_and(|r| r.is_some())
        },
    )
    .await;
    lease.order(Orders {
        directive: Directive::Stop,
        throttle_level: 10,
        ..Orders::default()
    });
    let stopped = tokio::time::timeout(Duration::from_secs(120), copy).await;
    let stopped = stopped.expect("a paused copy hears of the stop");
    assert_eq!(stopped.expect("the engine"), Outcome::Stopped);
    let copied: u64 = deployment
        .text(&format!("SELECT CAST(COUNT(*) AS CHAR) FROM `{shadow}`"))
        .await
        .parse()
        .expect("a number");
    assert!(
        copied < 30_000,
        "a throttled copy was stopped at its beginning, {copied} rows were copied"
    );

    let second = Job {
        lease_epoch: 2,
        ..job
    };
    let lease = TestLease::held();
    let mut engine = Engine::open(deployment.target(), second, lease.clone())
        .await
        .expect("the engine");
    assert_eq!(engine.copy().await.expect("the copy"), Outcome::Verified);
    lease.order(Orders {
        directive: Directive::Cutover,
        ..Orders::default()
    });
    assert_eq!(
        engine.keep_current().await.expect("the hold"),
        Outcome::CutoverAsked
    );
    engine.cut_over().await.expect("the swap");
    let expected = writers.stop().await;
    engine.finish().await.expect("the end");
    engine.close().await;
    writers::check(&mut deployment, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_leaves_the_original_and_nothing_else() {
    let mut deployment = Deployment::fresh().await;
    deployment.run(TABLE).await;
    writers::fill(&mut deployment, 2_000).await;
    let lease = TestLease::held();
    let job = deployment.job(&["ALTER TABLE orders MODIFY id BIGINT NOT NULL AUTO_INCREMENT"]);
    let mut engine = Engine::open(deployment.target(), job, lease.clone())
        .await
        .expect("the engine");
    assert_eq!(engine.copy().await.expect("the copy"), Outcome::Verified);
    lease.order(Orders {
        directive: Directive::Cancel,
        ..Orders::default()
    });
    assert_eq!(
        engine.keep_current().await.expect("the hold"),
        Outcome::CancelAsked
    );
    engine.remove_artifacts().await.expect("removal");
    engine.close().await;
    let left: Vec<String> = deployment
        .tables()
        .await
        .into_iter()
        .filter(|t| !t.ends_with("_fence"))
        .collect();
    assert_eq!(left, ["orders"]);
}
