//! What the swap asks of the applier while it holds the tables locked.

use std::time::Instant;

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
