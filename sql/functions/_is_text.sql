-- Function: _is_text
--
-- Whether a text for people can be kept: at most in_most characters, and no control character but tabs and line ends, which a
-- terminal or a log would not show as they are. NULL can.
CREATE FUNCTION _is_text (in_text LONGTEXT CHARACTER SET utf8mb4, in_most INT UNSIGNED)
    RETURNS BOOLEAN
    COMMENT 'Whether a text for people can be kept.'
    DETERMINISTIC
    NO SQL
    SQL SECURITY DEFINER
RETURN IF(CHAR_LENGTH(in_text) > in_most, FALSE,
          COALESCE(NOT REGEXP_LIKE(in_text, '[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f]'), TRUE))
