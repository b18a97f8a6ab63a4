-- Function: _move_meaning
--
-- What a move of an operation from one state to another means; '' if it is not legal. The one definition: the trigger
-- operation_live_before_update refuses what this doesn't know, and the rows of operation_transition are made of it. Not looked up
-- there at each move, as that would cost a claim a row and a statement; the most frequent moves stand first.
CREATE FUNCTION _move_meaning (in_from_state VARCHAR(32), in_to_state VARCHAR(32))
    RETURNS VARCHAR(160) CHARACTER SET utf8mb4
    COMMENT 'What a legal move means; empty for any other.'
    DETERMINISTIC
    NO SQL
    SQL SECURITY DEFINER
RETURN CASE CONCAT(in_from_state, ' ', in_to_state)
    WHEN 'pending running'                      THEN 'a copy claim starts it'
    WHEN 'pending stopped'                      THEN 'a DBA stops the apply'
    WHEN 'pending cancelled'                    THEN 'a DBA cancels the apply, or it can never start'
    WHEN 'running waiting_for_cutover'          THEN 'the copy is verified and waits at the barrier'
    WHEN 'running cutting_over'                 THEN 'the copy is verified and swaps under the same lease'
    WHEN 'running failed_retryable'             THEN 'a transient failure'
    WHEN 'running failed'                       THEN 'a permanent failure, or the retry budget is spent'
    WHEN 'running stopped'                      THEN 'its driver obeys a stop'
    WHEN 'running cancelling'                   THEN 'a DBA cancels the apply'
    WHEN 'waiting_for_cutover cutting_over'     THEN 'its turn: a cutover claim, or a directive to who holds it'
    WHEN 'waiting_for_cutover failed_retryable' THEN 'a transient failure while held'
    WHEN 'waiting_for_cutover failed'           THEN 'a permanent failure while held'
    WHEN 'waiting_for_cutover stopped'          THEN 'a DBA stops the apply'
    WHEN 'waiting_for_cutover cancelling'       THEN 'a DBA cancels the apply, or the deferral timed out'
    WHEN 'cutting_over revert_window'           THEN 'swapped; the old table is kept current'
    WHEN 'cutting_over completed'               THEN 'swapped; no revert window'
    WHEN 'cutting_over failed_retryable'        THEN 'the swap is known not to have happened'
    WHEN 'cutting_over failed'                  THEN 'a permanent failure'
    WHEN 'cutting_over stopped'                 THEN 'the swap did not happen and a stop stands'
    WHEN 'cutting_over cancelling'              THEN 'the swap did not happen and a cancel is pending'
    WHEN 'revert_window completed'              THEN 'the window is over, or closed early'
    WHEN 'revert_window reverting'              THEN 'a DBA asked to revert'
    WHEN 'reverting reverted'                   THEN 'swapped back'
    WHEN 'reverting failed'                     THEN 'a permanent failure of the swap back'
    WHEN 'failed_retryable running'             THEN 'a copy claim retries it'
    WHEN 'failed_retryable stopped'             THEN 'a DBA stops the apply'
    WHEN 'failed_retryable cancelling'          THEN 'a DBA cancels the apply'
    WHEN 'stopped pending'                      THEN 'a start; it had not started'
    WHEN 'stopped running'                      THEN 'a copy claim resumes it after a start'
    WHEN 'stopped waiting_for_cutover'          THEN 'a start; it was parked'
    WHEN 'stopped cancelling'                   THEN 'a DBA cancels the apply'
    WHEN 'stopped cancelled'                    THEN 'a DBA cancels the apply; it had not started'
    WHEN 'cancelling cancelled'                 THEN 'its artifacts are gone'
    WHEN 'cancelling failed'                    THEN 'its artifacts cannot be removed'
    ELSE ''
END
