-- Procedure: history_purge
--
-- Removes applies that settled long ago, the oldest first, with all that belongs to them. Answers rows_removed.
-- Call it again until that is 0.
--
-- in_older_than_days  settled at least so many days ago; NULL: the setting event_retention_days
-- in_max_rows         an apply with which it would be more rows than that is left to the next call, unless it is the first of
--                     this one; 1 to 1000000; NULL: 10000
--
-- Owns its transactions, one for each apply. Errors 50001, 50003. Example: CALL history_purge(365, 10000);
CREATE PROCEDURE history_purge (
    IN in_older_than_days LONGTEXT CHARACTER SET utf8mb4,
    IN in_max_rows        LONGTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Removes applies that settled long ago.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_days     BIGINT;
    DECLARE v_max_rows BIGINT DEFAULT 10000;
    DECLARE v_removed  BIGINT DEFAULT 0;
    DECLARE v_rows     BIGINT;
    DECLARE v_apply_id BIGINT UNSIGNED;
    DECLARE v_first_id BIGINT UNSIGNED;
    DECLARE v_last_id  BIGINT UNSIGNED;

    IF in_older_than_days IS NOT NULL AND NOT _is_whole(in_older_than_days, 0, 36500) THEN
        CALL _refuse(50001, CONCAT('"', LEFT(in_older_than_days, 20), '" days refused; pass 0 to 36500'));
    END IF;
    IF in_max_rows IS NOT NULL THEN
        IF NOT _is_whole(in_max_rows, 1, 1000000) THEN
            CALL _refuse(50001, CONCAT('"', LEFT(in_max_rows, 20), '" rows refused; pass 1 to 1000000'));
        END IF;
        SET v_max_rows = in_max_rows;
    END IF;
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        clean: LOOP
            CALL _own_transaction();
            START TRANSACTION READ WRITE;
            SELECT COALESCE(in_older_than_days, s.value) INTO v_days FROM setting AS s WHERE s.name = 'event_retention_days';
            SELECT MIN(a.apply_id)
              INTO v_apply_id
              FROM (SELECT b.apply_id
                      FROM apply AS b
                     WHERE b.finished_at <= UTC_TIMESTAMP(6) - INTERVAL v_days DAY
                     ORDER BY b.finished_at, b.apply_id
                     LIMIT 1) AS a;
            IF v_apply_id IS NULL THEN
                LEAVE clean;
            END IF;
            -- One submit at a time gives the operations of an apply ids without another's between. A join would name no key, as a
            -- session with sql_safe_updates wants it.
            SELECT MIN(o.operation_id), MAX(o.operation_id)
              INTO v_first_id, v_last_id
              FROM operation AS o
             WHERE o.apply_id = v_apply_id;
            SELECT 1 + (SELECT COUNT(*) FROM event           AS e WHERE e.apply_id = v_apply_id)
                     + (SELECT COUNT(*) FROM control_request AS r WHERE r.apply_id = v_apply_id)
                     + (SELECT COUNT(*) FROM task            AS t WHERE t.operation_id BETWEEN v_first_id AND v_last_id)
                     + (SELECT COUNT(*) FROM operation       AS o WHERE o.apply_id = v_apply_id)
              INTO v_rows;
            -- The first one goes whatever its size, or it would never go.
            IF v_removed > 0 AND v_removed + v_rows > v_max_rows THEN
                LEAVE clean;
            END IF;
            DELETE FROM event WHERE apply_id = v_apply_id;
            SET v_removed = v_removed + ROW_COUNT();
            DELETE FROM control_request WHERE apply_id = v_apply_id;
            SET v_removed = v_removed + ROW_COUNT();
            DELETE FROM task WHERE operation_id BETWEEN v_first_id AND v_last_id;
            SET v_removed = v_removed + ROW_COUNT();
            DELETE FROM operation WHERE apply_id = v_apply_id;
            SET v_removed = v_removed + ROW_COUNT();
            DELETE FROM apply WHERE apply_id = v_apply_id;
            SET v_removed = v_removed + ROW_COUNT();
            COMMIT AND NO CHAIN NO RELEASE;
        END LOOP;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_removed AS rows_removed;
END
