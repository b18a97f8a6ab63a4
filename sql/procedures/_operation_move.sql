-- Procedure: _operation_move
--
-- Moves one operation to another state and clears what only the former state meant; the triggers refuse an illegal move and
-- log a legal one. A terminal state settles the operation: its row leaves operation_live for good.
-- The caller holds the lock of the apply's row, has set what the new state needs (next_attempt_at, revert_until, error), and
-- calls _apply_refresh after its last move.
--
-- in_keep_lease  TRUE where the driver goes on working; else its token is spent, and remembered with the call it was spent
--                on and the answer, so that the same call asked again is answered alike
CREATE PROCEDURE _operation_move (
    IN in_operation_id BIGINT UNSIGNED,
    IN in_to_state     VARCHAR(32),
    IN in_actor        VARCHAR(288),
    IN in_reason       TEXT CHARACTER SET utf8mb4,
    IN in_keep_lease   BOOLEAN,
    IN in_call         VARCHAR(32),
    IN in_answer       VARCHAR(32)
)
    COMMENT 'Moves one operation to another state.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_now     DATETIME(6) DEFAULT UTC_TIMESTAMP(6);
    DECLARE v_settled BOOLEAN     DEFAULT in_to_state IN ('completed', 'failed', 'cancelled', 'reverted');

    -- The lease ends first: no state without a driver allows one.
    IF NOT in_keep_lease THEN
        CALL _lease_drop(in_operation_id, in_call, in_answer);
    END IF;

    -- Assignments take effect from left to right: state is read before it is written.
    UPDATE operation_live AS l
       SET l.stopped_from       = CASE
                                      WHEN in_to_state <> 'stopped'                               THEN NULL
                                      WHEN l.state = 'pending'                                    THEN 'pending'
                                      WHEN l.state = 'waiting_for_cutover' AND NOT l.is_held      THEN 'parked'
                                      ELSE 'running'
                                  END,
           l.is_held            = in_to_state = 'waiting_for_cutover' AND in_keep_lease,
           l.held_at            = IF(l.is_held, v_now, NULL),
           l.claim              = NULL,
           l.claimable_at       = NULL,
           -- A kept lease that ran out before is to be found again: a claim has offered the operation in its former state.
           l.lease_check_at     = LEAST(l.lease_check_at, l.lease_expires_at),
           l.start_request_id   = NULL,
           -- A clean-up, a window and a way back each have a budget of their own.
           l.attempt            = IF(in_to_state IN ('cancelling', 'revert_window', 'reverting'), 0, l.attempt),
           l.directive          = 'none',
           -- What it waited for was of its former state.
           l.progress           = JSON_REMOVE(l.progress, '$.throttled_by'),
           l.tend_token         = NULL,
           l.tend_at            = IF(in_to_state = 'waiting_for_cutover' AND NOT in_keep_lease,
                                     (SELECT v_now + INTERVAL s.value SECOND FROM setting AS s WHERE s.name = 'tend_seconds'), NULL),
           l.next_attempt_at    = IF(in_to_state = 'failed_retryable', l.next_attempt_at, NULL),
           l.completed_at       = IF(v_settled, v_now, NULL),
           l.move_serial        = l.move_serial + 1,
           l.move_actor         = in_actor,
           l.move_reason        = LEFT(in_reason, 1024),
           l.state              = in_to_state
     WHERE l.operation_id = in_operation_id;

    IF v_settled THEN
        UPDATE operation      AS o
          JOIN operation_live AS l
            ON l.operation_id = o.operation_id
           SET o.state        = l.state,
               o.started_at   = l.started_at,
               o.completed_at = l.completed_at,
               o.attempt      = l.attempt,
               o.error        = l.error,
               o.progress     = l.progress,
               o.driver       = l.last_driver,
               o.lease_epoch  = l.lease_epoch,
               o.spent_token  = l.spent_token,
               o.spent_call   = l.spent_call
         WHERE o.operation_id = in_operation_id;

        DELETE FROM operation_live
         WHERE operation_id = in_operation_id;
    END IF;
END
