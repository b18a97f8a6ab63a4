-- Procedure: _beats_check
--
-- Refuses beats that hold a checkpoint too long to be one. Called only for beats that are long enough to hold such a one.
CREATE PROCEDURE _beats_check (IN in_beats JSON)
    COMMENT 'Refuses beats with a checkpoint that is too long.'
    SQL SECURITY DEFINER
    NO SQL
BEGIN
    DECLARE v_longest BIGINT UNSIGNED;

    SELECT MAX(JSON_STORAGE_SIZE(b.checkpoint))
      INTO v_longest
      FROM JSON_TABLE(in_beats, '$[*]' COLUMNS (checkpoint JSON PATH '$.checkpoint')) AS b;
    IF v_longest > 1048575 THEN
        CALL _refuse(50001, CONCAT('checkpoint of ', v_longest, ' bytes refused; at most 1 MiB is kept'));
    END IF;
END
