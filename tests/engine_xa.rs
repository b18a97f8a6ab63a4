//! Case 34. XA transactions on the table under change: prepared before a checkpoint and ended after it, at the cutover, in
//! the revert window, over restarts of driver and server. Every row that was committed is there at the end, and none that
//! was not.

mod deployment;
mod support;
mod xa_support;

use std::time::Duration;

use deployment::{Deployment, TestLease, copy, job_of, open, swap};
use lockkeeper::config::{Credentials, Secret};
use lockkeeper::engine::{Directive, Engine, ErrorKind, Job, Outcome, Target};
use lockkeeper::server::{Server, ServerOptions};
use sqlx::{AssertSqlSafe, Executor as _};
use support::{PATIENCE, eventually};
use xa_support::*;

/// For a driver that comes after one that was to give up soon.
fn patient(db: &Deployment, lease_epoch: u64) -> Job {
    Job {
        lease_epoch,
        ..db.job(&[CHANGE])
    }
}

async fn copied(db: &Deployment, job: Job) -> Engine {
    deployment::copied(db, job).await.0
}

async fn copied_by(target: Target, job: Job) -> Engine {
    let engine = Engine::open(target, job, TestLease::held()).await;
    let mut engine = engine.expect("the engine");
    copy(&mut engine).await;
    engine
}

/// Writes a row and waits until it is applied, and a position after it stored.
async fn checkpoint_after_a_write(db: &mut Deployment, to: &str) {
    db.run("REPLACE INTO orders VALUES (-9, 1, UUID())").await;
    let note = db.text("SELECT note FROM orders WHERE id = -9").await;
    let target = db.ours(to).await;
    let sql = format!("SELECT 1 FROM `{target}` WHERE id = -9 AND note = '{note}'");
    let mut session = session(db).await;
    eventually("the write is applied", PATIENCE, async || {
        // The position is stored with the rows.
        let row = session.fetch_optional(AssertSqlSafe(sql.clone())).await;
        row.expect("the copy").is_some()
    })
    .await;
}

/// Three at once: one is committed, one rolled back, one committed by a session that never knew it. The drivers between
/// PREPARE and the end are different ones.
async fn prepared_before_and_ended_after_a_checkpoint(mut db: Deployment) {
    let engine = copied(&db, db.job(&[CHANGE])).await;
    let (stays, goes, detached) = (xid(&db, b"1"), xid(&db, b"`2\xff"), xid(&db, b";3\0"));
    let mut manager = session(&db).await;
    run(
        &mut manager,
        &format!(
            "SET SESSION xa_detach_on_prepare = OFF; XA START {stays}; \
             UPDATE orders SET n = -1 WHERE id < 100; UPDATE orders SET n = n - 1 WHERE id < 50; \
             DELETE FROM orders WHERE id = 7; INSERT INTO orders VALUES (5000, 1, 'prepared'); \
             XA END {stays}; XA PREPARE {stays}"
        ),
    )
    .await;
    prepare(
        &db,
        &goes,
        "UPDATE orders SET n = -2 WHERE id BETWEEN 200 AND 300",
    )
    .await;
    prepare(
        &db,
        &detached,
        "UPDATE orders SET id = id + 10000 WHERE id > 1900",
    )
    .await;
    checkpoint_after_a_write(&mut db, "_new").await;
    engine.close().await;

    // The next driver reads the PREPAREs again, and writes positions of its own.
    let second = Job {
        lease_epoch: 2,
        ..db.job(&[CHANGE])
    };
    let engine = copied(&db, second).await;
    checkpoint_after_a_write(&mut db, "_new").await;
    let shadow = db.ours("_new").await;
    let unseen = format!("SELECT COUNT(*) FROM `{shadow}` WHERE n < 0 OR id >= 5000");
    assert_eq!(db.text(&unseen).await, "0");
    engine.close().await;

    run(&mut manager, &format!("XA COMMIT {stays}")).await;
    db.run(&format!("XA ROLLBACK {goes}; XA COMMIT {detached}"))
        .await;
    db.run("UPDATE orders SET note = 'later' WHERE id IN (3, 250, 11950)")
        .await;
    let expected = db.text(CONTENT).await;
    let third = Job {
        lease_epoch: 3,
        ..db.job(&[CHANGE])
    };
    swap(copied(&db, third).await).await;
    assert_eq!(db.text(CONTENT).await, expected);
    assert_eq!(db.column_type("orders", "id").await, "bigint");
    let counts = "SELECT CONCAT_WS(' ', SUM(n = -1), SUM(n = -2), SUM(id > 10000), SUM(id = 5000)) FROM orders";
    assert_eq!(db.text(counts).await, "50 48 100 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn xa_transactions_prepared_before_and_ended_after_a_checkpoint_arrive() {
    prepared_before_and_ended_after_a_checkpoint(filled().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_gtids_they_arrive_as_well() {
    let server = without_gtids().await;
    let db = filled_on(server.administrator().clone(), 2000).await;
    prepared_before_and_ended_after_a_checkpoint(db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_phase_rolled_back_and_compressed_ones_and_those_of_other_tables_are_followed() {
    let mut db = filled().await;
    db.run("CREATE TABLE others (id INT PRIMARY KEY)").await;
    let engine = copied(&db, db.job(&[CHANGE])).await;
    let (a, b, c) = (xid(&db, b"a"), xid(&db, b"b"), xid(&db, b"c"));
    // More than one part of what is handed on at a time.
    db.run(&format!(
        "XA START {a}; UPDATE orders SET n = -1, note = REPEAT('x', 40); XA END {a}; XA COMMIT {a} ONE PHASE; \
         XA START {b}; DELETE FROM orders WHERE id = 2; XA END {b}; XA ROLLBACK {b}; \
         XA START {b}; DELETE FROM orders WHERE id = 3; XA END {b}; XA PREPARE {b}; XA ROLLBACK {b}; \
         SET SESSION binlog_transaction_compression = ON; \
         XA START {b}; UPDATE orders SET note = 'zip' WHERE id < 1000; SAVEPOINT s; \
         DELETE FROM orders; ROLLBACK TO s; XA END {b}; XA PREPARE {b}; XA COMMIT {b}; \
         XA START {c}; INSERT INTO others VALUES (1); XA END {c}; XA PREPARE {c}"
    ))
    .await;
    let expected = db.text(CONTENT).await;
    // The one that is still prepared holds nothing of ours.
    swap(engine).await;
    db.run(&format!("XA COMMIT {c}")).await;
    assert_eq!(db.text(CONTENT).await, expected);
    let counts = "SELECT CONCAT_WS(' ', SUM(n = -1), SUM(note = 'zip')) FROM orders";
    assert_eq!(db.text(counts).await, "2000 999");
}

/// The session that prepared it does other work meanwhile; the server says that it holds the lock.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_prepared_at_the_cutover_is_waited_for_named_and_never_killed() {
    let mut db = filled().await;
    let job = Job {
        options: serde_json::json!({
            "cutover_give_up_seconds": 2, "cutover_lock_wait_ms": 200, "kill_blockers_after_seconds": 1
        }),
        ..db.job(&[CHANGE])
    };
    let mut engine = copied(&db, job).await;
    let name = xid(&db, b"held");
    let mut worker = session(&db).await;
    run(
        &mut worker,
        &format!(
            "XA START {name}; UPDATE orders SET n = -1 WHERE id = 5; XA END {name}; XA PREPARE {name}; \
             BEGIN; SELECT * FROM orders WHERE id = 6"
        ),
    )
    .await;
    let ended = tokio::time::timeout(PATIENCE, engine.cut_over()).await;
    let ended = ended.expect("it gives up");
    let error = ended.expect_err("a prepared transaction");
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    assert!(error.message().contains(&name), "{}", error.message());
    // Neither the transaction nor the session is gone, and nobody else waits.
    run(&mut worker, "SELECT 1; COMMIT").await;
    assert_eq!(db.column_type("orders", "id").await, "int");
    db.run("SET SESSION lock_wait_timeout = 1; UPDATE orders SET n = -2 WHERE id = 6")
        .await;
    run(&mut worker, &format!("XA COMMIT {name}")).await;
    let expected = db.text(CONTENT).await;
    engine.close().await;
    swap(copied(&db, patient(&db, 2)).await).await;
    assert_eq!(db.text(CONTENT).await, expected);
    let n = db.text("SELECT n FROM orders WHERE id = 5").await;
    assert_eq!(n, "-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_prepared_before_the_copy_is_waited_for() {
    let mut db = filled().await;
    db.run("CREATE TABLE others (id INT PRIMARY KEY)").await;
    let (ours, others) = (xid(&db, b"ours"), xid(&db, b"others"));
    prepare(&db, &ours, "UPDATE orders SET n = -1 WHERE id = 5").await;
    prepare(&db, &others, "INSERT INTO others VALUES (1)").await;
    let first = Job {
        options: serde_json::json!({ "cutover_give_up_seconds": 1 }),
        ..db.job(&[CHANGE])
    };
    let second = patient(&db, 2);
    let (mut engine, _lease) = open(&db, first).await;
    let error = engine.copy().await.expect_err("a prepared transaction");
    engine.close().await;
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    let message = error.message();
    assert!(
        message.contains("cannot begin") && message.contains("XA"),
        "{message}"
    );

    db.run(&format!("XA COMMIT {ours}")).await;
    // The other one holds nothing that matters.
    let engine = copied(&db, second).await;
    db.run(&format!("XA COMMIT {others}")).await;
    let expected = db.text(CONTENT).await;
    swap(engine).await;
    assert_eq!(db.text(CONTENT).await, expected);
    let n = db.text("SELECT n FROM orders WHERE id = 5").await;
    assert_eq!(n, "-1");
}

/// Whoever reads the server's list of transactions often keeps it old for all, and a former look of one's own may be in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_somebody_keeps_old_shows_nobody_who_has_ended() {
    let server = Server::start(ServerOptions::relaxed("xa")).await;
    let server = server.expect("a private server");
    let mut db = filled_on(server.administrator().clone(), 20).await;
    let name = xid(&db, b"earlier");
    prepare(&db, &name, "UPDATE orders SET n = -1 WHERE id = 5").await;
    let job = Job {
        options: serde_json::json!({ "cutover_give_up_seconds": 10 }),
        ..db.job(&[CHANGE])
    };
    let (mut engine, _lease) = open(&db, job).await;
    let mut copy = tokio::spawn(async move {
        let copied = engine.copy().await;
        engine.close().await;
        copied
    });
    eventually("it has looked", PATIENCE, async || {
        let mut session = session(&db).await;
        let looks = "SELECT CAST(COALESCE(SUM(COUNT_STAR), 0) AS SIGNED) \
             FROM performance_schema.events_statements_summary_by_digest \
            WHERE DIGEST_TEXT LIKE 'START TRANSACTION WITH CONSISTENT SNAPSHOT%'";
        let looks = sqlx::query_scalar::<_, i64>(looks).fetch_one(&mut session);
        looks.await.expect("looks") > 0
    })
    .await;
    let mut reader = session(&db).await;
    let reads = tokio::spawn(async move {
        let mut often = tokio::time::interval(Duration::from_millis(30));
        loop {
            often.tick().await;
            run(&mut reader, "SELECT * FROM information_schema.INNODB_TRX").await;
        }
    });
    db.run(&format!("XA COMMIT {name}")).await;
    // Longer than it would wait for a transaction.
    let early = tokio::time::timeout(Duration::from_secs(15), &mut copy).await;
    reads.abort();
    let copied = match early {
        Ok(copied) => copied,
        Err(_) => tokio::time::timeout(PATIENCE, copy).await.expect("in time"),
    };
    assert_eq!(
        copied.expect("no panic").expect("the copy"),
        Outcome::Verified
    );
}

/// An account with no more than what the documentation asks for can tell nobody apart, and waits.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_see_little_is_as_safe() {
    let server = Server::start(ServerOptions::relaxed("xa")).await;
    let server = server.expect("a private server");
    let mut db = filled_on(server.administrator().clone(), 2000).await;
    let name = xid(&db, b"ours");
    let (user, schema) = (format!("u_{}", db.installation), db.schema.clone());
    db.run(&format!(
        "CREATE USER {user} IDENTIFIED BY 'Xa-{user}-1'; \
         GRANT REPLICATION SLAVE, REPLICATION CLIENT, PROCESS ON *.* TO {user}; \
         GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, LOCK TABLES, CREATE TEMPORARY TABLES, TRIGGER \
            ON `{schema}`.* TO {user}"
    ))
    .await;
    let mut settings = db.settings.clone();
    settings.credentials = Credentials {
        user: user.clone(),
        password: Secret::new(format!("Xa-{user}-1")),
    };
    let installation = db.installation.clone();
    let job = |epoch| job_of(&settings, &schema, &installation, epoch, &[CHANGE]);
    let impatient =
        serde_json::json!({ "cutover_give_up_seconds": 2, "cutover_lock_wait_ms": 200 });
    prepare(&db, &name, "UPDATE orders SET n = -1 WHERE id = 5").await;
    let (target, first) = job(1);
    let first = Job {
        options: impatient.clone(),
        ..first
    };
    let mut engine = Engine::open(target, first, TestLease::held())
        .await
        .expect("the engine");
    let error = engine.copy().await.expect_err("a prepared transaction");
    engine.close().await;
    assert!(
        error.message().contains("cannot begin"),
        "{}",
        error.message()
    );

    let mut root = session(&db).await;
    run(&mut root, &format!("XA COMMIT {name}")).await;
    let (target, second) = job(2);
    copied_by(target, second).await.close().await;
    let (target, third) = job(3);
    let third = Job {
        options: impatient,
        ..third
    };
    let mut engine = copied_by(target, third).await;
    prepare(&db, &name, "UPDATE orders SET n = -2 WHERE id = 6").await;
    let error = engine.cut_over().await.expect_err("a prepared transaction");
    engine.close().await;
    assert!(error.message().contains(&name), "{}", error.message());
    run(&mut root, &format!("XA COMMIT {name}")).await;
    let expected = db.text(CONTENT).await;
    let (target, last) = job(4);
    swap(copied_by(target, last).await).await;
    assert_eq!(db.text(CONTENT).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_prepared_in_the_revert_window_comes_back_with_another_driver() {
    let mut db = filled().await;
    let job = |lease_epoch| Job {
        lease_epoch,
        revert_window_seconds: 600,
        ..db.job(&[CHANGE])
    };
    let (first, second) = (job(1), job(2));
    let mut engine = copied(&db, first).await;
    engine.cut_over().await.expect("the swap");
    let (stays, goes) = (xid(&db, b"stays"), xid(&db, b"goes"));
    prepare(&db, &stays, "UPDATE orders SET n = -1 WHERE id < 10").await;
    prepare(&db, &goes, "DELETE FROM orders WHERE id > 1000").await;
    let (ends, window) = tokio::sync::watch::channel(Some(600.0));
    let kept = tokio::spawn(async move {
        let outcome = engine.keep_reverse(window).await;
        (engine, outcome)
    });
    checkpoint_after_a_write(&mut db, "_old").await;
    // As a killed process does: nothing more is stored.
    kept.abort();
    assert!(kept.await.is_err());
    drop(ends);

    db.run(&format!("XA COMMIT {stays}; XA ROLLBACK {goes}"))
        .await;
    let expected = db.text(CONTENT).await;
    let (mut engine, lease) = open(&db, second).await;
    lease.direct(Directive::Revert);
    engine.revert().await.expect("the swap back");
    engine.remove_artifacts().await.expect("nothing is left");
    engine.close().await;
    assert_eq!(db.text(CONTENT).await, expected);
    assert_eq!(db.column_type("orders", "id").await, "int");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_survives_a_crash_of_the_server_arrives() {
    let mut server = Server::start(ServerOptions::relaxed("xa"))
        .await
        .expect("a private server");
    let mut db = filled_on(server.administrator().clone(), 2000).await;
    copied(&db, patient(&db, 1)).await.close().await;
    // Soon tired of waiting for what is prepared, also where its stream survives.
    let impatient = |db: &Deployment, lease_epoch| Job {
        options: serde_json::json!({ "cutover_give_up_seconds": 2 }),
        ..patient(db, lease_epoch)
    };
    let mut lease_epoch = 2;
    let mut engine = copied(&db, impatient(&db, lease_epoch)).await;
    let name = xid(&db, b"survives");
    prepare(&db, &name, "UPDATE orders SET n = -1 WHERE id < 10").await;
    checkpoint_after_a_write(&mut db, "_new").await;
    server.kill().await.expect("killed");
    server.restart().await.expect("the same data again");
    db.root = session(&db).await;
    // The stream of this driver, or of the next, if it gave up.
    let started = std::time::Instant::now();
    let error = loop {
        assert!(started.elapsed() < PATIENCE, "no driver names it");
        match engine.cut_over().await {
            Ok(_) => panic!("the table was swapped under a prepared transaction"),
            Err(error) if error.message().contains(&name) => break error,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
                engine.close().await;
                lease_epoch += 1;
                engine = open(&db, impatient(&db, lease_epoch)).await.0;
            }
        }
    };
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    db.run(&format!("XA COMMIT {name}")).await;
    let expected = db.text(CONTENT).await;
    engine.close().await;
    swap(copied(&db, patient(&db, lease_epoch + 1)).await).await;
    assert_eq!(db.text(CONTENT).await, expected);
    let changed = "SELECT COUNT(*) FROM orders WHERE n = -1";
    assert_eq!(db.text(changed).await, "9");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ends_behind_the_binlogs_back_stops_the_change() {
    let mut db = filled().await;
    let mut engine = copied(&db, db.job(&[CHANGE])).await;
    let name = xid(&db, b"unlogged");
    prepare(&db, &name, "UPDATE orders SET n = -1 WHERE id = 5").await;
    db.run(&format!("SET SESSION sql_log_bin = OFF; XA COMMIT {name}"))
        .await;
    let error = engine.cut_over().await.expect_err("an unknown end");
    engine.close().await;
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.message().contains(&name), "{}", error.message());
    assert_eq!(db.column_type("orders", "id").await, "int");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_too_large_to_be_kept_stops_the_change_with_a_reason() {
    let mut db = filled().await;
    db.run("ALTER TABLE orders MODIFY note LONGTEXT").await;
    let mut engine = copied(&db, db.job(&[CHANGE])).await;
    let name = xid(&db, b"large");
    let write = "UPDATE orders SET note = REPEAT('x', 1 << 20) WHERE id <= 40";
    prepare(&db, &name, write).await;
    let kept = tokio::time::timeout(PATIENCE, engine.keep_current()).await;
    let error = kept.expect("in time").expect_err("too large");
    engine.close().await;
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.message().contains("32 MiB"), "{}", error.message());
    db.run(&format!("XA ROLLBACK {name}")).await;
    assert_eq!(db.column_type("orders", "id").await, "int");
}
