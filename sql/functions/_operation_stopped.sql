-- Function: _operation_stopped
--
-- What operation_stopped writes, when it has locked its operation. Answers the state that comes of it.
-- A function, so that it is one statement: of one that is killed the server undoes all, and no handler of ours would run.
-- Said to be deterministic, which it is not: with the binary log on the server takes no other function that writes.
--
-- in_state  the operation's, which is under the caller's lock
CREATE FUNCTION _operation_stopped (
    in_apply_id     BIGINT UNSIGNED,
    in_operation_id BIGINT UNSIGNED,
    in_driver       VARCHAR(64),
    in_state        VARCHAR(32)
)
    RETURNS VARCHAR(32)
    COMMENT 'What operation_stopped writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_directive VARCHAR(16);

    SELECT MAX(g.declared_directive) INTO v_directive FROM _operation_gate AS g WHERE g.operation_id = in_operation_id;
    IF NOT (v_directive <=> 'stop') THEN
        CALL _move_refuse(in_operation_id, in_state, 'nobody has asked it to stop');
    END IF;
    CALL _operation_advance(in_apply_id, in_operation_id, 'stopped', in_driver, 'obeyed the stop', FALSE, 'stopped', 'stopped');
    RETURN 'stopped';
END
