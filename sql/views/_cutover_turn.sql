-- View: _cutover_turn
--
-- Whose swap a cutover by hand would open, one row for each apply with a swap before it: the first operation that has its swap before
-- it, or the earlier one that shuts the gate before that. why_not: what is in the way, NULL where nothing is. may_come: whether any swap
-- of the apply can still come.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW _cutover_turn (apply_id, operation_id, deployment, state, why_not, may_come) AS
SELECT g.apply_id,
       IF(g.cause = 'order', g.blocker_operation_id, g.operation_id),
       IF(g.cause = 'order', g.blocker_deployment,   g.deployment),
       IF(g.cause = 'order', g.blocker_state,        g.state),
       CASE
           WHEN g.state = 'waiting_for_cutover' AND (g.cause IS NULL OR g.cause = 'defer') THEN NULL
           WHEN g.cause = 'all_parked'                                     THEN '; ask when all have parked'
           WHEN g.cause = 'order' AND g.blocker_state = 'revert_window'    THEN '; ask when its window is over, or end that: apply_skip_revert'
           WHEN g.cause = 'order' AND g.blocker_is_lost                    THEN ' and holds the others back; see operation_waiting'
           ELSE '; ask when it waits for its cutover'
       END,
       NOT g.is_for_good
  FROM (SELECT o.apply_id, o.operation_id, o.deployment, o.state, o.cause, o.is_for_good,
               o.blocker_operation_id, o.blocker_deployment, o.blocker_state, o.blocker_is_lost,
               o.position = MIN(o.position) OVER (PARTITION BY o.apply_id) AS is_first
          FROM _operation_blocker AS o
         WHERE o.gate IS NOT NULL) AS g
 WHERE g.is_first
