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
    IF NOT REGEXP_LIKE(in_text, '^-?[0-9]+\\z') THEN
        CALL _refuse(50001, CONCAT('id "', LEFT(in_text, 40), '" refused; pass a whole number, as the views show it'));
    END IF;
    IF NOT REGEXP_LIKE(in_text, '^[0-9]{1,19}\\z') THEN
        CALL _refuse(50002, CONCAT('id ', LEFT(in_text, 40), ' does not exist; see apply_status and operation_status'));
    END IF;
    RETURN in_text;
END
