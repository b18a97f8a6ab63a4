-- Procedure: _command_refuse_while_pending
--
-- Refuses a command while one that beats it is pending.
--
-- in_beaten_by  the commands that beat it, separated by commas, e.g. 'stop,cancel'
CREATE PROCEDURE _command_refuse_while_pending (IN in_apply_id BIGINT UNSIGNED, IN in_command VARCHAR(16), IN in_beaten_by VARCHAR(64))
    COMMENT 'Refuses a command while one that beats it is pending.'
    SQL SECURITY DEFINER
    READS SQL DATA
BEGIN
    DECLARE v_pending VARCHAR(16);

    SELECT MIN(r.command)
      INTO v_pending
      FROM control_request AS r
     WHERE r.apply_id = in_apply_id
       AND r.status   = 'pending'
       AND FIND_IN_SET(r.command, in_beaten_by) > 0;

    IF v_pending IS NOT NULL THEN
        CALL _refuse(50501, CONCAT('apply ', in_apply_id, ': a ', v_pending, ' is pending, no ', in_command,
                                   ' beside it; ', _possible(in_apply_id)));
    END IF;
END
