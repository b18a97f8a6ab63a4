-- Function: _apply_cutover
--
-- What apply_cutover writes, when it has locked its apply and looked for a pending request. Answers the request's id.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
CREATE FUNCTION _apply_cutover (
    in_apply_id   BIGINT UNSIGNED,
    in_request_id BIGINT UNSIGNED,
    in_options    JSON,
    in_reason     MEDIUMTEXT CHARACTER SET utf8mb4
)
    RETURNS BIGINT UNSIGNED
    COMMENT 'What apply_cutover writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_is_all          BOOLEAN DEFAULT COALESCE(JSON_EXTRACT(in_options, '$.all') = TRUE, FALSE);
    DECLARE v_bound_id        BIGINT UNSIGNED;
    DECLARE v_bound_state     VARCHAR(32);
    DECLARE v_operation_id    BIGINT UNSIGNED;
    DECLARE v_has_the_turn    VARCHAR(160) CHARACTER SET utf8mb4;
    DECLARE v_why_not         VARCHAR(80)  CHARACTER SET utf8mb4;
    DECLARE v_may_come        BOOLEAN;
    DECLARE v_is_deferred     BOOLEAN;
    DECLARE v_swapping_id     BIGINT UNSIGNED;
    DECLARE v_late_id         BIGINT UNSIGNED;
    DECLARE v_timeout_seconds INT UNSIGNED;

    SELECT MAX(t.operation_id), MAX(CONCAT('operation ', t.operation_id, ' on ', t.deployment, ' has the turn and is ', t.state)),
           MAX(t.why_not), COALESCE(MAX(t.may_come), FALSE)
      INTO v_operation_id, v_has_the_turn, v_why_not, v_may_come
      FROM _cutover_turn AS t
     WHERE t.apply_id = in_apply_id;

    SELECT MAX(r.operation_id), MAX(s.state)
      INTO v_bound_id, v_bound_state
      FROM control_request AS r
      LEFT JOIN _sibling   AS s
        ON s.operation_id = r.operation_id
     WHERE r.request_id = in_request_id;
    IF v_is_all AND v_bound_id IS NOT NULL AND v_may_come THEN
        -- One whose swap is under way has opened the gate for it, and so was carried out.
        IF v_bound_state = 'cutting_over' THEN
            CALL _request_close(in_request_id, 'done', 'cutover was carried out: its swap is under way; a cutover of all follows',
                                USER());
        ELSE
            CALL _request_close(in_request_id, 'moot', 'superseded by a cutover of all', USER());
        END IF;
        SET in_request_id = NULL;
    END IF;

    IF in_request_id IS NULL THEN
        CALL _command_check(in_apply_id, 'cutover', NULL);
        SELECT a.defer_cutover INTO v_is_deferred FROM apply AS a WHERE a.apply_id = in_apply_id;
        IF NOT v_is_deferred THEN
            CALL _refuse(50501, CONCAT('apply ', in_apply_id, ' does not defer its cutover; its swaps go by themselves, in order ',
                                       '(see operation_waiting)'));
        END IF;
        -- A stop beats the request for all, but not the swap that it has let begin. Who asks for that one is answered what asked for it.
        SELECT MAX(s.operation_id)
          INTO v_swapping_id
          FROM _sibling AS s
         WHERE s.apply_id = in_apply_id
           AND s.state    = 'cutting_over';
        IF v_swapping_id IS NOT NULL AND NOT (v_is_all AND v_may_come) THEN
            SELECT COALESCE(MAX(IF(r.operation_id = v_swapping_id, r.request_id, NULL)), MAX(r.request_id))
              INTO in_request_id
              FROM control_request AS r
             WHERE r.apply_id = in_apply_id
               AND r.command  = 'cutover';
            -- By hand it may have begun without one.
            IF in_request_id IS NOT NULL THEN
                RETURN in_request_id;
            END IF;
        END IF;
        IF v_is_all AND NOT v_may_come THEN
            CALL _refuse(50501, CONCAT('apply ', in_apply_id, ' has no swap before it that can ever start (see operation_waiting); ',
                                       'possible: apply_cancel'));
        ELSEIF v_operation_id IS NULL THEN
            CALL _refuse(50501, CONCAT('no operation of apply ', in_apply_id, ' has a swap before it any more; see operation_status'));
        ELSEIF NOT v_is_all AND v_why_not IS NOT NULL THEN
            CALL _refuse(50501, CONCAT(v_has_the_turn, v_why_not));
        END IF;

        -- The next heartbeat carries the time-out out (see _defer_timeout): it must not find that somebody has asked after all.
        SELECT MIN(d.operation_id), MAX(d.timeout_seconds)
          INTO v_late_id, v_timeout_seconds
          FROM _deferral AS d
         WHERE d.apply_id = in_apply_id
           AND d.is_over
           AND (v_is_all OR d.operation_id = v_operation_id);
        IF v_late_id IS NOT NULL THEN
            CALL _refuse(50501, CONCAT('operation ', v_late_id, ' was on hold for over ', v_timeout_seconds,
                                       ' s; its driver cancels it (see operation_status); submit a new apply'));
        END IF;

        SET v_operation_id = IF(v_is_all, NULL, v_operation_id);
        CALL _request_record(in_apply_id, v_operation_id, 'cutover', in_options, in_reason, in_request_id);
        UPDATE operation_live AS l
           SET l.cutover_request_id = in_request_id
         WHERE l.operation_id = v_operation_id;
        UPDATE apply AS a
           SET a.is_cutover_opened = v_is_all
         WHERE a.apply_id = in_apply_id;
        CALL _apply_refresh(in_apply_id, USER());
    END IF;
    RETURN in_request_id;
END
