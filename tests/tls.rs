//! What the certificate of a deployment is checked for, with those that a server makes for itself: they name no host.

mod deployment;
mod support;

use std::path::PathBuf;

use deployment::{Deployment, TestLease};
use lockkeeper::config::{ConnectionSettings, Tls, TlsMode};
use lockkeeper::engine::session::Sessions;
use lockkeeper::engine::{Engine, Outcome, Target};

/// A file of the server's own data folder.
async fn file_of_the_server(name: &str) -> Option<PathBuf> {
    let folder = support::server().await.folder();
    if folder.is_none() {
        eprintln!("the server's files are not on this machine: {name} is not tested");
    }
    folder.map(|folder| folder.join("data").join(name))
}

fn with(db: &Deployment, mode: TlsMode, authority: PathBuf) -> ConnectionSettings {
    let tls = Tls::new(Some(mode), Some(authority)).expect("a mode that checks");
    ConnectionSettings {
        tls,
        ..db.settings.clone()
    }
}

/// What each of the two client libraries says, and a session of the engine.
async fn refusals(db: &Deployment, settings: ConnectionSettings) -> [String; 3] {
    let sqlx = settings.connect().await.expect_err("refused").to_string();
    let mysql_async = settings.connect_mysql_async().await;
    let mysql_async = mysql_async.expect_err("refused").to_string();
    let sessions = Sessions::new(settings.into(), db.owner(1), TestLease::held());
    let engine = sessions.open().await.err().expect("refused").message();
    [sqlx, mysql_async, engine]
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_ca_asks_for_the_authority_and_for_no_name() {
    let Some(authority) = file_of_the_server("ca.pem").await else {
        return;
    };
    let mut db = Deployment::fresh().await;
    let settings = with(&db, TlsMode::VerifyCa, authority);
    settings.probe().await.expect("a session of sqlx");
    let session = settings.connect_mysql_async().await;
    let session = session.expect("a session of mysql_async");
    session.disconnect().await.expect("an end");

    // The copy is verified against what came through the stream of binlogs.
    db.run("CREATE TABLE orders (id INT PRIMARY KEY); INSERT INTO orders VALUES (1), (2)")
        .await;
    let job = db.job(&["ALTER TABLE orders MODIFY id BIGINT NOT NULL"]);
    let mut engine = Engine::open(Target::from(settings), job, TestLease::held())
        .await
        .expect("the engine");
    assert_eq!(engine.copy().await.expect("the copy"), Outcome::Verified);
    db.run("INSERT INTO orders VALUES (3)").await;
    engine.cut_over().await.expect("the swap");
    engine.finish().await.expect("the end");
    engine.close().await;
    assert_eq!(
        db.text("SELECT GROUP_CONCAT(o.id ORDER BY o.id) FROM orders AS o").await,
        "1,2,3"
    );
}

#[tokio::test]
async fn verify_ca_refuses_what_another_authority_has_signed() {
    // The certificate of a client: the server's is not signed by it.
    let Some(other) = file_of_the_server("client-cert.pem").await else {
        return;
    };
    let db = Deployment::fresh().await;
    for said in refusals(&db, with(&db, TlsMode::VerifyCa, other)).await {
        assert!(said.contains("UnknownIssuer"), "{said}");
    }
}

#[tokio::test]
async fn verify_identity_refuses_a_certificate_that_does_not_name_the_host() {
    let Some(authority) = file_of_the_server("ca.pem").await else {
        return;
    };
    let db = Deployment::fresh().await;
    for said in refusals(&db, with(&db, TlsMode::VerifyIdentity, authority)).await {
        assert!(said.contains("not valid for name \"127.0.0.1\""), "{said}");
    }
}
