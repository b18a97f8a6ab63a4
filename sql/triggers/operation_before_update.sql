-- Trigger: operation_before_update
--
-- A settled operation keeps its state for good, and only the state that its live row has reached settles it.
CREATE TRIGGER operation_before_update
BEFORE UPDATE ON operation
FOR EACH ROW
BEGIN
    DECLARE v_live_state VARCHAR(32);
    DECLARE v_message    VARCHAR(128);

    -- Who it is never changes either: what is settled would be another's outcome.
    IF NEW.operation_id <> OLD.operation_id THEN
        SET v_message = CONCAT('operation ', OLD.operation_id, ' keeps its id; it cannot become operation ', NEW.operation_id);
        SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 50201, MESSAGE_TEXT = v_message;
    END IF;

    IF NOT (NEW.state <=> OLD.state) THEN
        SELECT MAX(l.state)
          INTO v_live_state
          FROM operation_live AS l
         WHERE l.operation_id = OLD.operation_id;

        IF OLD.state IS NOT NULL OR NOT (NEW.state <=> v_live_state) THEN
            SET v_message = CONCAT('operation ', OLD.operation_id, ' is ', COALESCE(OLD.state, v_live_state, 'gone'),
                                   '; it cannot become ', COALESCE(NEW.state, 'unsettled'));
            SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 50201, MESSAGE_TEXT = v_message;
        END IF;
    END IF;

    IF OLD.state IS NOT NULL AND NOT (NEW.completed_at <=> OLD.completed_at) THEN
        SET v_message = CONCAT('operation ', OLD.operation_id, ' is ', OLD.state, '; completed_at is stamped once');
        SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 50201, MESSAGE_TEXT = v_message;
    END IF;
END
