//! Tables are changed on a real server while writers write, and every acknowledged write is looked for.

mod deployment;
mod support;
mod writers;

use std::time::Duration;

use deployment::{Deployment, TestLease};
use lockkeeper::engine::{Engine, Outcome};
use writers::Writers;

const TABLE: &str = "CREATE TABLE orders (\
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, \
    worker INT NOT NULL, \
    amount DECIMAL(12,4) NULL, \
    note VARCHAR(80) NULL, \
    body JSON NULL, \
    ratio DOUBLE NULL, \
    small FLOAT NULL, \
    at DATETIME(6) NULL, \
    touched TIMESTAMP(3) NULL, \
    raw VARBINARY(40) NULL, \
    KEY by_note (note), KEY by_worker (worker, at))";

#[tokio::test(flavor = "multi_thread")]
async fn a_type_change_under_writers_loses_no_acknowledged_write() {
    let mut deployment = Deployment::fresh().await;
    deployment.run(TABLE).await;
    writers::fill(&mut deployment, 20_000).await;
    let writers = Writers::start(&deployment, 4).await;

    let job = deployment.job(&[
        "ALTER TABLE orders MODIFY id BIGINT NOT NULL AUTO_INCREMENT, ADD flag INT NOT NULL DEFAULT 7, ADD KEY by_at (at)",
    ]);
    let mut engine = Engine::open(deployment.target(), job, TestLease::held())
        .await
        .expect("the engine");
    assert_eq!(engine.copy().await.expect("the copy"), Outcome::Verified);
    let copied = writers.count();
    support::eventually(
        "writes after the copy",
        Duration::from_secs(10),
        async || writers.count() > copied + 50,
    )
    .await;
    let swapped = engine.cut_over().await.expect("the swap");
    eprintln!("locked for {:?}", swapped.locked_for);
    let writes = writers.count();
    support::eventually("writes go on", Duration::from_secs(10), async || {
        writers.count() > writes + 50
    })
    .await;
    let expected = writers.stop().await;
    engine.finish().await.expect("the end");
    engine.close().await;

    writers::check(&mut deployment, &expected).await;
    assert_eq!(
        deployment.text("SELECT data_type FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'orders' AND column_name = 'id'").await,
        "bigint"
    );
    assert_eq!(
        deployment
            .text("SELECT COUNT(*) FROM orders WHERE flag <> 7")
            .await,
        "0"
    );
}
