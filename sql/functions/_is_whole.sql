-- Function: _is_whole
--
-- Whether a text is a whole number within bounds. For arguments of which 0 is a good value: as an integer parameter 'abc' would
-- be 0 to a session without strict mode, and 1.5 would be 2 to every session. To \z: $ matches before a last line end too.
CREATE FUNCTION _is_whole (in_text LONGTEXT CHARACTER SET utf8mb4, in_minimum BIGINT UNSIGNED, in_maximum BIGINT UNSIGNED)
    RETURNS BOOLEAN
    COMMENT 'Whether a text is a whole number within bounds.'
    DETERMINISTIC
    NO SQL
    SQL SECURITY DEFINER
RETURN IF(REGEXP_LIKE(in_text, '^[0-9]{1,19}\\z'), CAST(in_text AS UNSIGNED) BETWEEN in_minimum AND in_maximum, FALSE)
