-- Function: _claim_words
--
-- What a claim is for, in words: that of a copy is offered for a clean-up, too, and that of a cutover for all that follows the swap.
-- Said to be not deterministic for the same reason as _gate_sentence: views use it.
CREATE FUNCTION _claim_words (
    in_claim VARCHAR(8)  CHARACTER SET utf8mb4,
    in_state VARCHAR(32) CHARACTER SET utf8mb4
)
    RETURNS VARCHAR(16) CHARACTER SET utf8mb4
    COMMENT 'What a claim is for, in words.'
    NOT DETERMINISTIC
    NO SQL
    SQL SECURITY DEFINER
RETURN CASE in_state
    WHEN 'cancelling'    THEN 'clean-up'
    WHEN 'reverting'     THEN 'way back'
    WHEN 'revert_window' THEN 'revert window'
    ELSE in_claim
END
