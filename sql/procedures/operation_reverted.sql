-- Procedure: operation_reverted
--
-- Reports the swap back: the application writes to the old table again. Answers state.
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101, 50201.
CREATE PROCEDURE operation_reverted (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Reports a swap back.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id       BIGINT UNSIGNED DEFAULT _id(in_operation_id);
    DECLARE v_apply_id BIGINT UNSIGNED;
    DECLARE v_driver   VARCHAR(64);
    DECLARE v_state    VARCHAR(32);
    DECLARE v_answer   VARCHAR(32);

    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _lease_enter(v_id, in_lease_token, 'reverted', v_apply_id, v_driver, v_state, v_answer);

        IF v_answer IS NULL THEN
            IF v_state <> 'reverting' THEN
                CALL _move_refuse(v_id, v_state, 'only a swap back under way can be reported as reverted');
            END IF;
            UPDATE operation_live AS l
               SET l.error = NULL
             WHERE l.operation_id = v_id;
            CALL _operation_advance(v_apply_id, v_id, 'reverted', v_driver, 'swapped back', FALSE, 'reverted', 'reverted');
            SET v_state = 'reverted';
        END IF;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_state AS state;
END
