-- Procedure: _function_check
--
-- Refuses to go on where a function of ours has answered nothing: in a session that has used it before, the server takes it for
-- NULL while an upgrade replaces it.
CREATE PROCEDURE _function_check (IN in_has_answered BOOLEAN)
    COMMENT 'Refuses to go on without a function.'
    SQL SECURITY DEFINER
    NO SQL
BEGIN
    IF NOT in_has_answered THEN
        SIGNAL SQLSTATE '42000'
           SET MYSQL_ERRNO  = 1305,
               MESSAGE_TEXT = 'a function is missing, an upgrade replaces it; call again, or run lockkeeper doctor';
    END IF;
END
