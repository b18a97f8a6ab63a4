-- View: _apply_command
--
-- What each command would act on in an unsettled apply, a row for each: how many operations (of a release: how many it would let go
-- on), and which pending command beats it (NULL: none does). It is taken where there is something, and nothing beats it: commands ask
-- here, and refusals name from here what is possible instead. apply_cutover and apply_revert say themselves what exactly is in the way.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW _apply_command (apply_id, command, operations, beaten_by, is_taken) AS
SELECT asked.apply_id,
       asked.command,
       asked.operations,
       asked.beaten_by,
       asked.operations > 0 AND asked.beaten_by IS NULL
  FROM (
       SELECT a.apply_id,
              rule.command,
              CASE rule.command
                  WHEN 'stop'    THEN now.stoppable
                  WHEN 'start'   THEN now.startable
                  WHEN 'cancel'  THEN now.cancellable
                  WHEN 'cutover' THEN now.deferred
                  WHEN 'release' THEN now.held_back
                  ELSE now.open_windows
              END AS operations,
              (SELECT MIN(r.pending_command)
                 FROM control_request AS r FORCE INDEX (control_request_pending_once)
                WHERE r.apply_id = a.apply_id
                  AND r.pending_command IS NOT NULL
                  AND FIND_IN_SET(r.pending_command, rule.beaten_by) > 0) AS beaten_by
         FROM apply         AS a
         JOIN _command_rule AS rule
         JOIN LATERAL (
              SELECT -- Also what is stopped and to be claimed after a start that a stop makes moot.
                     COUNT(IF(s.can_stop OR s.state = 'cutting_over' OR l.start_request_id IS NOT NULL, 1, NULL)) AS stoppable,
                     -- A swap that was under way when the stop came is stopped if it fails: a start takes that back.
                     COUNT(IF(   s.state IN ('stopped', 'failed_retryable')
                              OR l.next_attempt_at > UTC_TIMESTAMP(6)
                              OR (s.state = 'cutting_over' AND a.is_stopped), 1, NULL))                           AS startable,
                     COUNT(IF(s.can_cancel, 1, NULL))                                                             AS cancellable,
                     -- Nothing else is in its way.
                     COUNT(IF(    o.state = 'waiting_for_cutover' AND o.cause = 'defer'
                              AND d.is_over IS NOT TRUE, 1, NULL))                                                AS deferred,
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
        WHERE a.finished_at IS NULL
       ) AS asked
