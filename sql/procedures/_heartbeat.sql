-- Procedure: _heartbeat
--
-- Renews leases and works out what their driver is told. A deferral that has run out is carried out in between.
-- A token is read with room to spare, here and below: one that is longer must not be cut to a right one.
--
-- in_driver   NULL, or the driver whose last_seen_at moves along
-- out_answer  an array, one element a beat, with its number, held, known (is there such an operation?) and the answer's columns
--
-- Owns its transaction.
CREATE PROCEDURE _heartbeat (IN in_driver VARCHAR(64) CHARACTER SET utf8mb4, IN in_beats JSON, OUT out_answer JSON)
    COMMENT 'Renews leases in one commit.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_longest    BIGINT UNSIGNED;
    DECLARE v_renewed_at DATETIME(6);

    CALL _json_check('beats', in_beats, JSON_SET(_json_shape('beats'), '$.items.properties.progress',
                     JSON_SET(_json_shape('progress'), '$.type', JSON_ARRAY('object', 'null'))));
    -- Only beats that are long enough can hold such a one.
    IF JSON_STORAGE_SIZE(in_beats) > 1048575 THEN
        SELECT MAX(JSON_STORAGE_SIZE(b.checkpoint))
          INTO v_longest
          FROM JSON_TABLE(in_beats, '$[*]' COLUMNS (checkpoint JSON PATH '$.checkpoint')) AS b;
        CALL _checkpoint_check(v_longest);
    END IF;
    CALL _own_transaction();
    CALL _heartbeat_renew(in_driver, in_beats, v_renewed_at);
    CALL _deferrals_end(in_beats);
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        SELECT JSON_ARRAYAGG(JSON_OBJECT('number', beat.number, 'operation_id', beat.operation_id,
                                         -- Numbers: a JSON true is not equal to 1.
                                         'known', IF(o.operation_id IS NULL, 0, 1), 'held', IF(l.operation_id IS NULL, 0, 1),
                                         'state', l.state, 'directive', l.directive, 'throttle_level', a.throttle_level,
                                         'lease_expires_at', l.lease_expires_at,
                                         'revert_seconds_left',
                                         -- NULL also while a swap to come may prolong it.
                                         IF(l.state = 'revert_window',
                                            GREATEST(TIMESTAMPDIFF(MICROSECOND, v_renewed_at,
                                                IF(a.revert_scope = 'apply',
                                                   (SELECT g.window_ends_at FROM _operation_gate AS g WHERE g.operation_id = l.operation_id),
                                                   l.revert_until)) / 1000000, 0), NULL)))
          INTO out_answer
          FROM JSON_TABLE(in_beats, '$[*]' COLUMNS (
                   number       FOR ORDINALITY,
                   operation_id BIGINT UNSIGNED PATH '$.operation_id',
                   lease_token  VARCHAR(64)     PATH '$.lease_token')) AS beat
          LEFT JOIN operation AS o
            ON o.operation_id = beat.operation_id
          LEFT JOIN operation_live AS l
            ON l.operation_id = beat.operation_id
           AND l.lease_token  = beat.lease_token COLLATE utf8mb4_0900_bin
          LEFT JOIN apply AS a
            ON a.apply_id = l.apply_id;
        SET out_answer = COALESCE(out_answer, JSON_ARRAY());
        COMMIT AND NO CHAIN NO RELEASE;
    END;
END
