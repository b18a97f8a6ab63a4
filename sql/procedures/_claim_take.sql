-- Procedure: _claim_take
--
-- Gives the lease of an operation to who claims it: one statement, with what the trigger logs of it.
--
-- in_token, in_epoch  a larger epoch and another token fence off the former owner: its next call is refused
-- in_state            the state that it has from now on
CREATE PROCEDURE _claim_take (
    IN in_operation_id BIGINT UNSIGNED,
    IN in_driver       VARCHAR(64) CHARACTER SET utf8mb4,
    IN in_token        CHAR(36)    CHARACTER SET utf8mb4,
    IN in_epoch        BIGINT UNSIGNED,
    IN in_state        VARCHAR(32),
    IN in_now          DATETIME(6)
)
    COMMENT 'Gives a lease to who claims it.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
UPDATE operation_live AS l
   SET l.claim              = NULL,
       l.claimable_at       = NULL,
       l.started_at         = COALESCE(l.started_at, in_now),
       l.stopped_from       = NULL,
       l.start_request_id   = NULL,
       l.next_attempt_at    = NULL,
       l.lease_driver       = in_driver,
       l.lease_token        = in_token,
       l.lease_epoch        = in_epoch,
       l.lease_heartbeat_at = in_now,
       l.lease_expires_at   = in_now + INTERVAL l.lease_ttl_seconds SECOND,
       l.lease_check_at     = in_now + INTERVAL l.lease_ttl_seconds SECOND,
       l.tend_at            = NULL,
       l.tend_token         = NULL,
       l.spent_token        = NULL,
       l.move_serial        = l.move_serial + 1,
       l.move_actor         = in_driver,
       l.move_reason        = 'claimed',
       l.state              = in_state
 WHERE l.operation_id = in_operation_id
