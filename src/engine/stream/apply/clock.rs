//! The server's clock, by which it is told how far a copy is behind. The driver's own may be another one.

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::EngineError;
use crate::engine::session::Session;

/// What the server's clock said, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerClock {
    since_1970: Duration,
    asked: Instant,
}

impl ServerClock {
    pub async fn read(session: &mut Session) -> Result<Self, EngineError> {
        let now = "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)";
        let micros: u64 = sqlx::query_scalar(now)
            .fetch_one(session.connection())
            .await
            .map_err(EngineError::while_doing("asking for the server's time"))?;
        Ok(Self {
            since_1970: Duration::from_micros(micros),
            asked: Instant::now(),
        })
    }

    /// How long ago that was at `now`, in microseconds since 1970.
    pub fn since(&self, micros: u64, now: Instant) -> Duration {
        let server_time = self.since_1970 + now.saturating_duration_since(self.asked);
        server_time.saturating_sub(Duration::from_micros(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_from_what_the_server_said_whatever_the_driver_believes() {
        // A server that lives in 1970.
        let asked = Instant::now();
        let clock = ServerClock {
            since_1970: Duration::from_secs(100),
            asked,
        };
        let later = asked + Duration::from_secs(7);
        let since = |seconds: u64| clock.since(seconds * 1_000_000, later).as_secs();
        assert_eq!((since(40), since(107), since(200)), (67, 0, 0));
        assert_eq!(clock.since(40_000_000, asked), Duration::from_secs(60));
    }
}
