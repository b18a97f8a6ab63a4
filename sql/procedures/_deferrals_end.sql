-- Procedure: _deferrals_end
--
-- Carries out the deferrals that have run out, of the operations that a driver beats for.
--
-- Owns its transactions.
CREATE PROCEDURE _deferrals_end (IN in_beats JSON)
    COMMENT 'Carries out deferrals that have run out.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_operation_id BIGINT UNSIGNED DEFAULT 0;
    DECLARE EXIT HANDLER FOR SQLEXCEPTION
    BEGIN
        ROLLBACK AND NO CHAIN NO RELEASE;
        RESIGNAL;
    END;

    defer: LOOP
        -- Reading too takes a transaction of its own: with autocommit off it would begin one that nobody ends.
        CALL _own_transaction();
        START TRANSACTION READ WRITE;
        SELECT MIN(l.operation_id)
          INTO v_operation_id
          FROM JSON_TABLE(in_beats, '$[*]' COLUMNS (
                   operation_id BIGINT UNSIGNED PATH '$.operation_id',
                   lease_token  VARCHAR(64)     PATH '$.lease_token')) AS beat
          JOIN operation_live AS l
            ON l.operation_id = beat.operation_id
           AND l.lease_token  = beat.lease_token COLLATE utf8mb4_0900_bin
          JOIN _deferral AS d
            ON d.operation_id = l.operation_id
           AND d.is_over
         WHERE l.operation_id > v_operation_id;
        COMMIT AND NO CHAIN NO RELEASE;
        IF v_operation_id IS NULL THEN
            LEAVE defer;
        END IF;
        -- Nobody opened the gate in time. It needs the apply's row, which comes before the operations' in the lock order.
        CALL _defer_timeout(v_operation_id);
    END LOOP;
END
