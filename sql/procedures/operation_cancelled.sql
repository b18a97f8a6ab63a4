-- Procedure: operation_cancelled
--
-- Reports that the artifacts of a cancelled operation are gone. Answers state.
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101, 50201.
CREATE PROCEDURE operation_cancelled (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Reports that cancelled artifacts are gone.'
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
        CALL _lease_enter(v_id, in_lease_token, 'cancelled', v_apply_id, v_driver, v_state, v_answer);

        IF v_answer IS NULL THEN
            IF v_state <> 'cancelling' THEN
                CALL _move_refuse(v_id, v_state, 'no cancel is asked of it');
            END IF;
            -- What failed for a while on the way is no reason of this end.
            UPDATE operation_live AS l
               SET l.error = NULL
             WHERE l.operation_id = v_id;
            CALL _operation_advance(v_apply_id, v_id, 'cancelled', v_driver, 'its artifacts are gone', FALSE, 'cancelled', 'cancelled');
            SET v_state = 'cancelled';
        END IF;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_state AS state;
END
