-- Procedure: _scope_seek
--
-- The oldest claimable operation on some deployments, locked, or NULL: one index seek for each deployment. The deployment
-- with the oldest row is tried first; if others hold all of its rows, the next. It is locked from where an unlocked look has
-- found the oldest: see _operation_claim, which has begun the transaction under READ UNCOMMITTED.
CREATE PROCEDURE _scope_seek (IN in_claim VARCHAR(8), IN in_deployments JSON, OUT out_operation_id BIGINT UNSIGNED)
    COMMENT 'Locks the oldest claimable operation of a scope.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_number     INT UNSIGNED;
    DECLARE v_deployment VARCHAR(64) CHARACTER SET utf8mb4;
    DECLARE v_since      DATETIME(6);
    DECLARE v_oldest     DATETIME(6);
    DECLARE v_first_id   BIGINT UNSIGNED;
    DECLARE v_oldest_id  BIGINT UNSIGNED;
    DECLARE v_apply_id   BIGINT UNSIGNED;
    DECLARE v_choice     INT UNSIGNED;
    DECLARE v_now        DATETIME(6) DEFAULT UTC_TIMESTAMP(6);
    DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;

    choose: LOOP
        SET v_number = 0,
            v_oldest = NULL;
        WHILE v_number < JSON_LENGTH(in_deployments) DO
            SET v_deployment = JSON_UNQUOTE(JSON_EXTRACT(in_deployments, CONCAT('$[', v_number, ']'))),
                v_since      = NULL;
            -- apply_id is no part of the index: so the server checks the range inside it, and reads no row that is not due.
            SELECT l.claimable_at, l.operation_id, l.apply_id
              INTO v_since, v_first_id, v_apply_id
              FROM operation_live AS l FORCE INDEX (operation_live_claim_of_deployment)
             WHERE l.claim         = in_claim
               AND l.deployment    = v_deployment
               AND l.claimable_at <= v_now
             ORDER BY l.claimable_at, l.operation_id
             LIMIT 1;
            IF v_since IS NOT NULL AND (v_oldest IS NULL OR v_since < v_oldest OR (v_since = v_oldest AND v_first_id < v_oldest_id)) THEN
                SET v_oldest    = v_since,
                    v_oldest_id = v_first_id,
                    v_choice    = v_number;
            END IF;
            SET v_number = v_number + 1;
        END WHILE;
        IF v_oldest IS NULL THEN
            LEAVE choose;
        END IF;

        SET v_deployment = JSON_UNQUOTE(JSON_EXTRACT(in_deployments, CONCAT('$[', v_choice, ']')));
        SELECT l.operation_id
          INTO out_operation_id
          FROM operation_live AS l FORCE INDEX (operation_live_claim_of_deployment)
         WHERE l.claim        = in_claim
           AND l.deployment   = v_deployment
           AND l.claimable_at BETWEEN v_oldest AND v_now
         ORDER BY l.claimable_at, l.operation_id
         LIMIT 1
           FOR UPDATE SKIP LOCKED;
        IF out_operation_id IS NOT NULL THEN
            LEAVE choose;
        END IF;
        SET in_deployments = JSON_REMOVE(in_deployments, CONCAT('$[', v_choice, ']'));
    END LOOP;
END
