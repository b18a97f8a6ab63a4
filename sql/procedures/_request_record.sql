-- Procedure: _request_record
--
-- Stores a command of a DBA as pending, with who asked and why.
CREATE PROCEDURE _request_record (
    IN  in_apply_id     BIGINT UNSIGNED,
    IN  in_operation_id BIGINT UNSIGNED,
    IN  in_command      VARCHAR(16),
    IN  in_options      JSON,
    IN  in_reason       TEXT CHARACTER SET utf8mb4,
    OUT out_request_id  BIGINT UNSIGNED
)
    COMMENT 'Stores a command as pending.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    INSERT INTO control_request (apply_id, operation_id, command, options, status, requested_by, reason, requested_at)
    VALUES (in_apply_id, in_operation_id, in_command, in_options, 'pending', USER(), in_reason, UTC_TIMESTAMP(6));
    SET out_request_id = LAST_INSERT_ID();

    CALL _event_record(in_apply_id, in_operation_id, USER(), 'requested',
                       CONCAT(in_command, COALESCE(CONCAT(': ', in_reason), '')));
END
