-- Procedure: operation_complete
--
-- Closes the revert window, once it is over or a skip_revert came: the change stays. Answers state.
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101, 50201.
CREATE PROCEDURE operation_complete (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Closes a revert window; the change stays.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id       BIGINT UNSIGNED DEFAULT _id(in_operation_id);
    DECLARE v_apply_id BIGINT UNSIGNED;
    DECLARE v_driver   VARCHAR(64);
    DECLARE v_state    VARCHAR(32);
    DECLARE v_answer   VARCHAR(32);
    DECLARE v_is_open  BOOLEAN;

    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _lease_enter(v_id, in_lease_token, 'complete', v_apply_id, v_driver, v_state, v_answer);

        IF v_answer IS NULL THEN
            SELECT MAX(g.is_window_open) INTO v_is_open FROM _operation_gate AS g WHERE g.operation_id = v_id;
            -- NULL where there is no window.
            IF v_is_open IS NOT FALSE THEN
                CALL _move_refuse(v_id, v_state, IF(v_state = 'revert_window',
                                                    'its window is not over, or is to be reverted; heartbeat, and obey the directive',
                                                    'it is not in a revert window'));
            END IF;
            -- Windows side by side are over together, and the end of all is read from the last swap's row. That may be the one
            -- that leaves now: hand its end to those that are still open, or they would have to wait for their own again.
            UPDATE operation_live AS l FORCE INDEX (operation_live_order)
              JOIN operation_live AS ended FORCE INDEX (PRIMARY)
                ON ended.operation_id = v_id
               AND ended.apply_id     = l.apply_id
              JOIN apply          AS a
                ON a.apply_id     = l.apply_id
               AND a.revert_scope = 'apply'
               SET l.revert_until = LEAST(l.revert_until, ended.revert_until)
             WHERE l.state = 'revert_window';
            -- What failed for a while on the way is over. Of a window that could not stay open operation_fail keeps why.
            UPDATE operation_live AS l
               SET l.error = NULL
             WHERE l.operation_id = v_id;
            CALL _operation_advance(v_apply_id, v_id, 'completed', v_driver, 'the revert window is over', FALSE, 'complete', 'completed');
            SET v_state = 'completed';
        END IF;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_state AS state;
END
