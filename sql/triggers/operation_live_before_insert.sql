-- Trigger: operation_live_before_insert
--
-- An operation begins as pending, and once only: nobody brings a settled one back to life, nor replaces one that lives.
CREATE TRIGGER operation_live_before_insert
BEFORE INSERT ON operation_live
FOR EACH ROW
BEGIN
    DECLARE v_former_state VARCHAR(32);
    DECLARE v_message       VARCHAR(128);

    SELECT MAX(o.state)
      INTO v_former_state
      FROM operation AS o
     WHERE o.operation_id = NEW.operation_id;

    -- By each key that a REPLACE would find it by.
    SELECT COALESCE(v_former_state,
                    (SELECT l.state FROM operation_live AS l WHERE l.operation_id = NEW.operation_id),
                    (SELECT l.state FROM operation_live AS l WHERE l.apply_id = NEW.apply_id AND l.position = NEW.position))
      INTO v_former_state;

    IF NOT (NEW.state <=> 'pending') OR v_former_state IS NOT NULL THEN
        SET v_message = CONCAT('operation ', NEW.operation_id, ' is ', COALESCE(v_former_state, 'new'),
                               '; it cannot begin as ', COALESCE(NEW.state, 'NULL'));
        SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 50201, MESSAGE_TEXT = v_message;
    END IF;
END
