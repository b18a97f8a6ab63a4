//! Why a control database that leaves a beat unanswered may do so.
//!
//! A server whose disk is full answers reads as ever, and keeps every commit waiting until somebody makes room.

use std::time::Duration;

use sqlx::{Executor as _, Row as _};

use crate::config::ConnectionSettings;

/// Nobody waits longer for the reason.
const LIMIT: Duration = Duration::from_secs(2);

/// What the server writes to its log when it begins to wait, and every ten minutes.
const DISK_FULL: &str = "SELECT e.DATA FROM performance_schema.error_log AS e \
    WHERE e.ERROR_CODE = 'MY-000035' AND e.LOGGED > NOW(6) - INTERVAL 11 MINUTE \
    ORDER BY e.LOGGED DESC LIMIT 1";

/// For people, as the rest of a sentence.
pub(super) async fn why(control: &ConnectionSettings) -> String {
    let asked = tokio::time::timeout(LIMIT, what_it_says(control)).await;
    match asked {
        Ok(Ok(Some(said))) => format!(
            "it answers reads, and its disk is full, so that no commit ends until somebody makes room ({said})"
        ),
        Ok(Ok(None)) => "it answers reads, and no commit ends: is its disk full, or has somebody locked all tables?".to_owned(),
        Ok(Err(_)) | Err(_) => "it does not answer reads, either".to_owned(),
    }
}

/// What its log says of a full disk, if it may be read and says something.
async fn what_it_says(control: &ConnectionSettings) -> Result<Option<String>, sqlx::Error> {
    let mut session = control.connect().await?;
    session.execute("DO 0").await?;
    let row = session.fetch_optional(DISK_FULL).await;
    Ok(row
        .ok()
        .flatten()
        .and_then(|row| row.try_get_unchecked::<String, _>(0).ok()))
}
