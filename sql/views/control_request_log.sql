-- View: control_request_log
--
-- What was asked for, by whom and why, and what came of it. options: as they were passed to the call. Times in UTC.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW control_request_log (
    request_id, apply_id, operation_id, command, status, requested_by, reason, requested_at, resolved_at, outcome, options
) AS
SELECT r.request_id, r.apply_id, r.operation_id, r.command, r.status, r.requested_by, r.reason, r.requested_at, r.resolved_at,
       r.outcome, r.options
  FROM control_request AS r
