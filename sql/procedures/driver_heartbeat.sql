-- Procedure: driver_heartbeat
--
-- Renews all leases of a driver in one commit, stores progress and checkpoints, and says what the driver must obey. Answers one
-- row an element, in the array's order: operation_id, held (0: the lease is lost; touch the deployment no more), state, directive
-- (none, stop, cancel, cutover, revert, skip_revert), throttle_level, lease_expires_at, revert_seconds_left (NULL: no window).
--
-- in_driver  as in the claims
-- in_beats   an array of {"operation_id", "lease_token", "progress", "checkpoint"}; a missing progress or checkpoint, or a
--            null, leaves what is stored
--
-- Owns its transaction. Errors 50001, 50003.
CREATE PROCEDURE driver_heartbeat (IN in_driver LONGTEXT CHARACTER SET utf8mb4, IN in_beats JSON)
    COMMENT 'Renews all leases of a driver in one commit.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_answer JSON;

    CALL _name_check('driver name', in_driver, 64);
    IF in_beats IS NULL THEN
        CALL _refuse(50001, 'beats of NULL refused; pass an array, an empty one if the driver has no lease');
    END IF;
    CALL _heartbeat(in_driver, in_beats, v_answer);

    SELECT b.operation_id, b.held, b.state, b.directive, b.throttle_level, b.lease_expires_at, b.revert_seconds_left
      FROM JSON_TABLE(v_answer, '$[*]' COLUMNS (
               number              BIGINT          PATH '$.number',
               operation_id        BIGINT UNSIGNED PATH '$.operation_id',
               held                BIGINT          PATH '$.held',
               state               VARCHAR(32)     PATH '$.state',
               directive           VARCHAR(16)     PATH '$.directive',
               throttle_level      BIGINT          PATH '$.throttle_level',
               lease_expires_at    DATETIME(6)     PATH '$.lease_expires_at',
               revert_seconds_left DOUBLE          PATH '$.revert_seconds_left')) AS b
     ORDER BY b.number;
END
