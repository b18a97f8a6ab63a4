-- View: operation_waiting
--
-- Why an operation does not move, in one sentence; one row for each unsettled one that no driver works on at full speed. Who
-- may go on, or what shuts its gate; that it was stopped, waits for a person's word, lost its driver, or is throttled.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW operation_waiting (operation_id, apply_id, deployment, state, reason) AS
SELECT w.operation_id,
       w.apply_id,
       w.deployment,
       w.state,
       w.reason
  FROM (
       SELECT g.operation_id,
              g.apply_id,
              g.deployment,
              g.state,
              CASE
                  WHEN s.stale
                  THEN CONCAT('Its driver ', s.driver, ' was last heard from ', s.heartbeat_age_seconds,
                              ' s ago; any driver may take it over.')
                  WHEN c.claim IS NOT NULL
                  THEN CONCAT('Any driver may claim its ', _claim_words(c.claim, c.state), ' now.')
                  -- One on hold keeps its lease, and has a gate before it all the same.
                  WHEN g.lease_token IS NULL OR (g.is_held AND g.cause IS NOT NULL)
                  THEN _gate_sentence(g.gate, COALESCE(g.cause, 'not_due'), b.deployment, b.state)
                  -- What throttled it last stays in the row of one that nobody works on.
                  ELSE CONCAT('Throttled: ', p.throttled_by, '.')
              END COLLATE utf8mb4_0900_bin AS reason
         FROM _operation_gate          AS g
         JOIN _operation_progress      AS p
           ON p.operation_id = g.operation_id
         LEFT JOIN lease_status        AS s
           ON s.operation_id = g.operation_id
         LEFT JOIN operation_claimable AS c
           ON c.operation_id = g.operation_id
         LEFT JOIN _sibling            AS b
           ON b.apply_id = g.apply_id
          AND b.position = g.blocker_position
       ) AS w
 WHERE w.reason IS NOT NULL
