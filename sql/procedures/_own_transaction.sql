-- Procedure: _own_transaction
--
-- Prepares the next START TRANSACTION: READ COMMITTED, whatever the session has set. Inside a caller's transaction the
-- server refuses that (1568), and so do we. Callers call it outside the block whose handler rolls back, so that the
-- caller's work stays as it was.
CREATE PROCEDURE _own_transaction ()
    COMMENT 'Refuses a caller with an open transaction.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE EXIT HANDLER FOR 1568
        CALL _refuse(50003, 'a transaction is open in this session; COMMIT or ROLLBACK it, then call again');

    SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
END
