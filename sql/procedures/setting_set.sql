-- Procedure: setting_set
--
-- Changes a setting. Answers name, value. A lease's length holds from its next heartbeat on; a call that is interrupted may have
-- handed it on to some applies only, and is repeated.
--
-- in_name   lease_ttl_seconds, poll_seconds, retry_limit, retry_wait_limit_seconds, tend_seconds, event_retention_days,
--           driver_silent_seconds
-- in_value  a whole number within the setting's bounds
--
-- Owns its transaction. Errors 50001, 50003. Example: CALL setting_set('lease_ttl_seconds', 120);
CREATE PROCEDURE setting_set (IN in_name LONGTEXT CHARACTER SET utf8mb4, IN in_value LONGTEXT CHARACTER SET utf8mb4)
    COMMENT 'Changes a setting.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_minimum  BIGINT UNSIGNED;
    DECLARE v_maximum  BIGINT UNSIGNED;
    DECLARE v_apply_id BIGINT UNSIGNED;
    DECLARE v_locked   BIGINT UNSIGNED;
    DECLARE v_length   INT UNSIGNED;

    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        -- A submit in flight has read the former length, and stores it.
        CALL _intake_lock();
        SELECT MAX(s.minimum_value), MAX(s.maximum_value) INTO v_minimum, v_maximum FROM setting AS s WHERE s.name = in_name;
        IF v_minimum IS NULL THEN
            CALL _refuse(50001, CONCAT('setting "', COALESCE(LEFT(in_name, 40), 'NULL'), '" is not known; setting_status lists those that are'));
        END IF;
        IF NOT _is_whole(in_value, v_minimum, v_maximum) THEN
            CALL _refuse(50001, CONCAT(in_name, ' of "', COALESCE(LEFT(in_value, 20), 'NULL'), '" refused; pass ', v_minimum, ' to ',
                                       v_maximum));
        END IF;
        UPDATE setting AS s
           SET s.value = in_value
         WHERE s.name = in_name;
        -- Claims and heartbeats read it from the operation's own row; a shorter lease has to be looked at sooner. Whoever moves an
        -- operation writes its siblings in any order under the lock of their apply, which comes first here too. One apply
        -- at a time, and a commit for each: it may wait for one, and the others are not to wait for that. Whoever submits from
        -- now on reads the new length.
        IF in_name = 'lease_ttl_seconds' THEN
            hand_on: LOOP
                COMMIT AND NO CHAIN NO RELEASE;
                CALL _own_transaction();
                START TRANSACTION READ WRITE;
                SELECT MIN(a.apply_id)
                  INTO v_apply_id
                  FROM apply AS a
                 WHERE a.finished_at IS NULL
                   AND a.apply_id > COALESCE(v_apply_id, 0);
                IF v_apply_id IS NULL THEN
                    LEAVE hand_on;
                END IF;
                SELECT COUNT(*)
                  INTO v_locked
                  FROM (SELECT a.apply_id FROM apply AS a WHERE a.apply_id = v_apply_id FOR UPDATE) AS locked;
                -- Another call may have changed it meanwhile: the last one holds.
                SELECT s.value INTO v_length FROM setting AS s WHERE s.name = in_name;
                UPDATE operation_live AS l FORCE INDEX (operation_live_order)
                   SET l.lease_ttl_seconds = v_length,
                       l.lease_check_at    = LEAST(l.lease_check_at, UTC_TIMESTAMP(6) + INTERVAL v_length SECOND)
                 WHERE l.apply_id           = v_apply_id
                   AND l.lease_ttl_seconds <> v_length
                 ORDER BY l.operation_id;
            END LOOP;
        END IF;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT in_name AS name, CAST(in_value AS UNSIGNED) AS value;
END
