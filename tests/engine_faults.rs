//! The server goes away and comes back, its disk fills, the stream goes silent, somebody drops what is
//! ours: the change goes on, or stops with a reason and is resumable, and no acknowledged write is lost.

mod deployment;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use deployment::{Deployment, TestLease, copied, copy, swapped_alike};
use lockkeeper::config::{Secret, TlsMode};
use lockkeeper::engine::session::Sessions;
use lockkeeper::engine::{Engine, EngineError, ErrorKind, Job, Orders, Outcome, Progress, Target};
use lockkeeper::load::{self, Before, Traffic};
use lockkeeper::server::{Server, ServerOptions};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use sqlx::Executor as _;
use support::{PATIENCE, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn private(flags: &[&str]) -> Server {
    let options = ServerOptions::relaxed("faults");
    let options = flags
        .iter()
        .fold(options, |options, flag| options.flag(*flag));
    Server::start(options).await.expect("a private server")
}

fn pace(lease: &TestLease, throttle_level: u8) {
    lease.order(Orders {
        throttle_level,
        ..Orders::default()
    });
}

async fn whole(target: Target, job: Job, lease: Arc<TestLease>) -> Result<(), EngineError> {
    let mut engine = Engine::open(target, job, lease).await?;
    let result = async {
        assert_eq!(engine.copy().await?, Outcome::Verified);
        engine.cut_over().await?;
        engine.finish().await
    };
    let result = result.await;
    engine.close().await;
    result
}

/// As drivers do: a failure that may pass is followed by the next epoch. Returns the reasons.
async fn to_the_end(db_target: Target, job: Job, lease: Arc<TestLease>) -> Vec<String> {
    let mut reasons = Vec::new();
    let started = std::time::Instant::now();
    let mut attempts = tokio::time::interval(Duration::from_millis(200));
    for lease_epoch in 1.. {
        attempts.tick().await;
        let job = Job {
            lease_epoch,
            ..job.clone()
        };
        match whole(db_target.clone(), job, lease.clone()).await {
            Ok(()) => break,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Retryable, "{}", error.message());
                assert!(started.elapsed() < PATIENCE, "{reasons:?}");
                reasons.push(error.message());
            }
        }
    }
    reasons
}

fn is_half_way(progress: &Progress) -> bool {
    progress.phase == "copy" && progress.rows_copied > 0
}

enum End {
    Killed,
    ShutDown,
}

async fn the_server_ends_in_mid_copy(end: End) {
    const ROWS: u64 = 20_000;
    let mut server = private(&[]).await;
    if matches!(end, End::ShutDown) && !is_process(&server) {
        return;
    }
    let mut db = Deployment::on(server.administrator().clone()).await;
    db.run(load::create_table()).await;
    load::fill(&mut db.root, ROWS).await.expect("rows");
    let schema = db.schema.clone();
    let before = Before::take(&mut db.root, &schema).await.expect("a digest");
    let traffic = Traffic {
        settings: db.settings.clone().with_schema(&schema),
        rows: ROWS,
        writers: 3,
        writes_per_second: 60,
        seed: support::seed(),
    };
    let traffic = traffic.start().await.expect("writers");

    let change = load::widen_orders();
    let lease = TestLease::held();
    pace(&lease, 9);
    let job = Job {
        options: serde_json::json!({ "chunk_seconds": 0.01 }),
        ..db.job(&[change.statement])
    };
    let work = tokio::spawn(to_the_end(db.target(), job, lease.clone()));
    eventually("a part is copied", PATIENCE, || async {
        is_half_way(&lease.progress())
    })
    .await;
    match end {
        End::Killed => server.kill().await.expect("killed"),
        // The answer to it is the end of the session.
        End::ShutDown => drop(db.root.execute("SHUTDOWN").await),
    }
    server.restart().await.expect("the same data again");
    pace(&lease, 0);
    let reasons = work.await.expect("the change");

    let record = traffic.stop().await.expect("a record");
    let mut session = db
        .settings
        .clone()
        .with_schema(&schema)
        .connect()
        .await
        .expect("a session");
    let checked = load::check(&mut session, &change, &before, &record)
        .await
        .expect("a check");
    assert!(
        checked.findings.is_empty(),
        "{:#?} after {reasons:#?}",
        checked.findings
    );
    assert!(checked.writes > 0 && checked.untouched > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_mid_copy_loses_no_write() {
    the_server_ends_in_mid_copy(End::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_shut_down_in_mid_copy_loses_no_write() {
    the_server_ends_in_mid_copy(End::ShutDown).await;
}

/// A container ends with its server, and its files cannot be limited from here.
fn is_process(server: &Server) -> bool {
    let is_process = server.pid().is_some();
    if !is_process {
        eprintln!("not run: the server is in a container");
    }
    is_process
}

/// The server may make no file larger than this; `None` lifts the limit.
fn limit_files(server: &Server, bytes: Option<u64>) {
    let pid = server.pid().expect("a process of this machine");
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(pid, Resource::Fsize, limit).expect("a limit");
}

/// Case 6, its last part.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_change_until_there_is_room() {
    let server = private(&["--max-binlog-size=4M"]).await;
    if !is_process(&server) {
        return;
    }
    let mut db = Deployment::on(server.administrator().clone()).await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, n INT) CHARSET latin1; \
         SET SESSION cte_max_recursion_depth = 100000; \
         INSERT INTO orders WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 14000) \
         SELECT i, i FROM n",
    )
    .await;
    let statement = format!(
        "ALTER TABLE orders MODIFY id BIGINT NOT NULL, ADD COLUMN wide VARCHAR(4000) NOT NULL DEFAULT '{}'",
        "x".repeat(3500)
    );
    let job = Job {
        options: serde_json::json!({ "chunk_seconds": 0.05, "copy_threads": 1 }),
        ..db.job(&[&statement])
    };
    limit_files(&server, Some(40 << 20));
    let error = whole(db.target(), job.clone(), TestLease::held())
        .await
        .expect_err("a full disk");
    assert_eq!(error.kind(), ErrorKind::Retryable, "{}", error.message());
    let message = error.message();
    assert!(
        message.contains("no room left")
            && message.contains("make room")
            && message.contains("apply_cancel"),
        "{message}"
    );
    // The application has its table, and goes on.
    db.run("UPDATE orders SET n = -1 WHERE id = 7; INSERT INTO orders VALUES (20000, 5)")
        .await;
    limit_files(&server, None);
    let lease = TestLease::held();
    let second = Job {
        lease_epoch: 2,
        ..job
    };
    whole(db.target(), second, lease).await.expect("the change");
    let content = "SELECT CONCAT_WS(' ', COUNT(*), SUM(id), SUM(n), MIN(LENGTH(wide))) FROM orders";
    assert_eq!(db.text(content).await, "14001 98027000 98006997 3500");
}

/// Stands between the engine and the server. Once told to, it holds back what comes on a binlog
/// stream that is under way, and leaves the connection open.
#[derive(Default)]
struct Proxy {
    silent: AtomicBool,
    streams: AtomicU32,
}

impl Proxy {
    async fn start(self: &Arc<Self>, server: (String, u16)) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let proxy = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, proxy) = (server.clone(), proxy.clone());
                tokio::spawn(async move {
                    let upstream = TcpStream::connect((server.0.as_str(), server.1)).await;
                    proxy.forward(client, upstream.expect("the server")).await;
                });
            }
        });
        port
    }

    async fn forward(&self, mut client: TcpStream, mut upstream: TcpStream) {
        const BINLOG_DUMP_GTID: u8 = 0x1e;
        let (mut from_client, mut from_server) = ([0u8; 65536], [0u8; 65536]);
        let mut stream = None;
        loop {
            tokio::select! {
                read = client.read(&mut from_client) => {
                    let Ok(length @ 1..) = read else { return };
                    let bytes = &from_client[..length];
                    if length > 5 && bytes[3] == 0 && bytes[4] == BINLOG_DUMP_GTID {
                        stream = Some(self.streams.fetch_add(1, Ordering::SeqCst));
                    }
                    if upstream.write_all(bytes).await.is_err() { return }
                }
                read = upstream.read(&mut from_server) => {
                    let Ok(length @ 1..) = read else { return };
                    if stream == Some(0) && self.silent.load(Ordering::SeqCst) {
                        // Until the engine itself ends the connection.
                        while let Ok(1..) = client.read(&mut from_client).await {}
                        return;
                    }
                    if client.write_all(&from_server[..length]).await.is_err() { return }
                }
            }
        }
    }
}

const TABLE: &str = "CREATE TABLE orders (id INT PRIMARY KEY, n INT, note TEXT); \
    SET SESSION cte_max_recursion_depth = 100000; \
    INSERT INTO orders WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 2000) \
    SELECT i, i, REPEAT('x', 50) FROM n";

const CHANGE: &str = "ALTER TABLE orders MODIFY id BIGINT NOT NULL";

const CONTENT: &str =
    "SELECT CONCAT_WS(' ', COUNT(*), SUM(id), SUM(CRC32(CONCAT_WS('|', id, n, note)))) FROM orders";

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_goes_silent_is_opened_again_and_nothing_is_missed() {
    let mut db = Deployment::fresh().await;
    db.run(TABLE).await;
    // A login through TLS lets the server know the password for those without.
    let sessions = Sessions::new(db.target(), db.owner(0), TestLease::held());
    sessions.open().await.expect("a session").close().await;
    let proxy = Arc::new(Proxy::default());
    let mut target = db.target();
    target.port = proxy.start((target.host.clone(), target.port)).await;
    target.tls.mode = TlsMode::Disabled;
    let mut engine = Engine::open(target, db.job(&[CHANGE]), TestLease::held())
        .await
        .expect("the engine");
    copy(&mut engine).await;
    proxy.silent.store(true, Ordering::SeqCst);
    db.run(
        "UPDATE orders SET n = n + 1 WHERE id % 3 = 0; DELETE FROM orders WHERE id % 7 = 0; \
         INSERT INTO orders VALUES (-5, 1, 'new')",
    )
    .await;
    swapped_alike(&mut db, engine, CONTENT).await;
    assert!(proxy.streams.load(Ordering::SeqCst) >= 2);
}

fn is_explained(error: &EngineError) {
    assert_eq!(error.kind(), ErrorKind::Permanent, "{}", error.message());
    let message = error.message();
    assert!(
        message.contains("is gone: somebody dropped or renamed it")
            && message.contains("submit the change again"),
        "{message}"
    );
}

/// Case 66, the shadow.
#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_somebody_drops_in_mid_copy_is_named() {
    let mut db = Deployment::fresh().await;
    db.run(TABLE).await;
    let lease = TestLease::held();
    pace(&lease, 10);
    let job = db.job(&[CHANGE]);
    let work = tokio::spawn(whole(db.target(), job.clone(), lease.clone()));
    eventually("the copy waits", PATIENCE, || async {
        lease.progress().throttled_by.is_some()
    })
    .await;
    let shadow = db.ours("_new").await;
    db.run(&format!("DROP TABLE `{shadow}`")).await;
    pace(&lease, 0);
    let error = work.await.expect("no panic").expect_err("no shadow");
    is_explained(&error);
    // Whoever tries it again hears the same.
    let second = Job {
        lease_epoch: 2,
        ..job
    };
    let error = whole(db.target(), second, TestLease::held())
        .await
        .expect_err("no shadow");
    is_explained(&error);
    assert_eq!(db.text("SELECT COUNT(*) FROM orders").await, "2000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_somebody_drops_while_the_cutover_waits_is_named_within_seconds() {
    let mut db = Deployment::fresh().await;
    db.run(TABLE).await;
    let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
    let shadow = db.ours("_new").await;
    db.run(&format!("DROP TABLE `{shadow}`")).await;
    let kept = tokio::time::timeout(PATIENCE, engine.keep_current()).await;
    is_explained(&kept.expect("in time").expect_err("no shadow"));
    engine.close().await;
}

/// To begin anew without a word would hide it.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_somebody_drops_while_the_cutover_waits_is_named_within_seconds() {
    let mut db = Deployment::fresh().await;
    db.run(TABLE).await;
    let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
    let checkpoint = db.ours("_checkpoint").await;
    db.run(&format!("DROP TABLE `{checkpoint}`")).await;
    db.run("UPDATE orders SET n = n + 1 LIMIT 10").await;
    let kept = tokio::time::timeout(PATIENCE, engine.keep_current()).await;
    is_explained(&kept.expect("in time").expect_err("no checkpoint"));
    engine.give_up().await.expect("the end");
    engine.close().await;
}

async fn a_former_table_is_dropped(while_open: bool) {
    let mut db = Deployment::fresh().await;
    db.run(TABLE).await;
    let job = Job {
        revert_window_seconds: 600,
        ..db.job(&[CHANGE])
    };
    let (mut engine, _lease) = copied(&db, job).await;
    engine.cut_over().await.expect("the swap");
    let former = db.ours("_old").await;
    if while_open {
        // Once it has carried something back it has begun.
        db.run("INSERT INTO orders VALUES (9000, 1, 'back')").await;
        let (ends, window) = tokio::sync::watch::channel(Some(600.0));
        let kept = tokio::spawn(async move {
            let kept = engine.keep_reverse(window).await;
            (engine, kept)
        });
        let settings = db.settings.clone().with_schema(&db.schema);
        let sql = format!("SELECT 1 FROM `{former}` WHERE id = 9000");
        eventually("the window is open", PATIENCE, || async {
            let mut session = settings.connect().await.expect("a session");
            let row = session.fetch_optional(sqlx::AssertSqlSafe(sql.clone()));
            row.await.expect("the former table").is_some()
        })
        .await;
        db.run(&format!("DROP TABLE `{former}`")).await;
        let kept = tokio::time::timeout(PATIENCE, kept).await.expect("in time");
        let (engine, kept) = kept.expect("no panic");
        drop(ends);
        return closed(db, engine, kept, &former).await;
    }
    db.run(&format!("DROP TABLE `{former}`")).await;
    let (_ends, window) = tokio::sync::watch::channel(Some(600.0));
    let kept = tokio::time::timeout(PATIENCE, engine.keep_reverse(window)).await;
    closed(db, engine, kept.expect("in time"), &former).await;
}

async fn closed(
    mut db: Deployment,
    mut engine: Engine,
    kept: Result<Outcome, EngineError>,
    former: &str,
) {
    let Outcome::WindowClosed(why) = kept.expect("an end") else {
        panic!("the window did not close");
    };
    assert!(why.contains(former) && why.contains("dropped"), "{why}");
    engine.finish().await.expect("the end");
    engine.close().await;
    assert!(
        db.text("SELECT COUNT(*) FROM orders")
            .await
            .starts_with("200")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_table_that_somebody_drops_closes_the_window_with_the_reason() {
    a_former_table_is_dropped(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_table_that_somebody_drops_closes_an_open_window_within_seconds() {
    a_former_table_is_dropped(true).await;
}

/// Its driver lacks the password, or somebody is about to change it: no reason to fail the operation for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_is_not_let_in_may_try_again_and_is_told_what_to_do() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let mut target = db.target();
    target.password = Secret::new("not the password");
    let job = db.job(&["ALTER TABLE t MODIFY id BIGINT NOT NULL"]);
    let refused = match Engine::open(target, job, TestLease::held()).await {
        Ok(_) => panic!("let in with a wrong password"),
        Err(error) => error,
    };
    assert_eq!(refused.kind(), ErrorKind::Retryable, "{refused}");
    let message = refused.message();
    assert!(
        message.contains("give the drivers that may claim this deployment an account"),
        "{message}"
    );
    assert!(!message.contains("not the password"), "{message}");
    assert_eq!(db.tables().await.len(), 1);
}

/// A dump says so when it is loaded.
#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_no_binlog_has_are_not_waited_for() {
    let server = private(&[]).await;
    let mut db = Deployment::on(server.administrator().clone()).await;
    db.run(TABLE).await;
    db.run("CREATE TABLE beside (id INT PRIMARY KEY, v CHAR(36))")
        .await;
    let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
    db.run("SET GLOBAL gtid_purged = '+3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5'")
        .await;
    // Others come all the time meanwhile.
    let mut writer = server.administrator().connect().await.expect("a session");
    let schema = db.schema.clone();
    let writing = tokio::spawn(async move {
        loop {
            let write = format!("REPLACE INTO `{schema}`.beside VALUES (1, UUID())");
            let write = writer.execute(sqlx::AssertSqlSafe(write)).await;
            write.expect("a write beside");
        }
    });
    let error = engine.cut_over().await.expect_err("they never come");
    writing.abort();
    engine.close().await;
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(
        error
            .message()
            .contains("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"),
        "{error}"
    );
}
