//! Leaves nothing behind on a server that isn't ours.

use lockkeeper::config::ConnectionSettings;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

/// For `Drop` on a server that isn't ours: runs the statements, and says what stays if one fails.
pub fn clean_up(settings: &ConnectionSettings, what: &str, statements: Vec<String>) {
    let settings = settings.clone().without_schema();
    // No runtime may be blocked from inside of itself.
    let cleaned = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut session = settings.connect().await?;
            // A test that failed may have left a transaction open.
            session
                .execute("SET SESSION lock_wait_timeout = 30")
                .await?;
            for statement in statements {
                session.execute(AssertSqlSafe(statement)).await?;
            }
            session.close().await?;
            Ok::<_, anyhow::Error>(())
        })
    });
    if let Ok(Err(error)) = cleaned.join() {
        eprintln!("{what} stays: {error}");
    }
}
