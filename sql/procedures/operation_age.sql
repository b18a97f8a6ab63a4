-- Procedure: operation_age
--
-- For tests, which let no time pass: moves every clock of one operation back. Answers operation_id. Granted to no role.
--
-- in_seconds  how much older; negative makes younger
--
-- Owns its transaction. Errors 50001, 50002, 50003. Example: CALL operation_age(41, 61);
CREATE PROCEDURE operation_age (IN in_operation_id LONGTEXT CHARACTER SET utf8mb4, IN in_seconds BIGINT)
    COMMENT 'For tests: makes an operation older.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id       BIGINT UNSIGNED DEFAULT _id(in_operation_id);
    DECLARE v_apply_id BIGINT UNSIGNED;

    IF (in_seconds BETWEEN -1000000000 AND 1000000000) IS NOT TRUE THEN
        CALL _refuse(50001, CONCAT(COALESCE(in_seconds, 'NULL'), ' seconds refused; pass at most 1000000000'));
    END IF;
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _operation_find(v_id, v_apply_id);
        UPDATE operation_live AS l
           SET l.lease_heartbeat_at = l.lease_heartbeat_at - INTERVAL in_seconds SECOND,
               l.lease_expires_at   = l.lease_expires_at   - INTERVAL in_seconds SECOND,
               l.lease_check_at     = l.lease_check_at     - INTERVAL in_seconds SECOND,
               l.next_attempt_at    = l.next_attempt_at    - INTERVAL in_seconds SECOND,
               l.claimable_at       = l.claimable_at       - INTERVAL in_seconds SECOND,
               l.revert_until       = l.revert_until       - INTERVAL in_seconds SECOND,
               l.tend_at            = l.tend_at            - INTERVAL in_seconds SECOND,
               l.held_at            = l.held_at            - INTERVAL in_seconds SECOND
         WHERE l.operation_id = v_id;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_id AS operation_id;
END
