-- View: event_log
--
-- Everything that happened, in the order of event_id. Moves have from_state and to_state; other events have neither.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW event_log (
    event_id, occurred_at, apply_id, operation_id, deployment, actor, event, from_state, to_state, lease_epoch, detail
) AS
SELECT e.event_id, e.occurred_at, e.apply_id, e.operation_id, e.deployment, e.actor, e.event, e.from_state, e.to_state,
       e.lease_epoch, e.detail
  FROM event AS e
