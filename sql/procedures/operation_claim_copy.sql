-- Procedure: operation_claim_copy
--
-- Gives a driver the operation that has waited longest for its copy, and starts its lease: one to start, to retry or to resume;
-- or one to recover, whose driver is gone while it copied, held at the barrier, or cleaned up. One row, or none.
-- Answers operation_id, apply_id, position, deployment, host, port, schema_name, previous_state, state, lease_token,
-- lease_epoch, lease_ttl_seconds, attempt, checkpoint, tasks, options.
--
-- in_driver  1 to 64 characters, shown to people
-- in_scope   NULL, {"deployments": [...]} or {"labels": {...}}
--
-- Owns its transaction. Errors 50001, 50003. Example: CALL operation_claim_copy('db7-4711', NULL);
CREATE PROCEDURE operation_claim_copy (IN in_driver LONGTEXT CHARACTER SET utf8mb4, IN in_scope JSON)
    COMMENT 'Claims an operation for its copy; one row or none.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
CALL _operation_claim('copy', in_driver, in_scope)
