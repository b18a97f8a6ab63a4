-- Procedure: apply_throttle
--
-- Slows the copies of an apply down, while they run. Answers request_id, command, status, message.
--
-- in_apply_id  see apply_status
-- in_level     0 full speed … 10 paused
-- in_reason    for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL apply_throttle(7, 10, 'peak hour');
CREATE PROCEDURE apply_throttle (
    IN in_apply_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_level    LONGTEXT   CHARACTER SET utf8mb4,
    IN in_reason   MEDIUMTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Slows the copies of an apply down, 0 to 10.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    IF NOT _is_whole(in_level, 0, 10) THEN
        CALL _refuse(50001, CONCAT('level ', COALESCE(LEFT(in_level, 20), 'NULL'), ' refused; pass 0 (full speed) to 10 (paused)'));
    END IF;
    CALL _command_run(in_apply_id, 'throttle', JSON_OBJECT('level', CAST(in_level AS UNSIGNED)), in_reason);
END
