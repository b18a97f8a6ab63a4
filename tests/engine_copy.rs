//! Tables are changed on a real server while writers write, and every acknowledged write is looked for.

mod deployment;
mod support;
mod writers;

use deployment::{Deployment, copied, swap};
use lockkeeper::engine::Engine;
use mysql_async::prelude::Queryable as _;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, OptsBuilder};
use writers::Writers;

#[tokio::test(flavor = "multi_thread")]
async fn a_type_change_under_writers_loses_no_acknowledged_write() {
    let mut db = Deployment::fresh().await;
    writers::create(&mut db, 20_000).await;
    let writers = Writers::start(&db, 4).await;
    let job = db.job(&[
        "ALTER TABLE orders MODIFY id BIGINT NOT NULL AUTO_INCREMENT, ADD flag INT NOT NULL DEFAULT 7, ADD KEY by_at (at)",
    ]);
    let (mut engine, _lease) = copied(&db, job).await;
    writers.more(50).await;
    let swapped = engine.cut_over().await.expect("the swap");
    eprintln!("locked for {:?}", swapped.locked_for);
    writers.more(50).await;
    let known = writers.stop().await;
    swap(engine).await;
    known.check(&db).await;
    assert_eq!(db.column_type("orders", "id").await, "bigint");
    let without = "SELECT COUNT(*) FROM orders WHERE flag <> 7";
    assert_eq!(db.text(without).await, "0");
}

/// Our own streams are no replicas: a second change on a server is not slower than the first.
#[tokio::test(flavor = "multi_thread")]
async fn plain_indexes_are_built_after_the_copy_unless_somebody_else_reads_the_binlogs() {
    let (mut first, mut second, mut third) = (
        Deployment::fresh().await,
        Deployment::fresh().await,
        Deployment::fresh().await,
    );
    // It has room for so many statements, and no more.
    first
        .run("TRUNCATE performance_schema.events_statements_summary_by_digest")
        .await;
    // Its stream goes on until it is closed.
    let captures = small(&mut first).await;
    assert!(built_later(&mut first).await, "the first");
    let second_engine = small(&mut second).await;
    assert!(built_later(&mut second).await, "beside our own stream");
    second_engine.close().await;
    captures.close().await;

    let replica = binlog_stream(&third).await;
    let third_engine = small(&mut third).await;
    assert!(!built_later(&mut third).await, "beside a replica");
    third_engine.close().await;
    drop(replica);
}

async fn small(db: &mut Deployment) -> Engine {
    db.run(writers::TABLE).await;
    db.run("INSERT INTO orders (worker) VALUES (1), (2)").await;
    let job = db.job(&["ALTER TABLE orders MODIFY id BIGINT NOT NULL AUTO_INCREMENT"]);
    copied(db, job).await.0
}

/// Reads the binlogs as a replica does, or would: nothing is taken from it.
async fn binlog_stream(deployment: &Deployment) -> BinlogStream {
    let settings = &deployment.settings;
    let options = OptsBuilder::default()
        .ip_or_hostname(settings.host.clone())
        .tcp_port(settings.port)
        .user(Some(settings.credentials.user.clone()))
        .pass(Some(settings.credentials.password.expose()))
        .prefer_socket(false);
    let mut session = Conn::new(options).await.expect("a session");
    session
        .query_drop("SET @source_binlog_checksum = 'ALL', @replica_uuid = UUID()")
        .await
        .expect("its settings");
    let server_id = rand::random_range(1_u32 << 30..1 << 31);
    session
        .get_binlog_stream(BinlogStreamRequest::new(server_id))
        .await
        .expect("a stream")
}

async fn built_later(deployment: &mut Deployment) -> bool {
    let sql = format!(
        "SELECT COUNT(*) FROM performance_schema.events_statements_summary_by_digest
          WHERE DIGEST_TEXT LIKE 'ALTER TABLE `{}` . %ADD KEY `by_note`%'",
        deployment.schema.replace('_', r"\_")
    );
    deployment.text(&sql).await != "0"
}
