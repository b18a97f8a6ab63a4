-- Procedure: operation_reverted
--
-- Reports the swap back: the application writes to the old table again. Answers state.
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101, 50201.
CREATE PROCEDURE operation_reverted (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Reports a swap back.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
CALL _report_run(in_operation_id, in_lease_token, 'reverted')
