-- View: operation_waiting
--
-- Why an operation does not move, in one sentence; one row for each unsettled one that no driver works on at full speed. Who
-- may go on, or what shuts its gate; that it was stopped, waits for a person's word, lost its driver, is throttled, or
-- whom its swap gives way to. Of one that has swapped: until when it can be reverted.
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
                  THEN CONCAT('Any driver may claim its ', _claim_words(c.claim, c.state), ' now',
                              IF(g.declared_directive IN ('stop', 'revert', 'skip_revert'), CONCAT(', and is told: ', g.declared_directive), ''), '.',
                              IF(g.is_window_open AND g.window_ends_at IS NOT NULL,
                                 CONCAT(' It can be reverted until ', CAST(g.window_ends_at AS DATETIME), ' UTC.'), ''))
                  -- One on hold keeps its lease, and has a gate before it all the same.
                  WHEN g.lease_token IS NULL OR (g.is_held AND g.cause IS NOT NULL AND g.declared_directive = 'none')
                  THEN CONCAT(g.sentence,
                              COALESCE(CONCAT(' It is given up at ', CAST(d.given_up_at AS DATETIME), ' UTC.'), ''))
                  WHEN g.declared_directive <> 'none'
                  THEN CONCAT('Its driver ', s.driver, ', last heard from ', s.heartbeat_age_seconds, ' s ago, is told: ',
                              g.declared_directive, '.', COALESCE(CONCAT(' It waits: ', p.throttled_by, '.'), ''))
                  WHEN g.is_window_open AND g.window_ends_at IS NOT NULL
                  THEN CONCAT('It can be reverted until ', CAST(g.window_ends_at AS DATETIME), ' UTC.',
                              COALESCE(CONCAT(' It waits: ', p.throttled_by, '.'), ''))
                  WHEN g.state = 'revert_window' AND l.revert_request_id IS NOT NULL
                  THEN 'It is to go back, and waits for what swapped later, which goes back first.'
                  WHEN g.is_window_open AND l.revert_request_id IS NULL
                  THEN 'It can be reverted until the last swap''s window ends.'
                  -- What throttled it last stays in the row of one that nobody works on.
                  WHEN g.state IN ('running', 'cutting_over', 'reverting')
                  THEN CONCAT(IF(g.state = 'running', 'Throttled: ', 'The swap gives way: '), p.throttled_by, '.',
                              -- A driver beats each second; what one says that is silent may be over.
                              IF(s.heartbeat_age_seconds > 10,
                                 CONCAT(' Its driver ', s.driver, ' was last heard from ', s.heartbeat_age_seconds, ' s ago.'), ''))
              END COLLATE utf8mb4_0900_bin AS reason
         FROM _operation_blocker       AS g
         JOIN _operation_progress      AS p
           ON p.operation_id = g.operation_id
         JOIN operation_live           AS l
           ON l.operation_id = g.operation_id
         LEFT JOIN lease_status        AS s
           ON s.operation_id = g.operation_id
         LEFT JOIN operation_claimable AS c
           ON c.operation_id = g.operation_id
         LEFT JOIN _deferral           AS d
           ON d.operation_id = g.operation_id
       ) AS w
 WHERE w.reason IS NOT NULL
