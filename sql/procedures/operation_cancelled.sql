-- Procedure: operation_cancelled
--
-- Reports that the artifacts of a cancelled operation are gone. Answers state.
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101, 50201.
CREATE PROCEDURE operation_cancelled (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Reports that cancelled artifacts are gone.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
CALL _report_run(in_operation_id, in_lease_token, 'cancelled')
