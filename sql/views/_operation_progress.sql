-- View: _operation_progress
--
-- Every operation, settled or not, with the progress that its driver reported last.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW _operation_progress (
    operation_id, apply_id, position, deployment, state, phase, percent, rows_copied, rows_total, rows_per_second, seconds_left,
    binlog_lag_seconds, throttled_by, driver, attempt, next_attempt_at, error, started_at, completed_at, tasks,
    has_copied, percent_verified
) AS
SELECT p.operation_id,
       p.apply_id,
       p.position,
       p.deployment,
       p.state,
       IF(p.is_live, p.progress->>'$.phase', NULL),
       CASE
           WHEN p.has_copied                                                       THEN 100.0
           WHEN p.state = 'pending'                                                THEN 0.0
           ELSE ROUND(LEAST(100, COALESCE(100 * (p.progress->>'$.rows_copied') / NULLIF(p.progress->>'$.rows_total', 0), 0)), 1)
       END,
       CAST(p.progress->>'$.rows_copied' AS UNSIGNED),
       CAST(p.progress->>'$.rows_total'  AS UNSIGNED),
       -- What is copied goes on at no rate.
       IF(p.is_live AND p.state = 'running', CAST(p.progress->>'$.rows_per_second' AS DECIMAL(20, 1)), NULL),
       IF(p.is_live AND p.state = 'running', CAST(NULLIF(p.progress->>'$.seconds_left', 'null') AS DECIMAL(20, 1)), NULL),
       IF(p.is_live, CAST(NULLIF(p.progress->>'$.binlog_lag_seconds', 'null') AS DECIMAL(20, 1)), NULL),
       IF(p.is_live, NULLIF(p.progress->>'$.throttled_by', 'null'), NULL),
       p.driver,
       p.attempt,
       p.next_attempt_at,
       p.error,
       p.started_at,
       p.completed_at,
       p.progress->'$.tasks',
       p.has_copied,
       -- What was reported last stays in the row.
       IF(p.state = 'running',
          ROUND(LEAST(100, 100 * (p.progress->>'$.rows_verified') / NULLIF(p.progress->>'$.rows_total', 0)), 1), NULL)
  FROM (
       SELECT o.operation_id,
              o.apply_id,
              o.position,
              o.deployment,
              COALESCE(l.state, o.state)                AS state,
              l.operation_id IS NOT NULL                AS is_live,
              COALESCE(l.state, o.state) IN ('waiting_for_cutover', 'cutting_over', 'revert_window', 'reverting', 'completed',
                                             'reverted') AS has_copied,
              COALESCE(l.progress, o.progress)          AS progress,
              IF(l.operation_id IS NULL, o.driver, l.lease_driver) AS driver,
              COALESCE(l.attempt, o.attempt, 0)         AS attempt,
              l.next_attempt_at,
              COALESCE(l.error, o.error)                AS error,
              COALESCE(l.started_at, o.started_at)      AS started_at,
              o.completed_at
         FROM operation AS o
         LEFT JOIN operation_live AS l
           ON l.operation_id = o.operation_id
       ) AS p
