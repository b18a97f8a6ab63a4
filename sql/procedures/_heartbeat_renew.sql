-- Procedure: _heartbeat_renew
--
-- Renews leases, one statement and one commit for all of them. Whoever reports a move holds its apply's row and then writes siblings in
-- any order, so beats never wait for a row while they hold another: what is locked just now is passed over and renewed by itself,
-- a row a commit.
--
-- in_driver       NULL, or the driver whose last_seen_at moves along
-- out_renewed_at  when the last of them was renewed
--
-- Owns its transaction, which the caller has prepared: see _own_transaction.
CREATE PROCEDURE _heartbeat_renew (IN in_driver VARCHAR(64) CHARACTER SET utf8mb4, IN in_beats JSON, OUT out_renewed_at DATETIME(6))
    COMMENT 'Renews leases in one commit.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_begun_at       DATETIME(6) DEFAULT UTC_TIMESTAMP(6);
    DECLARE v_passed_over_id BIGINT UNSIGNED;
    DECLARE v_locked         INT UNSIGNED;
    DECLARE v_lost           INT UNSIGNED;
    DECLARE v_beats          JSON DEFAULT in_beats;
    DECLARE EXIT HANDLER FOR SQLEXCEPTION
    BEGIN
        ROLLBACK AND NO CHAIN NO RELEASE;
        RESIGNAL;
    END;

    SET out_renewed_at = v_begun_at;
    START TRANSACTION READ WRITE;
    -- A token that is lost locks nothing: see _lease_enter.
    SELECT COUNT(*)
      INTO v_lost
      FROM JSON_TABLE(in_beats, '$[*]' COLUMNS (
               operation_id BIGINT UNSIGNED PATH '$.operation_id',
               lease_token  VARCHAR(64)     PATH '$.lease_token')) AS beat
      LEFT JOIN operation_live AS l
        ON l.operation_id = beat.operation_id
       AND l.lease_token  = beat.lease_token COLLATE utf8mb4_0900_bin
     WHERE l.operation_id IS NULL;
    IF v_lost > 0 THEN
        SELECT COALESCE(JSON_ARRAYAGG(beat.whole), JSON_ARRAY())
          INTO v_beats
          FROM JSON_TABLE(in_beats, '$[*]' COLUMNS (
                   whole        JSON            PATH '$',
                   operation_id BIGINT UNSIGNED PATH '$.operation_id',
                   lease_token  VARCHAR(64)     PATH '$.lease_token')) AS beat
          JOIN operation_live AS l
            ON l.operation_id = beat.operation_id
           AND l.lease_token  = beat.lease_token COLLATE utf8mb4_0900_bin;
    END IF;
    renew: LOOP
        -- The first round, nearly always the only one, renews all that nobody has locked just now; each later one renews the
        -- one row that it has waited for.
        -- LIMIT: else the server merges the derived table, and its SKIP LOCKED with it. By primary key in any case: a scan,
        -- which suits the server for a few rows, would wait for rows that are not meant.
        UPDATE (SELECT b.operation_id, b.progress, b.checkpoint
                  FROM JSON_TABLE(v_beats, '$[*]' COLUMNS (
                           operation_id BIGINT UNSIGNED PATH '$.operation_id',
                           lease_token  VARCHAR(64)     PATH '$.lease_token',
                           progress     JSON            PATH '$.progress',
                           checkpoint   JSON            PATH '$.checkpoint')) AS b
                  STRAIGHT_JOIN operation_live AS f FORCE INDEX (PRIMARY)
                    ON f.operation_id = b.operation_id
                   AND f.lease_token  = b.lease_token COLLATE utf8mb4_0900_bin
                 WHERE f.operation_id = COALESCE(v_passed_over_id, f.operation_id)
                 LIMIT 1000000
                   FOR UPDATE OF f SKIP LOCKED) AS beat
          STRAIGHT_JOIN operation_live AS l FORCE INDEX (PRIMARY)
            ON l.operation_id = beat.operation_id
           SET l.lease_heartbeat_at = out_renewed_at,
               l.lease_expires_at   = out_renewed_at + INTERVAL l.lease_ttl_seconds SECOND,
               l.claim              = NULL,
               l.claimable_at       = NULL,
               -- What is NULL in it is left out: the views read nothing there.
               l.progress           = IF(JSON_TYPE(beat.progress)   <> 'NULL', JSON_MERGE_PATCH(JSON_OBJECT(), beat.progress),
                                         l.progress),
               l.checkpoint         = IF(JSON_TYPE(beat.checkpoint) <> 'NULL', beat.checkpoint, l.checkpoint);
        IF in_driver IS NOT NULL AND v_passed_over_id IS NULL THEN
            UPDATE (SELECT s.driver FROM driver AS s WHERE s.driver = in_driver LIMIT 1 FOR UPDATE SKIP LOCKED) AS seen
              STRAIGHT_JOIN driver AS d FORCE INDEX (PRIMARY)
                ON d.driver = seen.driver
               SET d.last_seen_at = out_renewed_at;
        END IF;
        SELECT MIN(l.operation_id)
          INTO v_passed_over_id
          FROM JSON_TABLE(in_beats, '$[*]' COLUMNS (
                   operation_id BIGINT UNSIGNED PATH '$.operation_id',
                   lease_token  VARCHAR(64)     PATH '$.lease_token')) AS beat
          JOIN operation_live AS l
            ON l.operation_id        = beat.operation_id
           AND l.lease_token         = beat.lease_token COLLATE utf8mb4_0900_bin
         -- In the order of their ids; what the first round has renewed has its time.
         WHERE l.operation_id        > COALESCE(v_passed_over_id, 0)
           AND l.lease_heartbeat_at <> v_begun_at;
        COMMIT AND NO CHAIN NO RELEASE;
        IF v_passed_over_id IS NULL THEN
            LEAVE renew;
        END IF;

        -- Some are left: wait for the first of them, with no other row held.
        CALL _own_transaction();
        START TRANSACTION READ WRITE;
        SELECT COUNT(*)
          INTO v_locked
          FROM (SELECT l.operation_id FROM operation_live AS l WHERE l.operation_id = v_passed_over_id FOR UPDATE) AS locked;
        -- That may have taken long; a lease lasts from when it is renewed.
        SET out_renewed_at = UTC_TIMESTAMP(6);
    END LOOP;
END
