-- Function: _gate_sentence
--
-- Why a gate is shut, in one sentence; NULL if it is open. The one wording, for views and refusals alike.
-- Said to be not deterministic, though it is: the server pushes no condition into a view through such a function. Where it does,
-- it reads the name anew in the session's default schema, and a session that has another one, or none, gets 1305 or 1046.
--
-- in_gate        'copy' or 'cutover'; NULL for a clean-up or a way back, which waits for its time only
-- in_cause       as in _operation_gate, or 'later': not due either, and no start is taken
-- in_deployment  the blocker's deployment, and in_state its state; NULL where the cause has no blocker
CREATE FUNCTION _gate_sentence (
    in_gate       VARCHAR(8)  CHARACTER SET utf8mb4,
    in_cause      VARCHAR(16) CHARACTER SET utf8mb4,
    in_deployment VARCHAR(64) CHARACTER SET utf8mb4,
    in_state      VARCHAR(32) CHARACTER SET utf8mb4
)
    RETURNS VARCHAR(255) CHARACTER SET utf8mb4
    COMMENT 'Why a gate is shut, in one sentence.'
    NOT DETERMINISTIC
    NO SQL
    SQL SECURITY DEFINER
RETURN CASE in_cause
    WHEN 'cancel'     THEN 'The apply is being cancelled.'
    WHEN 'stop'       THEN 'The apply is stopped or stopping; apply_start resumes it.'
    WHEN 'revert'     THEN CONCAT('The cutover waits for the revert of ', in_deployment, ', which is in state ', in_state, '.')
    WHEN 'order'      THEN CONCAT('The ', in_gate, ' waits for ', in_deployment, ', which comes earlier and is in state ', in_state, '.')
    WHEN 'all_parked' THEN CONCAT('The first swap waits until all have parked; ', in_deployment, ' is in state ', in_state, '.')
    WHEN 'max_copies' THEN CONCAT('max_copies is reached; ', in_deployment, ' is in state ', in_state, '.')
    WHEN 'defer'      THEN 'The cutover is deferred by hand; apply_cutover opens it.'
    WHEN 'not_due'    THEN 'The next attempt is not due yet; apply_start makes it due now.'
    WHEN 'later'      THEN 'The next attempt is not due yet.'
END
