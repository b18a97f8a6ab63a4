-- Procedure: operation_swapped
--
-- Reports the swap: the application writes to the new table now. Opens the revert window, or completes the operation and
-- hands the turn on in the same transaction. Answers state (revert_window or completed), revert_until.
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
-- in_detail        NULL, or what to keep in the event log; at most 64 KiB, the first 1024 characters are kept
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101, 50201.
CREATE PROCEDURE operation_swapped (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4,
    IN in_detail       JSON
)
    COMMENT 'Reports a swap; hands the turn on.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id           BIGINT UNSIGNED DEFAULT _id(in_operation_id);
    DECLARE v_apply_id     BIGINT UNSIGNED;
    DECLARE v_driver       VARCHAR(64);
    DECLARE v_state        VARCHAR(32);
    DECLARE v_answer       VARCHAR(32);
    DECLARE v_revert_until DATETIME(6);

    IF JSON_STORAGE_SIZE(in_detail) > 65535 THEN
        CALL _refuse(50001, CONCAT('detail of ', JSON_STORAGE_SIZE(in_detail), ' bytes refused; pass at most 64 KiB, or NULL'));
    END IF;
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _lease_enter(v_id, in_lease_token, 'swapped', v_apply_id, v_driver, v_state, v_answer);

        IF v_answer IS NULL AND v_state <> 'revert_window' THEN
            IF v_state <> 'cutting_over' THEN
                CALL _move_refuse(v_id, v_state, 'only a swap under way can be reported as swapped');
            END IF;
            SELECT _operation_swapped(v_apply_id, v_id, v_driver, COALESCE(LEFT(in_detail, 1024), 'swapped')) INTO v_state;
            CALL _function_check(v_state IS NOT NULL);
        END IF;
        SELECT MAX(l.revert_until) INTO v_revert_until FROM operation_live AS l WHERE l.operation_id = v_id;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_state AS state, v_revert_until AS revert_until;
END
