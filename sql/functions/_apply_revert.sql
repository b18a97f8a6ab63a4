-- Function: _apply_revert
--
-- What apply_revert writes, when it has locked its apply and looked for a pending request. Answers the request's id.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
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
    DECLARE v_deployments JSON;
    DECLARE v_is_some     BOOLEAN;
    DECLARE v_chosen      JSON;
    DECLARE v_unknown     VARCHAR(64)  CHARACTER SET utf8mb4;
    DECLARE v_trouble     VARCHAR(160) CHARACTER SET utf8mb4;

    -- A NULL option is the default, all: merging a patch takes it out.
    SET v_deployments = JSON_EXTRACT(JSON_MERGE_PATCH(JSON_OBJECT(), in_options), '$.deployments'),
        v_is_some     = v_deployments IS NOT NULL;

    SELECT MIN(IF(e.deployment IS NULL, d.deployment, NULL)),
           MIN(CONCAT('"', d.deployment, '" is no deployment of apply ', in_apply_id, '; see operation_status'))
      INTO v_unknown, v_trouble
      FROM JSON_TABLE(v_deployments, '$[*]' COLUMNS (deployment VARCHAR(64) PATH '$')) AS d
      LEFT JOIN deployment AS e
        ON e.deployment = d.deployment COLLATE utf8mb4_0900_bin
     WHERE NOT EXISTS (SELECT 1 FROM operation AS o WHERE o.apply_id = in_apply_id AND o.deployment = d.deployment);
    IF v_unknown IS NOT NULL THEN
        CALL _refuse(50002, CONCAT('deployment "', v_unknown, '" does not exist; see deployment_status'));
    ELSEIF v_trouble IS NOT NULL THEN
        CALL _refuse(50501, v_trouble);
    END IF;
    IF in_request_id IS NULL THEN
        CALL _command_check(in_apply_id, 'revert', 'has no open revert window, or no more');
    END IF;

    -- Everybody who is in the way, in order; the first is named. One that has run out is closed, though its driver has not settled it yet.
    WITH chosen AS (
         SELECT s.deployment, s.position, s.state, g.is_window_open, l.revert_request_id,
                IF(v_is_some, JSON_CONTAINS(v_deployments, JSON_QUOTE(s.deployment)), g.is_window_open IS TRUE) AS is_chosen
           FROM _sibling             AS s
           LEFT JOIN operation_live  AS l
             ON l.operation_id = s.operation_id
           LEFT JOIN _operation_gate AS g
             ON g.operation_id = s.operation_id
          WHERE s.apply_id = in_apply_id)
    SELECT JSON_ARRAYAGG(IF(c.is_chosen, c.deployment, NULL)),
           SUBSTRING(MIN(CONCAT(LPAD(c.position, 10, '0'),
               CASE
                   -- Asked for more than is pending: not a repetition, and what is left out would stay as it is.
                   WHEN in_request_id IS NOT NULL THEN
                        IF(c.is_chosen AND c.is_window_open AND c.revert_request_id IS NULL,
                           CONCAT('a revert is pending that leaves ', c.deployment, ' out; ask for it when that is done (see control_request_log)'),
                           NULL)
                   WHEN v_is_some AND c.is_chosen AND c.is_window_open IS NOT TRUE
                   THEN CONCAT(c.deployment, ' has no open revert window in apply ', in_apply_id, '; see operation_status')
                   WHEN v_is_some AND c.state = 'cutting_over'
                   THEN CONCAT(c.deployment, ' swaps just now and goes back first; ask for all, or when it has swapped')
                   WHEN NOT c.is_chosen AND c.state = 'revert_window' AND c.position > earliest.position
                   THEN CONCAT(c.deployment, ' swapped later and goes back first; add it, or end its window (apply_skip_revert)')
               END)), 11)
      INTO v_chosen, v_trouble
      FROM chosen AS c
      JOIN (SELECT MIN(f.position) AS position FROM chosen AS f WHERE f.is_chosen AND f.is_window_open) AS earliest;
    IF v_trouble IS NOT NULL THEN
        CALL _refuse(50501, v_trouble);
    END IF;

    IF in_request_id IS NULL THEN
        CALL _request_record(in_apply_id, NULL, 'revert', in_options, in_reason, in_request_id);
        UPDATE operation_live AS l FORCE INDEX (operation_live_order)
           SET l.revert_request_id = in_request_id
         WHERE l.apply_id = in_apply_id
           AND l.state    = 'revert_window'
           AND JSON_CONTAINS(v_chosen, JSON_QUOTE(l.deployment));
        CALL _apply_refresh(in_apply_id, USER());
    END IF;
    RETURN in_request_id;
END
