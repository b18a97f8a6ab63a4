-- View: _sibling
--
-- Every operation with the state it has now, settled or not, and whether the apply's own choices exempt it from the gates:
-- a failure under `continue`, or under `pause` once released; an open revert window where the whole apply is reverted
-- together. Nothing else is ever exempted. What moves is leased, or a claim may take it. What is lost
-- will never have the change. What only waits for a server to be cleaned up, to go back or to close its window is hopeless once that
-- has failed again and again: the server may be gone. Keep it mergeable.
--
-- gate_now   the gate that the operation has before it; NULL once it swaps, or is settled or cancelled
-- waits_for  the claim that it waits for, and begins with; NULL where it is settled, on hold or stopped, or has begun: then only a
--            recovery takes it over
CREATE OR REPLACE
    ALGORITHM = MERGE
    SQL SECURITY DEFINER
VIEW _sibling (
    operation_id, apply_id, position, deployment, state, is_exempt, gate_now, waits_for, has_copy_ahead, has_swapped, is_pausing,
    is_moving, can_stop, can_cancel, is_lost, is_hopeless
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
       CASE
           WHEN l.state = 'pending' OR l.stopped_from = 'pending'                             THEN 'copy'
           WHEN l.state IN ('running', 'waiting_for_cutover', 'failed_retryable', 'stopped')  THEN 'cutover'
       END,
       CASE
           WHEN l.state IN ('pending', 'failed_retryable') OR l.start_request_id IS NOT NULL  THEN 'copy'
           WHEN l.state = 'waiting_for_cutover' AND NOT l.is_held                             THEN 'cutover'
       END,
       l.state IN ('pending', 'running', 'failed_retryable', 'stopped') IS TRUE,
       COALESCE(l.state, o.state) IN ('cutting_over', 'revert_window', 'reverting', 'completed', 'reverted'),
       COALESCE(l.state, o.state) = 'failed' AND a.on_failure = 'pause' AND NOT a.is_released,
       l.lease_token IS NOT NULL OR l.claim IS NOT NULL,
       l.state IN ('pending', 'running', 'waiting_for_cutover', 'failed_retryable') IS TRUE,
       l.state IN ('pending', 'running', 'waiting_for_cutover', 'failed_retryable', 'stopped', 'cutting_over', 'cancelling') IS TRUE,
       COALESCE(l.state, o.state) IN ('failed', 'cancelled', 'reverted'),
       (l.state IN ('cancelling', 'revert_window', 'reverting') AND l.attempt > 2 AND l.lease_token IS NULL) IS TRUE
  FROM operation AS o
  JOIN apply     AS a
    ON a.apply_id = o.apply_id
  LEFT JOIN operation_live AS l
    ON l.operation_id = o.operation_id
