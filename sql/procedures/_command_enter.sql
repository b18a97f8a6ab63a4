-- Procedure: _command_enter
--
-- How every command of a DBA begins, inside its transaction: checks the arguments, locks the apply's row and then its
-- operations in order, so that claims in flight are over and none begins meanwhile, and finds the request that is pending already.
-- A throttle leaves the operations alone: it shuts no gate, and a claim passes over what is locked and says "nothing".
-- Lock order everywhere: installation, apply, operations by id.
--
-- out_request_id  the pending request of this command, or NULL
CREATE PROCEDURE _command_enter (
    IN  in_apply_id    BIGINT UNSIGNED,
    IN  in_command     VARCHAR(16),
    IN  in_reason      MEDIUMTEXT CHARACTER SET utf8mb4,
    OUT out_request_id BIGINT UNSIGNED
)
    COMMENT 'Checks and locks at the beginning of a command.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_apply_id    BIGINT UNSIGNED;
    DECLARE v_finished_at DATETIME(6);
    DECLARE v_state       VARCHAR(32);
    DECLARE v_locked      INT UNSIGNED;

    CALL _reason_check(in_reason);
    SELECT a.apply_id, a.finished_at
      INTO v_apply_id, v_finished_at
      FROM apply AS a
     WHERE a.apply_id = in_apply_id
       FOR UPDATE;
    -- Not by a handler: with max_error_count = 0 the server keeps no condition for one to run on.
    IF v_apply_id IS NULL THEN
        CALL _refuse(50002, CONCAT('apply ', COALESCE(in_apply_id, 'NULL'), ' does not exist; see apply_status'));
    END IF;
    IF v_finished_at IS NOT NULL THEN
        SELECT s.state INTO v_state FROM apply_status AS s WHERE s.apply_id = in_apply_id;
        CALL _refuse(50501, CONCAT('apply ', in_apply_id, ' is ', v_state, ' and settled; nothing can be asked of it; submit a new one'));
    END IF;
    IF in_command <> 'throttle' THEN
        -- By that index: through a small table the server would rather scan, and lock rows of other applies on the way, which
        -- claims would pass over meanwhile. So it is wherever an apply's rows are changed.
        SELECT COUNT(*)
          INTO v_locked
          FROM (SELECT l.operation_id
                  FROM operation_live AS l FORCE INDEX (operation_live_order)
                 WHERE l.apply_id = in_apply_id
                 ORDER BY l.position
                   FOR UPDATE) AS locked;
    END IF;
    SELECT MAX(r.request_id)
      INTO out_request_id
      FROM control_request AS r
     WHERE r.apply_id        = in_apply_id
       AND r.pending_command = in_command;
END
