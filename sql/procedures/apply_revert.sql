-- Procedure: apply_revert
--
-- Swaps back while revert windows are open: the last swapped first, one after the other; no write is lost. While it is
-- pending no further swap of the apply starts. Answers request_id, command, status, message.
--
-- in_apply_id  see apply_status
-- in_options   NULL: all with an open window, and a swap under way as soon as it has one; or {"deployments": [...]}; one that
--              swapped later must be among them
-- in_reason    for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL apply_revert(7, NULL, 'slower plans');
CREATE PROCEDURE apply_revert (IN in_apply_id LONGTEXT CHARACTER SET utf8mb4, IN in_options JSON, IN in_reason MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Swaps back while revert windows are open.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    CALL _json_check('option', in_options, _json_shape('revert_options'));
    CALL _command_run(in_apply_id, 'revert', in_options, in_reason);
END
