-- Procedure: apply_revert
--
-- Swaps back while revert windows are open: the last swapped first, one after the other; no write is lost. While it is
-- pending no further swap of the apply starts. Answers request_id, command, status, message.
--
-- in_apply_id  see apply_status
-- in_options   NULL: all with an open window, and a swap under way as soon as it has one; or {"deployments": [...]}; one that
--              swapped later must be among them
-- in_reason    for those who read the log; may be NULL
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL apply_revert(7, NULL, 'slower plans');
CREATE PROCEDURE apply_revert (IN in_apply_id LONGTEXT CHARACTER SET utf8mb4, IN in_options JSON, IN in_reason MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Swaps back while revert windows are open.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id          BIGINT UNSIGNED DEFAULT _id(in_apply_id);
    DECLARE v_request_id  BIGINT UNSIGNED;
    DECLARE v_open        JSON;
    DECLARE v_deployments JSON;
    DECLARE v_is_some     BOOLEAN;
    DECLARE v_stranger    VARCHAR(64);
    DECLARE v_status      VARCHAR(16);
    DECLARE v_message     VARCHAR(1024);

    CALL _json_check('option', in_options, _json_shape('revert_options'));
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _command_enter(v_id, 'revert', in_reason, v_request_id);
        -- A NULL option is the default: merging a patch takes it out.
        SET v_deployments = JSON_EXTRACT(JSON_MERGE_PATCH(JSON_OBJECT(), in_options), '$.deployments'),
            v_is_some     = v_deployments IS NOT NULL;

        IF v_request_id IS NULL THEN
            CALL _command_refuse_while_pending(v_id, 'revert', 'skip_revert');
            -- One that has run out is closed, though its driver has not settled it yet.
            SELECT JSON_ARRAYAGG(g.deployment)
              INTO v_open
              FROM _operation_gate AS g
             WHERE g.apply_id = v_id
               AND g.is_window_open;
            IF v_open IS NULL THEN
                CALL _refuse(50501, CONCAT('apply ', v_id, ' has no open revert window; possible: apply_stop, apply_cancel, ',
                                           'or submit the reverse change'));
            END IF;
            SET v_deployments = COALESCE(v_deployments, v_open);

            SELECT MIN(d.deployment)
              INTO v_stranger
              FROM JSON_TABLE(v_deployments, '$[*]' COLUMNS (deployment VARCHAR(64) PATH '$')) AS d
             WHERE NOT JSON_CONTAINS(v_open, JSON_QUOTE(d.deployment));
            IF v_stranger IS NOT NULL THEN
                CALL _refuse(50501, CONCAT(v_stranger, ' has no open revert window in apply ', v_id, '; see operation_status'));
            END IF;

            SELECT MAX(l.deployment)
              INTO v_stranger
              FROM operation_live AS l
             WHERE l.apply_id = v_id
               AND l.state    = 'cutting_over';
            IF v_is_some AND v_stranger IS NOT NULL THEN
                CALL _refuse(50501, CONCAT(v_stranger, ' swaps just now and goes back first; ask for all, or when it has swapped'));
            END IF;

            SELECT MAX(later.deployment)
              INTO v_stranger
              FROM operation_live AS chosen
              JOIN operation_live AS later
                ON later.apply_id = chosen.apply_id
               AND later.position > chosen.position
               AND later.state    = 'revert_window'
               AND NOT JSON_CONTAINS(v_deployments, JSON_QUOTE(later.deployment))
             WHERE chosen.apply_id = v_id
               AND chosen.state    = 'revert_window'
               AND JSON_CONTAINS(v_deployments, JSON_QUOTE(chosen.deployment));
            IF v_stranger IS NOT NULL THEN
                CALL _refuse(50501, CONCAT(v_stranger, ' swapped later and goes back first; add it, or end its window (apply_skip_revert)'));
            END IF;

            CALL _request_record(v_id, NULL, 'revert', in_options, in_reason, v_request_id);
            UPDATE operation_live AS l
               SET l.revert_request_id = v_request_id
             WHERE l.apply_id = v_id
               AND l.state    = 'revert_window'
               AND JSON_CONTAINS(v_deployments, JSON_QUOTE(l.deployment));
            CALL _apply_refresh(v_id, USER());
        ELSE
            -- Asked for more than is pending: not a repetition, and what is left out would stay as it is.
            SELECT MIN(g.deployment)
              INTO v_stranger
              FROM _operation_gate AS g
              JOIN operation_live  AS l
                ON l.operation_id = g.operation_id
             WHERE g.apply_id = v_id
               AND g.is_window_open
               AND l.revert_request_id IS NULL
               AND (NOT v_is_some OR JSON_CONTAINS(v_deployments, JSON_QUOTE(g.deployment)));
            IF v_stranger IS NOT NULL THEN
                CALL _refuse(50501, CONCAT('a revert is pending that leaves ', v_stranger, ' out; ask for it when that is done ',
                                           '(see control_request_log)'));
            END IF;
        END IF;
        CALL _request_answer(v_request_id, v_status, v_message);

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_request_id AS request_id, 'revert' AS command, v_status AS status, v_message AS message;
END
