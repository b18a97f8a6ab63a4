-- Procedure: operation_begin_cutover
--
-- Starts the swap of an operation on hold, once its heartbeat has said `cutover`. Refused, naming the blocker, while the
-- gate is shut. Answers state.
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101, 50201.
CREATE PROCEDURE operation_begin_cutover (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Starts the swap of an operation on hold.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
CALL _report_run(in_operation_id, in_lease_token, 'begin_cutover')
