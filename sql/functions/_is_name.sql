-- Function: _is_name
--
-- Whether a text can name a thing: 1 to in_most characters, none of them a control character, not only spaces.
CREATE FUNCTION _is_name (in_text LONGTEXT CHARACTER SET utf8mb4, in_most INT UNSIGNED)
    RETURNS BOOLEAN
    COMMENT 'Whether a text can name a thing.'
    DETERMINISTIC
    NO SQL
    SQL SECURITY DEFINER
RETURN (    CHAR_LENGTH(in_text) BETWEEN 1 AND in_most
        AND TRIM(in_text) <> ''
        AND NOT REGEXP_LIKE(in_text, '[\\x00-\\x1f\\x7f]')) IS TRUE
