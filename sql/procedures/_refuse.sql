-- Procedure: _refuse
--
-- Ends the call with a numbered refusal. The server allows a message 128 characters, and ends it at a NUL: a longer one names
-- what is possible in short, or ends in an ellipsis, and a control character of what is refused is shown as '?'.
CREATE PROCEDURE _refuse (IN in_error_code INT UNSIGNED, IN in_message MEDIUMTEXT CHARACTER SET utf8mb4)
    COMMENT 'Ends the call with a numbered refusal.'
    SQL SECURITY DEFINER
    NO SQL
BEGIN
    DECLARE v_message VARCHAR(128) CHARACTER SET utf8mb4;

    IF CHAR_LENGTH(in_message) > 128 AND LOCATE('; possible: ', in_message) > 0 THEN
        SET in_message = CONCAT(SUBSTRING_INDEX(in_message, '; possible: ', 1), '; possible: ',
                                REPLACE(SUBSTRING_INDEX(in_message, '; possible: ', -1), 'apply_', ''));
    END IF;
    SET v_message = REGEXP_REPLACE(
        IF(CHAR_LENGTH(in_message) > 128, CONCAT(LEFT(in_message, 127), '…'), in_message), '[\\x00-\\x1f\\x7f]', '?');
    SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = in_error_code, MESSAGE_TEXT = v_message;
END
