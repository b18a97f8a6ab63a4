-- View: _operation_gate
--
-- The declared answer for every unsettled operation: the gate before it, what shuts that gate (one cause, the first that
-- applies), the claim that it is to be offered to and the directive that its driver is to get. _apply_refresh stores claim
-- and directive; operation_blocked shows the cause; consistency compares. Nobody else decides.
--
-- window_ends_at  until when a person may decide to revert; NULL where nobody may, or where that depends on a swap to come
-- is_for_good   nothing that can still happen opens the gate
-- is_held_back  a failure keeps the gate shut that a release exempts
-- cause  NULL (open), 'cancel', 'stop', 'revert' (a request closes it), 'order' (an earlier sibling), 'all_parked' (any
--        sibling), 'max_copies', 'not_due' (without a slot besides; with one only the time is in the way, and no gate), 'defer'
-- start_makes_due  whether apply_start makes its next attempt due now; NULL where none waits for its time
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW _operation_gate (
    operation_id, apply_id, position, deployment, state, is_held, lease_token, gate, waits_for, cause, blocker_position, is_for_good,
    is_held_back, recorded_claim, declared_claim, recorded_directive, declared_directive, declared_claimable_at, is_window_open, window_ends_at,
    start_makes_due
) AS
SELECT judged.operation_id,
       judged.apply_id,
       judged.position,
       judged.deployment,
       judged.state,
       judged.is_held,
       judged.lease_token,
       judged.gate,
       judged.waits_for,
       judged.cause,
       CASE judged.cause
           WHEN 'order'      THEN IF(judged.gate = 'copy', judged.copy_blocker_position, judged.cutover_blocker_position)
           WHEN 'all_parked' THEN judged.first_copy_ahead_position
           WHEN 'max_copies' THEN judged.first_running_position
           WHEN 'revert'     THEN judged.first_revert_position
       END,
       (judged.position > judged.for_good_position) IS TRUE,
       (    judged.gate IS NOT NULL
        AND judged.position > judged.pause_position
        AND (judged.position > judged.for_good_position) IS NOT TRUE) IS TRUE,
       judged.claim,
       CASE
           -- Whether a lease ran out is for the clock to say, not for a gate: see operation_claimable.
           WHEN judged.lease_token IS NOT NULL                                            THEN NULL
           WHEN judged.waits_for   IS NOT NULL                                            THEN IF(judged.cause IS NULL, judged.waits_for, NULL)
           ELSE _recovery_claim(judged.state)
       END,
       judged.directive,
       CASE
           WHEN judged.state = 'cancelling'                                               THEN 'cancel'
           WHEN judged.stop_request_id IS NOT NULL AND (judged.state = 'running' OR judged.is_held) THEN 'stop'
           WHEN judged.is_held AND judged.cause IS NULL                                   THEN 'cutover'
           WHEN judged.state = 'revert_window' AND judged.skip_request_id IS NOT NULL     THEN 'skip_revert'
           WHEN judged.state = 'revert_window' AND judged.position = judged.next_revert_position AND NOT judged.is_swapping
                                                                                          THEN 'revert'
           ELSE 'none'
       END,
       judged.next_attempt_at,
       -- NULL where there is no window. Nobody waits for the end of one that is skipped, nor closes one that is to be reverted.
       -- Windows side by side stay open while another swap may come, and end with the last swap's.
       IF(judged.state = 'revert_window',
          judged.skip_request_id IS NULL
          AND (   IF(judged.revert_scope = 'apply', judged.windows_end_at, judged.revert_until) > UTC_TIMESTAMP(6)
               OR judged.revert_request_id IS NOT NULL
               OR (judged.revert_scope = 'apply' AND judged.next_swap_position IS NOT NULL)), NULL),
       CASE
           WHEN judged.state <> 'revert_window' OR judged.skip_request_id IS NOT NULL OR judged.revert_request_id IS NOT NULL THEN NULL
           WHEN judged.revert_scope <> 'apply'                                            THEN judged.revert_until
           WHEN judged.next_swap_position IS NULL                                         THEN judged.windows_end_at
       END,
       IF(judged.lease_token IS NULL AND judged.next_attempt_at > UTC_TIMESTAMP(6),
          judged.stop_request_id IS NULL AND judged.cancel_request_id IS NULL, NULL)
  FROM (
       SELECT l.operation_id, l.apply_id, l.position, l.deployment, l.state, l.is_held, l.lease_token, l.claim, l.directive,
              l.next_attempt_at, l.skip_request_id, l.revert_request_id, l.revert_until,
              g.stop_request_id, g.cancel_request_id, g.copy_blocker_position, g.cutover_blocker_position, g.for_good_position, g.pause_position,
              g.first_copy_ahead_position, g.first_running_position, g.next_revert_position,
              g.is_swapping, g.revert_scope, g.next_swap_position, g.first_revert_position, g.windows_end_at,
              -- A copy that has begun is ungated: its next gate is that of the cutover.
              s.gate_now AS gate, s.waits_for,
              CASE
                  WHEN s.gate_now IS NULL                                                            THEN NULL
                  WHEN g.cancel_request_id IS NOT NULL                                               THEN 'cancel'
                  WHEN g.stop_request_id   IS NOT NULL                                               THEN 'stop'
                  WHEN l.state = 'stopped' AND s.waits_for IS NULL                                   THEN 'stop'
                  WHEN s.waits_for = 'copy'
                   AND s.gate_now  = 'copy' AND l.position > g.copy_blocker_position                 THEN 'order'
                  WHEN s.waits_for = 'copy'                                                          THEN
                       -- A retry has to wait for its time first, whoever has the slot then.
                       IF(g.running_operations >= g.max_copies,
                          IF(l.next_attempt_at > UTC_TIMESTAMP(6), 'not_due', 'max_copies'), NULL)
                  WHEN g.revert_request_id IS NOT NULL                                               THEN 'revert'
                  WHEN l.position > g.cutover_blocker_position                                       THEN 'order'
                  WHEN g.first_copy_ahead_position IS NOT NULL                                       THEN 'all_parked'
                  WHEN g.defer_cutover AND NOT g.is_cutover_opened AND l.cutover_request_id IS NULL  THEN 'defer'
              END AS cause
         FROM operation_live AS l
         JOIN _sibling       AS s
           ON s.operation_id = l.operation_id
         JOIN _apply_gate    AS g
           ON g.apply_id = l.apply_id
       ) AS judged
