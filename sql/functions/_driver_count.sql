-- Function: _driver_count
--
-- How many drivers live that have the deployment in their scope.
CREATE FUNCTION _driver_count (in_deployment VARCHAR(64) CHARACTER SET utf8mb4)
    RETURNS INT UNSIGNED
    COMMENT 'How many drivers live that may work on a deployment.'
    NOT DETERMINISTIC
    READS SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_drivers INT UNSIGNED;

    SELECT COUNT(*)
      INTO v_drivers
      FROM driver_status AS d
      JOIN deployment    AS e
        ON e.deployment = in_deployment COLLATE utf8mb4_0900_bin
     WHERE d.is_alive
       AND _scope_holds(d.scope, e.deployment, e.labels);
    RETURN v_drivers;
END
