-- Procedure: _driver_check
--
-- Refuses a driver's name that is none.
CREATE PROCEDURE _driver_check (IN in_driver LONGTEXT CHARACTER SET utf8mb4)
    COMMENT 'Refuses a name of a driver that is none.'
    SQL SECURITY DEFINER
    NO SQL
BEGIN
    IF NOT _is_name(in_driver, 64) THEN
        CALL _refuse(50001, CONCAT('driver name "', COALESCE(LEFT(in_driver, 40), 'NULL'), '" refused; pass 1 to 64 characters, no control character'));
    END IF;
END
