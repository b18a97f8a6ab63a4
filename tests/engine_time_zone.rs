//! A server whose time zone is not UTC: what a statement says in local time means what it means there.

mod deployment;
mod support;

use deployment::{Deployment, copied, refusal, swap};
use lockkeeper::engine::Job;
use lockkeeper::server::{Server, ServerOptions};
use serde_json::{Value, json};

async fn two_hours_ahead() -> (Server, Deployment) {
    let options = ServerOptions::relaxed("zone").flag("--default-time-zone=+02:00");
    let server = Server::start(options).await.expect("a server");
    let mut db = Deployment::on(server.administrator().clone()).await;
    db.run("SET SESSION time_zone = @@GLOBAL.time_zone").await;
    (server, db)
}

async fn change(db: &Deployment, operation_id: u64, statement: &str) {
    let job = Job {
        operation_id,
        ..db.job(&[statement])
    };
    let (engine, _lease) = copied(db, job).await;
    swap(engine).await;
}

const TABLES: &str = "CREATE TABLE t (id INT PRIMARY KEY, n INT, ts TIMESTAMP NULL, dt DATETIME NULL); \
    INSERT INTO t VALUES (1, 1, '2024-01-01 00:30:00', '2024-01-01 00:30:00')";

#[tokio::test]
async fn what_depends_on_the_zone_is_refused_and_may_be_meant_in_utc() {
    let (_server, mut db) = two_hours_ahead().await;
    db.run(TABLES).await;
    let utc = json!({ "time_zone": "+00:00" });
    for (change, what) in [
        (
            "MODIFY ts DATETIME",
            "column ts goes from timestamp to datetime",
        ),
        (
            "MODIFY dt TIMESTAMP NULL",
            "column dt goes from datetime to timestamp",
        ),
        (
            "MODIFY ts VARCHAR(30)",
            "column ts goes from timestamp to varchar(30)",
        ),
        (
            "ADD day DATE AS (DATE(ts)) STORED",
            "column day is computed",
        ),
        (
            "MODIFY n BIGINT, ADD day DATE AS (DATE(ts)) VIRTUAL, ADD KEY by_day (day)",
            "column day is computed",
        ),
        (
            "MODIFY n BIGINT, ADD KEY by_day ((DATE(ts)))",
            "key by_day is computed",
        ),
        (
            "MODIFY n BIGINT, ADD made DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP",
            "new column made begins with the time of now",
        ),
    ] {
        let statement = format!("ALTER TABLE t {change}");
        let refused = refusal(&mut db, &[&statement], Value::Null).await;
        let text = refused.unwrap_or_else(|| panic!("{change} is not refused"));
        assert!(
            text.contains(what) && text.contains("the server's is +02:00"),
            "{change}: {text}"
        );
        assert_eq!(
            refusal(&mut db, &[&statement], utc.clone()).await,
            None,
            "{change}"
        );
    }
    // Moments stay moments, and what reads none stays as it is.
    for change in [
        "MODIFY ts TIMESTAMP(3) NULL",
        "MODIFY n BIGINT, ADD day DATE AS (DATE(dt)) STORED",
        "MODIFY n BIGINT, ADD day DATE AS (DATE(ts)) VIRTUAL",
        "MODIFY n BIGINT, ADD made TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP",
    ] {
        let statement = format!("ALTER TABLE t {change}");
        assert_eq!(
            refusal(&mut db, &[&statement], Value::Null).await,
            None,
            "{change}"
        );
    }
    let wrong = json!({ "time_zone": "Mars/Olympus" });
    let refused = refusal(&mut db, &["ALTER TABLE t MODIFY n BIGINT"], wrong).await;
    let text = refused.expect("a refusal");
    assert!(
        text.contains("Mars/Olympus") && text.contains("time_zone"),
        "{text}"
    );
}

/// In each of the ways: at once, by a copy, as a new table.
#[tokio::test(flavor = "multi_thread")]
async fn a_literal_is_local_time_as_in_the_servers_own_alter() {
    let (_server, mut db) = two_hours_ahead().await;
    db.run(TABLES).await;
    db.run("CREATE TABLE twin LIKE t; INSERT INTO twin SELECT * FROM t")
        .await;
    let seconds = "SELECT GROUP_CONCAT(UNIX_TIMESTAMP(a), ' ', UNIX_TIMESTAMP(b), ' ', UNIX_TIMESTAMP(ts)) FROM ";
    for (operation, clauses) in [
        (1, "ADD a TIMESTAMP NOT NULL DEFAULT '2030-01-01 00:00:00'"),
        (
            2,
            "MODIFY n BIGINT, ADD b TIMESTAMP NOT NULL DEFAULT '2030-07-01 00:00:00'",
        ),
    ] {
        change(&db, operation, &format!("ALTER TABLE t {clauses}")).await;
        db.run(&format!("ALTER TABLE twin {clauses}")).await;
    }
    let ours = db.text(&format!("{seconds} t")).await;
    assert_eq!(ours, db.text(&format!("{seconds} twin")).await);
    let columns = "(id INT PRIMARY KEY, until_at TIMESTAMP NOT NULL DEFAULT '2030-01-01 00:00:00')";
    change(&db, 3, &format!("CREATE TABLE made {columns}")).await;
    db.run(&format!(
        "CREATE TABLE own {columns}; INSERT INTO made (id) VALUES (1); INSERT INTO own (id) VALUES (1)"
    ))
    .await;
    let made = db.text("SELECT UNIX_TIMESTAMP(until_at) FROM made").await;
    let own = db.text("SELECT UNIX_TIMESTAMP(until_at) FROM own").await;
    assert_eq!(made, own);
}
