-- Trigger: operation_before_insert
--
-- Nobody replaces an operation that there is: a REPLACE takes the row away and inserts another, and no trigger sees an update.
CREATE TRIGGER operation_before_insert
BEFORE INSERT ON operation
FOR EACH ROW
BEGIN
    DECLARE v_operation_id BIGINT UNSIGNED;
    DECLARE v_message      VARCHAR(128);

    -- By each key that a REPLACE would find it by.
    SELECT COALESCE((SELECT o.operation_id FROM operation AS o WHERE o.operation_id = NEW.operation_id),
                    (SELECT o.operation_id FROM operation AS o WHERE o.apply_id = NEW.apply_id AND o.position   = NEW.position),
                    (SELECT o.operation_id FROM operation AS o WHERE o.apply_id = NEW.apply_id AND o.deployment = NEW.deployment))
      INTO v_operation_id;
    IF v_operation_id IS NOT NULL THEN
        SET v_message = CONCAT('operation ', v_operation_id, ' is there already; it cannot begin anew (see operation_status)');
        SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 50201, MESSAGE_TEXT = v_message;
    END IF;
END
