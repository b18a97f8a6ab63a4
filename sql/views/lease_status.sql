-- View: lease_status
--
-- Who holds which operation, and how old the last heartbeat is. stale: the lease ran out, and a claim may take the operation.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW lease_status (
    operation_id, apply_id, deployment, driver, lease_epoch, heartbeat_at, heartbeat_age_seconds, expires_at, stale
) AS
SELECT l.operation_id,
       l.apply_id,
       l.deployment,
       l.lease_driver,
       l.lease_epoch,
       l.lease_heartbeat_at,
       ROUND(TIMESTAMPDIFF(MICROSECOND, l.lease_heartbeat_at, UTC_TIMESTAMP(6)) / 1000000, 1),
       l.lease_expires_at,
       l.lease_expires_at <= UTC_TIMESTAMP(6)
  FROM operation_live AS l
 WHERE l.lease_token IS NOT NULL
