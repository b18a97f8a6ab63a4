-- Procedure: _claim_begin_anew
--
-- Lets go of all that a claim has locked, and begins its transaction again as _operation_claim begins it.
--
-- Commits the caller's transaction.
CREATE PROCEDURE _claim_begin_anew ()
    COMMENT 'Begins the transaction of a claim again.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    COMMIT AND NO CHAIN NO RELEASE;
    CALL _own_transaction();
    SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED, READ WRITE;
    START TRANSACTION READ WRITE;
END
