//! Who is told to hold a table that a swap has to lock: backups are, InnoDB's purge is nobody to give way to.

mod deployment;
mod support;

use std::sync::Arc;
use std::time::Duration;

use deployment::{Deployment, TestLease};
use lockkeeper::engine::session::blocker;
use lockkeeper::engine::{Engine, ErrorKind, Job};
use lockkeeper::server::{Server, ServerOptions};
use sqlx::Executor as _;
use support::PATIENCE;

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

/// On a server of its own: everybody there would wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_locked_the_whole_server_is_named_and_not_killed() {
    let server = Server::start(ServerOptions::relaxed("holders")).await;
    let server = server.expect("a private server");
    let mut db = Deployment::on(server.administrator().clone()).await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1)")
        .await;
    let job = Job {
        options: serde_json::json!({
            "cutover_lock_wait_ms": 200, "cutover_give_up_seconds": 1, "kill_blockers_after_seconds": 1
        }),
        ..db.job(&["ALTER TABLE t MODIFY n BIGINT"])
    };
    let (mut engine, _lease) = deployment::copied(&db, job.clone()).await;
    let mut backup = db.settings.connect().await.expect("a session");
    backup
        .execute("LOCK INSTANCE FOR BACKUP")
        .await
        .expect("the backup's lock");
    let error = engine.cut_over().await.expect_err("the server is locked");
    engine.close().await;
    assert_eq!(error.kind(), ErrorKind::Retryable);
    let message = error.message();
    assert!(
        message.contains("has held LOCK INSTANCE FOR BACKUP for")
            && message.contains("never killed"),
        "{message}"
    );
    backup
        .execute("UNLOCK INSTANCE; FLUSH TABLES WITH READ LOCK")
        .await
        .expect("another kind of backup");
    let mut helper = db.session(1).await;
    let tables = [(db.schema.as_str(), "t")];
    let held = blocker::holding(&mut helper, &tables, Duration::ZERO).await;
    let held: Vec<_> = held
        .expect("the look")
        .iter()
        .map(blocker::Blocker::describe)
        .collect();
    assert!(
        held[0].contains("has held FLUSH TABLES WITH READ LOCK for"),
        "{held:?}"
    );
    backup
        .execute("UNLOCK TABLES")
        .await
        .expect("the end of it");
    let next = Job {
        lease_epoch: 2,
        ..job
    };
    let (engine, _lease) = deployment::copied(&db, next).await;
    deployment::swap(engine).await;
    assert_eq!(db.column_type("t", "n").await, "bigint");
}

/// An engine whose account has no SELECT on performance_schema.
async fn copied_unseeing(db: &mut Deployment, statement: &str) -> (Engine, Arc<TestLease>) {
    let job = db.job(&[statement]);
    copied_with_few_rights(db, job, "").await
}

/// An engine whose account has what every change needs, and the grants of `more`, which end before their TO.
async fn copied_with_few_rights(
    db: &mut Deployment,
    job: Job,
    more: &str,
) -> (Engine, Arc<TestLease>) {
    let (schema, user) = (&db.schema, format!("u{}", db.installation));
    let password = db.settings.credentials.password.expose();
    let mut account = format!(
        "CREATE USER `{user}`@`%` IDENTIFIED BY '{password}'; \
         GRANT REPLICATION SLAVE, REPLICATION CLIENT, PROCESS ON *.* TO `{user}`@`%`; \
         GRANT ALL ON `{schema}`.* TO `{user}`@`%`"
    );
    for grant in more.split_terminator(';') {
        account.push_str(&format!("; {grant} TO `{user}`@`%`"));
    }
    db.run(&account).await;
    let mut target = db.target();
    target.user = user;
    let lease = TestLease::held();
    let mut engine = Engine::open(target, job, lease.clone())
        .await
        .expect("the engine");
    deployment::copy(&mut engine).await;
    (engine, lease)
}

/// Whoever may not see that gives way until the time is up. Its pauses grow longer than a session that holds a lock may be silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_waits_for_a_session_that_it_cannot_see() {
    let server = Server::start(ServerOptions::relaxed("holders")).await;
    let server = server.expect("a private server");
    let mut db = Deployment::on(server.administrator().clone()).await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let (mut engine, _lease) = copied_unseeing(&mut db, "DROP TABLE t").await;
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut reader = settings.connect().await.expect("a session");
    let uses = "BEGIN; SELECT COUNT(*) FROM t";
    reader.execute(uses).await.expect("it is read");
    let dropped = tokio::spawn(async move { (engine.cut_over().await, engine) });
    let asked = "SELECT COUNT_STAR >= 7 FROM performance_schema.events_statements_summary_global_by_event_name \
                  WHERE EVENT_NAME = 'statement/sql/lock_tables'";
    support::eventually("it gives way again and again", PATIENCE, async || {
        dropped.is_finished() || db.text(asked).await == "1"
    })
    .await;
    reader.execute("COMMIT").await.expect("the end");
    let (dropped, engine) = dropped.await.expect("the cutover");
    dropped.expect("it had its turn");
    engine.close().await;
    assert!(!db.tables().await.contains("t"));
}

/// Its lock on the definition lets LOCK TABLES pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_gives_way_to_a_handler_that_keeps_only_its_rename_out() {
    gives_way_to_a_handler(false, "RENAME").await;
    gives_way_to_a_handler(true, "has held LOCK TABLES, or a HANDLER,").await;
}

async fn gives_way_to_a_handler(sees: bool, told: &str) {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1)")
        .await;
    let change = "ALTER TABLE t MODIFY n BIGINT";
    let (mut engine, lease) = match sees {
        true => deployment::copied(&db, db.job(&[change])).await,
        false => copied_unseeing(&mut db, change).await,
    };
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut reader = settings.connect().await.expect("a session");
    reader.execute("HANDLER t OPEN").await.expect("a handler");
    let swapped = tokio::spawn(async move { (engine.cut_over().await, engine) });
    support::eventually("it gives way", PATIENCE, async || {
        let reason = lease.progress().throttled_by;
        swapped.is_finished() || reason.is_some_and(|reason| reason.contains(told))
    })
    .await;
    db.run("INSERT INTO t VALUES (2, 2)").await;
    reader.execute("HANDLER t CLOSE").await.expect("the end");
    let (swapped, engine) = swapped.await.expect("the cutover");
    assert!(swapped.expect("the swap").gave_way > 0);
    engine.close().await;
    assert_eq!(db.column_type("t", "n").await, "bigint");
    assert_eq!(db.text("SELECT SUM(n) FROM t").await, "3");
}

/// An administrator's, say. The swap goes through when that one has ended, as it does without the option.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_gives_way_to_a_session_that_its_account_may_not_kill() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1)")
        .await;
    let job = Job {
        options: serde_json::json!({"cutover_lock_wait_ms": 200, "kill_blockers_after_seconds": 1}),
        ..db.job(&["ALTER TABLE t MODIFY n BIGINT"])
    };
    let more = "GRANT CONNECTION_ADMIN ON *.*; GRANT SELECT ON performance_schema.*";
    let (mut engine, lease) = copied_with_few_rights(&mut db, job, more).await;
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut reader = settings.connect().await.expect("a session");
    let uses = "BEGIN; SELECT COUNT(*) FROM t";
    reader.execute(uses).await.expect("it is read");
    let swapped = tokio::spawn(async move { (engine.cut_over().await, engine) });
    support::eventually("it gives way", PATIENCE, async || {
        let reason = lease.progress().throttled_by;
        swapped.is_finished() || reason.is_some_and(|reason| reason.contains("may not end it"))
    })
    .await;
    reader.execute("COMMIT").await.expect("it is there still");
    let (swapped, engine) = swapped.await.expect("the cutover");
    assert!(swapped.expect("the swap").gave_way > 0);
    engine.close().await;
    assert_eq!(db.column_type("t", "n").await, "bigint");
}
