-- Procedure: apply_skip_revert
--
-- Ends the open revert windows of an apply early and keeps the change. Answers request_id, command, status, message.
--
-- in_apply_id  see apply_status
-- in_reason    for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL apply_skip_revert(7, 'all is well');
CREATE PROCEDURE apply_skip_revert (IN in_apply_id LONGTEXT CHARACTER SET utf8mb4, IN in_reason MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Ends open revert windows early; the change stays.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
CALL _command_run(in_apply_id, 'skip_revert', NULL, in_reason)
