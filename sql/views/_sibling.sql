-- View: _sibling
--
-- Every operation with the state it has now, settled or not, and whether the apply's own choices exempt it from the gates:
-- a failure under `continue`, or under `pause` once released; an open revert window where the whole apply is reverted
-- together. Nothing else is ever exempted. Keep it mergeable.
CREATE OR REPLACE
    ALGORITHM = MERGE
    SQL SECURITY DEFINER
VIEW _sibling (
    operation_id, apply_id, position, deployment, state, is_exempt, gate_now, has_copy_ahead, has_swapped
) AS
SELECT o.operation_id,
       o.apply_id,
       o.position,
       o.deployment,
       COALESCE(l.state, o.state),
       CASE COALESCE(l.state, o.state)
           WHEN 'failed'        THEN a.on_failure = 'continue' OR (a.on_failure = 'pause' AND a.is_released)
           WHEN 'revert_window' THEN a.revert_scope = 'apply'
           ELSE FALSE
       END,
       -- The gate that the operation has before it; NULL once it swaps, or is settled or cancelled.
       CASE
           WHEN l.state = 'pending' OR l.stopped_from = 'pending'                             THEN 'copy'
           WHEN l.state IN ('running', 'waiting_for_cutover', 'failed_retryable', 'stopped')  THEN 'cutover'
       END,
       l.state IN ('pending', 'running', 'failed_retryable', 'stopped') IS TRUE,
       COALESCE(l.state, o.state) IN ('cutting_over', 'revert_window', 'reverting', 'completed', 'reverted')
  FROM operation AS o
  JOIN apply     AS a
    ON a.apply_id = o.apply_id
  LEFT JOIN operation_live AS l
    ON l.operation_id = o.operation_id
