-- Procedure: apply_cancel
--
-- Cancels what has not swapped. What never started is `cancelled` when the call returns; what has artifacts is `cancelling`, and
-- drivers remove them; a swap under way finishes; what has swapped stays as it is, and the answer says so.
-- Answers request_id, command, status, message.
--
-- in_apply_id  see apply_status
-- in_reason    for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL apply_cancel(7, 'wrong index');
CREATE PROCEDURE apply_cancel (IN in_apply_id LONGTEXT CHARACTER SET utf8mb4, IN in_reason MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Cancels what has not swapped.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id           BIGINT UNSIGNED DEFAULT _id(in_apply_id);
    DECLARE v_request_id   BIGINT UNSIGNED;
    DECLARE v_operation_id BIGINT UNSIGNED;
    DECLARE v_gate         VARCHAR(8);
    DECLARE v_cancellable  INT UNSIGNED;
    DECLARE v_status       VARCHAR(16);
    DECLARE v_message      VARCHAR(1024);

    CALL _own_transaction();
    BEGIN
        DECLARE v_is_done BOOLEAN DEFAULT FALSE;
        DECLARE c_unswapped CURSOR FOR
            SELECT s.operation_id, s.gate_now
              FROM _sibling AS s
             WHERE s.apply_id   = v_id
               AND s.gate_now  IS NOT NULL
             ORDER BY s.operation_id;
        DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_is_done = TRUE;
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _command_enter(v_id, 'cancel', in_reason, v_request_id);

        IF v_request_id IS NULL THEN
            SELECT COUNT(*)
              INTO v_cancellable
              FROM _sibling AS s
             WHERE s.apply_id = v_id
               AND s.can_cancel;
            IF v_cancellable = 0 THEN
                CALL _refuse(50501, CONCAT('apply ', v_id, ' has nothing left to cancel: all has swapped; ',
                                           'possible: apply_revert, apply_skip_revert'));
            END IF;

            CALL _request_supersede(v_id, 'stop,start,cutover', 'cancel');
            CALL _request_record(v_id, NULL, 'cancel', NULL, in_reason, v_request_id);

            OPEN c_unswapped;
            cancel: LOOP
                FETCH c_unswapped INTO v_operation_id, v_gate;
                IF v_is_done THEN
                    LEAVE cancel;
                END IF;
                CALL _operation_move(v_operation_id, IF(v_gate = 'copy', 'cancelled', 'cancelling'), USER(),
                                     COALESCE(in_reason, 'apply_cancel'), TRUE, NULL, NULL);
            END LOOP;
            CLOSE c_unswapped;
            CALL _apply_refresh(v_id, USER());
        END IF;
        CALL _request_answer(v_request_id, v_status, v_message);

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_request_id AS request_id, 'cancel' AS command, v_status AS status, v_message AS message;
END
