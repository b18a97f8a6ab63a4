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
SELECT s.operation_id,
       s.apply_id,
       s.position,
       s.deployment,
       s.state,
       CASE s.state
           WHEN 'failed'        THEN s.on_failure = 'continue' OR (s.on_failure = 'pause' AND s.is_released)
           WHEN 'revert_window' THEN s.revert_scope = 'apply'
           ELSE FALSE
       END,
       s.gate_now,
       CASE
           WHEN s.state IN ('pending', 'failed_retryable') OR s.start_request_id IS NOT NULL  THEN 'copy'
           WHEN s.state = 'waiting_for_cutover' AND NOT s.is_held                             THEN 'cutover'
       END,
       s.gate_now IS NOT NULL AND s.state <> 'waiting_for_cutover',
       s.state IN ('cutting_over', 'revert_window', 'reverting', 'completed', 'reverted'),
       s.state = 'failed' AND s.on_failure = 'pause' AND NOT s.is_released,
       s.lease_token IS NOT NULL OR s.claim IS NOT NULL,
       s.gate_now IS NOT NULL AND s.state <> 'stopped',
       s.gate_now IS NOT NULL OR s.state IN ('cutting_over', 'cancelling'),
       s.state IN ('failed', 'cancelled', 'reverted'),
       (s.state IN ('cancelling', 'revert_window', 'reverting') AND s.attempt > 2 AND s.lease_token IS NULL) IS TRUE
  FROM (SELECT o.operation_id, o.apply_id, o.position, o.deployment,
               COALESCE(l.state, o.state) AS state,
               CASE
                   WHEN l.state = 'pending' OR l.stopped_from = 'pending'                             THEN 'copy'
                   WHEN l.state IN ('running', 'waiting_for_cutover', 'failed_retryable', 'stopped')  THEN 'cutover'
               END AS gate_now,
               l.is_held, l.start_request_id, l.lease_token, l.claim, l.attempt,
               a.on_failure, a.is_released, a.revert_scope
          FROM operation AS o
          JOIN apply     AS a
            ON a.apply_id = o.apply_id
          LEFT JOIN operation_live AS l
            ON l.operation_id = o.operation_id) AS s
