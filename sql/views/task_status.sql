-- View: task_status
--
-- How far every statement of every operation is. A task moves with its operation: all tables of one swap in one statement.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW task_status (task_id, operation_id, position, statement, table_name, state, phase, percent, rows_copied, rows_total) AS
SELECT t.task_id,
       t.operation_id,
       t.position,
       t.statement,
       t.table_name,
       p.state,
       COALESCE(own.phase, p.phase),
       CASE
           WHEN p.has_copied OR p.state = 'pending' OR own.rows_total IS NULL THEN p.percent
           ELSE ROUND(LEAST(100, COALESCE(100e0 * own.rows_copied / NULLIF(own.rows_total, 0), 0)), 1)
       END,
       own.rows_copied,
       own.rows_total
  FROM task                AS t
  JOIN _operation_progress AS p
    ON p.operation_id = t.operation_id
  -- Of a task that is reported twice, the last.
  LEFT JOIN LATERAL (
       SELECT r.phase, r.rows_copied, r.rows_total
         FROM JSON_TABLE(COALESCE(p.tasks, JSON_ARRAY()), '$[*]' COLUMNS (
                  place       FOR ORDINALITY,
                  task_id     BIGINT UNSIGNED PATH '$.task_id',
                  phase       VARCHAR(64)     PATH '$.phase',
                  rows_copied BIGINT UNSIGNED PATH '$.rows_copied',
                  rows_total  BIGINT UNSIGNED PATH '$.rows_total')) AS r
        WHERE r.task_id = t.task_id
        ORDER BY r.place DESC
        LIMIT 1) AS own
    ON TRUE
