-- Procedure: _defer_timeout
--
-- Cancels an operation that was on hold for longer than its apply allows. Its driver keeps the lease and removes the artifacts.
-- Where somebody has the apply's row, or the operation's, the next beat does it: this one has others to answer for.
--
-- Owns its transaction.
CREATE PROCEDURE _defer_timeout (IN in_operation_id BIGINT UNSIGNED)
    COMMENT 'Cancels an operation that was on hold too long.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_apply_id        BIGINT UNSIGNED;
    DECLARE v_locked_id       BIGINT UNSIGNED;
    DECLARE v_timeout_seconds INT UNSIGNED;
    DECLARE v_is_done         BOOLEAN;
    DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;

    CALL _own_transaction();
    START TRANSACTION READ WRITE;
    SELECT MAX(o.apply_id) INTO v_apply_id FROM operation AS o WHERE o.operation_id = in_operation_id;
    SELECT a.apply_id INTO v_locked_id FROM apply AS a WHERE a.apply_id = v_apply_id FOR UPDATE SKIP LOCKED;
    IF v_locked_id IS NOT NULL THEN
        SET v_locked_id = NULL;
        SELECT l.operation_id INTO v_locked_id FROM operation_live AS l WHERE l.operation_id = in_operation_id FOR UPDATE SKIP LOCKED;
    END IF;
    -- Somebody may have asked for the cutover meanwhile.
    SELECT MAX(d.timeout_seconds) INTO v_timeout_seconds FROM _deferral AS d WHERE d.operation_id = v_locked_id AND d.is_over;
    IF v_timeout_seconds IS NOT NULL THEN
        SELECT _operation_step(v_apply_id, in_operation_id, 'cancelling', 'lockkeeper',
                               CONCAT('no cutover was asked for in ', v_timeout_seconds, ' s (defer_timeout_seconds)'),
                               TRUE, NULL, NULL)
          INTO v_is_done;
        CALL _function_check(v_is_done IS NOT NULL);
    END IF;
    COMMIT AND NO CHAIN NO RELEASE;
END
