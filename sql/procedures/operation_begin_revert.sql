-- Procedure: operation_begin_revert
--
-- Starts the swap back, once the heartbeat has said `revert`. Answers state.
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101, 50201.
CREATE PROCEDURE operation_begin_revert (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Starts a swap back that was asked for.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
CALL _report_run(in_operation_id, in_lease_token, 'begin_revert')
