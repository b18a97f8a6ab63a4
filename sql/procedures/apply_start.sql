-- Procedure: apply_start
--
-- Resumes what a stop has stopped, and makes retries due now. What was stopped while copying, or on hold, is claimable at once,
-- ungated, and goes on from its checkpoint; what never started is pending again, behind its gate; what was parked is parked again.
-- Answers request_id, command, status, message.
--
-- in_apply_id  see apply_status
-- in_reason    for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL apply_start(7, 'the peak is over');
CREATE PROCEDURE apply_start (IN in_apply_id LONGTEXT CHARACTER SET utf8mb4, IN in_reason MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Resumes a stopped apply; makes retries due now.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id         BIGINT UNSIGNED DEFAULT _id(in_apply_id);
    DECLARE v_request_id BIGINT UNSIGNED;
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
        CALL _command_enter(v_id, 'start', in_reason, v_request_id);
        SELECT _apply_start(v_id, v_request_id, in_reason) INTO v_request_id;
        CALL _request_answer(v_request_id, v_status, v_message);

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_request_id AS request_id, 'start' AS command, v_status AS status, v_message AS message;
END
