-- Procedure: apply_cutover
--
-- Under defer_cutover: opens the cutover gate, for the one operation whose turn it is (one request, one swap), or with
-- {"all": true} for all of them, in order. Refused for one that was on hold for longer than defer_timeout_seconds, and with all
-- while there is such a one. Answers request_id, command, status, message and operation_id, the one it is bound to (NULL with
-- all).
--
-- in_apply_id  see apply_status
-- in_options   NULL, or {"all": true}
-- in_reason    for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL apply_cutover(7, NULL, 'quiet now');
CREATE PROCEDURE apply_cutover (IN in_apply_id LONGTEXT CHARACTER SET utf8mb4, IN in_options JSON, IN in_reason MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Opens the cutover gate of a deferred apply.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id         BIGINT UNSIGNED DEFAULT _id(in_apply_id);
    DECLARE v_is_all     BOOLEAN DEFAULT FALSE;
    DECLARE v_request_id BIGINT UNSIGNED;
    DECLARE v_bound_id   BIGINT UNSIGNED;
    DECLARE v_status     VARCHAR(16);
    DECLARE v_message    VARCHAR(1024);

    CALL _json_check('option', in_options, _json_shape('cutover_options'));
    SET v_is_all = COALESCE(JSON_EXTRACT(in_options, '$.all') = TRUE, FALSE);
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _command_enter(v_id, 'cutover', in_reason, v_request_id);
        SELECT _apply_cutover(v_id, v_request_id, in_options, v_is_all, in_reason) INTO v_request_id;
        SELECT MAX(r.operation_id) INTO v_bound_id FROM control_request AS r WHERE r.request_id = v_request_id;
        CALL _request_answer(v_request_id, v_status, v_message);

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_request_id AS request_id, 'cutover' AS command, v_status AS status, v_message AS message, v_bound_id AS operation_id;
END
