-- Procedure: _command_run
--
-- A command, from its arguments to its answer: request_id, command, status, message; of a cutover also operation_id.
--
-- in_command  'stop', 'start', 'cancel', 'cutover', 'release', 'revert', 'skip_revert' or 'throttle'
-- in_options  checked by the caller; NULL where the command takes none
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501.
CREATE PROCEDURE _command_run (
    IN in_apply_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_command  VARCHAR(16) CHARACTER SET utf8mb4,
    IN in_options  JSON,
    IN in_reason   MEDIUMTEXT CHARACTER SET utf8mb4
)
    COMMENT 'A command, from its arguments to its answer.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id         BIGINT UNSIGNED DEFAULT _id(in_apply_id);
    DECLARE v_request_id BIGINT UNSIGNED;
    DECLARE v_bound_id   BIGINT UNSIGNED;
    DECLARE v_status     VARCHAR(16);
    DECLARE v_message    VARCHAR(1024);

    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _command_enter(v_id, in_command, in_reason, v_request_id);
        -- A statement each: the server opens the tables of all functions that one names.
        CASE in_command
            WHEN 'stop'        THEN SELECT _apply_stop(v_id, v_request_id, in_reason)                 INTO v_request_id;
            WHEN 'start'       THEN SELECT _apply_start(v_id, v_request_id, in_reason)                INTO v_request_id;
            WHEN 'cancel'      THEN SELECT _apply_cancel(v_id, v_request_id, in_reason)               INTO v_request_id;
            WHEN 'cutover'     THEN SELECT _apply_cutover(v_id, v_request_id, in_options, in_reason)  INTO v_request_id;
            WHEN 'release'     THEN SELECT _apply_release(v_id, v_request_id, in_reason)              INTO v_request_id;
            WHEN 'revert'      THEN SELECT _apply_revert(v_id, v_request_id, in_options, in_reason)   INTO v_request_id;
            WHEN 'skip_revert' THEN SELECT _apply_skip_revert(v_id, v_request_id, in_reason)          INTO v_request_id;
            WHEN 'throttle'    THEN SELECT _apply_throttle(v_id, v_request_id, in_options, in_reason) INTO v_request_id;
        END CASE;
        CALL _request_answer(v_request_id, v_status, v_message);
        SELECT MAX(r.operation_id) INTO v_bound_id FROM control_request AS r WHERE r.request_id = v_request_id;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    IF in_command = 'cutover' THEN
        SELECT v_request_id AS request_id, in_command AS command, v_status AS status, v_message AS message, v_bound_id AS operation_id;
    ELSE
        SELECT v_request_id AS request_id, in_command AS command, v_status AS status, v_message AS message;
    END IF;
END
