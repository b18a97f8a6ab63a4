-- Function: _operation_complete
--
-- What operation_complete writes, when it has locked its operation. Answers the state that comes of it.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
--
-- in_state  the operation's, which is under the caller's lock
CREATE FUNCTION _operation_complete (
    in_apply_id     BIGINT UNSIGNED,
    in_operation_id BIGINT UNSIGNED,
    in_driver       VARCHAR(64),
    in_state        VARCHAR(32)
)
    RETURNS VARCHAR(32)
    COMMENT 'What operation_complete writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_is_open BOOLEAN;

    SELECT MAX(g.is_window_open) INTO v_is_open FROM _operation_gate AS g WHERE g.operation_id = in_operation_id;
    -- NULL where there is no window.
    IF v_is_open IS NOT FALSE THEN
        CALL _move_refuse(in_operation_id, in_state, IF(in_state = 'revert_window',
                                                        'its window is not over, or is to be reverted; heartbeat, and obey the directive',
                                                        'it is not in a revert window'));
    END IF;
    -- Windows side by side are over together, and the end of all is read from the last swap's row. That may be the one that leaves
    -- now: hand its end to those that are still open, or they would have to wait for their own again.
    UPDATE operation_live AS l FORCE INDEX (operation_live_order)
      JOIN operation_live AS ended FORCE INDEX (PRIMARY)
        ON ended.operation_id = in_operation_id
       AND ended.apply_id     = l.apply_id
      JOIN apply          AS a
        ON a.apply_id     = l.apply_id
       AND a.revert_scope = 'apply'
       SET l.revert_until = LEAST(l.revert_until, ended.revert_until)
     WHERE l.state = 'revert_window';
    -- What failed for a while on the way is over. Of a window that could not stay open operation_fail keeps why.
    UPDATE operation_live AS l
       SET l.error = NULL
     WHERE l.operation_id = in_operation_id;
    CALL _operation_advance(in_apply_id, in_operation_id, 'completed', in_driver, 'the revert window is over', FALSE, 'complete', 'completed');
    RETURN 'completed';
END
