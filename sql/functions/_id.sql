-- Function: _id
--
-- The id that a caller passes. As an integer parameter '55abc' would be 55 to a session without strict mode, 1.5 would be 2 to
-- every session, and the largest ids would be refused by the server with a number that means nothing here.
CREATE FUNCTION _id (in_text LONGTEXT CHARACTER SET utf8mb4)
    RETURNS BIGINT UNSIGNED
    COMMENT 'The id that a caller passes, or a refusal.'
    DETERMINISTIC
    NO SQL
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_message VARCHAR(128) CHARACTER SET utf8mb4;

    IF NOT REGEXP_LIKE(in_text, '^-?[0-9]+\\z') THEN
        -- A message ends at a NUL: see _refuse.
        SET v_message = CONCAT('id "', REGEXP_REPLACE(LEFT(in_text, 40), '[\\x00-\\x1f\\x7f]', '?'),
                               '" refused; pass a whole number, as the views show it');
        SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 50001, MESSAGE_TEXT = v_message;
    END IF;
    IF NOT REGEXP_LIKE(in_text, '^[0-9]{1,19}\\z') THEN
        SET v_message = CONCAT('id ', LEFT(in_text, 40), ' does not exist; see apply_status and operation_status');
        SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 50002, MESSAGE_TEXT = v_message;
    END IF;
    RETURN in_text;
END
