-- Procedure: _scope_seek
--
-- The oldest claimable operation on some deployments, locked, or NULL: one index seek for each deployment. The deployment
-- with the oldest row is tried first; if others hold all of its rows, the next. It is locked where an unlocked look has found
-- it: see _operation_claim, which has begun the transaction under READ UNCOMMITTED.
--
-- out_is_passed  whether others hold one that was seen
CREATE PROCEDURE _scope_seek (
    IN  in_claim         VARCHAR(8),
    IN  in_deployments   JSON,
    OUT out_operation_id BIGINT UNSIGNED,
    OUT out_is_passed    BOOLEAN
)
    COMMENT 'Locks the oldest claimable operation of a scope.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_number     INT UNSIGNED;
    DECLARE v_deployment VARCHAR(64) CHARACTER SET utf8mb4;
    DECLARE v_chosen     VARCHAR(64) CHARACTER SET utf8mb4;
    DECLARE v_since      DATETIME(6);
    DECLARE v_oldest     DATETIME(6);
    DECLARE v_first_id   BIGINT UNSIGNED;
    DECLARE v_chosen_id  BIGINT UNSIGNED;
    DECLARE v_choice     INT UNSIGNED;
    DECLARE v_now        DATETIME(6) DEFAULT UTC_TIMESTAMP(6);
    -- Somebody else may have locked what was seen.
    DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;

    SET out_is_passed = FALSE;
    choose: LOOP
        SET v_number = 0,
            v_oldest = NULL;
        WHILE v_number < JSON_LENGTH(in_deployments) DO
            SET v_deployment = JSON_UNQUOTE(JSON_EXTRACT(in_deployments, CONCAT('$[', v_number, ']')));
            -- As in _operation_claim: one dive into the index.
            SELECT MIN(l.claimable_at)
              INTO v_since
              FROM operation_live AS l FORCE INDEX (operation_live_claim_of_deployment)
             WHERE l.claim         = in_claim
               AND l.deployment    = v_deployment
               AND l.claimable_at <= v_now;
            -- The operations of one apply often become claimable together: the one that was submitted first goes first.
            IF v_since = v_oldest THEN
                IF v_chosen_id IS NULL THEN
                    SELECT MIN(l.operation_id)
                      INTO v_chosen_id
                      FROM operation_live AS l FORCE INDEX (operation_live_claim_of_deployment)
                     WHERE l.claim        = in_claim
                       AND l.deployment   = v_chosen
                       AND l.claimable_at = v_oldest;
                END IF;
                SELECT MIN(l.operation_id)
                  INTO v_first_id
                  FROM operation_live AS l FORCE INDEX (operation_live_claim_of_deployment)
                 WHERE l.claim        = in_claim
                   AND l.deployment   = v_deployment
                   AND l.claimable_at = v_oldest;
                IF v_first_id < v_chosen_id THEN
                    SET v_chosen_id = v_first_id,
                        v_chosen    = v_deployment,
                        v_choice    = v_number;
                END IF;
            ELSEIF v_oldest IS NULL OR v_since < v_oldest THEN
                SET v_oldest    = v_since,
                    v_chosen_id = NULL,
                    v_chosen    = v_deployment,
                    v_choice    = v_number;
            END IF;
            SET v_number = v_number + 1;
        END WHILE;
        IF v_oldest IS NULL THEN
            LEAVE choose;
        END IF;

        WHILE v_oldest IS NOT NULL DO
            SELECT l.operation_id
              INTO out_operation_id
              FROM operation_live AS l FORCE INDEX (operation_live_claim_of_deployment)
             WHERE l.claim        = in_claim
               AND l.deployment   = v_chosen
               AND l.claimable_at = v_oldest
             ORDER BY l.operation_id
             LIMIT 1
               FOR UPDATE SKIP LOCKED;
            IF out_operation_id IS NOT NULL THEN
                LEAVE choose;
            END IF;
            SET out_is_passed = TRUE;
            SELECT MIN(l.claimable_at)
              INTO v_oldest
              FROM operation_live AS l FORCE INDEX (operation_live_claim_of_deployment)
             WHERE l.claim         = in_claim
               AND l.deployment    = v_chosen
               AND l.claimable_at  > v_oldest
               AND l.claimable_at <= v_now;
        END WHILE;
        SET in_deployments = JSON_REMOVE(in_deployments, CONCAT('$[', v_choice, ']'));
    END LOOP;
END
