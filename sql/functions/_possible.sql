-- Function: _possible
--
-- How a refusal of a command ends: the commands that the apply takes instead.
CREATE FUNCTION _possible (in_apply_id BIGINT UNSIGNED)
    RETURNS VARCHAR(128) CHARACTER SET utf8mb4
    COMMENT 'The commands that an apply takes now.'
    NOT DETERMINISTIC
    READS SQL DATA
    SQL SECURITY DEFINER
RETURN COALESCE((SELECT CONCAT('possible: ', NULLIF(CONCAT_WS(', ',
                                                              MAX(IF(c.command = 'stop',        'apply_stop',        NULL)),
                                                              MAX(IF(c.command = 'start',       'apply_start',       NULL)),
                                                              MAX(IF(c.command = 'cancel',      'apply_cancel',      NULL)),
                                                              MAX(IF(c.command = 'cutover',     'apply_cutover',     NULL)),
                                                              MAX(IF(c.command = 'release',     'apply_release',     NULL)),
                                                              MAX(IF(c.command = 'revert',      'apply_revert',      NULL)),
                                                              MAX(IF(c.command = 'skip_revert', 'apply_skip_revert', NULL))), ''))
                   FROM _apply_command AS c
                  WHERE c.apply_id = in_apply_id
                    AND c.is_taken), 'wait until it is settled')
