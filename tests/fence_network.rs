//! The network holds back what a driver sends, another driver ends the change, and only then the packets arrive.
//!
//! The first driver's lease says yes all the time: nothing but the fence on the deployment stands in its way.

mod deployment;
mod support;
mod writers;

use deployment::{Deployment, TestLease, copy, open};
use lockkeeper::engine::{Engine, EngineError, Job, Outcome};
use support::PATIENCE;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use writers::Writers;

const CHANGE: &str = "ALTER TABLE orders MODIFY id BIGINT NOT NULL AUTO_INCREMENT";

/// Where the first driver is when its packets stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Copy,
    /// Verified; it asks for the swap while nothing arrives.
    Cutover,
    RevertWindow,
    /// Swapped; it asks for the swap back.
    SwapBack,
    /// Swapped; it asks for the removal of what is left.
    CleanUp,
}

impl At {
    fn has_window(self) -> bool {
        matches!(self, Self::RevertWindow | Self::SwapBack)
    }

    /// Nothing arrives of what it does there; the others are interrupted in the middle of it.
    fn is_held_before(self) -> bool {
        matches!(self, Self::Cutover | Self::SwapBack | Self::CleanUp)
    }
}

/// Forwards to the server until `held` says otherwise, and then keeps all that comes until it says so again.
async fn proxy(server: (String, u16), held: watch::Receiver<bool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its number").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, held) = (server.clone(), held.clone());
            tokio::spawn(async move {
                let server = TcpStream::connect((server.0.as_str(), server.1)).await;
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.expect("the server").into_split();
                tokio::select! {
                    () = forward(from_client, to_server, held.clone()) => {}
                    () = forward(from_server, to_client, held) => {}
                }
            });
        }
    });
    port
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut held: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if held.wait_for(|held| !held).await.is_err()
            || to.write_all(&bytes[..length]).await.is_err()
        {
            return;
        }
    }
}

fn job(db: &Deployment, at: At, epoch: u64) -> Job {
    Job {
        lease_epoch: epoch,
        revert_window_seconds: if at.has_window() { 600 } else { 0 },
        options: serde_json::json!({ "chunk_seconds": 0.02, "copy_threads": 1 }),
        ..db.job(&[CHANGE])
    }
}

/// Goes on from there, to the end; nothing but its own death keeps it from that.
async fn go_on(mut engine: Engine, at: At) -> Result<(), EngineError> {
    match at {
        At::Copy => {
            engine.copy().await?;
            engine.cut_over().await?;
        }
        At::Cutover => {
            engine.cut_over().await?;
        }
        At::RevertWindow => {
            let (_open, window) = watch::channel(Some(600.0));
            engine.keep_reverse(window).await?;
            engine.revert().await?;
        }
        At::SwapBack => engine.revert().await?,
        At::CleanUp => {}
    }
    engine.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_that_arrive_after_another_driver_has_ended_the_change_change_nothing() {
    let moments = [
        At::Copy,
        At::Cutover,
        At::RevertWindow,
        At::SwapBack,
        At::CleanUp,
    ];
    futures_util::future::join_all(moments.map(arrive_late)).await;
}

async fn arrive_late(at: At) {
    let mut db = Deployment::fresh().await;
    writers::create(&mut db, 8_000).await;
    let writers = Writers::start(&db, 2).await;
    let (hold, held) = watch::channel(false);
    let mut target = db.target();
    target.port = proxy((target.host.clone(), target.port), held).await;

    let lease = TestLease::held();
    let mut first = Engine::open(target, job(&db, at, 1), lease.clone())
        .await
        .expect("the first driver");
    if at != At::Copy {
        copy(&mut first).await;
    }
    if !matches!(at, At::Copy | At::Cutover) {
        first.cut_over().await.expect("the swap");
    }
    if at.is_held_before() {
        hold.send_replace(true);
    }
    let first = tokio::spawn(go_on(first, at));
    support::eventually("the first driver is there", PATIENCE, async || {
        let progress = lease.progress();
        match at {
            At::Copy => progress.rows_copied > 0,
            // Its first statement waits in the network.
            At::Cutover | At::SwapBack | At::CleanUp => true,
            At::RevertWindow => progress.phase == "revert_window",
        }
    })
    .await;
    hold.send_replace(true);

    second_driver(&db, at).await;
    writers.check(&db).await;
    let tables = db.tables().await;
    let rows = writers::digest(&db).await;

    hold.send_replace(false);
    let end = tokio::time::timeout(PATIENCE, first).await;
    let end = end.expect("it gives up").expect("no panic");
    assert!(
        end.is_err(),
        "{at:?}: the first driver believes that it did it"
    );
    assert_eq!(db.tables().await, tables, "{at:?}");
    assert_eq!(writers::digest(&db).await, rows, "{at:?}");
    assert_eq!(db.column_type("orders", "id").await, "bigint", "{at:?}");
}

/// Takes over with a larger epoch, on a network that works, and ends the change.
async fn second_driver(db: &Deployment, at: At) {
    let (mut engine, _lease) = open(db, job(db, at, 2)).await;
    if at.has_window() {
        let (_open, window) = watch::channel(Some(0.0));
        let outcome = engine.keep_reverse(window).await.expect("the window's end");
        assert_eq!(outcome, Outcome::WindowOver);
    } else {
        copy(&mut engine).await;
        engine.cut_over().await.expect("the swap");
    }
    engine.finish().await.expect("the end");
    engine.close().await;
}
