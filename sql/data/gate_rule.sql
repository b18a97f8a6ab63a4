-- Data: gate_rule
--
-- Which state of an earlier sibling shuts which gate, by policy. is_for_good: no later move of that sibling opens it again
-- (a failure may still be exempted by on_failure: see the view _sibling).
INSERT INTO gate_rule (gate, cutover_policy, earlier_state, is_for_good)
SELECT rule.gate, policy.cutover_policy, rule.earlier_state, rule.is_for_good
  FROM (VALUES ROW('copy',    'rolling barrier',          'pending',             FALSE),
               ROW('copy',    'rolling barrier',          'running',             FALSE),
               ROW('copy',    'rolling',                  'waiting_for_cutover', FALSE),
               ROW('copy',    'rolling',                  'cutting_over',        FALSE),
               ROW('copy',    'rolling',                  'revert_window',       FALSE),
               ROW('copy',    'rolling barrier',          'reverting',           FALSE),
               ROW('copy',    'rolling barrier',          'failed_retryable',    FALSE),
               ROW('copy',    'rolling barrier',          'stopped',             FALSE),
               ROW('copy',    'rolling barrier',          'cancelling',          FALSE),
               ROW('copy',    'rolling barrier parallel', 'failed',              TRUE),
               ROW('copy',    'rolling barrier parallel', 'cancelled',           TRUE),
               ROW('copy',    'rolling barrier parallel', 'reverted',            TRUE),
               ROW('cutover', 'rolling barrier parallel', 'pending',             FALSE),
               ROW('cutover', 'rolling barrier parallel', 'running',             FALSE),
               ROW('cutover', 'rolling barrier parallel', 'waiting_for_cutover', FALSE),
               ROW('cutover', 'rolling barrier parallel', 'cutting_over',        FALSE),
               ROW('cutover', 'rolling barrier parallel', 'revert_window',       FALSE),
               ROW('cutover', 'rolling barrier parallel', 'reverting',           FALSE),
               ROW('cutover', 'rolling barrier parallel', 'failed_retryable',    FALSE),
               ROW('cutover', 'rolling barrier parallel', 'stopped',             FALSE),
               ROW('cutover', 'rolling barrier parallel', 'cancelling',          FALSE),
               ROW('cutover', 'rolling barrier parallel', 'failed',              TRUE),
               ROW('cutover', 'rolling barrier parallel', 'cancelled',           TRUE),
               ROW('cutover', 'rolling barrier parallel', 'reverted',            TRUE)
       ) AS rule (gate, policies, earlier_state, is_for_good)
  JOIN (VALUES ROW('rolling'), ROW('barrier'), ROW('parallel')) AS policy (cutover_policy)
    ON LOCATE(policy.cutover_policy, rule.policies) > 0
    ON DUPLICATE KEY UPDATE is_for_good = rule.is_for_good
