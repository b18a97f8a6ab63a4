-- Procedure: operation_tended
--
-- Reports how far a parked operation is caught up, or that this is done. Answers held: 1, or 0 where somebody has taken the
-- operation meanwhile (touch its deployment no more).
--
-- in_operation_id  from operation_tend
-- in_lease_token   from operation_tend
-- in_progress      NULL leaves it; else as in operation_heartbeat
-- in_is_over       1 if it is caught up, 0 if that goes on
--
-- Owns its transaction. Errors 50001, 50003.
CREATE PROCEDURE operation_tended (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4,
    IN in_progress     JSON,
    IN in_is_over      LONGTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Reports how far a parked operation is caught up.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id   BIGINT UNSIGNED DEFAULT _id(in_operation_id);
    DECLARE v_held BOOLEAN DEFAULT FALSE;

    CALL _lease_token_check(in_lease_token);
    IF NOT _is_whole(in_is_over, 0, 1) THEN
        CALL _refuse(50001, CONCAT('is_over of ', COALESCE(LEFT(in_is_over, 20), 'NULL'), ' refused; pass 1 (caught up) or 0 (still at it)'));
    END IF;
    CALL _json_check('progress', in_progress, _json_shape('progress'));
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        -- Without a lock first, as in _lease_enter.
        SELECT COUNT(*)
          INTO v_held
          FROM operation_live AS l
         WHERE l.operation_id = v_id
           AND l.tend_token   = in_lease_token COLLATE utf8mb4_0900_bin;
        UPDATE operation_live AS l
           -- What is NULL in it is left out, as in _heartbeat.
           SET l.progress   = COALESCE(JSON_MERGE_PATCH(JSON_OBJECT(), in_progress), l.progress),
               l.tend_at    = UTC_TIMESTAMP(6) + INTERVAL (SELECT s.value FROM setting AS s WHERE s.name = 'tend_seconds') SECOND,
               l.tend_token = IF(in_is_over, NULL, l.tend_token)
         WHERE l.operation_id = IF(v_held, v_id, NULL)
           AND l.tend_token   = in_lease_token COLLATE utf8mb4_0900_bin;
        SET v_held = ROW_COUNT() > 0;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_held AS held;
END
