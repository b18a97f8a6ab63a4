-- Procedure: _checkpoint_check
--
-- Refuses a checkpoint that is too long to be one; what it holds is the engine's affair.
--
-- in_bytes  its JSON_STORAGE_SIZE, NULL without a checkpoint
CREATE PROCEDURE _checkpoint_check (IN in_bytes BIGINT UNSIGNED)
    COMMENT 'Refuses a checkpoint that is too long.'
    SQL SECURITY DEFINER
    NO SQL
BEGIN
    IF in_bytes > 1048575 THEN
        CALL _refuse(50001, CONCAT('checkpoint of ', in_bytes, ' bytes refused; at most 1 MiB is kept'));
    END IF;
END
