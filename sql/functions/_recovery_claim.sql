-- Function: _recovery_claim
--
-- Which of the two claims recovers an operation whose driver is gone: 'copy' or 'cutover'; NULL where no driver is needed.
-- At the barrier only an operation on hold has a lease to lose; a parked one has none.
-- Said to be not deterministic for the same reason as _gate_sentence: views use it.
CREATE FUNCTION _recovery_claim (in_state VARCHAR(32))
    RETURNS VARCHAR(8) CHARACTER SET utf8mb4
    COMMENT 'Which claim recovers an operation in this state.'
    NOT DETERMINISTIC
    NO SQL
    SQL SECURITY DEFINER
RETURN CASE
    WHEN in_state IN ('running', 'cancelling', 'waiting_for_cutover')   THEN 'copy'
    WHEN in_state IN ('cutting_over', 'revert_window', 'reverting')     THEN 'cutover'
END
