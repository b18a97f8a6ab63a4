-- Procedure: operation_claim_cutover
--
-- Gives a driver the parked operation whose turn to swap it is, and starts its lease; or one to recover, whose driver is gone
-- while it swapped, kept a revert window or swapped back. One row, or none; columns as operation_claim_copy's.
--
-- in_driver  1 to 64 characters, shown to people
-- in_scope   NULL, {"deployments": [...]} or {"labels": {...}}
--
-- Owns its transaction. Errors 50001, 50003. Example: CALL operation_claim_cutover('db7-4711', NULL);
CREATE PROCEDURE operation_claim_cutover (IN in_driver LONGTEXT CHARACTER SET utf8mb4, IN in_scope JSON)
    COMMENT 'Claims an operation for its cutover; one row or none.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
CALL _operation_claim('cutover', in_driver, in_scope)
