-- Function: _apply_release
--
-- What apply_release writes, when it has locked its apply and looked for a pending request. Answers the request's id.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
CREATE FUNCTION _apply_release (
    in_apply_id   BIGINT UNSIGNED,
    in_request_id BIGINT UNSIGNED,
    in_reason     MEDIUMTEXT CHARACTER SET utf8mb4
)
    RETURNS BIGINT UNSIGNED
    COMMENT 'What apply_release writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_held_back INT UNSIGNED;

    CALL _command_check(in_apply_id, 'release', 'has nothing to release');
    SELECT c.operations INTO v_held_back FROM _apply_command AS c WHERE c.apply_id = in_apply_id AND c.command = 'release';

    CALL _request_record(in_apply_id, NULL, 'release', NULL, in_reason, in_request_id);
    UPDATE apply AS a
       SET a.is_released = TRUE
     WHERE a.apply_id = in_apply_id;
    CALL _request_close(in_request_id, 'done', CONCAT('released; ', v_held_back, ' operations are no longer held back'), USER());
    CALL _apply_refresh(in_apply_id, USER());
    RETURN in_request_id;
END
