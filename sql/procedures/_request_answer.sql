-- Procedure: _request_answer
--
-- What the caller of a command is told of its request, which a function has answered; read before the commit.
CREATE PROCEDURE _request_answer (IN in_request_id BIGINT UNSIGNED, OUT out_status VARCHAR(16), OUT out_message VARCHAR(1024))
    COMMENT 'What the caller of a command is told.'
    SQL SECURITY DEFINER
    READS SQL DATA
BEGIN
    DECLARE v_kept INT UNSIGNED;

    CALL _function_check(in_request_id IS NOT NULL);
    SELECT r.status,
           COALESCE(r.outcome, CONCAT(r.command, ' has been pending since ', r.requested_at, ', asked by ', r.requested_by,
                                      '; drivers carry it out, control_request_log shows the outcome')),
           IF(r.command = 'cancel', (SELECT COUNT(IF(s.has_swapped AND s.state <> 'reverted', 1, NULL))
                                       FROM _sibling AS s
                                      WHERE s.apply_id = r.apply_id), 0)
      INTO out_status, out_message, v_kept
      FROM control_request AS r
     WHERE r.request_id = in_request_id;

    IF v_kept > 0 THEN
        SET out_message = LEFT(CONCAT(out_message, '; ', 'what has swapped or is swapping stays as it is (', v_kept, ')'), 1024);
    END IF;
END
