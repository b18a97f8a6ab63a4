-- View: _apply_command
--
-- Which commands an unsettled apply takes now: there is something for them to act on, and none is pending that beats them. Refusals read
-- it, which name what is possible instead, and so do stop, start, cancel, release and skip_revert. apply_cutover and apply_revert, which
-- have to say what exactly is in the way, ask for that themselves. held_back: how many a release would let go on.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW _apply_command (apply_id, can_stop, can_start, can_cancel, can_cutover, can_release, can_revert, can_skip_revert, held_back) AS
SELECT g.apply_id,
       now.stoppable    > 0 AND g.cancel_request_id IS NULL,
       now.startable    > 0 AND g.cancel_request_id IS NULL AND g.stop_request_id IS NULL,
       now.cancellable  > 0,
       now.deferred     > 0,
       now.held_back    > 0 AND g.cancel_request_id IS NULL AND g.stop_request_id IS NULL,
       now.open_windows > 0 AND k.request_id        IS NULL,
       now.open_windows > 0 AND g.revert_request_id IS NULL,
       now.held_back
  FROM _apply_gate AS g
  JOIN apply       AS a
    ON a.apply_id = g.apply_id
  LEFT JOIN control_request AS k
    ON k.apply_id        = a.apply_id
   AND k.pending_command = 'skip_revert'
  JOIN LATERAL (
       SELECT -- Also what is stopped and to be claimed after a start that a stop makes moot.
              COUNT(IF(s.can_stop OR s.state = 'cutting_over' OR l.start_request_id IS NOT NULL, 1, NULL)) AS stoppable,
              -- A swap that was under way when the stop came is stopped if it fails: a start takes that back.
              COUNT(IF(   s.state IN ('stopped', 'failed_retryable')
                       OR l.next_attempt_at > UTC_TIMESTAMP(6)
                       OR (s.state = 'cutting_over' AND a.is_stopped), 1, NULL))                           AS startable,
              COUNT(IF(s.can_cancel, 1, NULL))                                                             AS cancellable,
              -- Nothing else is in its way.
              COUNT(IF(o.state = 'waiting_for_cutover' AND o.cause = 'defer' AND d.is_over IS NOT TRUE, 1, NULL)) AS deferred,
              COUNT(IF(o.is_held_back, 1, NULL))                                                           AS held_back,
              -- One that has run out is closed, though its driver has not settled it yet.
              COUNT(IF(o.is_window_open, 1, NULL))                                                         AS open_windows
         FROM _sibling             AS s
         LEFT JOIN operation_live  AS l
           ON l.operation_id = s.operation_id
         LEFT JOIN _operation_gate AS o
           ON o.operation_id = s.operation_id
         LEFT JOIN _deferral       AS d
           ON d.operation_id = s.operation_id
        WHERE s.apply_id = a.apply_id
       ) AS now
