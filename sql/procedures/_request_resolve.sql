-- Procedure: _request_resolve
--
-- Closes the pending requests of an apply that have come to their end, as declared by _request_outcome.
CREATE PROCEDURE _request_resolve (IN in_apply_id BIGINT UNSIGNED, IN in_actor VARCHAR(288))
    COMMENT 'Closes the requests that have come to their end.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_request_id BIGINT UNSIGNED;
    DECLARE v_status     VARCHAR(16);
    DECLARE v_outcome    VARCHAR(1024);
    DECLARE v_is_done    BOOLEAN DEFAULT FALSE;
    DECLARE c_resolved CURSOR FOR
        SELECT q.request_id, q.status, q.outcome
          FROM _request_outcome AS q
         WHERE q.apply_id = in_apply_id
         ORDER BY q.request_id;
    DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_is_done = TRUE;

    OPEN c_resolved;
    resolve: LOOP
        FETCH c_resolved INTO v_request_id, v_status, v_outcome;
        IF v_is_done THEN
            LEAVE resolve;
        END IF;
        CALL _request_close(v_request_id, v_status, v_outcome, in_actor);
    END LOOP;
    CLOSE c_resolved;
END
