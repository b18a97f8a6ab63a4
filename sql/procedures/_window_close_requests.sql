-- Procedure: _window_close_requests
--
-- A revert window had to close early: a revert that was asked for it is refused, with the reason; a skip has what it wanted.
CREATE PROCEDURE _window_close_requests (
    IN in_operation_id BIGINT UNSIGNED,
    IN in_why          MEDIUMTEXT CHARACTER SET utf8mb4,
    IN in_actor        VARCHAR(288)
)
    COMMENT 'Refuses the revert of a window that had to close.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_revert_request_id BIGINT UNSIGNED;

    SELECT MAX(l.revert_request_id)
      INTO v_revert_request_id
      FROM operation_live AS l
     WHERE l.operation_id = in_operation_id;

    CALL _request_close(v_revert_request_id, 'refused', CONCAT('the change cannot be carried back: ', in_why), in_actor);
END
