-- Procedure: apply_start
--
-- Resumes what a stop has stopped, and makes retries due now. What was stopped while copying, or on hold, is claimable at once,
-- ungated, and goes on from its checkpoint; what never started is pending again, behind its gate; what was parked is parked again.
-- Answers request_id, command, status, message.
--
-- in_apply_id  see apply_status
-- in_reason    for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL apply_start(7, 'the peak is over');
CREATE PROCEDURE apply_start (IN in_apply_id LONGTEXT CHARACTER SET utf8mb4, IN in_reason MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Resumes a stopped apply; makes retries due now.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
CALL _command_run(in_apply_id, 'start', NULL, in_reason)
