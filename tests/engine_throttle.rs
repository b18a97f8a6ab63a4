//! The copy yields to what the throttle watches, says why, and goes on when it may.

mod deployment;
mod support;

use std::sync::Arc;

use deployment::{Deployment, TestLease};
use lockkeeper::engine::{Engine, EngineError, ErrorKind, Job, Outcome};
use serde_json::{Value, json};
use sqlx::Executor as _;
use support::PATIENCE;
use tokio::task::JoinHandle;

const CHANGE: &str = "ALTER TABLE orders MODIFY id BIGINT NOT NULL";

async fn filled(db: &mut Deployment) {
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, n INT); SET SESSION cte_max_recursion_depth = 10000; \
         INSERT INTO orders WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3000) \
         SELECT i, i FROM n",
    )
    .await;
}

fn copy(
    db: &Deployment,
    throttle: Value,
) -> (Arc<TestLease>, JoinHandle<Result<Outcome, EngineError>>) {
    let lease = TestLease::held();
    let job = Job {
        options: json!({ "throttle": throttle }),
        ..db.job(&[CHANGE])
    };
    let (target, held) = (db.target(), lease.clone());
    let copy = tokio::spawn(async move {
        let mut engine = Engine::open(target, job, held).await?;
        let outcome = engine.copy().await;
        engine.close().await;
        outcome
    });
    (lease, copy)
}

async fn throttled_by(lease: &TestLease, reason: &str) {
    support::eventually(reason, PATIENCE, || async {
        let told = lease.progress().throttled_by;
        told.is_some_and(|told| told.contains(reason))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_of_the_dba_holds_the_copy_as_long_as_it_answers_yes() {
    let mut db = Deployment::fresh().await;
    filled(&mut db).await;
    db.run("CREATE TABLE gate (shut INT); INSERT INTO gate VALUES (1)")
        .await;
    let query = format!("SELECT shut FROM `{}`.gate", db.schema);
    let (lease, copy) = copy(&db, json!({ "query": query }));
    throttled_by(&lease, "the throttle's query answers 1").await;
    assert_eq!(lease.progress().rows_copied, 0);
    assert!(!copy.is_finished());
    db.run("UPDATE gate SET shut = 0").await;
    let outcome = tokio::time::timeout(PATIENCE, copy).await;
    let outcome = outcome.expect("in time").expect("the copy");
    assert_eq!(outcome.expect("the copy"), Outcome::Verified);
    assert_eq!(lease.progress().throttled_by, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_that_run_and_a_long_history_hold_the_copy() {
    let mut db = Deployment::fresh().await;
    filled(&mut db).await;
    let (lease, held) = copy(&db, json!({ "threads_running": 0 }));
    throttled_by(&lease, "threads are running, the limit is 0").await;
    held.abort();

    // What a snapshot may still see is kept for it.
    let mut reader = Deployment::fresh().await;
    reader
        .run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        .await;
    let mut db = Deployment::fresh().await;
    filled(&mut db).await;
    db.run("UPDATE orders SET n = 0").await;
    let (lease, held) = copy(&db, json!({ "history_list_length": 0 }));
    throttled_by(&lease, "long, the limit is 0").await;
    held.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_fails_later_is_a_reason_to_wait_and_what_cannot_be_asked_is_refused() {
    let mut db = Deployment::fresh().await;
    filled(&mut db).await;
    db.run("CREATE TABLE gate (shut INT); INSERT INTO gate VALUES (1)")
        .await;
    let query = format!("SELECT shut FROM `{}`.gate", db.schema);
    let (lease, held) = copy(&db, json!({ "query": query }));
    throttled_by(&lease, "the throttle's query answers 1").await;
    db.run("DROP TABLE gate").await;
    throttled_by(&lease, "cannot be asked for").await;
    held.abort();
    for limits in [
        json!({ "replica_lag": 5 }),
        json!({ "query": "SELECT nothing FROM nowhere.at_all" }),
        json!({ "query": "SELECT 0; DELETE FROM orders" }),
        json!({ "query": "SELECT 0 /*! ; DELETE FROM orders */" }),
    ] {
        let mut db = Deployment::fresh().await;
        filled(&mut db).await;
        let (_lease, copy) = copy(&db, limits.clone());
        let error = copy.await.expect("an answer").expect_err("a refusal");
        assert_eq!(error.kind(), ErrorKind::Permanent, "{limits}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_behind_holds_the_copy() {
    let servers = support::private_servers(2).await;
    let (source, replica) = (servers[0].administrator(), servers[1].administrator());
    let mut admin = replica
        .clone()
        .without_schema()
        .connect()
        .await
        .expect("a session");
    let mut there = source
        .clone()
        .without_schema()
        .connect()
        .await
        .expect("a session");
    there
        .execute(sqlx::AssertSqlSafe(
            "CREATE USER follower IDENTIFIED BY 'only-for-a-test'; \
             GRANT REPLICATION SLAVE ON *.* TO follower"
                .to_owned(),
        ))
        .await
        .expect("an account");
    let executed: String = sqlx::query_scalar("SELECT @@GLOBAL.gtid_executed")
        .fetch_one(&mut there)
        .await
        .expect("a set");
    // The replica begins where the source is: what the initialization made is there already.
    let change = format!(
        "RESET BINARY LOGS AND GTIDS; SET GLOBAL gtid_purged = '{executed}'; \
         CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{}', SOURCE_PORT = {}, \
         SOURCE_USER = 'follower', SOURCE_PASSWORD = 'only-for-a-test', \
         SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1; \
         START REPLICA; STOP REPLICA SQL_THREAD; \
         SET SESSION sql_log_bin = 0; ALTER USER USER() IDENTIFIED BY '{}'",
        source.host,
        source.port,
        // Replicas are asked with the deployment's credentials.
        source.credentials.password.expose(),
    );
    admin
        .execute(sqlx::AssertSqlSafe(change))
        .await
        .expect("a replica");
    let mut db = Deployment::on(source.clone()).await;
    filled(&mut db).await;
    let address = format!("{}:{}", replica.host, replica.port);
    let limits = json!({ "replicas": [address], "replica_lag_seconds": 2 });
    let (lease, copy) = copy(&db, limits);
    throttled_by(&lease, "does not replicate").await;
    assert_eq!(lease.progress().rows_copied, 0);
    admin
        .execute("START REPLICA SQL_THREAD")
        .await
        .expect("it replicates again");
    let outcome = tokio::time::timeout(PATIENCE, copy).await;
    let outcome = outcome.expect("in time").expect("the copy");
    assert_eq!(outcome.expect("the copy"), Outcome::Verified);
}
