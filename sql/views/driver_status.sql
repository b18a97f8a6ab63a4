-- View: driver_status
--
-- Every driver that ever registered, when it was last heard from, and how many operations it holds.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW driver_status (driver, version, api_version, last_seen_at, operations, scope) AS
SELECT d.driver,
       d.version,
       d.api_version,
       GREATEST(d.last_seen_at, COALESCE(held.heartbeat_at, d.last_seen_at)),
       COALESCE(held.operations, 0),
       d.scope
  FROM driver AS d
  LEFT JOIN (SELECT l.lease_driver            AS driver,
                    COUNT(*)                  AS operations,
                    MAX(l.lease_heartbeat_at) AS heartbeat_at
               FROM operation_live AS l
              WHERE l.lease_token IS NOT NULL
              GROUP BY l.lease_driver) AS held
    ON held.driver = d.driver
