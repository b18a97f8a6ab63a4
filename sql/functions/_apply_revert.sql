-- Function: _apply_revert
--
-- What apply_revert writes, when it has locked its apply and looked for a pending request. Answers the request's id.
-- A function, so that it is one statement: of one that is killed the server undoes all, and no handler of ours would run.
-- Said to be deterministic, which it is not: with the binary log on the server takes no other function that writes.
CREATE FUNCTION _apply_revert (
    in_apply_id   BIGINT UNSIGNED,
    in_request_id BIGINT UNSIGNED,
    in_options    JSON,
    in_reason     MEDIUMTEXT CHARACTER SET utf8mb4
)
    RETURNS BIGINT UNSIGNED
    COMMENT 'What apply_revert writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_open        JSON;
    DECLARE v_deployments JSON;
    DECLARE v_is_some     BOOLEAN;
    DECLARE v_stranger    VARCHAR(64);

    -- A NULL option is the default: merging a patch takes it out.
    SET v_deployments = JSON_EXTRACT(JSON_MERGE_PATCH(JSON_OBJECT(), in_options), '$.deployments'),
        v_is_some     = v_deployments IS NOT NULL;

    SELECT MIN(d.deployment)
      INTO v_stranger
      FROM JSON_TABLE(v_deployments, '$[*]' COLUMNS (deployment VARCHAR(64) PATH '$')) AS d
     WHERE NOT EXISTS (SELECT 1 FROM operation AS o WHERE o.apply_id = in_apply_id AND o.deployment = d.deployment);
    IF v_stranger IS NOT NULL THEN
        CALL _refuse(50501, CONCAT('"', v_stranger, '" is no deployment of apply ', in_apply_id, '; see operation_status'));
    END IF;

    IF in_request_id IS NULL THEN
        CALL _command_refuse_while_pending(in_apply_id, 'revert', 'skip_revert');
        -- One that has run out is closed, though its driver has not settled it yet.
        SELECT JSON_ARRAYAGG(g.deployment)
          INTO v_open
          FROM _operation_gate AS g
         WHERE g.apply_id = in_apply_id
           AND g.is_window_open;
        IF v_open IS NULL THEN
            CALL _refuse(50501, CONCAT('apply ', in_apply_id, ' has no open revert window, or no more; ', _possible(in_apply_id)));
        END IF;
        SET v_deployments = COALESCE(v_deployments, v_open);

        SELECT MIN(d.deployment)
          INTO v_stranger
          FROM JSON_TABLE(v_deployments, '$[*]' COLUMNS (deployment VARCHAR(64) PATH '$')) AS d
         WHERE NOT JSON_CONTAINS(v_open, JSON_QUOTE(d.deployment));
        IF v_stranger IS NOT NULL THEN
            CALL _refuse(50501, CONCAT(v_stranger, ' has no open revert window in apply ', in_apply_id, '; see operation_status'));
        END IF;

        SELECT MAX(l.deployment)
          INTO v_stranger
          FROM operation_live AS l
         WHERE l.apply_id = in_apply_id
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
         WHERE chosen.apply_id = in_apply_id
           AND chosen.state    = 'revert_window'
           AND JSON_CONTAINS(v_deployments, JSON_QUOTE(chosen.deployment));
        IF v_stranger IS NOT NULL THEN
            CALL _refuse(50501, CONCAT(v_stranger, ' swapped later and goes back first; add it, or end its window (apply_skip_revert)'));
        END IF;

        CALL _request_record(in_apply_id, NULL, 'revert', in_options, in_reason, in_request_id);
        UPDATE operation_live AS l FORCE INDEX (operation_live_order)
           SET l.revert_request_id = in_request_id
         WHERE l.apply_id = in_apply_id
           AND l.state    = 'revert_window'
           AND JSON_CONTAINS(v_deployments, JSON_QUOTE(l.deployment));
        CALL _apply_refresh(in_apply_id, USER());
    ELSE
        -- Asked for more than is pending: not a repetition, and what is left out would stay as it is.
        SELECT MIN(g.deployment)
          INTO v_stranger
          FROM _operation_gate AS g
          JOIN operation_live  AS l
            ON l.operation_id = g.operation_id
         WHERE g.apply_id = in_apply_id
           AND g.is_window_open
           AND l.revert_request_id IS NULL
           AND (NOT v_is_some OR JSON_CONTAINS(v_deployments, JSON_QUOTE(g.deployment)));
        IF v_stranger IS NOT NULL THEN
            CALL _refuse(50501, CONCAT('a revert is pending that leaves ', v_stranger, ' out; ask for it when that is done ',
                                       '(see control_request_log)'));
        END IF;
    END IF;
    RETURN in_request_id;
END
