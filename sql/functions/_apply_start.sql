-- Function: _apply_start
--
-- What apply_start writes, when it has locked its apply and looked for a pending request. Answers the request's id.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
CREATE FUNCTION _apply_start (
    in_apply_id   BIGINT UNSIGNED,
    in_request_id BIGINT UNSIGNED,
    in_reason     MEDIUMTEXT CHARACTER SET utf8mb4
)
    RETURNS BIGINT UNSIGNED
    COMMENT 'What apply_start writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_operation_id BIGINT UNSIGNED;
    DECLARE v_from         VARCHAR(16);
    DECLARE v_is_done      BOOLEAN DEFAULT FALSE;
    DECLARE c_stopped CURSOR FOR
        SELECT l.operation_id, l.stopped_from
          FROM operation_live AS l
         WHERE l.apply_id      = in_apply_id
           AND l.state         = 'stopped'
           AND l.stopped_from <> 'running'
         ORDER BY l.operation_id;
    DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_is_done = TRUE;

    IF in_request_id IS NULL THEN
        CALL _command_check(in_apply_id, 'start', 'has nothing to start');

        CALL _request_record(in_apply_id, NULL, 'start', NULL, in_reason, in_request_id);
        UPDATE apply AS a
           SET a.is_stopped = FALSE
         WHERE a.apply_id = in_apply_id;
        UPDATE operation_live AS l FORCE INDEX (operation_live_order)
           SET l.start_request_id = in_request_id
         WHERE l.apply_id     = in_apply_id
           AND l.state        = 'stopped'
           AND l.stopped_from = 'running';
        OPEN c_stopped;
        resume: LOOP
            FETCH c_stopped INTO v_operation_id, v_from;
            IF v_is_done THEN
                LEAVE resume;
            END IF;
            CALL _operation_move(v_operation_id, IF(v_from = 'pending', 'pending', 'waiting_for_cutover'), USER(),
                                 COALESCE(in_reason, 'apply_start'), FALSE, NULL, NULL);
        END LOOP;
        CLOSE c_stopped;
    END IF;
    -- A retry that waits is due now; one that is due keeps its place in the queue. Also where the start is asked for again.
    UPDATE operation_live AS l FORCE INDEX (operation_live_order)
       SET l.claim           = NULL,
           l.claimable_at    = NULL,
           l.next_attempt_at = UTC_TIMESTAMP(6)
     WHERE l.apply_id        = in_apply_id
       AND l.next_attempt_at > UTC_TIMESTAMP(6);
    CALL _apply_refresh(in_apply_id, USER());
    RETURN in_request_id;
END
