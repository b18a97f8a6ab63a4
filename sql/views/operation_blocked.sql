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
       g.waits_for COLLATE utf8mb4_0900_bin,
       g.blocker_operation_id,
       g.sentence COLLATE utf8mb4_0900_bin
  FROM _operation_blocker AS g
  JOIN operation_live     AS l
    ON l.operation_id = g.operation_id
 WHERE g.waits_for IS NOT NULL
   AND (l.claim IS NULL OR l.claimable_at > UTC_TIMESTAMP(6))
