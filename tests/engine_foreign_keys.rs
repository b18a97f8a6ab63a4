//! Children under change: what cascades do to their rows is carried, their keys are handed over with
//! the swap, and no key of ours ever refuses the application anything. Case 65.

mod deployment;
mod family;
mod support;

use deployment::{Deployment, copied, swap};
use family::{Families, all_keys};
use futures_util::StreamExt as _;
use lockkeeper::engine::{Directive, ErrorKind, Job, Outcome};
use lockkeeper::server::{Server, ServerOptions};
use mysql_async::binlog::{BinlogVersion, EventType};
use mysql_async::prelude::Queryable as _;
use mysql_async::{BinlogStreamRequest, Conn, OptsBuilder};
use support::PATIENCE;
use tokio::sync::watch;

const CHANGE: &str = "ALTER TABLE child MODIFY note VARCHAR(300) NULL, ADD KEY by_note (note)";

async fn more(families: &Families, number: u64) {
    let before = families.count();
    support::eventually("more writes", PATIENCE, || async {
        families.count() > before + number
    })
    .await;
}

const ALL_KEYS: &str = "child.child_ibfk_1,child.child_ibfk_2,child.child_to_u,\
    twin.twin_ibfk_1,twin.twin_ibfk_2,twin.twin_to_u";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cascades_into_a_child_are_carried_and_its_keys_are_handed_over() {
    for index_build in ["deferred", "inline"] {
        let mut db = Deployment::fresh().await;
        family::create(&mut db).await;
        let mut expected = family::keys(&mut db).await;
        let families = Families::start(&db, 3).await;
        let mut job = db.job(&[CHANGE]);
        job.options = serde_json::json!({ "index_build": index_build, "chunk_seconds": 0.05 });
        let (mut engine, _lease) = copied(&db, job).await;
        more(&families, 300).await;
        let swapped = engine.cut_over().await.expect("the swap");
        more(&families, 300).await;
        let deadlocks = families.stop().await;
        eprintln!(
            "{index_build}: locked for {:?} after giving way {} times, {deadlocks} deadlocks",
            swapped.locked_for, swapped.gave_way
        );
        engine.finish().await.expect("the end");
        engine.close().await;
        assert_eq!(db.column_type("child", "note").await, "varchar(300)");
        expected.push("KEY `by_note` (`note`)".to_owned());
        expected.sort();
        assert_eq!(family::keys(&mut db).await, expected);
        assert_eq!(all_keys(&mut db).await, ALL_KEYS);
        family::compare(&mut db).await;
        family::is_enforced(&mut db).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_gives_the_former_table_its_keys_back() {
    let mut db = Deployment::fresh().await;
    family::create(&mut db).await;
    let expected = family::keys(&mut db).await;
    let families = Families::start(&db, 3).await;
    let job = Job {
        revert_window_seconds: 600,
        ..db.job(&[CHANGE])
    };
    let (mut engine, lease) = copied(&db, job).await;
    engine.cut_over().await.expect("the swap");
    let (_ends, window) = watch::channel(Some(600.0));
    let kept = tokio::spawn(async move {
        let outcome = engine.keep_reverse(window).await;
        (engine, outcome)
    });
    more(&families, 500).await;
    lease.direct(Directive::Revert);
    let (mut engine, outcome) = kept.await.expect("the window");
    assert_eq!(outcome.expect("the window"), Outcome::RevertAsked);
    engine.revert().await.expect("the swap back");
    more(&families, 300).await;
    families.stop().await;
    engine.remove_artifacts().await.expect("removal");
    engine.close().await;
    assert_eq!(db.column_type("child", "note").await, "varchar(40)");
    assert_eq!(family::keys(&mut db).await, expected);
    assert_eq!(all_keys(&mut db).await, ALL_KEYS);
    family::compare(&mut db).await;
    family::is_enforced(&mut db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_transaction_on_a_parent_makes_the_cutover_give_way_and_leaves_all_as_it_was() {
    let mut db = Deployment::fresh().await;
    family::create(&mut db).await;
    let mut job = db.job(&[CHANGE]);
    job.options = serde_json::json!({ "cutover_give_up_seconds": 2, "cutover_lock_wait_ms": 300 });
    let (mut engine, _lease) = copied(&db, job).await;
    let shown = "SELECT COUNT(*) FROM parent";
    db.run(&format!("BEGIN; {shown}")).await;
    let error = engine.cut_over().await.expect_err("the parent is in use");
    assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
    assert!(error.message().contains("gave way"), "{error}");
    assert_eq!(db.column_type("child", "note").await, "varchar(40)");
    assert_eq!(all_keys(&mut db).await, ALL_KEYS);
    db.run("COMMIT").await;
    swap(engine).await;
    assert_eq!(db.column_type("child", "note").await, "varchar(300)");
    assert_eq!(all_keys(&mut db).await, ALL_KEYS);
    family::compare(&mut db).await;
    family::is_enforced(&mut db).await;
}

/// What the statement itself does to the keys, a parent in another schema, two children of one parent in
/// one operation: as the server would have done it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_statement_makes_of_the_keys_is_what_the_server_makes_of_them() {
    for (change, other) in [
        ("CHANGE p boss INT NULL, ADD KEY by_note (note)", ""),
        (
            "MODIFY note VARCHAR(300) NULL, DROP FOREIGN KEY child_to_u",
            "",
        ),
        (
            "MODIFY note VARCHAR(300) NULL, DROP CONSTRAINT child_ibfk_1, ADD KEY more (q, id)",
            "",
        ),
        (
            "MODIFY note VARCHAR(300) NULL",
            "ALTER TABLE `x-y` MODIFY id BIGINT NOT NULL",
        ),
    ] {
        let mut db = Deployment::fresh().await;
        family::create(&mut db).await;
        let far = format!("{}_far", db.schema);
        // The longest name there is leaves no room for a longer one.
        let long = "k".repeat(64);
        db.run(&format!(
            "CREATE DATABASE {far}; CREATE TABLE {far}.`a b` (id INT, k INT, PRIMARY KEY (id, k)); \
             INSERT INTO {far}.`a b` VALUES (1, 1), (2, 2); \
             CREATE TABLE `x-y` (id INT PRIMARY KEY, a INT, b INT, n INT, \
               CONSTRAINT {long} FOREIGN KEY (a, b) REFERENCES {far}.`a b` (id, k) ON UPDATE CASCADE, \
               CONSTRAINT `X-Y_ibfk_7` FOREIGN KEY (n) REFERENCES parent (id)); \
             INSERT INTO `x-y` VALUES (1, 1, 1, -1), (2, 2, 2, -2)"
        ))
        .await;
        let change = format!("ALTER TABLE child {change}");
        let statements: Vec<&str> = [change.as_str(), other]
            .into_iter()
            .filter(|statement| !statement.is_empty())
            .collect();
        let before = family::keys_of(&mut db, "x-y").await;
        let (engine, _lease) = copied(&db, db.job(&statements)).await;
        db.run(&format!("UPDATE {far}.`a b` SET k = 20 WHERE id = 2"))
            .await;
        swap(engine).await;
        let mut native = Deployment::fresh().await;
        family::create(&mut native).await;
        native.run(&change).await;
        let expected = family::keys(&mut native).await;
        assert_eq!(family::keys(&mut db).await, expected, "{change}");
        assert_eq!(family::keys_of(&mut db, "x-y").await, before, "{other}");
        assert_eq!(db.text("SELECT b FROM `x-y` WHERE id = 2").await, "20");
        db.run(&format!("DROP TABLE `x-y`; DROP DATABASE {far}"))
            .await;
    }
}

/// A server whose own foreign keys are logged may have changes of another made as that one makes them: those that come
/// through a replication channel, or as here through BINLOG, which needs no way from one server to the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_from_a_source_that_cascades_in_its_engine_stop_the_change() {
    let native = ServerOptions::relaxed("native").flag("--innodb-native-foreign-keys=ON");
    let source = Server::start(native).await.expect("a source");
    let mut there = Deployment::on(source.administrator().clone()).await;
    // Of its own: such rows stop every change of a child on the server.
    let follower = Server::start(ServerOptions::relaxed("follower")).await;
    let follower = follower.expect("a server to follow it");
    let mut db = Deployment::on(follower.administrator().clone()).await;
    let name = there.schema.clone();
    db.run(&format!("CREATE DATABASE {name}; USE {name}")).await;
    db.schema = name;
    for one in [&mut there, &mut db] {
        family::create(one).await;
    }
    let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
    let changes = binlog_statements(&mut there, "DELETE FROM parent WHERE id = -7").await;
    for change in &changes {
        db.run(change).await;
    }
    let kept = tokio::time::timeout(PATIENCE, engine.keep_current()).await;
    let error = kept.expect("within seconds").expect_err("an unseen change");
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.message().contains("cascades"), "{error}");
    engine.close().await;
    let left = db.text("SELECT COUNT(*) FROM child WHERE p = -7").await;
    assert_eq!(left, "0", "the server did cascade");
    assert_eq!(db.column_type("child", "note").await, "varchar(40)");
}

/// Executes a change of rows, and what makes another server do the same, as mysqlbinlog writes it.
async fn binlog_statements(db: &mut Deployment, change: &str) -> [String; 3] {
    let options = OptsBuilder::default()
        .ip_or_hostname(db.settings.host.clone())
        .tcp_port(db.settings.port)
        .user(Some(db.settings.credentials.user.clone()))
        .pass(Some(db.settings.credentials.password.expose()))
        .prefer_socket(false);
    let mut session = Conn::new(options).await.expect("a session");
    session
        .query_drop("SET @source_binlog_checksum = 'NONE', @replica_uuid = UUID()")
        .await
        .expect("its settings");
    let status: Option<(String, u64, String, String, String)> = session
        .exec_first("SHOW BINARY LOG STATUS", ())
        .await
        .expect("the place");
    let (file, offset, ..) = status.expect("the place");
    db.run(change).await;
    let request = BinlogStreamRequest::new(rand::random_range(1 << 30..1 << 31))
        .with_filename(file.as_bytes())
        .with_pos(offset);
    let mut stream = session.get_binlog_stream(request).await.expect("a stream");
    let (mut format, mut rows) = (Vec::new(), Vec::new());
    loop {
        let event = stream.next().await.expect("an event").expect("an event");
        let kind = event.header().event_type();
        let into = match kind {
            Ok(EventType::FORMAT_DESCRIPTION_EVENT) => &mut format,
            Ok(EventType::TABLE_MAP_EVENT | EventType::DELETE_ROWS_EVENT) => &mut rows,
            _ => continue,
        };
        event.write(BinlogVersion::Version4, into).expect("bytes");
        if kind == Ok(EventType::DELETE_ROWS_EVENT) {
            break;
        }
    }
    let mut binlog = async |bytes: &[u8]| {
        let base64 = format!("SELECT TO_BASE64(x'{}')", hex::encode(bytes));
        format!("BINLOG '{}'", db.text(&base64).await)
    };
    [
        binlog(&format).await,
        "SET SESSION gtid_next = 'AUTOMATIC'".to_owned(),
        binlog(&rows).await,
    ]
}
