-- Procedure: _command_check
--
-- Refuses a command that is not taken now, and names those that are: one that beats it is pending, or it has nothing to act on.
--
-- in_nothing  what is said where it has nothing to act on, behind "apply 7"; NULL: the caller looks into that itself
CREATE PROCEDURE _command_check (IN in_apply_id BIGINT UNSIGNED, IN in_command VARCHAR(16), IN in_nothing VARCHAR(80))
    COMMENT 'Refuses a command that is not taken now.'
    SQL SECURITY DEFINER
    READS SQL DATA
BEGIN
    DECLARE v_operations INT UNSIGNED;
    DECLARE v_beaten_by  VARCHAR(16);

    SELECT c.operations, c.beaten_by
      INTO v_operations, v_beaten_by
      FROM _apply_command AS c
     WHERE c.apply_id = in_apply_id
       AND c.command  = in_command;
    IF v_beaten_by IS NOT NULL THEN
        CALL _refuse(50501, CONCAT('apply ', in_apply_id, ': a ', v_beaten_by, ' is pending, no ', in_command,
                                   ' beside it; ', _possible(in_apply_id)));
    ELSEIF in_nothing IS NOT NULL AND v_operations = 0 THEN
        CALL _refuse(50501, CONCAT('apply ', in_apply_id, ' ', in_nothing, '; ', _possible(in_apply_id)));
    END IF;
END
