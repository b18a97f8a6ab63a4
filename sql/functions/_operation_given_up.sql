-- Function: _operation_given_up
--
-- What deployment_remove writes of an operation that is hopeless, when it has locked it. Answers the state that comes of it.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
--
-- in_state  the operation's, which is under the caller's lock
CREATE FUNCTION _operation_given_up (
    in_apply_id     BIGINT UNSIGNED,
    in_operation_id BIGINT UNSIGNED,
    in_state        VARCHAR(32)
)
    RETURNS VARCHAR(32)
    COMMENT 'What giving an operation up writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    -- In a window the change is in use.
    DECLARE v_to_state VARCHAR(32) DEFAULT IF(in_state = 'revert_window', 'completed', 'failed');

    IF in_state <> 'cancelling' THEN
        CALL _window_close_requests(in_operation_id, 'the deployment is removed', USER());
    END IF;
    CALL _operation_advance(in_apply_id, in_operation_id, v_to_state, USER(),
                            CONCAT('deployment_remove: given up in state ', in_state, ', what was left there stays'), FALSE, NULL, NULL);
    RETURN v_to_state;
END
