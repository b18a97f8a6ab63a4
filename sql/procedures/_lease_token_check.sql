-- Procedure: _lease_token_check
--
-- Refuses an empty token: it is no lost lease but a driver's mistake.
CREATE PROCEDURE _lease_token_check (IN in_lease_token LONGTEXT CHARACTER SET utf8mb4)
    COMMENT 'Refuses an empty token.'
    SQL SECURITY DEFINER
    NO SQL
BEGIN
    IF COALESCE(in_lease_token, '') = '' THEN
        CALL _refuse(50001, 'empty lease token refused; pass the one that came with the operation');
    END IF;
END
