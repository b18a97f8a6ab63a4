-- Procedure: _scope_read
--
-- A scope's deployments, for a claim. In a transaction of its own: what labels mean is read as it was committed, which a claim's
-- own would not do, and kept for the next one.
--
-- Owns its transaction.
CREATE PROCEDURE _scope_read (IN in_scope JSON, OUT out_deployments JSON)
    COMMENT 'The deployments of a scope, as committed.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _scope_deployments(in_scope, out_deployments);
        COMMIT AND NO CHAIN NO RELEASE;
    END;
END
