-- Function: _deployment_stored
--
-- What deployment_register writes, under the intake lock. Answers TRUE.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
CREATE FUNCTION _deployment_stored (
    in_name     VARCHAR(64)  CHARACTER SET utf8mb4,
    in_position INT UNSIGNED,
    in_host     VARCHAR(255) CHARACTER SET utf8mb4,
    in_port     SMALLINT UNSIGNED,
    in_labels   JSON
)
    RETURNS BOOLEAN
    COMMENT 'What deployment_register writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_apply_id     BIGINT UNSIGNED;
    DECLARE v_operation_id BIGINT UNSIGNED;
    DECLARE v_former       VARCHAR(300) CHARACTER SET utf8mb4;
    DECLARE v_is_done      BOOLEAN DEFAULT FALSE;
    DECLARE c_elsewhere CURSOR FOR
        SELECT l.apply_id, l.operation_id, CONCAT(l.host, ':', l.port)
          FROM operation_live AS l
         WHERE l.deployment = in_name
           AND (l.host <> in_host OR l.port <> in_port)
         ORDER BY l.operation_id;
    DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_is_done = TRUE;

    INSERT INTO deployment (deployment, position, host, port, labels, registered_by, registered_at)
    VALUES (in_name, in_position, in_host, in_port, in_labels, USER(), UTC_TIMESTAMP(6))
        AS new
        ON DUPLICATE KEY UPDATE position      = new.position,
                                host          = new.host,
                                port          = new.port,
                                labels        = new.labels,
                                registered_by = new.registered_by,
                                registered_at = new.registered_at;
    -- A claim hands out the address from the operation's own row. By primary key: whoever settles an operation locks its row
    -- before its entries in the indexes. Logged with the apply: its next driver goes to another server.
    OPEN c_elsewhere;
    hand_on: LOOP
        FETCH c_elsewhere INTO v_apply_id, v_operation_id, v_former;
        IF v_is_done THEN
            LEAVE hand_on;
        END IF;
        UPDATE operation_live AS l
           SET l.host = in_host,
               l.port = in_port
         WHERE l.operation_id = v_operation_id;
        IF ROW_COUNT() > 0 THEN
            CALL _event_record(v_apply_id, v_operation_id, USER(), 'address', CONCAT(v_former, ' -> ', in_host, ':', in_port));
        END IF;
    END LOOP;
    CLOSE c_elsewhere;
    -- All rows; a session with sql_safe_updates wants a key named.
    DELETE FROM label_scope WHERE labels_sha256 >= '';
    RETURN TRUE;
END
