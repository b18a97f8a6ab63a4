-- Function: _lease_given_back
--
-- Takes a lease out of its operation's row, logs it, and stores which claim the operation is for now. Answers TRUE.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
--
-- in_…  as _lease_return has them
CREATE FUNCTION _lease_given_back (
    in_apply_id     BIGINT UNSIGNED,
    in_operation_id BIGINT UNSIGNED,
    in_actor        VARCHAR(288),
    in_event        VARCHAR(32),
    in_detail       TEXT CHARACTER SET utf8mb4,
    in_call         VARCHAR(32),
    in_answer       VARCHAR(32)
)
    RETURNS BOOLEAN
    COMMENT 'Ends a lease and refreshes the apply.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    CALL _event_record(in_apply_id, in_operation_id, in_actor, in_event, in_detail);
    CALL _lease_drop(in_operation_id, in_call, in_answer);
    CALL _apply_refresh(in_apply_id, in_actor);
    RETURN TRUE;
END
