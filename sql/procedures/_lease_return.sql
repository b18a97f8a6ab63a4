-- Procedure: _lease_return
--
-- Gives an operation back to the claims, its work unfinished: it keeps its state, as if the lease had run out, and whoever takes it
-- over carries out a stop that is pending. The caller holds the locks of the apply's and the operation's rows. A lease that ends
-- with a move is _lease_drop's alone.
--
-- in_call  'release' where the driver gives the lease back, and is answered alike if it asks again; NULL where it is taken away
CREATE PROCEDURE _lease_return (
    IN in_apply_id     BIGINT UNSIGNED,
    IN in_operation_id BIGINT UNSIGNED,
    IN in_actor        VARCHAR(288),
    IN in_event        VARCHAR(32),
    IN in_detail       TEXT CHARACTER SET utf8mb4,
    IN in_call         VARCHAR(32)
)
    COMMENT 'Gives an operation back to the claims.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    CALL _event_record(in_apply_id, in_operation_id, in_actor, in_event, in_detail);
    CALL _lease_drop(in_operation_id, in_call, 'released');
    CALL _apply_refresh(in_apply_id, in_actor);
END
