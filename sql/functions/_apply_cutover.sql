-- Function: _apply_cutover
--
-- What apply_cutover writes, when it has locked its apply and looked for a pending request. Answers the request's id.
-- A function, so that it is one statement: of one that is killed the server undoes all, and no handler of ours would run.
-- Said to be deterministic, which it is not: with the binary log on the server takes no other function that writes.
CREATE FUNCTION _apply_cutover (
    in_apply_id   BIGINT UNSIGNED,
    in_request_id BIGINT UNSIGNED,
    in_options    JSON,
    in_is_all     BOOLEAN,
    in_reason     MEDIUMTEXT CHARACTER SET utf8mb4
)
    RETURNS BIGINT UNSIGNED
    COMMENT 'What apply_cutover writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_bound_id        BIGINT UNSIGNED;
    DECLARE v_operation_id    BIGINT UNSIGNED;
    DECLARE v_deployment      VARCHAR(64);
    DECLARE v_state           VARCHAR(32);
    DECLARE v_cause           VARCHAR(16);
    DECLARE v_is_lost         BOOLEAN;
    DECLARE v_is_deferred     BOOLEAN;
    DECLARE v_can_swap        BOOLEAN;
    DECLARE v_late_id         BIGINT UNSIGNED;
    DECLARE v_timeout_seconds INT UNSIGNED;

    SELECT MAX(r.operation_id), MAX(s.state)
      INTO v_bound_id, v_state
      FROM control_request AS r
      LEFT JOIN _sibling   AS s
        ON s.operation_id = r.operation_id
     WHERE r.request_id = in_request_id;

    SELECT COALESCE(MAX(NOT g.is_for_good), FALSE)
      INTO v_can_swap
      FROM _operation_gate AS g
     WHERE g.apply_id = in_apply_id
       AND g.gate IS NOT NULL;
    IF in_request_id IS NOT NULL AND in_is_all AND v_bound_id IS NOT NULL AND v_can_swap THEN
        -- One whose swap is under way has opened the gate for it, and so was carried out.
        IF v_state = 'cutting_over' THEN
            CALL _request_close(in_request_id, 'done', 'cutover was carried out: its swap is under way; a cutover of all follows',
                                USER());
        ELSE
            CALL _request_close(in_request_id, 'moot', 'superseded by a cutover of all', USER());
        END IF;
        SET in_request_id = NULL;
    END IF;

    IF in_request_id IS NULL THEN
        CALL _command_refuse_while_pending(in_apply_id, 'cutover', 'stop,cancel,revert');
        SELECT a.defer_cutover INTO v_is_deferred FROM apply AS a WHERE a.apply_id = in_apply_id;
        IF NOT v_is_deferred THEN
            CALL _refuse(50501, CONCAT('apply ', in_apply_id, ' does not defer its cutover; its swaps go by themselves, in order ',
                                       '(see operation_blocked)'));
        END IF;

        -- The turn is the first operation's that has its swap before it, or of the earlier one that shuts the gate before this one.
        SELECT MAX(turn.operation_id), MAX(turn.deployment), MAX(turn.state), MAX(turn.cause), MAX(turn.is_lost)
          INTO v_operation_id, v_deployment, v_state, v_cause, v_is_lost
          FROM (SELECT COALESCE(b.operation_id, g.operation_id) AS operation_id,
                       COALESCE(b.deployment, g.deployment)     AS deployment,
                       COALESCE(b.state, g.state)               AS state,
                       COALESCE(g.cause, 'defer')               AS cause,
                       COALESCE(b.is_lost, FALSE)               AS is_lost
                  FROM _operation_gate AS g
                  LEFT JOIN _sibling   AS b
                    ON b.apply_id = g.apply_id
                   AND b.position = g.blocker_position
                   AND g.cause    = 'order'
                 WHERE g.apply_id = in_apply_id
                   AND g.gate IS NOT NULL
                 ORDER BY g.position
                 LIMIT 1) AS turn;
        IF in_is_all AND v_can_swap THEN
            SET v_operation_id = NULL;
        ELSEIF in_is_all THEN
            CALL _refuse(50501, CONCAT('apply ', in_apply_id, ' has no swap before it that can ever start (see operation_blocked); ',
                                       'possible: apply_cancel'));
        ELSEIF v_operation_id IS NULL THEN
            CALL _refuse(50501, CONCAT('no operation of apply ', in_apply_id, ' has a swap before it any more; see operation_status'));
        ELSEIF NOT (v_state <=> 'waiting_for_cutover' AND v_cause <=> 'defer') THEN
            CALL _refuse(50501, CONCAT('operation ', v_operation_id, ' on ', v_deployment, ' has the turn and is ', v_state,
                                       CASE
                                           WHEN v_cause = 'all_parked'
                                           THEN '; ask when all have parked'
                                           WHEN v_state = 'revert_window'
                                           THEN '; ask when its window is over, or end that: apply_skip_revert'
                                           WHEN v_is_lost
                                           THEN ' and holds the others back; see operation_blocked'
                                           ELSE '; ask when it waits for its cutover'
                                       END));
        END IF;

        -- The next heartbeat carries the time-out out (see _defer_timeout): it must not find that somebody has asked after all.
        SELECT MIN(d.operation_id), MAX(d.timeout_seconds)
          INTO v_late_id, v_timeout_seconds
          FROM _deferral_overdue AS d
         WHERE d.apply_id = in_apply_id
           AND (in_is_all OR d.operation_id = v_operation_id);
        IF v_late_id IS NOT NULL THEN
            CALL _refuse(50501, CONCAT('operation ', v_late_id, ' was on hold for over ', v_timeout_seconds,
                                       ' s; its driver cancels it (see operation_status); submit a new apply'));
        END IF;

        CALL _request_record(in_apply_id, v_operation_id, 'cutover', in_options, in_reason, in_request_id);
        UPDATE operation_live AS l
           SET l.cutover_request_id = in_request_id
         WHERE l.operation_id = v_operation_id;
        UPDATE apply AS a
           SET a.is_cutover_opened = in_is_all
         WHERE a.apply_id = in_apply_id;
        CALL _apply_refresh(in_apply_id, USER());
    END IF;
    RETURN in_request_id;
END
