-- Procedure: _submit_deployments
--
-- The deployments of a submit in order: those that its options name, in their order, or all by position.
CREATE PROCEDURE _submit_deployments (IN in_options JSON, OUT out_deployments JSON)
    COMMENT 'The deployments of a submit, in order.'
    SQL SECURITY DEFINER
    READS SQL DATA
BEGIN
    DECLARE v_unknown VARCHAR(64) CHARACTER SET utf8mb4;

    SET out_deployments = JSON_EXTRACT(in_options, '$.deployments');
    IF out_deployments IS NULL THEN
        SELECT JSON_ARRAYAGG(d.deployment)
          INTO out_deployments
          FROM (SELECT e.deployment FROM deployment AS e ORDER BY e.position LIMIT 1000000) AS d;
    END IF;
    IF out_deployments IS NULL THEN
        CALL _refuse(50002, 'no deployment is registered; CALL deployment_register first');
    END IF;

    SELECT MIN(n.deployment)
      INTO v_unknown
      FROM JSON_TABLE(out_deployments, '$[*]' COLUMNS (deployment VARCHAR(64) PATH '$')) AS n
     WHERE NOT EXISTS (SELECT 1 FROM deployment AS d WHERE d.deployment = n.deployment COLLATE utf8mb4_0900_bin);
    IF v_unknown IS NOT NULL THEN
        CALL _refuse(50002, CONCAT('deployment "', LEFT(v_unknown, 40), '" does not exist; see deployment_status, or CALL deployment_register'));
    END IF;
END
