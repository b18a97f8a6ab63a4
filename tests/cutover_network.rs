//! The network fails between a RENAME and its answer: the tables tell what became of it.

mod deployment;
mod support;

use std::sync::Arc;

use deployment::{Deployment, TestLease, copy};
use lockkeeper::config::TlsMode;
use lockkeeper::engine::session::Sessions;
use lockkeeper::engine::{Engine, EngineError, ErrorKind};
use support::PATIENCE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What happens to the first RENAME that swaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It arrives, and its answer never does.
    AnswerLost,
    /// It never arrives; the connection stays open.
    Swallowed,
    /// The connection is closed before it.
    ClosedBefore,
    /// The connection is closed after it.
    ClosedAfter,
}

/// Stands between the engine and the server, and fails once.
async fn proxy(server: (String, u16), fault: Fault) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let armed = Arc::new(std::sync::atomic::AtomicBool::new(true));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, armed) = (server.clone(), armed.clone());
            tokio::spawn(async move {
                let upstream = TcpStream::connect((server.0.as_str(), server.1))
                    .await
                    .unwrap();
                forward(client, upstream, fault, &armed).await;
            });
        }
    });
    port
}

async fn forward(
    mut client: TcpStream,
    mut upstream: TcpStream,
    fault: Fault,
    armed: &std::sync::atomic::AtomicBool,
) {
    let (mut from_client, mut from_server) = ([0u8; 65536], [0u8; 65536]);
    let mut deaf = false;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                let bytes = &from_client[..length];
                let swaps = bytes.windows(12).any(|w| w == b"RENAME TABLE") && bytes.windows(4).any(|w| w == b"_new");
                if swaps && armed.swap(false, std::sync::atomic::Ordering::SeqCst) {
                    match fault {
                        Fault::AnswerLost => deaf = true,
                        Fault::Swallowed => std::future::pending().await,
                        Fault::ClosedBefore => return,
                        Fault::ClosedAfter => {
                            upstream.write_all(bytes).await.unwrap();
                            return;
                        }
                    }
                }
                if upstream.write_all(bytes).await.is_err() { return }
            }
            read = upstream.read(&mut from_server) => {
                let Ok(length @ 1..) = read else { return };
                if !deaf && client.write_all(&from_server[..length]).await.is_err() { return }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_whose_answer_is_lost_is_settled_and_no_lock_stays() {
    let faults = [
        Fault::AnswerLost,
        Fault::Swallowed,
        Fault::ClosedBefore,
        Fault::ClosedAfter,
    ];
    futures_util::future::join_all(faults.map(a_rename_meets)).await;
}

async fn a_rename_meets(fault: Fault) {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1), (2, 2)")
        .await;
    // A login through TLS lets the server know the password for those without.
    let sessions = Sessions::new(db.target(), db.owner(0), TestLease::held());
    sessions.open().await.unwrap().close().await;
    let mut target = db.target();
    target.port = proxy((target.host.clone(), target.port), fault).await;
    target.tls.mode = TlsMode::Disabled;
    let mut job = db.job(&["ALTER TABLE t MODIFY n BIGINT"]);
    job.options = serde_json::json!({"cutover_lock_seconds": 0.5});
    let mut engine = Engine::open(target, job, TestLease::held()).await.unwrap();
    copy(&mut engine).await;
    let swap = tokio::time::timeout(PATIENCE, engine.cut_over());
    let result: Result<_, EngineError> = swap.await.expect("it ends");
    if let Err(error) = result {
        assert_eq!(error.kind(), ErrorKind::Retryable, "{fault:?}: {error}");
        assert_eq!(db.column_type("t", "n").await, "int", "{fault:?}");
        engine
            .cut_over()
            .await
            .unwrap_or_else(|e| panic!("{fault:?}: {}", e.message()));
    }
    assert_eq!(db.column_type("t", "n").await, "bigint", "{fault:?}");
    db.run("SET lock_wait_timeout = 5; INSERT INTO t VALUES (3, 3)")
        .await;
    assert_eq!(db.text("SELECT COUNT(*) FROM t").await, "3", "{fault:?}");
    engine.finish().await.unwrap();
}
