-- Procedure: _lease_return
--
-- Gives an operation back to the claims, its work unfinished: it keeps its state, as if the lease had run out, and whoever takes it
-- over carries out a stop that is pending. The caller holds the locks of the apply's and the operation's rows. A lease that ends
-- with a move is _lease_drop's alone.
--
-- in_event, in_detail  what is logged of it
-- in_call, in_answer   the call by which its driver gives the lease back, and what it is answered if it asks again; NULL where the
--                      lease is taken away
CREATE PROCEDURE _lease_return (
    IN in_apply_id     BIGINT UNSIGNED,
    IN in_operation_id BIGINT UNSIGNED,
    IN in_actor        VARCHAR(288),
    IN in_event        VARCHAR(32),
    IN in_detail       TEXT CHARACTER SET utf8mb4,
    IN in_call         VARCHAR(32),
    IN in_answer       VARCHAR(32)
)
    COMMENT 'Gives an operation back to the claims.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_is_done BOOLEAN;

    SELECT _lease_given_back(in_apply_id, in_operation_id, in_actor, in_event, in_detail, in_call, in_answer) INTO v_is_done;
    CALL _function_check(v_is_done IS NOT NULL);
END
