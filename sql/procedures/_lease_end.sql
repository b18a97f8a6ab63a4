-- Procedure: _lease_end
--
-- Ends a lease without a result: the operation keeps its state and goes back to the claims, or stops, if a stop is pending, since
-- nobody is left who could obey it. The caller holds the locks of the apply's and the operation's rows.
CREATE PROCEDURE _lease_end (
    IN in_apply_id     BIGINT UNSIGNED,
    IN in_operation_id BIGINT UNSIGNED,
    IN in_actor        VARCHAR(288),
    IN in_event        VARCHAR(32),
    IN in_detail       TEXT CHARACTER SET utf8mb4
)
    COMMENT 'Ends a lease without a result.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_directive VARCHAR(16);

    CALL _event_record(in_apply_id, in_operation_id, in_actor, in_event, in_detail);
    SELECT MAX(g.declared_directive) INTO v_directive FROM _operation_gate AS g WHERE g.operation_id = in_operation_id;
    IF v_directive = 'stop' THEN
        CALL _operation_move(in_operation_id, 'stopped', in_actor, in_detail, FALSE, 'release', 'stopped');
    ELSE
        CALL _lease_drop(in_operation_id, 'release', 'released');
    END IF;
    CALL _apply_refresh(in_apply_id, in_actor);
END
