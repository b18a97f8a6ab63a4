-- Procedure: _request_answer
--
-- What the caller of a command is told of its request, which a function has answered; read before the commit.
CREATE PROCEDURE _request_answer (IN in_request_id BIGINT UNSIGNED, OUT out_status VARCHAR(16), OUT out_message VARCHAR(1024))
    COMMENT 'What the caller of a command is told.'
    SQL SECURITY DEFINER
    READS SQL DATA
BEGIN
    DECLARE v_kept INT UNSIGNED;
    DECLARE v_what VARCHAR(64) CHARACTER SET utf8mb4;
    DECLARE v_note VARCHAR(96) CHARACTER SET utf8mb4;

    CALL _function_check(in_request_id IS NOT NULL);
    SELECT r.status,
           COALESCE(r.outcome, CONCAT(r.command, ' has been pending since ', r.requested_at, ', asked by ', r.requested_by,
                                      '; drivers carry it out, control_request_log shows the outcome')),
           CASE r.command
               WHEN 'cancel' THEN 'what has swapped or is swapping stays as it is'
               WHEN 'revert' THEN 'what has completed keeps the change'
           END,
           CASE
               -- Asked again while its swap is under way: see _apply_cutover.
               WHEN r.command = 'cutover' AND r.status <> 'pending' THEN 'the swap that it let begin is under way'
               WHEN r.command = 'stop' AND EXISTS (SELECT 1
                                                     FROM control_request AS c
                                                    WHERE c.apply_id    = r.apply_id
                                                      AND c.command     = 'cutover'
                                                      AND c.request_id  < r.request_id
                                                      AND c.outcome     = 'superseded by stop'
                                                      AND c.resolved_at = r.requested_at)
               THEN 'the cutover that was pending has ended with it, ask again after the start'
           END,
           (SELECT COUNT(IF(s.has_swapped AND (s.state = 'completed' OR (r.command = 'cancel' AND s.state <> 'reverted')), 1, NULL))
              FROM _sibling AS s
             WHERE s.apply_id = r.apply_id)
      INTO out_status, out_message, v_what, v_note, v_kept
      FROM control_request AS r
     WHERE r.request_id = in_request_id;

    IF v_kept > 0 AND v_what IS NOT NULL THEN
        SET out_message = LEFT(CONCAT(out_message, '; ', v_what, ' (', v_kept, ')'), 1024);
    END IF;
    IF v_note IS NOT NULL THEN
        SET out_message = LEFT(CONCAT(out_message, '; ', v_note), 1024);
    END IF;
END
