//! Servers and sessions that are set up otherwise, and people who do something meanwhile: the
//! change ends equal, or stops with a reason, and never in between.

mod deployment;
mod support;

use deployment::{Deployment, TestLease, copied, copy, half_copied, open, swapped_alike};
use lockkeeper::engine::{Engine, EngineError, ErrorKind, Job, Orders, Outcome};
use lockkeeper::server::{Server, ServerOptions};
use support::PATIENCE;
use tokio::task::JoinHandle;

const TABLE: &str = "CREATE TABLE orders (id INT PRIMARY KEY, n INT, note TEXT, body JSON); \
    SET SESSION cte_max_recursion_depth = 100000; \
    INSERT INTO orders WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 2000) \
    SELECT i, i, REPEAT('x', 50), JSON_OBJECT('a', i) FROM n";

/// Enough for several chunks.
const MORE: &str = "INSERT INTO orders SELECT id + 2000, n, note, body FROM orders; \
    INSERT INTO orders SELECT id + 4000, n, note, body FROM orders";

const CHANGE: &str = "ALTER TABLE orders MODIFY id BIGINT NOT NULL";

const CONTENT: &str = "SELECT CONCAT_WS(' ', COUNT(*), SUM(id), SUM(n), \
    SUM(CRC32(CONCAT_WS('|', id, n, note, body)))) FROM orders";

async fn filled(settings: Option<&Server>) -> Deployment {
    let mut db = match settings {
        Some(server) => Deployment::on(server.administrator().clone()).await,
        None => Deployment::fresh().await,
    };
    db.run(TABLE).await;
    db
}

async fn private(flags: &[&str]) -> Server {
    let options = ServerOptions::relaxed("surroundings");
    let options = flags
        .iter()
        .fold(options, |options, flag| options.flag(*flag));
    Server::start(options).await.expect("a private server")
}

/// Copies, writes, swaps; what the application wrote must be there.
async fn change_and_compare(db: &mut Deployment, writes: &str) {
    let (engine, _lease) = copied(db, db.job(&[CHANGE])).await;
    db.run(writes).await;
    swapped_alike(db, engine, CONTENT).await;
    assert_eq!(db.column_type("orders", "id").await, "bigint");
}

/// How the change ends when `meanwhile` happens after the copy.
async fn refusal(db: &mut Deployment, meanwhile: &str) -> EngineError {
    let (mut engine, _lease) = copied(db, db.job(&[CHANGE])).await;
    db.run(meanwhile).await;
    let kept = tokio::time::timeout(PATIENCE, engine.keep_current()).await;
    let error = kept
        .expect("within seconds")
        .expect_err("what cannot be followed");
    engine.close().await;
    error
}

const WRITES: &str = "UPDATE orders SET n = n + 1 WHERE id % 3 = 0; DELETE FROM orders WHERE id % 7 = 0; \
    UPDATE orders SET id = id + 100000 WHERE id % 11 = 0; INSERT INTO orders VALUES (-5, 1, 'new', '[1.5]')";

/// Case 31.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_writes_less_than_full_row_images_stops_the_change() {
    for (settings, write) in [
        (
            "binlog_row_image = MINIMAL",
            "UPDATE orders SET n = -1 WHERE id = 5",
        ),
        (
            "binlog_row_image = NOBLOB",
            "UPDATE orders SET n = -1 WHERE id = 5",
        ),
        (
            "binlog_row_value_options = PARTIAL_JSON",
            "UPDATE orders SET body = JSON_SET(body, '$.a', 7) WHERE id = 5",
        ),
        (
            "binlog_format = STATEMENT",
            "UPDATE orders SET n = -1 WHERE id = 5",
        ),
    ] {
        let mut db = filled(None).await;
        let meanwhile = format!("SET SESSION {settings}; {write}");
        let error = refusal(&mut db, &meanwhile).await;
        assert_eq!(error.kind(), ErrorKind::Permanent, "{settings}: {error}");
        assert_eq!(db.column_type("orders", "id").await, "int", "{settings}");
    }
}

/// Case 32.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_transactions_are_followed() {
    let mut db = filled(None).await;
    db.run("SET SESSION binlog_transaction_compression = ON")
        .await;
    change_and_compare(&mut db, WRITES).await;
}

/// Case 66.
#[tokio::test(flavor = "multi_thread")]
async fn ddl_of_others_stops_the_change_within_seconds() {
    for ddl in [
        "ALTER TABLE orders ADD COLUMN extra INT",
        "TRUNCATE TABLE orders",
        "RENAME TABLE orders TO others",
        // Nobody sees it under another name.
        "RENAME TABLE orders TO others; UPDATE others SET n = n + 1; RENAME TABLE others TO orders",
        "ALTER TABLE orders RENAME TO others; DELETE FROM others LIMIT 1; ALTER TABLE others RENAME TO orders",
        "ALTER TABLE orders ADD KEY (n)",
        "CREATE TRIGGER late BEFORE INSERT ON orders FOR EACH ROW SET NEW.n = 0",
        "CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES orders (id))",
    ] {
        let mut db = filled(None).await;
        let error = refusal(&mut db, ddl).await;
        assert_eq!(error.kind(), ErrorKind::Permanent, "{ddl}: {error}");
    }
}

/// Word for word what the operators' guide says.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_the_documented_rights_and_no_more_changes_a_table() {
    let mut db = filled(None).await;
    let (schema, user) = (db.schema.clone(), format!("u{}", db.installation));
    let password = db.settings.credentials.password.expose().to_owned();
    db.run(&format!(
        "CREATE USER `{user}`@`%` IDENTIFIED BY '{password}'"
    ))
    .await;
    let guide = include_str!("../docs/operators.md");
    let begin = guide.find("GRANT REPLICATION SLAVE").expect("the grants");
    let grants = guide[begin..].split("```").next().expect("their end");
    let grants = grants
        .replace("`shop`", &format!("`{schema}`"))
        .replace("`lockkeeper`@", &format!("`{user}`@"));
    db.run(&grants).await;
    let mut target = db.target();
    target.user = user;
    let mut engine = Engine::open(target, db.job(&[CHANGE]), TestLease::held())
        .await
        .expect("the engine");
    copy(&mut engine).await;
    db.run(WRITES).await;
    swapped_alike(&mut db, engine, CONTENT).await;
    assert_eq!(db.column_type("orders", "id").await, "bigint");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_the_same_name_in_another_schema_is_of_no_concern() {
    let mut db = filled(None).await;
    let mut other = Deployment::fresh().await;
    other.run("CREATE TABLE orders (id INT PRIMARY KEY)").await;
    let (engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
    other
        .run("SET SESSION binlog_format = STATEMENT; INSERT INTO orders VALUES (1)")
        .await;
    db.run(WRITES).await;
    swapped_alike(&mut db, engine, CONTENT).await;
    assert_eq!(db.column_type("orders", "id").await, "bigint");

    // With its schema's name it is of concern, wherever the session is.
    let db = filled(None).await;
    let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
    let name = db.schema.clone();
    other
        .run(&format!("INSERT INTO `{name}`.orders (id) VALUES (-1)"))
        .await;
    let kept = tokio::time::timeout(PATIENCE, engine.keep_current()).await;
    let error = kept.expect("within seconds").expect_err("a statement");
    engine.close().await;
    assert!(error.message().contains("with a statement"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tables_swap_together() {
    let mut db = filled(None).await;
    db.run("CREATE TABLE side (id INT PRIMARY KEY, n INT); INSERT INTO side VALUES (1, 1), (2, 2)")
        .await;
    let job = db.job(&[CHANGE, "ALTER TABLE side MODIFY n BIGINT"]);
    let (engine, _lease) = copied(&db, job).await;
    db.run(WRITES).await;
    db.run("UPDATE side SET n = 20 WHERE id = 2; INSERT INTO side VALUES (3, 3)")
        .await;
    swapped_alike(&mut db, engine, CONTENT).await;
    let side = db
        .text("SELECT GROUP_CONCAT(id, ':', n ORDER BY id) FROM side")
        .await;
    assert_eq!(side, "1:1,2:20,3:3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_gtids_is_followed() {
    let server = private(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]).await;
    let mut db = filled(Some(&server)).await;
    change_and_compare(&mut db, WRITES).await;
}

/// Whoever is to go on where a former driver was may find a server that was restarted with other settings.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_gtids_must_keep_its_commits_in_order_until_the_end() {
    let server = private(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]).await;
    let mut db = filled(Some(&server)).await;
    db.run(MORE).await;
    let job = db.job(&[CHANGE]);
    let copying = half_copied(&mut db, job.clone(), 3_000).await;
    copying.lease.order(Orders {
        shutdown: true,
        ..Orders::default()
    });
    let (engine, outcome) = copying.ended().await;
    assert_eq!(outcome.expect("in mid-copy"), Outcome::Interrupted);
    engine.close().await;
    db.run("SET GLOBAL binlog_order_commits = OFF").await;
    is_refused(&db, &job, 2, "binlog_order_commits is off").await;
    db.run("SET GLOBAL binlog_order_commits = ON").await;
    let job = Job {
        lease_epoch: 3,
        ..job
    };
    let (engine, _lease) = copied(&db, job).await;
    swapped_alike(&mut db, engine, CONTENT).await;
}

/// Cases 64 and 80: nobody else is there, and the server's own limits are absurd.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_with_absurd_limits_is_no_obstacle() {
    let server = private(&[
        "--sql-require-primary-key=ON",
        "--autocommit=OFF",
        "--cte-max-recursion-depth=1",
        "--lock-wait-timeout=1",
        "--wait-timeout=10",
        "--innodb-lock-wait-timeout=1",
        "--max-execution-time=100",
    ])
    .await;
    let mut db = filled(Some(&server)).await;
    change_and_compare(&mut db, "DO 0").await;
}

/// What is written together fits into its statements, whatever the server takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_short_statements_gets_short_ones() {
    let server = private(&["--max-allowed-packet=256K"]).await;
    let mut db = filled(Some(&server)).await;
    change_and_compare(&mut db, "UPDATE orders SET note = REPEAT('y', 200)").await;
}

/// Starts a commit that waits for a replica which doesn't exist: it is in the binlog, and nobody sees it yet.
async fn commit_unseen(db: &mut Deployment, write: &'static str) -> JoinHandle<()> {
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut other = settings.connect().await.expect("a session");
    // The first commit that has waited in vain turns it off.
    db.run(
        "SET GLOBAL rpl_semi_sync_source_enabled = OFF; SET GLOBAL rpl_semi_sync_source_enabled = ON",
    )
    .await;
    let commit = tokio::spawn(async move {
        use sqlx::Executor as _;
        other.execute(write).await.expect("a commit");
    });
    let waits = "SELECT COUNT(*) FROM performance_schema.processlist \
                  WHERE STATE LIKE 'Waiting for semi-sync ACK%'";
    support::eventually("the commit waits", PATIENCE, async || {
        db.text(waits).await != "0"
    })
    .await;
    commit
}

/// Case 9.
#[tokio::test(flavor = "multi_thread")]
async fn commits_that_are_in_the_binlog_long_before_they_are_visible_are_not_lost() {
    let server = private(&[
        "--plugin-load-add=semisync_source.so",
        "--loose-rpl-semi-sync-source-enabled=OFF",
        "--loose-rpl-semi-sync-source-timeout=2000",
    ])
    .await;
    let mut db = filled(Some(&server)).await;
    db.run(MORE).await;
    let job = db.job(&[CHANGE]);
    let copying = half_copied(&mut db, job, 5_000).await;
    // Chunks begin beside it, and what they don't see has been received.
    let write = "BEGIN; UPDATE orders SET n = -1 WHERE id % 5 = 0; UPDATE orders SET id = -id WHERE id % 11 = 0; \
         INSERT INTO orders VALUES (90000, 1, 'late', '1'); DELETE FROM orders WHERE id % 7 = 0; COMMIT";
    let unseen = commit_unseen(&mut db, write).await;
    let mut engine = copying.copied().await;
    unseen.await.expect("the commit");
    // The same while it catches up and swaps.
    let write = "BEGIN; UPDATE orders SET n = -2 WHERE id % 3 = 0; DELETE FROM orders WHERE id = 90000; \
         INSERT INTO orders VALUES (90001, 1, 'late', '1'); COMMIT";
    let unseen = commit_unseen(&mut db, write).await;
    engine.cut_over().await.expect("the swap");
    unseen.await.expect("the commit");
    let expected = CONTENT.replace("orders", &db.ours("_old").await);
    assert_eq!(db.text(CONTENT).await, db.text(&expected).await);
    let last = "SELECT COUNT(*) FROM orders WHERE n = -2 OR id = 90001";
    assert_ne!(db.text(last).await, "0");
    engine.close().await;
}

/// Case 63.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_the_servers_binlogs_do_not_reach_is_refused() {
    let server = private(&[]).await;
    let mut db = filled(Some(&server)).await;
    let job = db.job(&[CHANGE]);
    copied(&db, job.clone()).await.0.close().await;
    db.run("UPDATE orders SET n = 1; FLUSH BINARY LOGS").await;
    let file = db.text("SHOW BINARY LOG STATUS").await;
    db.run(&format!("PURGE BINARY LOGS TO '{file}'")).await;
    is_refused(&db, &job, 2, "purged").await;
    // As after a restore from a backup that is older than the checkpoint.
    db.run("RESET BINARY LOGS AND GTIDS").await;
    is_refused(
        &db,
        &job,
        3,
        "the server lacks transactions that the checkpoint contains",
    )
    .await;
    assert_eq!(db.text("SELECT COUNT(*) FROM orders").await, "2000");
}

/// What a resume says that must not go on.
async fn is_refused(db: &Deployment, job: &Job, lease_epoch: u64, reason: &str) {
    let job = Job {
        lease_epoch,
        ..job.clone()
    };
    let (mut engine, _lease) = open(db, job).await;
    let error = engine.copy().await.expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.message().contains(reason), "{error}");
    engine.close().await;
}

/// Case 79.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_becomes_read_only_is_given_up_in_time_and_tried_again() {
    let server = private(&[]).await;
    let mut db = filled(Some(&server)).await;
    let job = |db: &Deployment, lease_epoch| Job {
        lease_epoch,
        options: serde_json::json!({ "cutover_give_up_seconds": 2 }),
        ..db.job(&[CHANGE])
    };
    let (read_only, writable) = (
        "SET GLOBAL super_read_only = ON",
        "SET GLOBAL super_read_only = OFF, GLOBAL read_only = OFF",
    );
    // In the copy.
    let (mut engine, lease) = open(&db, job(&db, 1)).await;
    lease.order(Orders {
        throttle_level: 10,
        ..Orders::default()
    });
    let copying = tokio::spawn(async move {
        let outcome = engine.copy().await;
        engine.close().await;
        outcome
    });
    support::eventually("the copy begins", PATIENCE, async || {
        lease.progress().phase == "copy"
    })
    .await;
    db.run(read_only).await;
    lease.order(Orders::default());
    let ended = tokio::time::timeout(PATIENCE, copying).await;
    let outcome = ended.expect("in bounded time").expect("no panic");
    let error = outcome.expect_err("no copy");
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    db.run(writable).await;

    // At the cutover. The second one would not keep an administrator's account, as this driver's is, from anything.
    for (epoch, setting) in [(2, read_only), (3, "SET GLOBAL read_only = ON")] {
        let (mut engine, _lease) = copied(&db, job(&db, epoch)).await;
        db.run(setting).await;
        let ended = tokio::time::timeout(PATIENCE, engine.cut_over()).await;
        let error = ended.expect("in bounded time").expect_err("no swap");
        assert_eq!(error.kind(), ErrorKind::Retryable, "{setting}: {error}");
        engine.close().await;
        db.run(writable).await;
        assert_eq!(db.column_type("orders", "id").await, "int", "{setting}");
    }
    let (engine, _lease) = copied(&db, job(&db, 4)).await;
    swapped_alike(&mut db, engine, CONTENT).await;
    assert_eq!(db.column_type("orders", "id").await, "bigint");
}

/// Verification compares by the key, so a key that would sort otherwise is refused beforehand.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_could_not_be_verified_is_refused_before_the_copy() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE orders (price DECIMAL(8,2) PRIMARY KEY, n INT); INSERT INTO orders VALUES (1.5, 1)")
        .await;
    let job = db.job(&["ALTER TABLE orders MODIFY price DECIMAL(10,4) NOT NULL"]);
    let (mut engine, _lease) = open(&db, job).await;
    let error = engine.copy().await.expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.message().contains("column price"), "{error}");
    let tables = db.tables().await;
    assert!(!tables.iter().any(|t| t.ends_with("_new")), "{tables:?}");
    engine.close().await;
}

/// Cases 85 and 63: of another version, or of the server that this one was copied from.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_another_format_or_server_is_refused_and_left_as_it_is() {
    let mut db = filled(None).await;
    let job = db.job(&[CHANGE]);
    copied(&db, job.clone()).await.0.close().await;
    let tables = db.tables().await;
    for (lease_epoch, value, reason) in [
        (
            2,
            "'$.format', 3",
            "the checkpoint has format 3, this driver reads 1 and 2;",
        ),
        (
            3,
            "'$.format', 1, '$.server_uuid', 'another'",
            "the checkpoint is of server another,",
        ),
    ] {
        let checkpoint = db.ours("_checkpoint").await;
        db.run(&format!(
            "UPDATE `{checkpoint}` SET value = JSON_SET(value, {value}) WHERE name = 'head'"
        ))
        .await;
        is_refused(&db, &job, lease_epoch, reason).await;
        let left = db.tables().await;
        assert_eq!(left.len(), tables.len(), "{left:?}");
    }
    assert_eq!(db.column_type("orders", "id").await, "int");
}

/// Case 76.
#[tokio::test(flavor = "multi_thread")]
async fn cutovers_that_timed_out_leave_nothing_behind_and_the_next_one_swaps() {
    let mut db = filled(None).await;
    let job = Job {
        options: serde_json::json!({ "cutover_give_up_seconds": 1, "cutover_lock_wait_ms": 100 }),
        ..db.job(&[CHANGE])
    };
    let (mut engine, _lease) = copied(&db, job).await;
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut reader = settings.connect().await.expect("a session");
    let ours = format!(
        "SELECT COUNT(*) FROM performance_schema.metadata_locks \
          WHERE OBJECT_TYPE = 'USER LEVEL LOCK' AND OBJECT_NAME LIKE '\\_lk\\_{}\\_%'",
        db.installation
    );
    let tables = db.tables().await;
    let mut attempts = 0;
    let mut calls = 0;
    while attempts < 20 {
        use sqlx::Executor as _;
        // A new transaction: the first attempt of each call waits for the lock in vain, and the
        // others find a session that has had the table for long.
        reader
            .execute("COMMIT; BEGIN; SELECT COUNT(*) FROM orders")
            .await
            .expect("a read");
        let ended = tokio::time::timeout(PATIENCE, engine.cut_over()).await;
        let error = ended.expect("in bounded time").expect_err("no swap");
        assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
        let message = error.message();
        let (_, gave_way) = message.split_once("gave way ").expect("a number");
        let number = gave_way.split(' ').next().and_then(|n| n.parse().ok());
        attempts += number.unwrap_or(0u32);
        calls += 1;
        assert!(calls < 30, "{message}");
        // The application can write at once.
        db.run("SET SESSION lock_wait_timeout = 10; UPDATE orders SET n = n + 1 WHERE id = 1")
            .await;
    }
    assert_eq!(db.tables().await, tables);
    // The engine's own, and its applier's.
    support::eventually("no session is left", PATIENCE, async || {
        db.text(&ours)
            .await
            .parse::<u32>()
            .is_ok_and(|sessions| sessions <= 2)
    })
    .await;
    drop(reader);
    swapped_alike(&mut db, engine, CONTENT).await;
    assert_eq!(db.column_type("orders", "id").await, "bigint");
}

/// The server's lists of transactions and of sessions have their statements in utf8mb3, and cannot be read while one has an emoji.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_with_an_emoji_holds_the_copy_up_and_no_more() {
    emoji_holds_up(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_with_an_emoji_holds_a_successor_up_and_no_more() {
    emoji_holds_up(true).await;
}

async fn emoji_holds_up(takes_over: bool) {
    let server = private(&[]).await;
    let mut db = filled(Some(&server)).await;
    let mut writer = Deployment::on(server.administrator().clone()).await;
    let name = db.installation.clone();
    db.run(&format!("DO GET_LOCK('{name}', 0)")).await;
    writer
        .run("CREATE TABLE t (id INT); START TRANSACTION; INSERT INTO t VALUES (1)")
        .await;
    let waiting = format!("SELECT GET_LOCK('{name}', 600) /* 😀 */");
    let waiting = tokio::spawn(async move { writer.text(&waiting).await });
    let runs = "SELECT COUNT(*) FROM performance_schema.processlist WHERE STATE = 'User lock'";
    support::eventually("the statement runs", PATIENCE, async || {
        db.text(runs).await == "1"
    })
    .await;

    let (target, mut job) = (db.target(), db.job(&[CHANGE]));
    // Frozen, with a session that has to be ended.
    let mut former = None;
    if takes_over {
        let opened = Engine::open(target.clone(), job.clone(), TestLease::held()).await;
        former = Some(opened.expect("the former engine"));
        job.lease_epoch += 1;
    }
    let copy = tokio::spawn(async move {
        let mut engine = Engine::open(target, job, TestLease::held())
            .await
            .expect("the engine");
        let outcome = engine.copy().await;
        (engine, outcome)
    });
    let raised = "SELECT SUM_ERROR_RAISED >= 2 FROM performance_schema.events_errors_summary_global_by_error \
                   WHERE ERROR_NUMBER = 3854";
    support::eventually("it was refused twice", PATIENCE, async || {
        copy.is_finished() || db.text(raised).await == "1"
    })
    .await;
    db.run(&format!("DO RELEASE_LOCK('{name}')")).await;
    waiting.await.expect("its lock");
    let (engine, outcome) = copy.await.expect("the copy");
    assert_eq!(outcome.expect("the copy"), Outcome::Verified);
    engine.close().await;
    drop(former);
}

/// Where names may be spelled either way, the binlog has them in one.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_spelled_otherwise_is_followed_all_the_same() {
    let options = ServerOptions::relaxed("surroundings").flag("--lower-case-table-names=1");
    let server = match Server::start(options).await {
        Ok(server) => server,
        // An image whose data folder is initialised already keeps what it was initialised with.
        Err(error)
            if error
                .to_string()
                .contains("Different lower_case_table_names") =>
        {
            eprintln!("not run: {error}");
            return;
        }
        Err(error) => panic!("a private server: {error}"),
    };
    let mut db = filled(Some(&server)).await;
    let job = Job {
        schema_name: db.schema.to_uppercase(),
        ..db.job(&["ALTER TABLE ORDERS MODIFY id BIGINT NOT NULL"])
    };
    assert_ne!(job.schema_name, db.schema);
    let (engine, _lease) = copied(&db, job).await;
    db.run(WRITES).await;
    swapped_alike(&mut db, engine, CONTENT).await;
    assert_eq!(db.column_type("orders", "id").await, "bigint");
}

const PARTITIONED: &str = "ALTER TABLE orders PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (500), \
    PARTITION p1 VALUES LESS THAN (1000), PARTITION p2 VALUES LESS THAN MAXVALUE)";

/// Case 69.
#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_keeps_its_partitions_and_what_is_in_each() {
    let mut db = filled(None).await;
    db.run(PARTITIONED).await;
    let (engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
    // Rows move from one to another.
    db.run(WRITES).await;
    let content = "SELECT CONCAT_WS(' ', \
        (SELECT CONCAT(COUNT(*), ':', SUM(CRC32(CONCAT_WS('|', id, n, note, body)))) FROM orders PARTITION (p0)), \
        (SELECT CONCAT(COUNT(*), ':', SUM(CRC32(CONCAT_WS('|', id, n, note, body)))) FROM orders PARTITION (p1)), \
        (SELECT CONCAT(COUNT(*), ':', SUM(CRC32(CONCAT_WS('|', id, n, note, body)))) FROM orders PARTITION (p2)))";
    let found = swapped_alike(&mut db, engine, content).await;
    assert_eq!(found.split(' ').count(), 3, "one is empty: {found}");
    assert_eq!(db.column_type("orders", "id").await, "bigint");

    let job = Job {
        operation_id: 8,
        ..db.job(&["ALTER TABLE orders REMOVE PARTITIONING"])
    };
    let (engine, _lease) = copied(&db, job).await;
    db.run("DELETE FROM orders WHERE id % 13 = 0; UPDATE orders SET id = id + 700000 WHERE id % 17 = 0")
        .await;
    swapped_alike(&mut db, engine, CONTENT).await;
    let partitions = "SELECT COUNT(PARTITION_NAME) FROM information_schema.PARTITIONS \
                       WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'orders'";
    assert_eq!(db.text(partitions).await, "0");
}

/// Case 83. The server would not count again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_goes_the_same_way_right_after_the_swap() {
    let mut db = filled(None).await;
    db.run(
        "ALTER TABLE orders ADD few INT NOT NULL DEFAULT 0, ADD KEY by_few (few), ADD KEY by_n (n), STATS_AUTO_RECALC = 0; \
         UPDATE orders SET few = id % 2; ANALYZE TABLE orders; \
         SET SESSION information_schema_stats_expiry = 0, SESSION eq_range_index_dive_limit = 1",
    )
    .await;
    // By statistics alone.
    let way = "EXPLAIN FORMAT=TREE SELECT * FROM orders WHERE few = 1 AND n = 7";
    let before = db.text(way).await;
    assert!(before.contains("using by_n"), "{before}");
    let (engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
    let counted = "SELECT GROUP_CONCAT(INDEX_NAME, ' ', CARDINALITY ORDER BY INDEX_NAME) \
                     FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'orders'";
    let found = swapped_alike(&mut db, engine, counted).await;
    assert_eq!(found, "by_few 2,by_n 2000,PRIMARY 2000");
    let after = db.text(way).await;
    assert!(after.contains("using by_n"), "{after}");
    assert_eq!(db.column_type("orders", "id").await, "bigint");
}

/// Case 17.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_an_odd_name_is_followed() {
    let mut db = filled(None).await;
    let name = "`Größe-``x`` .'1'; 中`";
    db.run(&format!("RENAME TABLE orders TO {name}")).await;
    let of = |text: &str| text.replace("orders", name);
    let (engine, _lease) = copied(&db, db.job(&[&of(CHANGE)])).await;
    db.run(&of(WRITES)).await;
    swapped_alike(&mut db, engine, &of(CONTENT)).await;
    db.run(&format!("RENAME TABLE {name} TO orders")).await;
    assert_eq!(db.column_type("orders", "id").await, "bigint");
}

/// Two hours in the year have one name: 1729989000 and 1729992600 are both half past two.
const ZONE: &str = "INSERT INTO mysql.time_zone (Time_zone_id) VALUES (7001); \
    INSERT INTO mysql.time_zone_name VALUES ('Test/Summer', 7001); \
    INSERT INTO mysql.time_zone_transition VALUES (7001, 1711846800, 1), (7001, 1729990800, 2); \
    INSERT INTO mysql.time_zone_transition_type VALUES (7001, 0, 3600, 0, 'W'), (7001, 1, 7200, 1, 'S'), (7001, 2, 3600, 0, 'W')";

/// Case 46.
#[tokio::test(flavor = "multi_thread")]
async fn moments_of_an_hour_that_comes_twice_stay_apart() {
    let server = private(&[]).await;
    let mut db = Deployment::on(server.administrator().clone()).await;
    db.run(&format!(
        "{ZONE}; SET GLOBAL time_zone = 'Test/Summer'; SET SESSION time_zone = 'Test/Summer'"
    ))
    .await;
    let both = "SELECT FROM_UNIXTIME(1729989000) = FROM_UNIXTIME(1729992600) \
                   AND FROM_UNIXTIME(1729992600) = '2024-10-27 02:30:00'";
    assert_eq!(db.text(both).await, "1");
    // Written as instants, by sessions of that zone and of others.
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, epoch BIGINT NOT NULL, at TIMESTAMP(3) NULL, \
           since TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, KEY by_at (at)); \
         SET SESSION time_zone = '+00:00'; \
         INSERT INTO orders VALUES (1, 1729989000, FROM_UNIXTIME(1729989000), FROM_UNIXTIME(1729989000)), \
           (2, 1729992600, FROM_UNIXTIME(1729992600), FROM_UNIXTIME(1729992600)), \
           (3, 1711846800, FROM_UNIXTIME(1711846800), FROM_UNIXTIME(1711846799))",
    )
    .await;
    let (engine, _lease) = copied(&db, db.job(&["ALTER TABLE orders MODIFY id BIGINT"])).await;
    db.run(
        "INSERT INTO orders SELECT id + 10, epoch, at, since FROM orders; \
         SET SESSION time_zone = '-07:00'; \
         INSERT INTO orders VALUES (21, 1729989000, FROM_UNIXTIME(1729989000), FROM_UNIXTIME(1729989000)), \
           (22, 1729992600, FROM_UNIXTIME(1729992600), FROM_UNIXTIME(1729992600)); \
         SET SESSION time_zone = 'Test/Summer'; UPDATE orders SET epoch = epoch + 0, id = id + 100 WHERE id IN (11, 12); \
         SET SESSION time_zone = '+00:00'",
    )
    .await;
    let content = "SELECT GROUP_CONCAT(CONCAT_WS(':', id, epoch, UNIX_TIMESTAMP(at), UNIX_TIMESTAMP(since)) ORDER BY id) FROM orders";
    swapped_alike(&mut db, engine, content).await;
    let apart = "SELECT CONCAT(COUNT(*), ' ', SUM(UNIX_TIMESTAMP(at) = epoch)) FROM orders";
    assert_eq!(db.text(apart).await, "8 8");
    assert_eq!(db.column_type("orders", "id").await, "bigint");
}

/// Not the oldest one: what tells the table itself stays the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_somebody_empties_or_exchanges_stops_the_change() {
    for ddl in [
        "ALTER TABLE orders TRUNCATE PARTITION p1",
        "CREATE TABLE other LIKE orders; ALTER TABLE other REMOVE PARTITIONING; \
         ALTER TABLE orders EXCHANGE PARTITION p2 WITH TABLE other",
        "CREATE TABLE other LIKE orders; ALTER TABLE other REMOVE PARTITIONING; \
         ALTER TABLE orders EXCHANGE PARTITION p2 WITH TABLE other; UPDATE other SET n = n + 1; \
         ALTER TABLE orders EXCHANGE PARTITION p2 WITH TABLE other",
    ] {
        let mut db = filled(None).await;
        db.run(PARTITIONED).await;
        let error = refusal(&mut db, ddl).await;
        assert_eq!(error.kind(), ErrorKind::Permanent, "{ddl}: {error}");
        assert!(error.message().contains("partition"), "{error}");
    }
}

/// InnoDB's own names of the two are told apart by a table of the server's alone, so that their numbers are not known.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_emptied_is_noticed_whatever_its_name() {
    for statement in [
        "TRUNCATE `größe`",
        "DROP TABLE `größe`; CREATE TABLE `größe` (id INT PRIMARY KEY, n INT)",
    ] {
        let mut db = Deployment::fresh().await;
        db.run("CREATE TABLE `größe` (id INT PRIMARY KEY, n INT); CREATE TABLE `grüße` LIKE `größe`; INSERT INTO `größe` VALUES (1, 1)")
            .await;
        let job = db.job(&["ALTER TABLE `größe` MODIFY n BIGINT"]);
        let (mut engine, _lease) = copied(&db, job).await;
        db.run(statement).await;
        let error = engine.cut_over().await.expect_err(statement);
        engine.close().await;
        assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
        assert!(error.message().contains("emptied"), "{error}");
    }
}

/// The server writes down what a client sent. To one that says latin1 and sends UTF-8 the table has another name than to the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_emptied_or_written_in_another_character_set_is_noticed() {
    for (statement, expected) in [
        ("TRUNCATE `Größe`", "emptied"),
        ("RENAME TABLE `Größe` TO away", "gone"),
        (
            "SET SESSION binlog_format = STATEMENT; INSERT INTO `Größe` VALUES (2, 2)",
            "binlog_format",
        ),
    ] {
        let mut db = Deployment::fresh().await;
        db.run("CREATE TABLE `GrÃ¶ÃŸe` (id INT PRIMARY KEY, n INT); INSERT INTO `GrÃ¶ÃŸe` VALUES (1, 1)")
            .await;
        let job = db.job(&["ALTER TABLE `GrÃ¶ÃŸe` MODIFY n BIGINT"]);
        let (mut engine, _lease) = copied(&db, job).await;
        db.run(&format!("SET NAMES latin1; {statement}")).await;
        let kept = tokio::time::timeout(PATIENCE, engine.keep_current()).await;
        let error = kept.expect("within seconds").expect_err(statement);
        engine.close().await;
        assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
        assert!(error.message().contains(expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_emptied_past_the_binlog_is_not_swapped() {
    let mut db = filled(None).await;
    let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
    db.run("SET SESSION sql_log_bin = 0; TRUNCATE orders").await;
    let error = engine.cut_over().await.expect_err("other rows");
    engine.close().await;
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.message().contains("emptied"), "{error}");
    assert_eq!(db.text("SELECT COUNT(*) FROM orders").await, "0");
    assert_eq!(db.column_type("orders", "id").await, "int");
}

/// Its definition is the same before and after.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_emptied_while_the_swap_waits_for_its_lock_is_not_swapped() {
    let mut db = filled(None).await;
    let mut reader = Deployment::on(db.settings.clone()).await;
    let mut cleaner = Deployment::on(db.settings.clone()).await;
    let orders = format!("`{}`.orders", db.schema);
    let (mut engine, lease) = copied(&db, db.job(&[CHANGE])).await;
    reader
        .run(&format!(
            "START TRANSACTION; SELECT COUNT(*) FROM {orders} INTO @n"
        ))
        .await;
    let waiting = |what: &str| {
        format!(
            "SELECT COALESCE(MAX(ID), 0) FROM performance_schema.processlist \
              WHERE STATE LIKE 'Waiting for table metadata lock' AND INFO LIKE '{what}%{}%orders%'",
            db.schema
        )
    };
    let (truncates, locks) = (waiting("TRUNCATE"), waiting("LOCK TABLES"));
    let swapped = tokio::spawn(async move { (engine.cut_over().await, engine) });
    support::eventually("the swap waits", PATIENCE, async || {
        db.text(&locks).await != "0"
    })
    .await;
    let truncate = format!("TRUNCATE TABLE {orders}");
    let emptied = tokio::spawn(async move { cleaner.run(&truncate).await });
    support::eventually("the other waits", PATIENCE, async || {
        db.text(&truncates).await != "0"
    })
    .await;
    // The attempts to come are behind it.
    let first = db.text(&locks).await;
    support::eventually("the swap gives way", PATIENCE, async || {
        first == "0" || db.text(&locks).await != first
    })
    .await;
    support::eventually("it says to whom", PATIENCE, async || {
        lease.progress().throttled_by.is_some()
    })
    .await;
    reader.run("COMMIT").await;
    emptied.await.expect("the other");
    let (swapped, engine) = swapped.await.expect("the swap");
    let error = swapped.expect_err("a table that was emptied");
    engine.close().await;
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.message().contains("emptied"), "{error}");
    assert_eq!(db.text("SELECT COUNT(*) FROM orders").await, "0");
    assert_eq!(db.column_type("orders", "id").await, "int");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_binlog_lacks_some_rows_is_refused() {
    let source = "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'nowhere.invalid'";
    // The schema of the flag, or another one; what a change there is refused for.
    for (flag, cases) in [
        (
            "--binlog-ignore-db=shop",
            [
                ("DO 0", "other", None),
                ("DO 0", "shop", Some("binlog_ignore_db")),
            ],
        ),
        (
            "--binlog-do-db=shop",
            [
                ("DO 0", "shop", Some("binlog_do_db")),
                ("DO 0", "other", Some("binlog_do_db")),
            ],
        ),
        (
            "--log-replica-updates=OFF",
            [
                ("DO 0", "shop", None),
                (source, "other", Some("log_replica_updates")),
            ],
        ),
    ] {
        let server = private(&[flag]).await;
        for (prepared, schema, expected) in cases {
            let mut db = Deployment::on(server.administrator().clone()).await;
            db.schema = schema.to_owned();
            db.run(&format!("CREATE DATABASE {schema}; USE {schema}"))
                .await;
            db.run(TABLE).await;
            db.run(prepared).await;
            let text = deployment::refusal(&mut db, &[CHANGE], serde_json::json!({})).await;
            match (text, expected) {
                (Some(text), Some(expected)) => assert!(text.contains(expected), "{flag}: {text}"),
                (text, expected) => assert_eq!(text.as_deref(), expected, "{flag} {prepared}"),
            }
        }
    }
}
