-- Procedure: apply_stop
--
-- Stops an apply. What waits or is parked, or copies or is on hold without a driver, is `stopped` when the call returns; a driver
-- that copies, or the one that takes over from it, is told by its next heartbeat; a swap under way finishes; a revert window stays
-- open. Once the call has returned no copy and no swap of the apply starts.
-- Answers request_id, command, status, message. `CALL apply_start` resumes.
--
-- in_apply_id  see apply_status
-- in_reason    for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL apply_stop(7, 'peak hour');
CREATE PROCEDURE apply_stop (IN in_apply_id LONGTEXT CHARACTER SET utf8mb4, IN in_reason MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Stops an apply; its checkpoints stay.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id           BIGINT UNSIGNED DEFAULT _id(in_apply_id);
    DECLARE v_request_id   BIGINT UNSIGNED;
    DECLARE v_operation_id BIGINT UNSIGNED;
    DECLARE v_unstopped    INT UNSIGNED;
    DECLARE v_status       VARCHAR(16);
    DECLARE v_message      VARCHAR(1024);

    CALL _own_transaction();
    BEGIN
        DECLARE v_is_done BOOLEAN DEFAULT FALSE;
        DECLARE c_unleased CURSOR FOR
            SELECT l.operation_id
              FROM operation_live AS l
             WHERE l.apply_id     = v_id
               -- A lease that was given back or taken away is nobody's; one that ran out may still be somebody's.
               AND l.lease_token IS NULL
               AND l.state       IN ('pending', 'running', 'waiting_for_cutover', 'failed_retryable')
             ORDER BY l.operation_id;
        DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_is_done = TRUE;
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _command_enter(v_id, 'stop', in_reason, v_request_id);

        IF v_request_id IS NULL THEN
            CALL _command_refuse_while_pending(v_id, 'stop', 'cancel');
            SELECT COUNT(*)
              INTO v_unstopped
              FROM operation_live AS l
             WHERE l.apply_id = v_id
               AND (   l.state IN ('pending', 'running', 'waiting_for_cutover', 'failed_retryable', 'cutting_over')
                    -- Stopped, and to be claimed after a start that this stop makes moot.
                    OR l.start_request_id IS NOT NULL);
            IF v_unstopped = 0 THEN
                CALL _refuse(50501, CONCAT('apply ', v_id, ' has nothing left to stop; possible: apply_start, apply_cancel, ',
                                           'apply_revert, apply_skip_revert'));
            END IF;

            CALL _request_supersede(v_id, 'start,cutover', 'stop');
            CALL _request_record(v_id, NULL, 'stop', NULL, in_reason, v_request_id);
            -- The latch outlives the request: a swap that fails after the stop is done does not start again by itself.
            UPDATE apply AS a
               SET a.is_stopped        = TRUE,
                   a.is_cutover_opened = FALSE
             WHERE a.apply_id = v_id;

            OPEN c_unleased;
            halt: LOOP
                FETCH c_unleased INTO v_operation_id;
                IF v_is_done THEN
                    LEAVE halt;
                END IF;
                CALL _operation_move(v_operation_id, 'stopped', USER(), COALESCE(in_reason, 'apply_stop'), FALSE, NULL, NULL);
            END LOOP;
            CLOSE c_unleased;
            CALL _apply_refresh(v_id, USER());
        END IF;
        CALL _request_answer(v_request_id, v_status, v_message);

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_request_id AS request_id, 'stop' AS command, v_status AS status, v_message AS message;
END
