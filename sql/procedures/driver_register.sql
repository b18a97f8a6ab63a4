-- Procedure: driver_register
--
-- Makes a driver known, or tells it that it cannot work here. Answers api_version, lease_ttl_seconds, heartbeat_seconds,
-- poll_seconds, installation (what names this installation on a deployment).
--
-- in_driver       1 to 64 characters, unique among those that run, e.g. 'db7-4711'
-- in_version      the program's version, for people
-- in_api_version  the API version that the program was built for
-- in_scope        NULL, {"deployments": [...]} or {"labels": {...}}; what names nothing is refused
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50401. Example: CALL driver_register('db7-4711', '0.1.0', 1, NULL);
CREATE PROCEDURE driver_register (
    IN in_driver      LONGTEXT CHARACTER SET utf8mb4,
    IN in_version     LONGTEXT CHARACTER SET utf8mb4,
    IN in_api_version LONGTEXT CHARACTER SET utf8mb4,
    IN in_scope       JSON
)
    COMMENT 'Makes a driver known.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_api_version  INT UNSIGNED DEFAULT 1;
    DECLARE v_deployments  JSON;
    DECLARE v_unknown      VARCHAR(64) CHARACTER SET utf8mb4;
    DECLARE v_ttl_seconds  INT UNSIGNED;
    DECLARE v_poll_seconds INT UNSIGNED;
    DECLARE v_beat_seconds INT UNSIGNED;
    DECLARE v_installation CHAR(8);

    CALL _name_check('driver name', in_driver, 64);
    CALL _name_check('driver version', in_version, 64);
    IF NOT _is_whole(in_api_version, v_api_version, v_api_version) THEN
        CALL _refuse(50401, CONCAT('API version ', COALESCE(LEFT(in_api_version, 20), 'NULL'), ' is not served, ', v_api_version, ' is; ',
                                   IF(_is_whole(in_api_version, v_api_version + 1, 18446744073709551615),
                                      'upgrade this schema: lockkeeper install', 'run a driver of a newer version')));
    END IF;
    CALL _json_check('scope', in_scope, _json_shape('scope'));
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        SELECT MIN(n.deployment)
          INTO v_unknown
          FROM JSON_TABLE(in_scope, '$.deployments[*]' COLUMNS (deployment VARCHAR(64) PATH '$')) AS n
         WHERE NOT EXISTS (SELECT 1 FROM deployment AS d WHERE d.deployment = n.deployment COLLATE utf8mb4_0900_bin);
        IF v_unknown IS NOT NULL THEN
            CALL _refuse(50002, CONCAT('scope names deployment "', LEFT(v_unknown, 40), '", which does not exist; see deployment_status'));
        END IF;
        CALL _scope_deployments(in_scope, v_deployments);
        IF in_scope IS NOT NULL AND JSON_LENGTH(v_deployments) = 0 THEN
            CALL _refuse(50002, 'no deployment has the labels of this scope; see labels in deployment_status');
        END IF;

        INSERT INTO driver (driver, version, api_version, scope, registered_at, last_seen_at)
        VALUES (in_driver, in_version, in_api_version, in_scope, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))
            AS new
            ON DUPLICATE KEY UPDATE version      = new.version,
                                    api_version  = new.api_version,
                                    scope        = new.scope,
                                    last_seen_at = new.last_seen_at;
        SELECT MAX(IF(s.name = 'lease_ttl_seconds', s.value, NULL)), MAX(IF(s.name = 'poll_seconds', s.value, NULL))
          INTO v_ttl_seconds, v_poll_seconds
          FROM setting AS s;
        SET v_beat_seconds = GREATEST(v_ttl_seconds DIV 6, 1);
        SELECT i.installation INTO v_installation FROM installation AS i;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_api_version              AS api_version,
           v_ttl_seconds              AS lease_ttl_seconds,
           v_beat_seconds             AS heartbeat_seconds,
           v_poll_seconds             AS poll_seconds,
           v_installation             AS installation;
END
