-- Function: _apply_cancel
--
-- What apply_cancel writes, when it has locked its apply and looked for a pending request. Answers the request's id.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
CREATE FUNCTION _apply_cancel (
    in_apply_id   BIGINT UNSIGNED,
    in_request_id BIGINT UNSIGNED,
    in_reason     MEDIUMTEXT CHARACTER SET utf8mb4
)
    RETURNS BIGINT UNSIGNED
    COMMENT 'What apply_cancel writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_operation_id BIGINT UNSIGNED;
    DECLARE v_gate         VARCHAR(8);
    DECLARE v_is_done      BOOLEAN DEFAULT FALSE;
    DECLARE c_unswapped CURSOR FOR
        SELECT s.operation_id, s.gate_now
          FROM _sibling AS s
         WHERE s.apply_id   = in_apply_id
           AND s.gate_now  IS NOT NULL
         ORDER BY s.operation_id;
    DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_is_done = TRUE;

    IF in_request_id IS NULL THEN
        CALL _command_check(in_apply_id, 'cancel', 'has nothing left to cancel, all has swapped or ended');

        CALL _request_supersede(in_apply_id, 'cancel');
        CALL _request_record(in_apply_id, NULL, 'cancel', NULL, in_reason, in_request_id);

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
        CALL _apply_refresh(in_apply_id, USER());
    END IF;
    RETURN in_request_id;
END
