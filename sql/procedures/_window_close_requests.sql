-- Procedure: _window_close_requests
--
-- A revert window had to close early, or the swap back has failed for good: the revert that was asked for is refused, with the
-- reason, and what swapped earlier keeps its window. A skip has what it wanted.
CREATE PROCEDURE _window_close_requests (
    IN in_operation_id BIGINT UNSIGNED,
    IN in_why          MEDIUMTEXT CHARACTER SET utf8mb4,
    IN in_actor        VARCHAR(288)
)
    COMMENT 'Refuses a revert that cannot be carried out.'
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
