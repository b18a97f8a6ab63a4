//! What the certificate of a deployment is checked for, with those that a server makes for itself: they name no host.

mod deployment;
mod support;

use std::path::{Path, PathBuf};

use deployment::{Deployment, TestLease};
use lockkeeper::config::{ConnectionSettings, Tls, TlsMode};
use lockkeeper::engine::session::Sessions;
use lockkeeper::engine::{Engine, Outcome, Target};
use support::TestDatabase;

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
        db.text("SELECT GROUP_CONCAT(o.id ORDER BY o.id) FROM orders AS o")
            .await,
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

/// `lockkeeper status`: its exit code, and its complaint. `machine` has the authorities that the machine trusts.
fn status(
    database: &TestDatabase,
    mode: TlsMode,
    authority: &Path,
    machine: Option<&Path>,
) -> (Option<i32>, String) {
    let tls = Tls::new(Some(mode), Some(authority.to_owned())).expect("a mode that checks");
    let settings = ConnectionSettings {
        tls,
        ..database.settings().clone()
    };
    let mut command = support::program();
    command
        .arg("status")
        .env("LOCKKEEPER_URL", settings.url().expose());
    if let Some(file) = machine {
        command.env("SSL_CERT_FILE", file);
    }
    let output = command.output().expect("the program runs");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    (output.status.code(), said)
}

#[tokio::test]
async fn a_certificate_that_is_refused_is_no_server_that_is_away() {
    let (Some(authority), Some(other)) = (
        file_of_the_server("ca.pem").await,
        file_of_the_server("client-cert.pem").await,
    ) else {
        return;
    };
    let database = TestDatabase::fresh().await;
    assert_eq!(
        status(&database, TlsMode::VerifyCa, &authority, None),
        (Some(0), String::new())
    );
    for (mode, authority) in [
        (TlsMode::VerifyIdentity, &authority),
        (TlsMode::VerifyCa, &other),
    ] {
        let (code, said) = status(&database, mode, authority, None);
        assert!(
            code == Some(1) && said.contains("no protected connection") && said.contains("ssl-ca"),
            "{said}"
        );
    }
    // docs/configuration.md says how to trust the named one alone.
    let trusted = status(&database, TlsMode::VerifyCa, &other, Some(&authority));
    assert_eq!(trusted, (Some(0), String::new()));
}

#[tokio::test]
async fn a_mistyped_authority_is_named_before_anybody_is_asked() {
    let database = TestDatabase::bare().await;
    let missing = Path::new("/nonexistent/ca.pem");
    let (code, said) = status(&database, TlsMode::VerifyCa, missing, None);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("ssl-ca /nonexistent/ca.pem: No such file"),
        "{said}"
    );
}
