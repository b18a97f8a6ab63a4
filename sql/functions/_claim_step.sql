-- Function: _claim_step
--
-- What a claim under its apply's lock writes: the lease, and what that means for the siblings. Answers TRUE.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
--
-- in_…  as _claim_take has them
CREATE FUNCTION _claim_step (
    in_apply_id     BIGINT UNSIGNED,
    in_operation_id BIGINT UNSIGNED,
    in_driver       VARCHAR(64) CHARACTER SET utf8mb4,
    in_token        CHAR(36)    CHARACTER SET utf8mb4,
    in_epoch        BIGINT UNSIGNED,
    in_state        VARCHAR(32),
    in_now          DATETIME(6)
)
    RETURNS BOOLEAN
    COMMENT 'Gives a lease and refreshes the apply.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    CALL _claim_take(in_operation_id, in_driver, in_token, in_epoch, in_state, in_now);
    CALL _apply_refresh(in_apply_id, in_driver);
    RETURN TRUE;
END
