-- View: operation_claimable
--
-- What the claims would hand out now, and since when: the stored claims that are due, and the operations whose lease ran out.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW operation_claimable (operation_id, apply_id, deployment, claim, state, claimable_at) AS
SELECT l.operation_id,
       l.apply_id,
       l.deployment,
       IF(l.lease_token IS NULL, l.claim, _recovery_claim(l.state)),
       l.state,
       IF(l.lease_token IS NULL, l.claimable_at, l.lease_expires_at)
  FROM operation_live AS l
 WHERE (l.lease_token IS NULL     AND l.claim IS NOT NULL AND l.claimable_at <= UTC_TIMESTAMP(6))
    OR (l.lease_token IS NOT NULL AND l.lease_expires_at <= UTC_TIMESTAMP(6))
