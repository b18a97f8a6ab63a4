-- Procedure: _event_record
--
-- Logs something that is no move: a submit, a command and what came of it, a lease taken away.
CREATE PROCEDURE _event_record (
    IN in_apply_id     BIGINT UNSIGNED,
    IN in_operation_id BIGINT UNSIGNED,
    IN in_actor        VARCHAR(288),
    IN in_event        VARCHAR(32),
    IN in_detail       TEXT CHARACTER SET utf8mb4
)
    COMMENT 'Logs something that is no move.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_deployment  VARCHAR(64);
    DECLARE v_lease_epoch BIGINT UNSIGNED;

    SELECT MAX(o.deployment), MAX(COALESCE(l.lease_epoch, o.lease_epoch))
      INTO v_deployment, v_lease_epoch
      FROM operation AS o
      LEFT JOIN operation_live AS l
        ON l.operation_id = o.operation_id
     WHERE o.operation_id = in_operation_id;

    INSERT INTO event (occurred_at, apply_id, operation_id, deployment, actor, event, lease_epoch, detail)
    VALUES (UTC_TIMESTAMP(6), in_apply_id, in_operation_id, v_deployment, in_actor, in_event, v_lease_epoch,
            LEFT(in_detail, 1024));
END
