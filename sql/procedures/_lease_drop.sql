-- Procedure: _lease_drop
--
-- Takes the lease out of the operation's row, if it has one, and remembers the token as spent on in_call with in_answer. No more
-- than that: the caller moves the operation, or gives it back (_lease_return).
CREATE PROCEDURE _lease_drop (IN in_operation_id BIGINT UNSIGNED, IN in_call VARCHAR(32), IN in_answer VARCHAR(32))
    COMMENT 'Takes the lease out of an operation''s row.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
UPDATE operation_live AS l
   SET l.spent_token        = l.lease_token,
       l.spent_call         = in_call,
       l.spent_answer       = in_answer,
       l.last_driver        = l.lease_driver,
       l.lease_driver       = NULL,
       l.lease_token        = NULL,
       l.lease_heartbeat_at = NULL,
       l.lease_expires_at   = NULL,
       l.lease_check_at     = NULL,
       l.claim              = NULL,
       l.claimable_at       = NULL
 WHERE l.operation_id = in_operation_id
   AND l.lease_token IS NOT NULL
