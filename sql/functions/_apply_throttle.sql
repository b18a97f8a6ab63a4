-- Function: _apply_throttle
--
-- What apply_throttle writes, when it has locked its apply and looked for a pending request. Answers the request's id.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
CREATE FUNCTION _apply_throttle (
    in_apply_id   BIGINT UNSIGNED,
    in_request_id BIGINT UNSIGNED,
    in_options    JSON,
    in_reason     MEDIUMTEXT CHARACTER SET utf8mb4
)
    RETURNS BIGINT UNSIGNED
    COMMENT 'What apply_throttle writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_level INT UNSIGNED DEFAULT JSON_EXTRACT(in_options, '$.level');

    CALL _request_record(in_apply_id, NULL, 'throttle', in_options, in_reason, in_request_id);
    UPDATE apply AS a
       SET a.throttle_level = v_level
     WHERE a.apply_id = in_apply_id;
    CALL _request_close(in_request_id, 'done', CONCAT('level ', v_level, '; drivers are told by their next heartbeat'), USER());
    RETURN in_request_id;
END
