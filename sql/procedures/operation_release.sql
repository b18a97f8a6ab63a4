-- Procedure: operation_release
--
-- Gives a lease back, as a driver does that shuts down on purpose: the operation keeps its state and is claimable at once.
-- Answers released: 1, or 0 where the lease was lost before. No attempt is spent.
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
--
-- Owns its transaction. Errors 50001, 50002, 50003.
CREATE PROCEDURE operation_release (IN in_operation_id LONGTEXT CHARACTER SET utf8mb4, IN in_lease_token LONGTEXT CHARACTER SET utf8mb4)
    COMMENT 'Gives a lease back; the operation is claimable at once.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id       BIGINT UNSIGNED DEFAULT _id(in_operation_id);
    DECLARE v_apply_id BIGINT UNSIGNED;
    DECLARE v_driver   VARCHAR(64);
    DECLARE v_state    VARCHAR(32);
    DECLARE v_answer   VARCHAR(32);
    DECLARE v_released BOOLEAN DEFAULT FALSE;

    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;
        -- A lost lease is no error here: there is nothing left to give back.
        DECLARE EXIT HANDLER FOR 50101
            ROLLBACK AND NO CHAIN NO RELEASE;

        START TRANSACTION READ WRITE;
        CALL _lease_enter(v_id, in_lease_token, 'release', v_apply_id, v_driver, v_state, v_answer);
        IF v_answer IS NULL THEN
            CALL _lease_return(v_apply_id, v_id, v_driver, 'released', 'given back by its driver', 'release', 'released');
        END IF;
        SET v_released = TRUE;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_released AS released;
END
