-- Procedure: operation_complete
--
-- Closes the revert window, once it is over or a skip_revert came: the change stays. Answers state.
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101, 50201.
CREATE PROCEDURE operation_complete (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Closes a revert window; the change stays.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
CALL _report_run(in_operation_id, in_lease_token, 'complete')
