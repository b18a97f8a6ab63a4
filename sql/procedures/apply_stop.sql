-- Procedure: apply_stop
--
-- Stops an apply. What waits or is parked, or copies or is on hold without a driver, is `stopped` when the call returns; a driver
-- that copies, or the one that takes over from it, is told by its next heartbeat; a swap under way finishes; a revert window stays
-- open. Once the call has returned no copy and no swap of the apply starts.
-- A pending cutover ends with it, one of all too, but not the request of one whose swap is under way: ask again after the start.
-- Answers request_id, command, status, message. `CALL apply_start` resumes.
--
-- in_apply_id  see apply_status
-- in_reason    for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL apply_stop(7, 'peak hour');
CREATE PROCEDURE apply_stop (IN in_apply_id LONGTEXT CHARACTER SET utf8mb4, IN in_reason MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Stops an apply; its checkpoints stay.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
CALL _command_run(in_apply_id, 'stop', NULL, in_reason)
