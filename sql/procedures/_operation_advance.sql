-- Procedure: _operation_advance
--
-- The one move that a call makes, with what it means for the siblings. The caller holds the apply's row, and is a function, so that all
-- of it is one statement; what is none has _operation_step.
--
-- in_…  as _operation_move has them
CREATE PROCEDURE _operation_advance (
    IN in_apply_id     BIGINT UNSIGNED,
    IN in_operation_id BIGINT UNSIGNED,
    IN in_to_state     VARCHAR(32),
    IN in_actor        VARCHAR(288),
    IN in_reason       TEXT CHARACTER SET utf8mb4,
    IN in_keep_lease   BOOLEAN,
    IN in_call         VARCHAR(32),
    IN in_answer       VARCHAR(32)
)
    COMMENT 'The one move that a call makes.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    CALL _operation_move(in_operation_id, in_to_state, in_actor, in_reason, in_keep_lease, in_call, in_answer);
    CALL _apply_refresh(in_apply_id, in_actor);
END
