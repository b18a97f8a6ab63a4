-- Function: _operation_step
--
-- What _operation_advance does, for procedures. Answers TRUE.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
--
-- in_…  as _operation_move has them
CREATE FUNCTION _operation_step (
    in_apply_id     BIGINT UNSIGNED,
    in_operation_id BIGINT UNSIGNED,
    in_to_state     VARCHAR(32),
    in_actor        VARCHAR(288),
    in_reason       TEXT CHARACTER SET utf8mb4,
    in_keep_lease   BOOLEAN,
    in_call         VARCHAR(32),
    in_answer       VARCHAR(32)
)
    RETURNS BOOLEAN
    COMMENT 'Moves an operation and refreshes its apply.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    CALL _operation_advance(in_apply_id, in_operation_id, in_to_state, in_actor, in_reason, in_keep_lease, in_call, in_answer);
    RETURN TRUE;
END
