-- Procedure: operation_fail
--
-- Reports a failure. A transient one is retried while the budget lasts: two retries at once, then with growing waits. So may
-- a swap fail that is known not to have happened. Answers state, next_attempt_at.
-- While it cleans up, keeps a revert window or swaps back, a transient failure ends the lease only, and a permanent one of a
-- revert window closes the window: the change stays, the error says why. After that, or a permanent failure of the swap back,
-- the revert that was asked for is refused with the message.
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
-- in_message       what happened, for people; 1 to 65535 characters, the first 1024 are kept, and '?' for each control character
--                  but tabs and line ends
-- in_retryable     1 transient, 0 permanent
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101, 50201.
CREATE PROCEDURE operation_fail (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4,
    IN in_message      LONGTEXT CHARACTER SET utf8mb4,
    IN in_retryable    LONGTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Reports a failure; the budget decides on a retry.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id       BIGINT UNSIGNED DEFAULT _id(in_operation_id);
    DECLARE v_apply_id BIGINT UNSIGNED;
    DECLARE v_driver   VARCHAR(64);
    DECLARE v_state    VARCHAR(32);
    DECLARE v_answer   VARCHAR(32);
    DECLARE v_next_at  DATETIME(6);

    IF (CHAR_LENGTH(in_message) BETWEEN 1 AND 65535) IS NOT TRUE THEN
        CALL _refuse(50001, 'failure without a message, or with one of more than 65535 characters, refused; say what happened');
    END IF;
    IF NOT _is_whole(in_retryable, 0, 1) THEN
        CALL _refuse(50001, CONCAT('retryable of ', COALESCE(LEFT(in_retryable, 20), 'NULL'), ' refused; pass 1 (transient) or 0 (permanent)'));
    END IF;
    -- Not refused for what a broken server has said: the failure itself would go unreported.
    SET in_message = REGEXP_REPLACE(LEFT(in_message, 1024), '[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f]', '?');
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _lease_enter(v_id, in_lease_token, 'fail', v_apply_id, v_driver, v_state, v_answer);

        IF v_answer IS NULL THEN
            SELECT _operation_failed(v_apply_id, v_id, v_driver, v_state, in_message, in_retryable) INTO v_state;
            CALL _function_check(v_state IS NOT NULL);
        ELSE
            SET v_state = v_answer;
        END IF;
        SELECT MAX(l.next_attempt_at) INTO v_next_at FROM operation_live AS l WHERE l.operation_id = v_id;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_state AS state, v_next_at AS next_attempt_at;
END
