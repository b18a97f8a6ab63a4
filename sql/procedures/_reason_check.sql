-- Procedure: _reason_check
--
-- Refuses a DBA's reason that cannot be kept as it is. NULL can.
CREATE PROCEDURE _reason_check (IN in_reason MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Refuses a reason that cannot be kept.'
    SQL SECURITY DEFINER
    NO SQL
BEGIN
    IF CHAR_LENGTH(in_reason) > 1024 THEN
        CALL _refuse(50001, CONCAT('reason of ', CHAR_LENGTH(in_reason), ' characters refused; pass at most 1024'));
    END IF;
    IF NOT _is_text(in_reason, 1024) THEN
        CALL _refuse(50001, 'reason with a control character refused; pass plain text, tabs and line ends at most');
    END IF;
END
