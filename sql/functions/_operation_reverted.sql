-- Function: _operation_reverted
--
-- What operation_reverted writes, when it has locked its operation. Answers the state that comes of it.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
--
-- in_state  the operation's, which is under the caller's lock
CREATE FUNCTION _operation_reverted (
    in_apply_id     BIGINT UNSIGNED,
    in_operation_id BIGINT UNSIGNED,
    in_driver       VARCHAR(64),
    in_state        VARCHAR(32)
)
    RETURNS VARCHAR(32)
    COMMENT 'What operation_reverted writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    IF in_state <> 'reverting' THEN
        CALL _move_refuse(in_operation_id, in_state, 'only a swap back under way can be reported as reverted');
    END IF;
    UPDATE operation_live AS l
       SET l.error = NULL
     WHERE l.operation_id = in_operation_id;
    CALL _operation_advance(in_apply_id, in_operation_id, 'reverted', in_driver, 'swapped back', FALSE, 'reverted', 'reverted');
    RETURN 'reverted';
END
