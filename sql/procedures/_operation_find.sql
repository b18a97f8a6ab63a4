-- Procedure: _operation_find
--
-- The apply of an operation, settled or not; refuses one that there is not.
CREATE PROCEDURE _operation_find (IN in_operation_id BIGINT UNSIGNED, OUT out_apply_id BIGINT UNSIGNED)
    COMMENT 'The apply of an operation.'
    SQL SECURITY DEFINER
    READS SQL DATA
BEGIN
    SELECT MAX(o.apply_id) INTO out_apply_id FROM operation AS o WHERE o.operation_id = in_operation_id;
    IF out_apply_id IS NULL THEN
        CALL _refuse(50002, CONCAT('operation ', COALESCE(in_operation_id, 'NULL'), ' does not exist; see operation_status'));
    END IF;
END
