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
    DECLARE v_id           BIGINT UNSIGNED DEFAULT _id(in_apply_id);
    DECLARE v_request_id   BIGINT UNSIGNED;
    DECLARE v_operation_id BIGINT UNSIGNED;
    DECLARE v_from         VARCHAR(16);
    DECLARE v_waiting      INT UNSIGNED;
    DECLARE v_status       VARCHAR(16);
    DECLARE v_message      VARCHAR(1024);

    CALL _own_transaction();
    BEGIN
        DECLARE v_is_done BOOLEAN DEFAULT FALSE;
        DECLARE c_stopped CURSOR FOR
            SELECT l.operation_id, l.stopped_from
              FROM operation_live AS l
             WHERE l.apply_id      = v_id
               AND l.state         = 'stopped'
               AND l.stopped_from <> 'running'
             ORDER BY l.operation_id;
        DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_is_done = TRUE;
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _command_enter(v_id, 'start', in_reason, v_request_id);

        IF v_request_id IS NULL THEN
            CALL _command_refuse_while_pending(v_id, 'start', 'stop,cancel');
            -- A swap that was under way when the stop came is stopped if it fails: a start takes that back.
            SELECT COUNT(*)
              INTO v_waiting
              FROM operation_live AS l
              JOIN apply          AS a
                ON a.apply_id = l.apply_id
             WHERE l.apply_id = v_id
               AND (   l.state IN ('stopped', 'failed_retryable')
                    OR (l.state = 'cutting_over' AND a.is_stopped));
            IF v_waiting = 0 THEN
                CALL _refuse(50501, CONCAT('apply ', v_id, ' has nothing stopped and no retry to start; ',
                                           'possible: apply_stop, apply_cancel'));
            END IF;

            CALL _request_record(v_id, NULL, 'start', NULL, in_reason, v_request_id);
            UPDATE apply AS a
               SET a.is_stopped = FALSE
             WHERE a.apply_id = v_id;
            UPDATE operation_live AS l
               SET l.start_request_id = v_request_id
             WHERE l.apply_id     = v_id
               AND l.state        = 'stopped'
               AND l.stopped_from = 'running';
            OPEN c_stopped;
            resume: LOOP
                FETCH c_stopped INTO v_operation_id, v_from;
                IF v_is_done THEN
                    LEAVE resume;
                END IF;
                CALL _operation_move(v_operation_id, IF(v_from = 'pending', 'pending', 'waiting_for_cutover'), USER(),
                                     COALESCE(in_reason, 'apply_start'), FALSE, NULL, NULL);
            END LOOP;
            CLOSE c_stopped;
        END IF;
        -- A retry that waits is due now; one that is due keeps its place in the queue. Also where the start is asked for again.
        UPDATE operation_live AS l
           SET l.claim           = NULL,
               l.claimable_at    = NULL,
               l.next_attempt_at = UTC_TIMESTAMP(6)
         WHERE l.apply_id        = v_id
           AND l.state           = 'failed_retryable'
           AND l.next_attempt_at > UTC_TIMESTAMP(6);
        CALL _apply_refresh(v_id, USER());
        CALL _request_answer(v_request_id, v_status, v_message);

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_request_id AS request_id, 'start' AS command, v_status AS status, v_message AS message;
END
