-- Function: _operation_failed
--
-- What operation_fail writes, when it has locked its operation. Answers the state that comes of it.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
--
-- in_state  the operation's, which is under the caller's lock
CREATE FUNCTION _operation_failed (
    in_apply_id     BIGINT UNSIGNED,
    in_operation_id BIGINT UNSIGNED,
    in_driver       VARCHAR(64),
    in_state        VARCHAR(32),
    in_message      TEXT CHARACTER SET utf8mb4,
    in_retryable    BOOLEAN
)
    RETURNS VARCHAR(32)
    COMMENT 'What operation_fail writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_attempt      INT UNSIGNED;
    DECLARE v_retry_limit  INT UNSIGNED;
    DECLARE v_is_stopped   BOOLEAN;
    DECLARE v_is_cancelled BOOLEAN;
    DECLARE v_to_state     VARCHAR(32);
    DECLARE v_next_at      DATETIME(6);

    SELECT l.attempt + 1, a.is_stopped, g.cancel_request_id IS NOT NULL
      INTO v_attempt, v_is_stopped, v_is_cancelled
      FROM operation_live AS l
      JOIN apply          AS a
        ON a.apply_id = l.apply_id
      LEFT JOIN _apply_gate AS g
        ON g.apply_id = l.apply_id
     WHERE l.operation_id = in_operation_id;
    SELECT MAX(IF(s.name = 'retry_limit', s.value, NULL)),
           UTC_TIMESTAMP(6) + INTERVAL _retry_wait_seconds(
               v_attempt, MAX(IF(s.name = 'retry_wait_limit_seconds', s.value, NULL))) SECOND
      INTO v_retry_limit, v_next_at
      FROM setting AS s;
    SET v_to_state = CASE
                         WHEN in_state IN ('cancelling', 'revert_window', 'reverting') AND in_retryable THEN in_state
                         WHEN in_state IN ('cancelling', 'reverting')                                   THEN 'failed'
                         WHEN in_state = 'revert_window'                                                THEN 'completed'
                         WHEN NOT in_retryable                                                          THEN 'failed'
                         WHEN v_is_cancelled                                                            THEN 'cancelling'
                         WHEN v_attempt > v_retry_limit                                                 THEN 'failed'
                         WHEN v_is_stopped                                                              THEN 'stopped'
                         ELSE 'failed_retryable'
                     END;
    UPDATE operation_live AS l
       SET l.attempt         = v_attempt,
           l.error           = in_message,
           l.next_attempt_at = v_next_at
     WHERE l.operation_id = in_operation_id;
    IF in_state IN ('revert_window', 'reverting') AND v_to_state <> in_state THEN
        CALL _window_close_requests(in_operation_id, in_message, in_driver);
    END IF;
    IF v_to_state = in_state THEN
        CALL _lease_return(in_apply_id, in_operation_id, in_driver, 'failed_for_now', in_message, 'fail', v_to_state);
    ELSE
        CALL _operation_advance(in_apply_id, in_operation_id, v_to_state, in_driver, in_message, FALSE, 'fail', v_to_state);
    END IF;
    RETURN v_to_state;
END
