-- View: driver_status
--
-- Every driver that ever registered, when it was last heard from, and how many operations it holds. is_alive: it was heard
-- from within the length of a lease.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW driver_status (driver, version, api_version, last_seen_at, operations, scope, is_alive) AS
SELECT d.driver,
       d.version,
       d.api_version,
       GREATEST(d.last_seen_at, COALESCE(held.heartbeat_at, d.last_seen_at)),
       COALESCE(held.operations, 0),
       d.scope,
       GREATEST(d.last_seen_at, COALESCE(held.heartbeat_at, d.last_seen_at)) > UTC_TIMESTAMP(6) - INTERVAL t.value SECOND
  FROM driver  AS d
  JOIN setting AS t
    ON t.name = 'lease_ttl_seconds'
  LEFT JOIN (SELECT l.lease_driver            AS driver,
                    COUNT(*)                  AS operations,
                    MAX(l.lease_heartbeat_at) AS heartbeat_at
               FROM operation_live AS l
              WHERE l.lease_token IS NOT NULL
              GROUP BY l.lease_driver) AS held
    ON held.driver = d.driver
