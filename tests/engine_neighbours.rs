//! Others on the same server: parents of foreign keys, tables that a drop leaves alone, events of any size.

mod deployment;
mod driver_process;
mod support;

use deployment::{Deployment, copied, refusal, swap};
use driver_process::{dies_at, ends};
use lockkeeper::engine::{ErrorKind, Outcome, preflight};
use lockkeeper::server::{Server, ServerOptions};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _};

const DROP: &str = "DROP TABLE child";

/// Not a test of its own: what the drivers of the others do.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the other tests"]
async fn child() {
    driver_process::child(&[DROP], Value::Null, async |engine, _, _| {
        assert_eq!(engine.copy().await?, Outcome::Verified);
        engine.cut_over().await?;
        engine.finish().await
    })
    .await;
}

const CHILD: &str = "CREATE TABLE child (id INT PRIMARY KEY, p INT, CONSTRAINT to_parent FOREIGN KEY (p) REFERENCES parent (id), \
       CONSTRAINT small CHECK (id < 100)); \
     CREATE TRIGGER watcher BEFORE INSERT ON child FOR EACH ROW SET NEW.p = 1";

/// What DROP TABLE ends at once is not kept up by a table that waits for its end under another name, nor by the death of a driver
/// between the table's new name and one of its parts.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_child_holds_back_no_delete_and_keeps_no_name() {
    for fate in [
        "",
        "step.execute.after",
        "keys.drop.before",
        "step.part.before 2",
    ] {
        let mut db = Deployment::fresh().await;
        db.run("CREATE TABLE parent (id INT PRIMARY KEY); INSERT INTO parent VALUES (1), (2)")
            .await;
        db.run(CHILD).await;
        db.run("INSERT INTO child VALUES (7, 1)").await;
        if !fate.is_empty() {
            dies_at(&db, 1, fate).await;
        }
        ends(&db, 2).await;

        db.run("DELETE FROM parent WHERE id = 1").await;
        // Not one of its names is taken.
        db.run(CHILD).await;
        let tables = db.tables().await;
        let held = tables.iter().find(|name| name.contains("_drop"));
        let held = held.expect("the dropped table in its holding name").clone();
        let rows = db.text(&format!("SELECT id FROM `{held}`")).await;
        assert_eq!(rows, "7", "{fate}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_is_in_use_makes_a_new_child_wait_and_nobody_behind_it() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE parent (id INT PRIMARY KEY, n INT); INSERT INTO parent VALUES (1, 1)")
        .await;
    let create = "CREATE TABLE child (id INT PRIMARY KEY, p INT REFERENCES parent (id), FOREIGN KEY (p) REFERENCES parent (id))";
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut report = settings.connect().await.expect("a session");
    report
        .execute("BEGIN; SELECT * FROM parent")
        .await
        .expect("a report");
    let used_for = "SELECT TIMER_WAIT DIV 1000000000 > 1500 FROM performance_schema.events_transactions_current AS e \
                      JOIN performance_schema.threads AS t USING (THREAD_ID) WHERE t.PROCESSLIST_ID = ";
    let id: u64 = sqlx::query_scalar("SELECT CONNECTION_ID()")
        .fetch_one(&mut report)
        .await
        .expect("an id");
    let mut root = db.settings.connect().await.expect("a session");
    support::eventually(
        "it is in use for a while",
        std::time::Duration::from_secs(30),
        async || {
            let query = AssertSqlSafe(format!("{used_for}{id}"));
            let long: i64 = sqlx::query_scalar(query)
                .fetch_one(&mut root)
                .await
                .expect("a time");
            long == 1
        },
    )
    .await;
    let mut session = db.session(1).await;
    let refused = preflight::plan(&mut session, &db.job(&[create]), &db.owner(1)).await;
    session.close().await;
    let error = refused.expect_err("the parent is in use");
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    assert!(
        error.message().contains(&format!("session {id} of")),
        "{error}"
    );
    let waits = "SELECT COUNT(*) FROM performance_schema.metadata_locks WHERE LOCK_STATUS = 'PENDING' AND OBJECT_NAME = 'parent'";
    assert_eq!(db.text(waits).await, "0");

    report
        .execute("COMMIT")
        .await
        .expect("the end of the report");
    let (engine, _lease) = copied(&db, db.job(&[create])).await;
    swap(engine).await;
    let keys = db
        .text("SELECT COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = DATABASE()")
        .await;
    assert_ne!(keys, "0");
}

/// Adding a key is refused before the parent is locked for a try.
#[tokio::test]
async fn a_key_that_cannot_be_added_is_refused_without_a_lock_on_its_parent() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE parent (id INT PRIMARY KEY); CREATE TABLE plain (id INT PRIMARY KEY, n INT)",
    )
    .await;
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut report = settings.connect().await.expect("a session");
    report
        .execute("LOCK TABLES parent READ")
        .await
        .expect("a lock");
    let statement = "ALTER TABLE plain ADD FOREIGN KEY (n) REFERENCES parent (id)";
    let refused = refusal(&mut db, &[statement], Value::Null).await;
    let text = refused.expect("a refusal");
    assert!(text.contains("a foreign key can't be added"), "{text}");
}

/// The stream brings every table's events, and one with both images of a row may be larger than any packet that a client may send.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_larger_than_the_servers_packet_passes() {
    let options = ServerOptions::relaxed("packet").flag("--max-allowed-packet=4M");
    let server = Server::start(options).await.expect("a server");
    let mut db = Deployment::on(server.administrator().clone()).await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, n INT); INSERT INTO orders VALUES (1, 1); \
            CREATE TABLE other (id INT PRIMARY KEY, body LONGBLOB); \
            INSERT INTO other VALUES (1, REPEAT('a', 3 << 20))",
    )
    .await;
    let job = db.job(&["ALTER TABLE orders MODIFY n BIGINT"]);
    let (engine, _lease) = copied(&db, job).await;
    db.run("UPDATE other SET body = REPEAT('b', 3 << 20); UPDATE orders SET n = 2")
        .await;
    swap(engine).await;
    assert_eq!(db.text("SELECT n FROM orders").await, "2");
}
