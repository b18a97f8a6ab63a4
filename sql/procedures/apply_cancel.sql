-- Procedure: apply_cancel
--
-- Cancels what has not swapped. What never started is `cancelled` when the call returns; what has artifacts is `cancelling`, and
-- drivers remove them; a swap under way finishes; what has swapped stays as it is, and the answer says so.
-- Answers request_id, command, status, message.
--
-- in_apply_id  see apply_status
-- in_reason    for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL apply_cancel(7, 'wrong index');
CREATE PROCEDURE apply_cancel (IN in_apply_id LONGTEXT CHARACTER SET utf8mb4, IN in_reason MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Cancels what has not swapped.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
CALL _command_run(in_apply_id, 'cancel', NULL, in_reason)
