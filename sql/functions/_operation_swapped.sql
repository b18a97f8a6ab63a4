-- Function: _operation_swapped
--
-- What operation_swapped writes, when it has locked its operation. Answers the state that comes of it.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
CREATE FUNCTION _operation_swapped (
    in_apply_id     BIGINT UNSIGNED,
    in_operation_id BIGINT UNSIGNED,
    in_driver       VARCHAR(64),
    in_detail       TEXT CHARACTER SET utf8mb4
)
    RETURNS VARCHAR(32)
    COMMENT 'What operation_swapped writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_window_seconds INT UNSIGNED;
    DECLARE v_revert_scope   VARCHAR(16);
    DECLARE v_revert_until   DATETIME(6);
    DECLARE v_revert_id      BIGINT UNSIGNED;
    DECLARE v_state          VARCHAR(32);

    SELECT a.revert_window_seconds, a.revert_scope
      INTO v_window_seconds, v_revert_scope
      FROM apply AS a
     WHERE a.apply_id = in_apply_id;
    -- A revert that came while this swap was under way means it too (apply_revert refuses a list then): it is the last swapped
    -- now, and goes back first.
    SELECT MAX(r.request_id)
      INTO v_revert_id
      FROM control_request AS r
     WHERE r.apply_id        = in_apply_id
       AND r.pending_command = 'revert';
    SET v_state = IF(v_window_seconds > 0, 'revert_window', 'completed');
    IF v_window_seconds > 0 THEN
        SET v_revert_until = UTC_TIMESTAMP(6) + INTERVAL v_window_seconds SECOND;
    END IF;
    UPDATE operation_live AS l
       SET l.error             = NULL,
           l.revert_until      = v_revert_until,
           l.revert_request_id = v_revert_id
     WHERE l.operation_id = in_operation_id;
    -- Windows that are open side by side end together, with the last swap's.
    IF v_window_seconds > 0 AND v_revert_scope = 'apply' THEN
        UPDATE operation_live AS l FORCE INDEX (operation_live_order)
           SET l.revert_until = v_revert_until
         WHERE l.apply_id     = in_apply_id
           AND l.state        = 'revert_window'
         ORDER BY l.operation_id;
    END IF;
    CALL _operation_advance(in_apply_id, in_operation_id, v_state, in_driver, in_detail, v_window_seconds > 0, 'swapped', v_state);
    RETURN v_state;
END
