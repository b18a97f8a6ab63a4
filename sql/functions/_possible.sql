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
                                                              IF(c.can_stop,        'apply_stop',        NULL),
                                                              IF(c.can_start,       'apply_start',       NULL),
                                                              IF(c.can_cancel,      'apply_cancel',      NULL),
                                                              IF(c.can_cutover,     'apply_cutover',     NULL),
                                                              IF(c.can_release,     'apply_release',     NULL),
                                                              IF(c.can_revert,      'apply_revert',      NULL),
                                                              IF(c.can_skip_revert, 'apply_skip_revert', NULL)), ''))
                   FROM _apply_command AS c
                  WHERE c.apply_id = in_apply_id), 'wait until it is settled')
