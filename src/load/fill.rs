//! Rows to begin with, made by the server itself.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Executor as _, MySqlConnection};

use super::LoadError;

/// Between two rows of the fill there is room for the writers' own.
pub(super) const KEY_STEP: u64 = 10;
const ROWS_A_STATEMENT: u64 = 20_000;

/// Makes `rows` rows in the session's schema, with keys 10, 20, 30 …
pub async fn fill(session: &mut MySqlConnection, rows: u64) -> Result<(), LoadError> {
    for first in (1..=rows).step_by(ROWS_A_STATEMENT as usize) {
        let last = rows.min(first + ROWS_A_STATEMENT - 1);
        session
            .execute(AssertSqlSafe(statement(first, last)))
            .await
            .map_err(LoadError::at("filling the table"))?;
    }
    Ok(())
}

/// Waits until the server has written out most of what it was filled with: what is measured next should not pay for that.
pub async fn until_written_out(session: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    const LIMIT: Duration = Duration::from_secs(30);
    const FEW_PAGES: u64 = 1000;
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        let dirty: String = sqlx::query_scalar(
            "SELECT CAST(s.VARIABLE_VALUE AS CHAR) FROM performance_schema.global_status AS s \
              WHERE s.VARIABLE_NAME = 'Innodb_buffer_pool_pages_dirty'",
        )
        .fetch_one(&mut *session)
        .await?;
        if dirty.parse().is_ok_and(|pages: u64| pages < FEW_PAGES) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn statement(first: u64, last: u64) -> String {
    format!(
        r#"INSERT INTO orders (order_id, reference, customer, email, state, quantity, amount, discount, weight, details, note,
                              fingerprint, placed_at, changed_at)
           WITH RECURSIVE n (i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})
           SELECT /*+ SET_VAR(cte_max_recursion_depth = 1000000) */
                  i * {KEY_STEP},
                  CONCAT('B-', LPAD(HEX(i), 16, '0')),
                  CONCAT(ELT(1 + i % 6, 'Åsa ', 'Seán ', '李 ', 'Zoë ', 'Ελένη ', 'Ann '), CONV(i * 2654435761 % 1000003, 10, 36)),
                  IF(i % 3 = 0, NULL, CONCAT('buyer', i, '@example.org')),
                  1 + i % 5,
                  i * 7919 % 2000000000 - 1000000000,
                  i * 104729 % 1000000000 / 100,
                  IF(i % 4 = 0, i % 10000 / 10000, NULL),
                  IF(i % 7 = 0, NULL, SQRT(i)),
                  CASE i % 5
                      WHEN 0 THEN NULL
                      WHEN 1 THEN JSON_OBJECT('n', i, 'price', CAST(i AS DOUBLE), 'tags', JSON_ARRAY('é', NULL, TRUE))
                      WHEN 2 THEN JSON_OBJECT('at', TIMESTAMP('2026-01-01') + INTERVAL i SECOND, 'sum', i * 0.01)
                      WHEN 3 THEN JSON_ARRAY(i, i + 0e0, '', JSON_OBJECT())
                      ELSE JSON_OBJECT('lines', JSON_ARRAY(JSON_OBJECT('sku', HEX(i), 'count', i % 9), JSON_OBJECT('sku', 'x')))
                  END,
                  CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN 'leave at the door '
                             ELSE REPEAT(CONCAT('Straße ', i, '; '), 1 + i % 12) END,
                  IF(i % 2 = 0, NULL, UNHEX(CONCAT(LEFT(SHA2(i, 256), 28), '0000'))),
                  TIMESTAMP('2020-01-01') + INTERVAL i * 37 SECOND + INTERVAL i % 1000000 MICROSECOND,
                  IF(i % 3 = 1, TIMESTAMP('2026-01-01') + INTERVAL i SECOND + INTERVAL 1000 * (i % 1000) MICROSECOND, NULL)
             FROM n"#
    )
}
