//! Waits for a condition, with a deadline.

use std::time::{Duration, Instant};

/// How long a test waits for what must come, on a machine however busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Asks `condition` again and again until it holds; panics with `what` after `deadline`.
pub async fn eventually(what: &str, deadline: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    let mut interval = tokio::time::interval(Duration::from_millis(20));
    while !condition().await {
        assert!(
            start.elapsed() < deadline,
            "not within {deadline:?}: {what}"
        );
        interval.tick().await;
    }
}
