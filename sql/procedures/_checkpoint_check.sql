-- Procedure: _checkpoint_check
--
-- Refuses a checkpoint that is too long to be one; what it holds is the engine's affair.
CREATE PROCEDURE _checkpoint_check (IN in_checkpoint JSON)
    COMMENT 'Refuses a checkpoint that is too long.'
    SQL SECURITY DEFINER
    NO SQL
BEGIN
    IF JSON_STORAGE_SIZE(in_checkpoint) > 1048575 THEN
        CALL _refuse(50001, CONCAT('checkpoint of ', JSON_STORAGE_SIZE(in_checkpoint), ' bytes refused; at most 1 MiB is kept'));
    END IF;
END
