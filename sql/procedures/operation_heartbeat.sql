-- Procedure: operation_heartbeat
--
-- Renews one lease, stores progress and checkpoint, and says what the driver must obey. Answers state, directive (none, stop,
-- cancel, cutover, revert, skip_revert), throttle_level, lease_expires_at, revert_seconds_left (NULL: no window is open).
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
-- in_progress      NULL leaves it; else an object of phase, rows_copied, rows_total, rows_verified, rows_per_second,
--                  seconds_left, binlog_lag_seconds, throttled_by, tasks (an array of the same by task_id)
-- in_checkpoint    NULL leaves it
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101.
CREATE PROCEDURE operation_heartbeat (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4,
    IN in_progress     JSON,
    IN in_checkpoint   JSON
)
    COMMENT 'Renews one lease; says what the driver must obey.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id     BIGINT UNSIGNED DEFAULT _id(in_operation_id);
    DECLARE v_answer JSON;

    CALL _lease_token_check(in_lease_token);
    -- There is no operation 0.
    CALL _heartbeat(NULL, JSON_ARRAY(JSON_OBJECT('operation_id', COALESCE(v_id, 0),
                                                 'lease_token', in_lease_token,
                                                 'progress', in_progress, 'checkpoint', in_checkpoint)), v_answer);
    IF JSON_EXTRACT(v_answer, '$[0].held') <> 1 THEN
        IF JSON_EXTRACT(v_answer, '$[0].known') <> 1 THEN
            CALL _refuse(50002, CONCAT('operation ', COALESCE(v_id, 'NULL'), ' does not exist; see operation_status'));
        END IF;
        CALL _refuse(50101, CONCAT('lease of operation ', v_id, ' is lost; touch its deployment no more'));
    END IF;

    SELECT b.state, b.directive, b.throttle_level, b.lease_expires_at, b.revert_seconds_left
      FROM JSON_TABLE(v_answer, '$[*]' COLUMNS (
               state               VARCHAR(32)    PATH '$.state',
               directive           VARCHAR(16)    PATH '$.directive',
               throttle_level      BIGINT         PATH '$.throttle_level',
               lease_expires_at    DATETIME(6)    PATH '$.lease_expires_at',
               revert_seconds_left DOUBLE         PATH '$.revert_seconds_left')) AS b;
END
