-- Procedure: apply_cutover
--
-- Under defer_cutover: opens the cutover gate, for the one operation whose turn it is (one request, one swap), or with
-- {"all": true} for all of them, in order. Refused for one that was on hold for longer than defer_timeout_seconds, and with all
-- while there is such a one. Answers request_id, command, status, message and operation_id, the one it is bound to (NULL with
-- all).
--
-- in_apply_id  see apply_status
-- in_options   NULL, or {"all": true}
-- in_reason    for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL apply_cutover(7, NULL, 'quiet now');
CREATE PROCEDURE apply_cutover (IN in_apply_id LONGTEXT CHARACTER SET utf8mb4, IN in_options JSON, IN in_reason MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Opens the cutover gate of a deferred apply.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    CALL _json_check('option', in_options, _json_shape('cutover_options'));
    CALL _command_run(in_apply_id, 'cutover', in_options, in_reason);
END
