-- View: _operation_unrecorded
--
-- Operations whose stored claim or directive differs from what the gates declare: what _apply_refresh has still to store. Of one
-- that is leased the claim is nobody's matter: it is worked out when the lease goes.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW _operation_unrecorded (
    operation_id, apply_id, state, lease_token, recorded_claim, declared_claim, recorded_directive, declared_directive,
    declared_claimable_at
) AS
SELECT g.operation_id,
       g.apply_id,
       g.state,
       g.lease_token,
       g.recorded_claim,
       g.declared_claim,
       g.recorded_directive,
       g.declared_directive,
       g.declared_claimable_at
  FROM _operation_gate AS g
 WHERE g.recorded_directive <> g.declared_directive
    OR (g.lease_token IS NULL AND NOT (g.recorded_claim <=> g.declared_claim))
