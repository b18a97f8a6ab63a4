-- Procedure: _name_check
--
-- Refuses a text that names nothing.
--
-- in_what  what it is to name
-- in_most  so many characters
CREATE PROCEDURE _name_check (
    IN in_what VARCHAR(32) CHARACTER SET utf8mb4,
    IN in_text LONGTEXT CHARACTER SET utf8mb4,
    IN in_most INT UNSIGNED
)
    COMMENT 'Refuses a text that names nothing.'
    SQL SECURITY DEFINER
    NO SQL
BEGIN
    IF NOT _is_name(in_text, in_most) THEN
        CALL _refuse(50001, CONCAT(in_what, ' "', COALESCE(LEFT(in_text, 30), 'NULL'), '" refused; pass 1 to ', in_most,
                                   ' characters, not only spaces, no control character'));
    END IF;
END
