-- Procedure: _request_supersede
--
-- Makes the pending requests that a stop or a cancel beats moot. A swap under way finishes, though, and with it the request
-- for that one swap.
--
-- in_by  the command that beats them
CREATE PROCEDURE _request_supersede (IN in_apply_id BIGINT UNSIGNED, IN in_by VARCHAR(16))
    COMMENT 'Makes beaten requests moot.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_request_id BIGINT UNSIGNED;

    supersede: LOOP
        SELECT MIN(r.request_id)
          INTO v_request_id
          FROM control_request AS r
          JOIN _command_rule   AS rule
            ON rule.command = r.command
           AND FIND_IN_SET(in_by, rule.beaten_by) > 0
         WHERE r.apply_id = in_apply_id
           AND r.status   = 'pending'
           -- IS NOT TRUE, not NOT: a request for all swaps has no operation, and is beaten while one of them is under way too.
           AND (r.operation_id IN (SELECT s.operation_id
                                     FROM _sibling AS s
                                    WHERE s.apply_id = in_apply_id
                                      AND s.state    = 'cutting_over')) IS NOT TRUE;
        IF v_request_id IS NULL THEN
            LEAVE supersede;
        END IF;
        CALL _request_close(v_request_id, 'moot', CONCAT('superseded by ', in_by), USER());
    END LOOP;
END
