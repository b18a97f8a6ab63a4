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
    DECLARE v_id             BIGINT UNSIGNED DEFAULT _id(in_operation_id);
    DECLARE v_apply_id       BIGINT UNSIGNED;
    DECLARE v_driver         VARCHAR(64);
    DECLARE v_state          VARCHAR(32);
    DECLARE v_answer         VARCHAR(32);
    DECLARE v_window_seconds INT UNSIGNED;
    DECLARE v_revert_scope   VARCHAR(16);
    DECLARE v_revert_until   DATETIME(6);
    DECLARE v_revert_id      BIGINT UNSIGNED;

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
            SELECT a.revert_window_seconds, a.revert_scope
              INTO v_window_seconds, v_revert_scope
              FROM apply AS a
             WHERE a.apply_id = v_apply_id;
            -- A revert that came while this swap was under way means it too (apply_revert refuses a list then): it is the last
            -- swapped now, and goes back first.
            SELECT MAX(r.request_id)
              INTO v_revert_id
              FROM control_request AS r
             WHERE r.apply_id        = v_apply_id
               AND r.pending_command = 'revert';
            IF v_window_seconds > 0 THEN
                SET v_revert_until = UTC_TIMESTAMP(6) + INTERVAL v_window_seconds SECOND;
            END IF;
            UPDATE operation_live AS l
               SET l.error             = NULL,
                   -- The way back begins with a budget of its own.
                   l.attempt           = IF(v_window_seconds > 0, 0, l.attempt),
                   l.revert_until      = v_revert_until,
                   l.revert_request_id = v_revert_id
             WHERE l.operation_id = v_id;
            SET v_state = IF(v_window_seconds > 0, 'revert_window', 'completed');
            -- Windows that are open side by side end together, with the last swap's.
            IF v_window_seconds > 0 AND v_revert_scope = 'apply' THEN
                UPDATE operation_live AS l FORCE INDEX (operation_live_order)
                   SET l.revert_until = v_revert_until
                 WHERE l.apply_id     = v_apply_id
                   AND l.state        = 'revert_window'
                 ORDER BY l.operation_id;
            END IF;
            CALL _operation_advance(v_apply_id, v_id, v_state, v_driver, COALESCE(LEFT(in_detail, 1024), 'swapped'),
                                    v_window_seconds > 0, 'swapped', v_state);
        END IF;
        SELECT MAX(l.revert_until) INTO v_revert_until FROM operation_live AS l WHERE l.operation_id = v_id;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_state AS state, v_revert_until AS revert_until;
END
