-- Trigger: operation_live_before_update
--
-- Refuses every change of state that _move_meaning does not know (operation_transition lists those that it does), whoever makes
-- it, and logs every one that it lets pass, in the transaction of the move; with who made it, also where no procedure did (those
-- count move_serial up). A lease that is given without a move is logged, too. Keeps the swaps under way in swap.
-- One trigger, not one before and one after: each costs a claim as much as an index.
CREATE TRIGGER operation_live_before_update
BEFORE UPDATE ON operation_live
FOR EACH ROW
BEGIN
    DECLARE v_message VARCHAR(128);
    DECLARE v_meaning VARCHAR(160) CHARACTER SET utf8mb4;

    -- Under another id a live row would bring a settled operation back to life; in another apply its swap would be nobody's.
    IF NEW.operation_id <> OLD.operation_id OR NEW.apply_id <> OLD.apply_id THEN
        SET v_message = CONCAT('operation ', OLD.operation_id, ' keeps its id; it cannot become operation ', NEW.operation_id,
                               ' of apply ', NEW.apply_id);
        SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 50201, MESSAGE_TEXT = v_message;
    END IF;

    -- A session without strict mode may set the column to NULL, and the server makes '' of that, but only after this.
    IF NOT (NEW.state <=> OLD.state) THEN
        IF NEW.move_serial = OLD.move_serial THEN
            SET NEW.move_serial = OLD.move_serial + 1,
                NEW.move_actor  = USER(),
                NEW.move_reason = 'direct UPDATE';
        END IF;

        SET v_meaning = _move_meaning(OLD.state, NEW.state);
        IF v_meaning IS NULL THEN
            -- In a session that has used the function before, the server takes it for NULL while an upgrade replaces it.
            SIGNAL SQLSTATE '42000'
               SET MYSQL_ERRNO  = 1305,
                   MESSAGE_TEXT = '_move_meaning is missing, an upgrade replaces it; call again, or run lockkeeper doctor';
        END IF;
        IF v_meaning = '' THEN
            SET v_message = CONCAT('operation ', OLD.operation_id, ' is ', OLD.state, '; it cannot become ', COALESCE(NEW.state, 'NULL'),
                                   ' (see operation_status)');
            SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 50201, MESSAGE_TEXT = v_message;
        END IF;
        -- One swap of an apply at a time: a second one violates the key.
        IF NEW.state IN ('cutting_over', 'reverting') THEN
            INSERT INTO swap (apply_id, operation_id) VALUES (NEW.apply_id, NEW.operation_id);
        ELSEIF OLD.state IN ('cutting_over', 'reverting') THEN
            DELETE FROM swap WHERE apply_id = NEW.apply_id;
        END IF;
        INSERT INTO event (occurred_at, apply_id, operation_id, deployment, actor, event, from_state, to_state, lease_epoch,
                           detail)
        VALUES (UTC_TIMESTAMP(6), NEW.apply_id, NEW.operation_id, NEW.deployment, NEW.move_actor, 'moved', OLD.state, NEW.state,
                NEW.lease_epoch, NEW.move_reason);
    ELSEIF NEW.lease_token IS NOT NULL AND NOT (NEW.lease_token <=> OLD.lease_token) THEN
        -- A claim took over what has begun.
        INSERT INTO event (occurred_at, apply_id, operation_id, deployment, actor, event, lease_epoch, detail)
        VALUES (UTC_TIMESTAMP(6), NEW.apply_id, NEW.operation_id, NEW.deployment, NEW.lease_driver, 'recovered', NEW.lease_epoch, NEW.state);
    END IF;
END
