-- View: health
--
-- What is wrong, and what to do about it. Empty when all is well. severity: `error` (nothing goes on without a person), `warning`,
-- `notice` (it goes on by itself, late). apply_id: whose trouble it is.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW health (severity, subject, problem, remedy, apply_id) AS
SELECT 'warning' COLLATE utf8mb4_0900_bin,
       CONCAT('operation ', s.operation_id, ' on ', s.deployment),
       CONCAT('its driver ', s.driver, ' was last heard from ', s.heartbeat_age_seconds, ' s ago'),
       CONCAT('start a driver, which takes it over; if ', s.driver, ' is known to be gone: CALL operation_release_lease(',
              s.operation_id, ', ''why'')'),
       s.apply_id
  FROM lease_status AS s
 WHERE s.stale
UNION ALL
SELECT IF(c.drivers = 0, 'warning', 'notice') COLLATE utf8mb4_0900_bin,
       CONCAT('operation ', c.operation_id, ' on ', c.deployment),
       CONCAT('it has been claimable for its ', _claim_words(c.claim, c.state), ' for ',
              TIMESTAMPDIFF(SECOND, c.claimable_at, UTC_TIMESTAMP(6)),
              IF(c.drivers = 0, ' s, and no driver takes it', CONCAT(' s; drivers that may take it are at other work: ', c.drivers))),
       IF(c.drivers = 0, 'start a driver (lockkeeper drive) whose scope holds this deployment; see driver_status',
          'wait, or start another driver (lockkeeper drive); see driver_status'),
       c.apply_id
  FROM (SELECT w.operation_id, w.apply_id, w.deployment, w.claim, w.state, w.claimable_at, _driver_count(w.deployment) AS drivers
          FROM operation_claimable AS w
          JOIN operation_live      AS l
            ON l.operation_id = w.operation_id
           AND l.lease_token IS NULL
          JOIN setting AS t
            ON t.name = 'driver_silent_seconds'
         WHERE w.claimable_at <= UTC_TIMESTAMP(6) - INTERVAL t.value SECOND) AS c
UNION ALL
SELECT 'error' COLLATE utf8mb4_0900_bin,
       CONCAT('apply ', a.apply_id),
       CONCAT('it is ', a.state, ': ', COALESCE(a.error, 'an earlier deployment was cancelled or reverted')),
       CASE a.state
           WHEN 'paused' THEN CONCAT('CALL apply_release(', a.apply_id, ', ''why'') to go on, or CALL apply_cancel(', a.apply_id, ', ''why'')')
           ELSE CONCAT('CALL apply_cancel(', a.apply_id, ', ''why'') to clean up what waits behind it')
       END,
       a.apply_id
  FROM apply_status AS a
 WHERE a.finished_at IS NULL
   AND a.state IN ('paused', 'halted')
UNION ALL
SELECT 'error' COLLATE utf8mb4_0900_bin,
       CONCAT('operation ', g.operation_id, ' on ', g.deployment),
       CONCAT('it waits behind ', g.blocker_deployment, ', which is in state ', g.blocker_state),
       IF(g.blocker_is_pausing, CONCAT('CALL apply_release(', g.apply_id, ', ''why'') to go on, or CALL apply_cancel(', g.apply_id, ', ''why'')'),
          CONCAT('CALL apply_cancel(', g.apply_id, ', ''why'') to clean up what waits behind it')),
       g.apply_id
  -- A hold and an open window have drivers, so that the apply's state does not tell that somebody has to act: see above.
  FROM (SELECT o.operation_id, o.apply_id, o.deployment, o.is_held, o.blocker_deployment, o.blocker_state, o.blocker_is_pausing,
               o.position = MIN(o.position) OVER (PARTITION BY o.apply_id, o.is_held) AS is_first
          FROM _operation_blocker AS o
         WHERE o.cause = 'order'
           AND o.blocker_is_lost
           AND (o.is_held OR o.lease_token IS NULL)) AS g
  JOIN apply_status AS a
    ON a.apply_id = g.apply_id
   -- Said for the index: none of those is over.
   AND a.finished_at IS NULL
   AND a.state NOT IN ('paused', 'halted')
 WHERE g.is_held
    OR g.is_first
UNION ALL
SELECT 'warning' COLLATE utf8mb4_0900_bin,
       CONCAT('operation ', p.operation_id, ' on ', p.deployment),
       CONCAT('failed ', p.attempt, ' times: ', p.error),
       CONCAT('mend the cause',
              IF(s.is_hopeless,
                 CONCAT(', or give it up, where the server is gone: ',
                        IF(EXISTS (SELECT 1 FROM _sibling AS w WHERE w.apply_id = p.apply_id AND w.gate_now IS NOT NULL),
                           CONCAT('CALL apply_cancel(', p.apply_id, ', ''why'') for what waits behind it, then '), ''),
                        'CALL deployment_remove(', QUOTE(p.deployment), ')'), ''),
              '; it is tried again at ', p.next_attempt_at,
              IF((SELECT g.start_makes_due FROM _operation_gate AS g WHERE g.operation_id = p.operation_id),
                 CONCAT(', or now after CALL apply_start(', p.apply_id, ', ''why'')'), '')),
       p.apply_id
  FROM _operation_progress AS p
  JOIN operation_live      AS l
    ON l.operation_id = p.operation_id
  JOIN _sibling            AS s
    ON s.operation_id = p.operation_id
 WHERE l.attempt > 2
   AND l.next_attempt_at IS NOT NULL
UNION ALL
SELECT 'warning' COLLATE utf8mb4_0900_bin,
       CONCAT('operation ', w.operation_id, ' on ', w.deployment),
       CONCAT('it waits: ', w.reason),
       CONCAT('is the server up, and reached from where its driver runs? lockkeeper doctor --deployment ''',
              -- As a shell takes a name with an apostrophe.
              REPLACE(w.deployment, '''', '''"''"'''), ''''),
       w.apply_id
  FROM (SELECT l.operation_id, l.apply_id, l.deployment, l.progress->>'$.throttled_by' AS reason
          FROM operation_live AS l
         WHERE l.lease_token IS NOT NULL) AS w
 -- Drivers begin with these words where a server does not answer.
 WHERE w.reason LIKE 'the deployment does not answer%'
UNION ALL
SELECT 'warning' COLLATE utf8mb4_0900_bin,
       CONCAT('operation ', w.operation_id, ' on ', w.deployment),
       CONCAT('it may have swapped: ', w.reason),
       CONCAT('mend what the message says, drivers look again and again; the tables: lockkeeper doctor --deployment ''',
              REPLACE(w.deployment, '''', '''"''"'''), ''''),
       w.apply_id
  FROM (SELECT l.operation_id, l.apply_id, l.deployment, l.progress->>'$.throttled_by' AS reason
          FROM operation_live AS l
         WHERE l.state = 'cutting_over') AS w
 -- And with these where they do not know.
 WHERE w.reason LIKE 'the swap is not settled%'
UNION ALL
SELECT 'warning' COLLATE utf8mb4_0900_bin,
       CONCAT('operation ', w.operation_id, ' on ', w.deployment),
       CONCAT('its swap gives way again and again, for ', w.seconds, ' s: ', w.reason),
       CONCAT('end what the message names; no other swap of the apply comes before. A submit with the engine option ',
              'kill_blockers_after_seconds ends such sessions by itself'),
       w.apply_id
  FROM (SELECT l.operation_id, l.apply_id, l.deployment, l.progress->>'$.throttled_by' AS reason,
               TIMESTAMPDIFF(SECOND, (SELECT MAX(e.occurred_at)
                                        FROM event AS e
                                       WHERE e.operation_id = l.operation_id
                                         AND e.to_state     = l.state), UTC_TIMESTAMP(6)) AS seconds
          FROM operation_live AS l
         WHERE l.state = 'cutting_over') AS w
  JOIN setting AS t
    ON t.name = 'driver_silent_seconds'
 WHERE w.seconds >= t.value
   -- The other two have lines of their own.
   AND w.reason NOT LIKE 'the swap is not settled%'
   AND w.reason NOT LIKE 'the deployment does not answer%'
UNION ALL
SELECT 'warning' COLLATE utf8mb4_0900_bin,
       CONCAT('request ', r.request_id, ' on apply ', r.apply_id),
       CONCAT(r.command, ' has been pending for ', TIMESTAMPDIFF(SECOND, r.requested_at, UTC_TIMESTAMP(6)), ' s'),
       'lease_status says which driver has to carry it out, operation_status.error what holds it up; where no driver runs, start one',
       r.apply_id
  FROM apply           AS a
  JOIN control_request AS r FORCE INDEX (control_request_pending_once)
    ON r.apply_id        = a.apply_id
   AND r.pending_command IN ('stop', 'start', 'cancel', 'cutover', 'revert', 'skip_revert')
  LEFT JOIN operation_live AS l
    ON l.apply_id           = r.apply_id
   AND l.cutover_request_id = r.request_id
   AND l.directive          = 'cutover'
  JOIN setting AS t
    ON t.name = 'driver_silent_seconds'
 WHERE a.finished_at IS NULL
   AND r.requested_at <= UTC_TIMESTAMP(6) - INTERVAL t.value SECOND
   -- One of all waits for copies, too; one for an operation is its driver's to carry out.
   AND (r.command <> 'cutover' OR l.held_at <= UTC_TIMESTAMP(6) - INTERVAL t.value SECOND)
   -- A start may have to wait for a slot.
   AND (r.command <> 'start' OR EXISTS (SELECT 1
                                          FROM operation_live AS l
                                         WHERE l.apply_id         = r.apply_id
                                           AND l.start_request_id = r.request_id
                                           AND l.claim IS NOT NULL))
UNION ALL
SELECT IF(p.drivers = 0, 'warning', 'notice') COLLATE utf8mb4_0900_bin,
       CONCAT('operation ', p.operation_id, ' on ', p.deployment),
       CONCAT('it is parked, and no driver has caught it up for ', TIMESTAMPDIFF(SECOND, p.tend_at, UTC_TIMESTAMP(6)), ' s',
              IF(p.drivers = 0, '', CONCAT('; drivers that may do it are at other work: ', p.drivers))),
       IF(p.drivers = 0, 'start a driver (lockkeeper drive) whose scope holds this deployment, before its server purges the binary logs; see driver_status',
          'wait, or start another driver (lockkeeper drive), before its server purges the binary logs; see driver_status'),
       p.apply_id
  FROM (SELECT l.operation_id, l.apply_id, l.deployment, l.tend_at, _driver_count(l.deployment) AS drivers
          FROM setting        AS t
          JOIN operation_live AS l
            ON l.tend_at <= UTC_TIMESTAMP(6) - INTERVAL t.value SECOND
         WHERE t.name = 'driver_silent_seconds'
           -- What may be claimed has its own line.
           AND l.claim IS NULL) AS p
UNION ALL
SELECT 'error' COLLATE utf8mb4_0900_bin,
       CONCAT('operation ', x.operation_id),
       CONCAT('stored: ', x.recorded, '; declared: ', x.declared),
       'this is a defect of Lockkeeper; report it, with the event_log of the apply; any command on the apply mends it',
       o.apply_id
  FROM consistency AS x
  JOIN operation   AS o
    ON o.operation_id = x.operation_id
