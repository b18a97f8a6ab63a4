-- Function: _operation_cancelled
--
-- What operation_cancelled writes, when it has locked its operation. Answers the state that comes of it.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
--
-- in_state  the operation's, which is under the caller's lock
CREATE FUNCTION _operation_cancelled (
    in_apply_id     BIGINT UNSIGNED,
    in_operation_id BIGINT UNSIGNED,
    in_driver       VARCHAR(64),
    in_state        VARCHAR(32)
)
    RETURNS VARCHAR(32)
    COMMENT 'What operation_cancelled writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    IF in_state <> 'cancelling' THEN
        CALL _move_refuse(in_operation_id, in_state, 'nobody has asked to cancel it');
    END IF;
    -- What failed for a while on the way is no reason of this end.
    UPDATE operation_live AS l
       SET l.error = NULL
     WHERE l.operation_id = in_operation_id;
    CALL _operation_advance(in_apply_id, in_operation_id, 'cancelled', in_driver, 'its artifacts are gone', FALSE, 'cancelled', 'cancelled');
    RETURN 'cancelled';
END
