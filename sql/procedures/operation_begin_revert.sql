-- Procedure: operation_begin_revert
--
-- Starts the swap back, once the heartbeat has said `revert`. Answers state.
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101, 50201.
CREATE PROCEDURE operation_begin_revert (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Starts a swap back that was asked for.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id        BIGINT UNSIGNED DEFAULT _id(in_operation_id);
    DECLARE v_apply_id  BIGINT UNSIGNED;
    DECLARE v_driver    VARCHAR(64);
    DECLARE v_state     VARCHAR(32);
    DECLARE v_answer    VARCHAR(32);
    DECLARE v_directive VARCHAR(16);

    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _lease_enter(v_id, in_lease_token, 'begin_revert', v_apply_id, v_driver, v_state, v_answer);

        IF v_answer IS NULL AND v_state <> 'reverting' THEN
            SELECT MAX(g.declared_directive) INTO v_directive FROM _operation_gate AS g WHERE g.operation_id = v_id;
            IF NOT (v_directive <=> 'revert') THEN
                CALL _move_refuse(v_id, v_state, 'nobody asked for a revert, or another one goes back first');
            END IF;
            CALL _operation_advance(v_apply_id, v_id, 'reverting', v_driver, 'a revert was asked for', TRUE, NULL, NULL);
            SET v_state = 'reverting';
        END IF;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_state AS state;
END
