//! What calls cost: their times, and the rows that the server read and wrote for them.

use std::time::{Duration, Instant};

use sqlx::Row as _;
use sqlx::mysql::MySqlConnection;

use crate::bench::report::median;

/// Times of one kind of call, in milliseconds.
#[derive(Default)]
pub(super) struct Times(Vec<f64>);

impl Times {
    pub(super) fn median(&self) -> f64 {
        median(self.0.clone())
    }

    pub(super) fn total_seconds(&self) -> f64 {
        self.0.iter().sum::<f64>() / 1000.0
    }

    pub(super) fn push(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1000.0);
    }

    /// Calls once, and tells the first column of the first row, if there is one.
    pub(super) async fn call(
        &mut self,
        session: &mut MySqlConnection,
        call: &'static str,
    ) -> Result<Option<u64>, sqlx::Error> {
        let start = Instant::now();
        let rows = sqlx::query(call).fetch_all(session).await?;
        self.push(start.elapsed());
        rows.first().map(|row| row.try_get(0)).transpose()
    }

    /// One call with an id. It is bound: a text of its own each time would be prepared each time.
    pub(super) async fn call_with(
        &mut self,
        session: &mut MySqlConnection,
        call: &'static str,
        id: u64,
    ) -> Result<(), sqlx::Error> {
        let start = Instant::now();
        sqlx::query(call).bind(id).fetch_all(session).await?;
        self.push(start.elapsed());
        Ok(())
    }
}

/// Rows that all sessions have read, and record locks that they have asked for.
#[derive(Clone, Copy)]
pub(super) struct Counters {
    pub rows_read: u64,
    pub lock_requests: u64,
    pub transactions: u64,
}

impl Counters {
    /// The server counts locks only when told to; this costs a little, so it is off while times are taken.
    pub(super) async fn count_locks(
        session: &mut MySqlConnection,
        on: bool,
    ) -> Result<(), sqlx::Error> {
        let statement = if on {
            "SET GLOBAL innodb_monitor_enable = 'lock_rec_lock_requests'"
        } else {
            "SET GLOBAL innodb_monitor_disable = 'lock_rec_lock_requests'"
        };
        sqlx::raw_sql(statement).execute(session).await.map(|_| ())
    }

    pub(super) async fn read(session: &mut MySqlConnection) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(
            "SELECT CAST(SUM(IF(s.variable_name = 'Innodb_rows_read', s.variable_value, 0)) AS UNSIGNED),
                    CAST(SUM(IF(s.variable_name IN ('Binlog_cache_use', 'Binlog_stmt_cache_use'), s.variable_value, 0))
                         AS UNSIGNED),
                    (SELECT CAST(m.count AS UNSIGNED) FROM information_schema.innodb_metrics AS m
                      WHERE m.name = 'lock_rec_lock_requests')
               FROM performance_schema.global_status AS s
              WHERE s.variable_name IN ('Innodb_rows_read', 'Binlog_cache_use', 'Binlog_stmt_cache_use')",
        )
        .fetch_one(session)
        .await?;
        Ok(Self {
            rows_read: row.try_get(0)?,
            transactions: row.try_get(1)?,
            lock_requests: row.try_get(2)?,
        })
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            rows_read: self.rows_read - before.rows_read,
            lock_requests: self.lock_requests - before.lock_requests,
            transactions: self.transactions - before.transactions,
        }
    }
}
