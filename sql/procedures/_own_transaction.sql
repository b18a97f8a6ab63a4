-- Procedure: _own_transaction
--
-- Prepares the next START TRANSACTION: READ COMMITTED, whatever the session has set. Inside a caller's transaction the
-- server refuses that (1568), and so do we. Callers call it outside the block whose handler rolls back, so that the
-- caller's work stays as it was, and when their arguments are checked: what was prepared would outlive a call that is killed.
-- A killed call runs no handler, so its transaction stays open: nobody but the caller knows what else is in it by now.
-- Refuses a session that has a clock of its own, too: leases and windows would begin and end by it. Under the server's option
-- --sysdate-is-now nothing can tell the two clocks apart.
CREATE PROCEDURE _own_transaction ()
    COMMENT 'Refuses an open transaction, and a foreign clock.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE EXIT HANDLER FOR 1568
        CALL _refuse(50003, 'a transaction is open in this session; COMMIT it, or ROLLBACK what an interrupted call has left, then call again');

    -- SYSDATE does not follow SET timestamp. Some seconds: the server may lose the processor in between; no lease is as short.
    -- Before the transaction is prepared, so that nothing is left behind for the caller's next one.
    IF ABS(TIMESTAMPDIFF(SECOND, NOW(6), SYSDATE(6))) >= 3 THEN
        CALL _refuse(50001, CONCAT('timestamp of this session is ', UTC_TIMESTAMP(), ' UTC; only the server''s clock counts; ',
                                   'SET timestamp = DEFAULT and call again'));
    END IF;

    SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
END
