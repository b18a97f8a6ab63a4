-- Procedure: apply_release
--
-- Under on_failure = pause: lets the operations go on that a failed one holds back. It latches: failures of this apply no
-- longer block. Answers request_id, command, status, message.
--
-- in_apply_id  see apply_status
-- in_reason    for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL apply_release(7, 'cell 3 is being rebuilt');
CREATE PROCEDURE apply_release (IN in_apply_id LONGTEXT CHARACTER SET utf8mb4, IN in_reason MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Lets a rollout go on after a failure that paused it.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
CALL _command_run(in_apply_id, 'release', NULL, in_reason)
