-- Procedure: _request_close
--
-- Ends a pending request with its one outcome, logs that, and takes its marks off the operations. Does nothing to a closed one.
CREATE PROCEDURE _request_close (
    IN in_request_id BIGINT UNSIGNED,
    IN in_status     VARCHAR(16),
    IN in_outcome    TEXT CHARACTER SET utf8mb4,
    IN in_actor      VARCHAR(288)
)
    COMMENT 'Ends a pending request with its one outcome.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_apply_id     BIGINT UNSIGNED;
    DECLARE v_operation_id BIGINT UNSIGNED;
    DECLARE v_command      VARCHAR(16);

    SELECT MAX(r.apply_id), MAX(r.operation_id), MAX(r.command)
      INTO v_apply_id, v_operation_id, v_command
      FROM control_request AS r
     WHERE r.request_id = in_request_id
       AND r.status     = 'pending';

    UPDATE control_request AS r
       SET r.status      = in_status,
           r.resolved_at = UTC_TIMESTAMP(6),
           r.outcome     = LEFT(in_outcome, 1024)
     WHERE r.request_id = in_request_id
       AND r.status     = 'pending';

    IF v_command IS NOT NULL THEN
        CALL _event_record(v_apply_id, v_operation_id, in_actor, 'resolved', CONCAT(v_command, ' ', in_status, ': ', in_outcome));
    END IF;

    -- The gate was open for all that could still swap: what is left on hold never can, and its deferral times out again.
    IF v_command = 'cutover' AND v_operation_id IS NULL THEN
        UPDATE apply AS a
           SET a.is_cutover_opened = FALSE
         WHERE a.apply_id = v_apply_id;
    END IF;

    -- Only where there can be marks: a row locked for a moment is a row that a claim passes over.
    IF v_command IN ('start', 'cutover', 'revert', 'skip_revert') THEN
        UPDATE operation_live AS l FORCE INDEX (operation_live_order)
           SET l.start_request_id   = NULLIF(l.start_request_id,   in_request_id),
               l.cutover_request_id = NULLIF(l.cutover_request_id, in_request_id),
               l.revert_request_id  = NULLIF(l.revert_request_id,  in_request_id),
               l.skip_request_id    = NULLIF(l.skip_request_id,    in_request_id)
         WHERE l.apply_id = v_apply_id
           AND in_request_id IN (l.start_request_id, l.cutover_request_id, l.revert_request_id, l.skip_request_id)
         ORDER BY l.operation_id;
    END IF;
END
