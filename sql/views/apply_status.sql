-- View: apply_status
--
-- Every apply and how it stands, worked out from its operations; nobody writes it. The error is that of the first failed
-- operation in order, with its deployment. next_swap: the deployment whose swap is under way or comes next, NULL where none can
-- come. moving: how many of its operations are leased, or claimable, or due later, and not on hold; 0 where nothing moves until
-- somebody acts. Times in UTC.
-- For what goes on, ask for finished_at IS NULL: an index finds those. A condition on state alone works out every apply that ever
-- was.
--
-- What moves (is leased, or claimable, or due later) decides the state; only if nothing moves, what a person has to do.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW apply_status (
    apply_id, apply_name, schema_name, state, cutover_policy, on_failure, operations, completed, failed, percent, seconds_left,
    error, submitted_by, submitted_at, finished_at, defer_cutover, revert_window_seconds, throttle_level, note, next_swap, moving,
    cutover_gate, max_copies, defer_timeout_seconds, revert_scope, engine
) AS
SELECT a.apply_id,
       COALESCE(a.apply_name, CONCAT('apply-', a.apply_id)),
       a.schema_name,
       -- COLLATE, here and in other views: what is made of literals only would not compare with a literal of a session that has
       -- another collation (1267).
       CASE
           WHEN n.completed = a.operations                        THEN 'completed'
           WHEN n.completed + n.failed + n.cancelled + n.reverted = a.operations THEN
                CASE
                    WHEN n.failed    > 0 THEN 'failed'
                    WHEN n.cancelled > 0 THEN 'cancelled'
                    ELSE 'reverted'
                END
           WHEN n.cancelling > 0                                  THEN 'cancelling'
           WHEN n.reverting  > 0                                  THEN 'reverting'
           WHEN n.moving > 0 AND n.failed + n.cancelled + n.reverted > 0 THEN 'running_degraded'
           WHEN n.moving > 0                                      THEN CASE
                                                                           WHEN n.started = 0 THEN 'pending'
                                                                           WHEN n.moving_copies  > 0 THEN 'running'
                                                                           WHEN n.moving_retries > 0 THEN 'failed_retryable'
                                                                           WHEN n.moving_waits   > 0 THEN 'waiting_for_cutover'
                                                                           WHEN n.moving_swaps   > 0 THEN 'cutting_over'
                                                                           ELSE 'revert_window'
                                                                       END
           WHEN g.held_back > 0                                   THEN 'paused'
           WHEN n.stopped > 0                                     THEN 'stopped'
           WHEN n.waiting > 0 AND a.defer_cutover                 THEN 'waiting_for_cutover'
           ELSE 'halted'
       END COLLATE utf8mb4_0900_bin,
       a.cutover_policy,
       a.on_failure,
       a.operations,
       n.completed,
       n.failed,
       n.percent,
       n.seconds_left,
       (SELECT CONCAT(p.deployment, ': ', p.error)
          FROM _operation_progress AS p
         WHERE p.apply_id = a.apply_id
           AND p.state    = 'failed'
         ORDER BY p.position
         LIMIT 1),
       a.submitted_by,
       a.submitted_at,
       a.finished_at,
       a.defer_cutover,
       a.revert_window_seconds,
       a.throttle_level,
       a.note,
       (SELECT o.deployment
          FROM _apply_gate AS t
          JOIN operation   AS o
            ON o.apply_id = t.apply_id
           AND o.position = t.next_swap_position
         WHERE t.apply_id = a.apply_id),
       -- One on hold has a lease, and goes nowhere.
       n.moving - g.held,
       a.cutover_gate,
       a.max_copies,
       a.defer_timeout_seconds,
       a.revert_scope,
       a.engine
  FROM apply AS a
  JOIN LATERAL (
       SELECT COUNT(IF(p.state = 'completed', 1, NULL))                                           AS completed,
              COUNT(IF(p.state = 'failed',    1, NULL))                                           AS failed,
              COUNT(IF(p.state = 'cancelled', 1, NULL))                                           AS cancelled,
              COUNT(IF(p.state = 'reverted',  1, NULL))                                           AS reverted,
              COUNT(IF(p.state = 'cancelling', 1, NULL))                                          AS cancelling,
              COUNT(IF(p.state = 'reverting',  1, NULL))                                          AS reverting,
              COUNT(IF(p.state = 'stopped',    1, NULL))                                          AS stopped,
              COUNT(p.started_at)                                                                 AS started,
              COUNT(IF(p.state = 'waiting_for_cutover', 1, NULL))                                 AS waiting,
              COUNT(IF(s.is_moving, 1, NULL))                                                     AS moving,
              COUNT(IF(s.is_moving AND s.state IN ('pending', 'running', 'stopped'), 1, NULL))    AS moving_copies,
              COUNT(IF(s.is_moving AND s.state = 'failed_retryable', 1, NULL))                    AS moving_retries,
              COUNT(IF(s.is_moving AND s.state = 'waiting_for_cutover', 1, NULL))                 AS moving_waits,
              COUNT(IF(s.is_moving AND s.state = 'cutting_over', 1, NULL))                        AS moving_swaps,
              ROUND(AVG(p.percent), 1)                                                            AS percent,
              MAX(p.seconds_left)                                                                 AS seconds_left
         FROM _operation_progress AS p
         JOIN _sibling AS s
           ON s.operation_id = p.operation_id
        WHERE p.apply_id = a.apply_id
       ) AS n
  JOIN LATERAL (
       SELECT COUNT(IF(o.is_held_back, 1, NULL))                     AS held_back,
              COUNT(IF(o.is_held AND o.cause IS NOT NULL, 1, NULL))  AS held
         FROM _operation_gate AS o
        WHERE o.apply_id = a.apply_id
       ) AS g
