//! Acting at the same moment.

use tokio::sync::Barrier;

use crate::support::control::{Fleet, Session};

/// Runs `act` in `count` sessions that all start at the same moment; answers what each came to.
pub async fn at_once<T>(
    fleet: &Fleet,
    count: usize,
    act: impl AsyncFn(&mut Session, usize) -> T,
) -> Vec<T> {
    let start = &Barrier::new(count);
    let act = &act;
    let acts = (0..count).map(|number| async move {
        let mut session = fleet.borrow_session().await;
        start.wait().await;
        let outcome = act(&mut session, number).await;
        fleet.return_session(session);
        outcome
    });
    futures_util::future::join_all(acts).await
}
