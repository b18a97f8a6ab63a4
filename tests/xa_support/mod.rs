//! A table under change, and sessions that prepare XA transactions on it.

#![allow(dead_code)] // each test binary uses its own part

use lockkeeper::config::ConnectionSettings;
use lockkeeper::server::{Server, ServerOptions};
use sqlx::Connection as _;
use sqlx::mysql::MySqlConnection;

use crate::deployment::Deployment;
use crate::support;
pub use crate::support::run;

pub const CHANGE: &str = "ALTER TABLE orders MODIFY id BIGINT NOT NULL";

pub const CONTENT: &str =
    "SELECT CONCAT_WS(' ', COUNT(*), SUM(id), SUM(CRC32(CONCAT_WS('|', id, n, note)))) FROM orders";

pub async fn filled_on(settings: ConnectionSettings, rows: u32) -> Deployment {
    let mut db = Deployment::on(settings).await;
    db.root = session(&db).await;
    db.run(&format!(
        "CREATE TABLE orders (id INT PRIMARY KEY, n INT, note VARCHAR(40), KEY by_n (n)); \
         SET SESSION cte_max_recursion_depth = 100000; \
         INSERT INTO orders WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         SELECT i, i, CONCAT('note ', i) FROM n"
    ))
    .await;
    db
}

pub async fn filled() -> Deployment {
    let settings = support::server().await.administrator().clone();
    filled_on(settings, 2000).await
}

pub async fn without_gtids() -> Server {
    let options = ServerOptions::relaxed("xa")
        .flag("--gtid-mode=OFF")
        .flag("--enforce-gtid-consistency=OFF");
    Server::start(options).await.expect("a private server")
}

pub async fn session(db: &Deployment) -> MySqlConnection {
    connect(db.settings.clone().with_schema(&db.schema)).await
}

/// Takes no locks of gaps, in which others of the same test would wait for it.
pub async fn connect(settings: ConnectionSettings) -> MySqlConnection {
    let mut session = settings.connect().await.expect("a session");
    run(
        &mut session,
        "SET SESSION transaction_isolation = 'READ-COMMITTED'",
    )
    .await;
    session
}

/// Names are the server's, not the schema's: `bytes` make it this test's own.
pub fn xid(db: &Deployment, bytes: &[u8]) -> String {
    let global = [db.installation.as_bytes(), bytes].concat();
    format!(
        "X'{}',X'{}',{}",
        hex::encode(global),
        hex::encode(b"\0'\\"),
        i32::MAX
    )
}

/// Prepares `writes` on a session that is gone afterwards.
pub async fn prepare(db: &Deployment, xid: &str, writes: &str) {
    let mut session = session(db).await;
    let all = format!("XA START {xid}; {writes}; XA END {xid}; XA PREPARE {xid}");
    run(&mut session, &all).await;
    session.close().await.expect("an orderly end");
}
