-- View: operation_blocked
--
-- Every operation that waits, or is parked, and that no claim may take now: which gate, which sibling, and why, in one
-- sentence. The earliest blocker is the one named.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW operation_blocked (operation_id, apply_id, deployment, state, gate, blocker_operation_id, reason) AS
SELECT g.operation_id,
       g.apply_id,
       g.deployment,
       g.state,
       -- A retry or a restart is a copy again, though the gate after it is that of the cutover.
       IF(g.state = 'waiting_for_cutover', 'cutover', 'copy') COLLATE utf8mb4_0900_bin,
       b.operation_id,
       _gate_sentence(g.gate, COALESCE(g.cause, 'not_due'), b.deployment, b.state) COLLATE utf8mb4_0900_bin
  FROM _operation_gate AS g
  JOIN operation_live  AS l
    ON l.operation_id = g.operation_id
  LEFT JOIN _sibling   AS b
    ON b.apply_id = g.apply_id
   AND b.position = g.blocker_position
 WHERE l.lease_token IS NULL
   AND (   (g.state IN ('pending', 'failed_retryable'))
        OR (g.state = 'waiting_for_cutover' AND NOT g.is_held)
        OR (g.state = 'stopped' AND l.start_request_id IS NOT NULL))
   AND (l.claim IS NULL OR l.claimable_at > UTC_TIMESTAMP(6))
