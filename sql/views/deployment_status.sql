-- View: deployment_status
--
-- Every deployment. state: `busy` while an operation that has begun is not settled, `waiting` while one has not begun, else
-- `idle`. installation: what names our artifacts on it. Times in UTC.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW deployment_status (
    deployment, position, host, port, labels, state, running_operations, last_completed_at, installation, registered_by, registered_at
) AS
SELECT d.deployment,
       d.position,
       d.host,
       d.port,
       d.labels,
       CASE
           WHEN n.begun   > 0 THEN 'busy'
           WHEN n.pending > 0 THEN 'waiting'
           ELSE 'idle'
       END COLLATE utf8mb4_0900_bin,
       n.running,
       (SELECT MAX(o.completed_at) FROM operation AS o WHERE o.deployment = d.deployment),
       i.installation,
       d.registered_by,
       d.registered_at
  FROM deployment   AS d
  JOIN installation AS i
    ON i.only_row = 1
  JOIN LATERAL (
       -- What a stop keeps from its beginning has not begun.
       SELECT COUNT(IF(l.started_at IS NULL, 1, NULL)) AS pending,
              COUNT(l.started_at)                      AS begun,
              COUNT(l.lease_token)                     AS running
         FROM operation_live AS l
        WHERE l.deployment = d.deployment
       ) AS n
