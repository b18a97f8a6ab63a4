-- View: _request_outcome
--
-- The pending requests that have come to their end, with the outcome: done, refused where it could not be done to its end, or moot
-- where what they asked for can no longer happen. _request_resolve stores it.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW _request_outcome (request_id, apply_id, status, outcome) AS
SELECT ended.request_id,
       ended.apply_id,
       ended.status,
       CONCAT(ended.command,
              CASE ended.status
                  WHEN 'done'    THEN ' was carried out; now '
                  WHEN 'refused' THEN ' could not be carried out to its end, a clean-up has failed (see operation_status); now '
                  ELSE ' had nothing left to act on; now '
              END,
              ended.stopped, ' stopped, ', ended.swapped, ' swapped, ', ended.reverted, ' reverted, ', ended.cancelled, ' cancelled',
              IF(ended.command = 'stop' AND ended.swapping > 0, CONCAT('; ', ended.swapping, ' in a swap, which finishes'), ''))
  FROM (
       SELECT r.request_id,
              r.apply_id,
              r.command,
              now.stopped, now.swapping, now.swapped, now.reverted, now.cancelled,
              CASE r.command
                  WHEN 'stop'        THEN IF(now.can_stop   = 0, 'done', NULL)
                  WHEN 'start'       THEN IF(now.can_start  = 0, 'done', NULL)
                  WHEN 'cancel'      THEN
                      IF(now.can_cancel > 0, NULL,
                         IF(EXISTS (SELECT 1
                                      FROM event AS e
                                     WHERE e.apply_id   = r.apply_id
                                       AND e.from_state = 'cancelling'
                                       AND e.to_state   = 'failed'
                                       -- A deferral that timed out may have had its clean-up before.
                                       AND e.occurred_at >= r.requested_at), 'refused', 'done'))
                  WHEN 'cutover'     THEN
                      CASE
                          WHEN r.operation_id IS NULL                               THEN
                               IF(g.next_swap_position IS NOT NULL, NULL,
                                  -- What had swapped before it was asked for is not its doing; the log knows which came first.
                                  IF(EXISTS (SELECT 1
                                               FROM event AS e
                                              WHERE e.apply_id   = r.apply_id
                                                AND e.from_state = 'cutting_over'
                                                AND e.to_state  IN ('revert_window', 'completed')
                                                AND e.event_id   > (SELECT MAX(q.event_id)
                                                                      FROM event AS q
                                                                     WHERE q.apply_id = r.apply_id
                                                                       AND q.event    = 'requested'
                                                                       AND q.detail LIKE 'cutover%')), 'done', 'moot'))
                          WHEN bound.has_swapped AND bound.state <> 'cutting_over'  THEN 'done'
                          WHEN bound.state IN ('failed', 'cancelled', 'cancelling', 'stopped') THEN 'moot'
                          -- Its swap never comes behind a sibling that blocks for good.
                          WHEN bound.position > g.for_good_position                 THEN 'moot'
                      END
                  -- One that could not be carried out was refused before: see _window_close_requests.
                  WHEN 'revert'      THEN IF(now.can_revert = 0, 'done', NULL)
                  WHEN 'skip_revert' THEN IF(now.can_skip   = 0, 'done', NULL)
              END AS status
         FROM control_request AS r
         JOIN _apply_gate AS g
           ON g.apply_id = r.apply_id
         LEFT JOIN _sibling AS bound
           ON bound.operation_id = r.operation_id
         JOIN LATERAL (
              SELECT COUNT(IF(s.can_stop, 1, NULL))                                                          AS can_stop,
                     COUNT(IF(l.start_request_id = r.request_id, 1, NULL))                                   AS can_start,
                     COUNT(IF(s.can_cancel, 1, NULL))                                                        AS can_cancel,
                     COUNT(IF(l.revert_request_id = r.request_id, 1, NULL))                                  AS can_revert,
                     COUNT(IF(l.skip_request_id   = r.request_id, 1, NULL))                                  AS can_skip,
                     COUNT(IF(s.state = 'stopped', 1, NULL))                                                 AS stopped,
                     COUNT(IF(s.state = 'cutting_over', 1, NULL))                                            AS swapping,
                     COUNT(IF(s.has_swapped AND s.state NOT IN ('cutting_over', 'reverted'), 1, NULL))       AS swapped,
                     COUNT(IF(s.state = 'reverted', 1, NULL))                                                AS reverted,
                     COUNT(IF(s.state = 'cancelled', 1, NULL))                                               AS cancelled
                FROM _sibling AS s
                LEFT JOIN operation_live AS l
                  ON l.operation_id = s.operation_id
               WHERE s.apply_id = r.apply_id
              ) AS now
        WHERE r.status = 'pending'
       ) AS ended
 WHERE ended.status IS NOT NULL
