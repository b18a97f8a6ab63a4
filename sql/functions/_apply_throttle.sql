-- Function: _apply_throttle
--
-- What apply_throttle writes, when it has locked its apply and looked for a pending request. Answers the request's id.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
CREATE FUNCTION _apply_throttle (
    in_apply_id   BIGINT UNSIGNED,
    in_request_id BIGINT UNSIGNED,
    in_level      INT UNSIGNED,
    in_reason     MEDIUMTEXT CHARACTER SET utf8mb4
)
    RETURNS BIGINT UNSIGNED
    COMMENT 'What apply_throttle writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    CALL _request_record(in_apply_id, NULL, 'throttle', JSON_OBJECT('level', in_level), in_reason, in_request_id);
    UPDATE apply AS a
       SET a.throttle_level = in_level
     WHERE a.apply_id = in_apply_id;
    CALL _request_close(in_request_id, 'done', CONCAT('level ', in_level, '; drivers are told by their next heartbeat'), USER());
    RETURN in_request_id;
END
