-- View: _apply_gate
--
-- What the siblings of each unsettled apply let through now, one row an apply: the first position that shuts each gate for
-- those after it (NULL: none), which of stop, cancel and revert is pending, the copies that run, whose swap is next (NULL: none can come),
-- when the revert window of the last swap ends. The one place where gate_rule is read.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW _apply_gate (
    apply_id, operations, cutover_policy, max_copies, defer_cutover, is_cutover_opened, revert_scope,
    stop_request_id, cancel_request_id, revert_request_id,
    copy_blocker_position, cutover_blocker_position, for_good_position, first_copy_ahead_position,
    pause_position, first_running_position, next_revert_position, next_swap_position, running_operations, is_swapping,
    first_revert_position, windows_end_at
) AS
SELECT a.apply_id,
       a.operations,
       a.cutover_policy,
       a.max_copies,
       a.defer_cutover,
       a.is_cutover_opened,
       a.revert_scope,
       stop_request.request_id,
       cancel_request.request_id,
       revert_request.request_id,
       sibling.copy_blocker_position,
       sibling.cutover_blocker_position,
       sibling.for_good_position,
       -- all_parked holds the first swap only; a lone operation has nobody to wait for.
       IF(a.cutover_gate = 'all_parked' AND a.operations > 1 AND NOT sibling.has_swapped, sibling.first_copy_ahead_position, NULL),
       sibling.pause_position,
       sibling.first_running_position,
       sibling.next_revert_position,
       -- Swaps go in order: the first that is under way or ahead is next. None comes behind a sibling that blocks for good.
       IF(sibling.first_swap_ahead_position > sibling.for_good_position, NULL, sibling.first_swap_ahead_position),
       sibling.running_operations,
       sibling.is_swapping,
       sibling.first_revert_position,
       CAST(SUBSTRING(sibling.last_window, 11) AS DATETIME(6))
  FROM apply AS a
  LEFT JOIN control_request AS stop_request
    ON stop_request.apply_id   = a.apply_id AND stop_request.pending_command   = 'stop'
  LEFT JOIN control_request AS cancel_request
    ON cancel_request.apply_id = a.apply_id AND cancel_request.pending_command = 'cancel'
  LEFT JOIN control_request AS revert_request
    ON revert_request.apply_id = a.apply_id AND revert_request.pending_command = 'revert'
  JOIN LATERAL (
       SELECT MIN(IF(rule.earlier_state IS NOT NULL, s.position, NULL))                               AS copy_blocker_position,
              MIN(IF(s.state <> 'completed' AND NOT s.is_exempt, s.position, NULL))                   AS cutover_blocker_position,
              -- What is lost shuts both gates. A failure that pauses may be released.
              MIN(IF(s.is_lost AND NOT s.is_exempt AND NOT s.is_pausing, s.position, NULL))           AS for_good_position,
              MIN(IF(s.has_copy_ahead, s.position, NULL))                                             AS first_copy_ahead_position,
              MIN(IF(s.is_pausing, s.position, NULL))                                                 AS pause_position,
              MIN(IF(s.state = 'running', s.position, NULL))                                          AS first_running_position,
              MAX(IF(l.state = 'revert_window' AND l.revert_request_id IS NOT NULL, s.position, NULL)) AS next_revert_position,
              MIN(IF(s.gate_now IS NOT NULL OR s.state = 'cutting_over', s.position, NULL))           AS first_swap_ahead_position,
              COUNT(IF(s.state = 'running', 1, NULL))                                                 AS running_operations,
              MAX(s.state IN ('cutting_over', 'reverting'))                                           AS is_swapping,
              MAX(s.has_swapped)                                                                      AS has_swapped,
              MIN(IF(l.state = 'reverting' OR l.revert_request_id IS NOT NULL, s.position, NULL))     AS first_revert_position,
              -- Swaps go in order, so that the last position's is the last.
              MAX(IF(l.state = 'revert_window', CONCAT(LPAD(s.position, 10, '0'), l.revert_until), NULL)) AS last_window
         FROM _sibling AS s
         LEFT JOIN operation_live AS l
           ON l.operation_id = s.operation_id
         LEFT JOIN gate_rule AS rule
           ON rule.cutover_policy = a.cutover_policy
          AND rule.earlier_state  = s.state
          AND NOT s.is_exempt
        WHERE s.apply_id = a.apply_id
       ) AS sibling
 WHERE a.finished_at IS NULL
