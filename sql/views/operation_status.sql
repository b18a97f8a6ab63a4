-- View: operation_status
--
-- How far every operation is. Rates in rows a second, times left in seconds, both of the phase; times in UTC. percent is of the
-- copy; percent_verified says how much of it has been compared, while the phase is `verify`.
-- For what goes on, ask for the operations of an apply, or of those that apply_status shows with finished_at IS NULL: an index
-- finds them. A condition on state or completed_at alone reads all that ever were.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW operation_status (
    operation_id, apply_id, position, deployment, state, phase, percent, rows_copied, rows_total, rows_per_second, seconds_left,
    throttled_by, driver, attempt, next_attempt_at, error, started_at, completed_at, binlog_lag_seconds,
    percent_verified
) AS
SELECT p.operation_id, p.apply_id, p.position, p.deployment, p.state, p.phase, p.percent, p.rows_copied, p.rows_total,
       p.rows_per_second, p.seconds_left, p.throttled_by, p.driver, p.attempt, p.next_attempt_at, p.error, p.started_at,
       p.completed_at, p.binlog_lag_seconds, p.percent_verified
  FROM _operation_progress AS p
