-- Data: gate_rule
--
-- Which state of an earlier sibling shuts the copy gate, by policy. The cutover gate is shut under each by all but `completed`: see the
-- view _apply_gate.
INSERT INTO gate_rule (cutover_policy, earlier_state)
SELECT policy.cutover_policy, rule.earlier_state
  FROM (VALUES ROW('rolling barrier',          'pending'),
               ROW('rolling barrier',          'running'),
               ROW('rolling',                  'waiting_for_cutover'),
               ROW('rolling',                  'cutting_over'),
               ROW('rolling',                  'revert_window'),
               ROW('rolling barrier',          'reverting'),
               ROW('rolling barrier',          'failed_retryable'),
               ROW('rolling barrier',          'stopped'),
               ROW('rolling barrier',          'cancelling'),
               ROW('rolling barrier parallel', 'failed'),
               ROW('rolling barrier parallel', 'cancelled'),
               ROW('rolling barrier parallel', 'reverted')
       ) AS rule (policies, earlier_state)
  JOIN (VALUES ROW('rolling'), ROW('barrier'), ROW('parallel')) AS policy (cutover_policy)
    ON LOCATE(policy.cutover_policy, rule.policies) > 0
    ON DUPLICATE KEY UPDATE earlier_state = rule.earlier_state
