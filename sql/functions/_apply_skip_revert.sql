-- Function: _apply_skip_revert
--
-- What apply_skip_revert writes, when it has locked its apply and looked for a pending request. Answers the request's id.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
CREATE FUNCTION _apply_skip_revert (
    in_apply_id   BIGINT UNSIGNED,
    in_request_id BIGINT UNSIGNED,
    in_reason     MEDIUMTEXT CHARACTER SET utf8mb4
)
    RETURNS BIGINT UNSIGNED
    COMMENT 'What apply_skip_revert writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    IF in_request_id IS NULL THEN
        CALL _command_check(in_apply_id, 'skip_revert', 'has no open revert window, or no more');

        CALL _request_record(in_apply_id, NULL, 'skip_revert', NULL, in_reason, in_request_id);
    END IF;
    -- Also where it is asked for again: another may have swapped since.
    UPDATE operation_live AS l FORCE INDEX (operation_live_order)
       SET l.skip_request_id = in_request_id
     WHERE l.apply_id = in_apply_id
       AND l.state    = 'revert_window';
    CALL _apply_refresh(in_apply_id, USER());
    RETURN in_request_id;
END
