-- Procedure: _apply_refresh
--
-- Works out anew, in the transaction in which a sibling has moved: which pending operations can never start, which requests
-- have come to their end, which claim and which directive every operation has, whether the apply is settled. All of it as
-- declared by _operation_gate and _request_outcome.
-- The caller holds the lock of the apply's row. Claims do not take that lock, so each row is written only if it still has the
-- state that the view saw; a claim opens no gate, so nothing is missed. One that takes an operation over meanwhile keeps the
-- state: its lease stays what it is, and its driver gets the directive.
CREATE PROCEDURE _apply_refresh (IN in_apply_id BIGINT UNSIGNED, IN in_actor VARCHAR(288))
    COMMENT 'Stores what the gates declare, after a sibling has moved.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_operation_id BIGINT UNSIGNED;
    DECLARE v_state        VARCHAR(32);
    DECLARE v_reason       VARCHAR(1024);
    DECLARE v_is_leased    BOOLEAN;
    DECLARE v_claim        VARCHAR(8);
    DECLARE v_directive    VARCHAR(16);
    DECLARE v_due_at       DATETIME(6);
    DECLARE v_unsettled    INT UNSIGNED;
    DECLARE v_is_done      BOOLEAN     DEFAULT FALSE;
    DECLARE v_now          DATETIME(6) DEFAULT UTC_TIMESTAMP(6);
    DECLARE c_never_starts CURSOR FOR
        SELECT g.operation_id,
               CONCAT('can never start: ', b.deployment, ' is ', b.state)
          FROM _operation_gate AS g
          JOIN _apply_gate     AS a
            ON a.apply_id = g.apply_id
          JOIN _sibling        AS b
            ON b.apply_id = g.apply_id
           AND b.position = a.for_good_position
         WHERE g.apply_id = in_apply_id
           AND g.state    = 'pending'
           AND g.is_for_good
         ORDER BY g.operation_id;
    DECLARE c_changed CURSOR FOR
        SELECT u.operation_id, u.state, u.lease_token IS NOT NULL, u.declared_claim, u.declared_directive, u.declared_claimable_at
          FROM _operation_unrecorded AS u
         WHERE u.apply_id = in_apply_id
         ORDER BY u.operation_id;
    DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_is_done = TRUE;

    OPEN c_never_starts;
    settle: LOOP
        FETCH c_never_starts INTO v_operation_id, v_reason;
        IF v_is_done THEN
            LEAVE settle;
        END IF;
        -- A claim in flight may have started it meanwhile: look again under the row's lock.
        SELECT l.state INTO v_state FROM operation_live AS l WHERE l.operation_id = v_operation_id FOR UPDATE;
        IF v_state = 'pending' THEN
            CALL _operation_move(v_operation_id, 'cancelled', in_actor, v_reason, FALSE, NULL, NULL);
        END IF;
    END LOOP;
    CLOSE c_never_starts;

    CALL _request_resolve(in_apply_id, in_actor);

    SET v_is_done = FALSE;
    OPEN c_changed;
    record: LOOP
        FETCH c_changed INTO v_operation_id, v_state, v_is_leased, v_claim, v_directive, v_due_at;
        IF v_is_done THEN
            LEAVE record;
        END IF;
        UPDATE operation_live AS l
           SET l.claimable_at = CASE
                                    WHEN v_is_leased OR l.lease_token IS NOT NULL THEN l.claimable_at
                                    WHEN v_claim IS NULL                          THEN NULL
                                    WHEN l.claim <=> v_claim                      THEN l.claimable_at
                                    ELSE GREATEST(COALESCE(v_due_at, v_now), v_now)
                                END,
               l.claim        = IF(v_is_leased OR l.lease_token IS NOT NULL, l.claim, v_claim),
               l.directive    = v_directive
         WHERE l.operation_id = v_operation_id
           AND l.state        = v_state;
    END LOOP;
    CLOSE c_changed;

    SELECT COUNT(*) INTO v_unsettled FROM operation_live AS l WHERE l.apply_id = in_apply_id;
    IF v_unsettled = 0 THEN
        UPDATE apply AS a
           SET a.finished_at = v_now
         WHERE a.apply_id = in_apply_id
           AND a.finished_at IS NULL;
        IF ROW_COUNT() > 0 THEN
            DELETE FROM table_hold WHERE apply_id = in_apply_id;
            CALL _event_record(in_apply_id, NULL, in_actor, 'finished', NULL);
        END IF;
    END IF;
END
