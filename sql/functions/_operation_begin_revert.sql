-- Function: _operation_begin_revert
--
-- What operation_begin_revert writes, when it has locked its operation. Answers the state that comes of it.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
--
-- in_state  the operation's, which is under the caller's lock
CREATE FUNCTION _operation_begin_revert (
    in_apply_id     BIGINT UNSIGNED,
    in_operation_id BIGINT UNSIGNED,
    in_driver       VARCHAR(64),
    in_state        VARCHAR(32)
)
    RETURNS VARCHAR(32)
    COMMENT 'What operation_begin_revert writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_directive VARCHAR(16);

    -- Also where it is asked again.
    IF in_state <> 'reverting' THEN
        SELECT MAX(g.declared_directive) INTO v_directive FROM _operation_gate AS g WHERE g.operation_id = in_operation_id;
        IF NOT (v_directive <=> 'revert') THEN
            CALL _move_refuse(in_operation_id, in_state, 'nobody asked for a revert, or another one goes back first');
        END IF;
        CALL _operation_advance(in_apply_id, in_operation_id, 'reverting', in_driver, 'a revert was asked for', TRUE, NULL, NULL);
    END IF;
    RETURN 'reverting';
END
