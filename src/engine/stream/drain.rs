//! What the swap asks of the applier while it holds the tables locked.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::MySqlConnection;

use crate::engine::EngineError;

/// The rest of the stream, applied on the swap's own session.
///
/// `LOCK TABLES … WRITE` shuts every other session out of the tables, our own appliers included,
/// so the last changes go through the session that holds the locks.
pub trait Drain: Send {
    /// Prepares `session` (temporary tables, mostly) before it locks anything, and catches up
    /// as far as possible so that little is left for [`Drain::drain`].
    fn prepare<'a>(
        &'a mut self,
        session: &'a mut MySqlConnection,
    ) -> BoxFuture<'a, Result<(), EngineError>>;

    /// Tables that `drain` writes besides originals and shadows, qualified and quoted: to be
    /// locked with them.
    fn tables(&self) -> Vec<String>;

    /// Names of XA transactions that are prepared and hold the tables, and for how long the first has: known from the
    /// stream, whatever the account may see.
    fn prepared(&self) -> Option<(String, Duration)>;

    /// The swap has given way, and why; for people.
    fn yields(&self, reason: &str);

    /// Takes from the stream what was committed before the locks were granted, as far as that needs no session that holds
    /// them: so it goes on while that session is asked other things. [`Drain::drain`] does the rest, without it too.
    ///
    /// # Errors
    ///
    /// Retryable when `deadline` passes first.
    fn gather<'a>(&'a mut self, deadline: Instant) -> BoxFuture<'a, Result<(), EngineError>>;

    /// Applies everything that was committed before the locks were granted, on `session`.
    ///
    /// # Errors
    ///
    /// Retryable when `deadline` passes first; nothing is half applied then.
    fn drain<'a>(
        &'a mut self,
        session: &'a mut MySqlConnection,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<(), EngineError>>;
}

/// Names the XA transactions that the tables wait for: whoever reads this has to end them.
pub fn with_prepared(reason: String, prepared: Option<(String, Duration)>) -> String {
    match prepared {
        Some((names, _)) => format!("{reason}: XA COMMIT or XA ROLLBACK {names}"),
        None => reason,
    }
}
