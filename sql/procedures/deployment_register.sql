-- Procedure: deployment_register
--
-- Registers a deployment, or updates it if the name is known. Answers deployment, position. Live operations go to a new address with
-- their next claim; event_log has that, and who did it.
--
-- in_name      1 to 64 characters
-- in_position  where it stands in the default order of a rollout; held by one deployment
-- in_host      the server's address, as drivers reach it; a driver brings the credentials
-- in_port      1 to 65535
-- in_labels    NULL, or an object of strings, e.g. '{"region": "eu"}', which scopes of drivers match
--
-- Owns its transaction. Errors 50001, 50003, 50504. Example: CALL deployment_register('cell-1', 0, '10.0.0.7', 3306, NULL);
CREATE PROCEDURE deployment_register (
    IN in_name     LONGTEXT CHARACTER SET utf8mb4,
    IN in_position LONGTEXT CHARACTER SET utf8mb4,
    IN in_host     LONGTEXT CHARACTER SET utf8mb4,
    IN in_port     LONGTEXT CHARACTER SET utf8mb4,
    IN in_labels   JSON
)
    COMMENT 'Registers a deployment, or updates it.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_holder   VARCHAR(64);
    DECLARE v_position INT UNSIGNED;
    DECLARE v_port     SMALLINT UNSIGNED;
    DECLARE v_strange  VARCHAR(64) CHARACTER SET utf8mb4;
    DECLARE v_is_done  BOOLEAN;

    CALL _name_check('deployment name', in_name, 64);
    IF NOT _is_whole(in_position, 0, 4294967295) THEN
        CALL _refuse(50001, CONCAT('position ', COALESCE(LEFT(in_position, 20), 'NULL'), ' refused; pass 0 to 4294967295'));
    END IF;
    CALL _name_check('host', in_host, 255);
    IF NOT _is_whole(in_port, 1, 65535) THEN
        CALL _refuse(50001, CONCAT('port ', COALESCE(LEFT(in_port, 20), 'NULL'), ' refused; pass 1 to 65535'));
    END IF;
    SET v_position = in_position,
        v_port     = in_port;
    CALL _json_check('labels', in_labels, _json_shape('labels'));
    SELECT MIN(LEFT(l.text, 30))
      INTO v_strange
      FROM (SELECT n.text FROM JSON_TABLE(JSON_KEYS(in_labels), '$[*]' COLUMNS (text TEXT PATH '$')) AS n
            UNION ALL
            SELECT v.text FROM JSON_TABLE(JSON_EXTRACT(in_labels, '$.*'), '$[*]' COLUMNS (text TEXT PATH '$')) AS v) AS l
     WHERE _is_text(l.text, 65535) IS NOT TRUE;
    IF v_strange IS NOT NULL THEN
        CALL _refuse(50001, CONCAT('label "', v_strange, '" with a control character refused; pass plain text, tabs and line ends at most'));
    END IF;
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _intake_lock();

        SELECT MAX(d.deployment)
          INTO v_holder
          FROM deployment AS d
         WHERE d.position    = v_position
           AND d.deployment <> in_name;
        IF v_holder IS NOT NULL THEN
            CALL _refuse(50504, CONCAT('position ', v_position, ' is held by deployment "', LEFT(v_holder, 40), '"; choose another'));
        END IF;

        SELECT _deployment_stored(in_name, v_position, in_host, v_port, COALESCE(in_labels, JSON_OBJECT())) INTO v_is_done;
        CALL _function_check(v_is_done IS NOT NULL);

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT in_name AS deployment, v_position AS position;
END
