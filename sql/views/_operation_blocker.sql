-- View: _operation_blocker
--
-- What _operation_gate says of each unsettled operation, with the sibling that shuts its gate (NULL: none does) and the one wording of
-- that. sentence: NULL where the gate is open, and nothing waits for its time.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW _operation_blocker (
    operation_id, apply_id, position, deployment, state, is_held, lease_token, gate, waits_for, cause, is_for_good,
    declared_directive, is_window_open, window_ends_at,
    blocker_operation_id, blocker_deployment, blocker_state, blocker_is_lost, blocker_is_pausing, sentence
) AS
SELECT g.operation_id,
       g.apply_id,
       g.position,
       g.deployment,
       g.state,
       g.is_held,
       g.lease_token,
       g.gate,
       g.waits_for,
       g.cause,
       g.is_for_good,
       g.declared_directive,
       g.is_window_open,
       g.window_ends_at,
       b.operation_id,
       b.deployment,
       b.state,
       b.is_lost,
       b.is_pausing,
       _gate_sentence(g.gate, COALESCE(g.cause, IF(g.start_makes_due, 'not_due', IF(g.start_makes_due IS NULL, NULL, 'later'))),
                      b.deployment, b.state)
  FROM _operation_gate AS g
  LEFT JOIN _sibling   AS b
    ON b.apply_id = g.apply_id
   AND b.position = g.blocker_position
