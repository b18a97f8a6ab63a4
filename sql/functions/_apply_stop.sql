-- Function: _apply_stop
--
-- What apply_stop writes, when it has locked its apply and looked for a pending request. Answers the request's id.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
CREATE FUNCTION _apply_stop (
    in_apply_id   BIGINT UNSIGNED,
    in_request_id BIGINT UNSIGNED,
    in_reason     MEDIUMTEXT CHARACTER SET utf8mb4
)
    RETURNS BIGINT UNSIGNED
    COMMENT 'What apply_stop writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_operation_id BIGINT UNSIGNED;
    DECLARE v_is_done      BOOLEAN DEFAULT FALSE;
    DECLARE c_unleased CURSOR FOR
        SELECT l.operation_id
          FROM operation_live AS l
          JOIN _sibling       AS s
            ON s.operation_id = l.operation_id
         WHERE l.apply_id     = in_apply_id
           -- A lease that was given back or taken away is nobody's; one that ran out may still be somebody's.
           AND l.lease_token IS NULL
           AND s.can_stop
         ORDER BY l.operation_id;
    DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_is_done = TRUE;

    IF in_request_id IS NULL THEN
        CALL _command_check(in_apply_id, 'stop', 'has nothing left to stop');

        CALL _request_supersede(in_apply_id, 'stop');
        CALL _request_record(in_apply_id, NULL, 'stop', NULL, in_reason, in_request_id);
        -- The latch outlives the request: a swap that fails after the stop is done does not start again by itself.
        UPDATE apply AS a
           SET a.is_stopped        = TRUE,
               a.is_cutover_opened = FALSE
         WHERE a.apply_id = in_apply_id;
    END IF;
    -- Also where the stop is asked for again: a driver may have lost its lease since.
    OPEN c_unleased;
    halt: LOOP
        FETCH c_unleased INTO v_operation_id;
        IF v_is_done THEN
            LEAVE halt;
        END IF;
        CALL _operation_move(v_operation_id, 'stopped', USER(), COALESCE(in_reason, 'apply_stop'), FALSE, NULL, NULL);
    END LOOP;
    CLOSE c_unleased;
    CALL _apply_refresh(in_apply_id, USER());
    RETURN in_request_id;
END
