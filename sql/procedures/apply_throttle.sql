-- Procedure: apply_throttle
--
-- Slows the copies of an apply down, while they run. Answers request_id, command, status, message.
--
-- in_apply_id  see apply_status
-- in_level     0 full speed … 10 paused
-- in_reason    for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL apply_throttle(7, 10, 'peak hour');
CREATE PROCEDURE apply_throttle (
    IN in_apply_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_level    LONGTEXT   CHARACTER SET utf8mb4,
    IN in_reason   MEDIUMTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Slows the copies of an apply down, 0 to 10.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id         BIGINT UNSIGNED DEFAULT _id(in_apply_id);
    DECLARE v_request_id BIGINT UNSIGNED;
    DECLARE v_status     VARCHAR(16);
    DECLARE v_message    VARCHAR(1024);

    IF NOT _is_whole(in_level, 0, 10) THEN
        CALL _refuse(50001, CONCAT('level ', COALESCE(LEFT(in_level, 20), 'NULL'), ' refused; pass 0 (full speed) to 10 (paused)'));
    END IF;
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _command_enter(v_id, 'throttle', in_reason, v_request_id);
        SELECT _apply_throttle(v_id, v_request_id, CAST(in_level AS UNSIGNED), in_reason) INTO v_request_id;
        CALL _request_answer(v_request_id, v_status, v_message);

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_request_id AS request_id, 'throttle' AS command, v_status AS status, v_message AS message;
END
