-- Procedure: _lease_sweep
--
-- Makes operations claimable whose lease ran out. Only leased rows are looked at, and each of them once a lease's length, when
-- lease_check_at comes: heartbeats do not move that, so that their index stays small. The lease itself stays as it
-- is until somebody claims the operation; a heartbeat that comes before takes the operation out of the claims again.
-- Claims look without a lock first whether there is any: nearly always there is none.
-- A few at a time, the longest ago first: where thousands run out at once, as when a large driver is killed, claims that each
-- went through all of them would mostly pass rows that another one holds.
--
-- in_from    where that look has found the first
-- out_swept  how many were looked at; where it is not 0, more may be left
--
-- Inside the caller's transaction, which holds no lock before; commits and begins it anew if there was anything to store, as
-- _operation_claim begins it.
CREATE PROCEDURE _lease_sweep (IN in_from DATETIME(6), OUT out_swept INT UNSIGNED)
    COMMENT 'Makes operations claimable whose lease ran out.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_operation_id BIGINT UNSIGNED;
    DECLARE v_check_at     DATETIME(6) DEFAULT in_from;
    DECLARE v_now          DATETIME(6) DEFAULT UTC_TIMESTAMP(6);
    DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;

    SET out_swept = 0;
    sweep: WHILE out_swept < 4 AND v_check_at IS NOT NULL DO
        -- By =, as in _operation_claim.
        SET v_operation_id = NULL;
        SELECT l.operation_id
          INTO v_operation_id
          FROM operation_live AS l FORCE INDEX (operation_live_lease_check)
         WHERE l.lease_check_at = v_check_at
         LIMIT 1
           FOR UPDATE SKIP LOCKED;
        IF v_operation_id IS NULL THEN
            SELECT MIN(l.lease_check_at)
              INTO v_check_at
              FROM operation_live AS l FORCE INDEX (operation_live_lease_check)
             WHERE l.lease_check_at  > v_check_at
               AND l.lease_check_at <= v_now;
            ITERATE sweep;
        END IF;

        -- Two statements. A look without a lock (see _operation_claim) sees the row's own columns change before their indexes do: in
        -- one, it could be out of the one queue and not yet in the other for whoever looks at that moment.
        UPDATE operation_live AS l
           SET l.claimable_at = IF(l.lease_expires_at <= v_now, l.lease_expires_at, NULL),
               l.claim        = IF(l.lease_expires_at <= v_now, _recovery_claim(l.state), NULL)
         WHERE l.operation_id = v_operation_id;
        UPDATE operation_live AS l
           SET l.lease_check_at = IF(l.lease_expires_at <= v_now, v_now + INTERVAL l.lease_ttl_seconds SECOND, l.lease_expires_at)
         WHERE l.operation_id = v_operation_id;
        SET out_swept = out_swept + 1;
    END WHILE;

    IF out_swept > 0 THEN
        CALL _claim_begin_anew();
    END IF;
END
