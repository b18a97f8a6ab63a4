-- View: _deployment_driver
--
-- How many drivers live that have the deployment in their scope.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW _deployment_driver (deployment, drivers) AS
SELECT e.deployment,
       (SELECT COUNT(*)
          FROM driver_status AS d
         WHERE d.is_alive
           AND _scope_holds(d.scope, e.deployment, e.labels))
  FROM deployment AS e
