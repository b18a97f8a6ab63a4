-- Procedure: _clean_ups_give_up
--
-- Ends the hopeless clean-ups on a deployment, as `failed`.
--
-- Owns its transactions; the first is prepared by the caller: see _own_transaction.
CREATE PROCEDURE _clean_ups_give_up (IN in_deployment LONGTEXT CHARACTER SET utf8mb4)
    COMMENT 'Ends clean-ups that fail again and again.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_apply_id     BIGINT UNSIGNED;
    DECLARE v_operation_id BIGINT UNSIGNED DEFAULT 0;
    DECLARE v_is_unclaimed BOOLEAN;
    DECLARE EXIT HANDLER FOR SQLEXCEPTION
    BEGIN
        ROLLBACK AND NO CHAIN NO RELEASE;
        RESIGNAL;
    END;

    give_up: LOOP
        START TRANSACTION READ WRITE;
        SELECT MIN(l.operation_id)
          INTO v_operation_id
          FROM operation_live AS l
          JOIN _sibling       AS s
            ON s.operation_id = l.operation_id
         WHERE l.deployment   = in_deployment
           AND l.operation_id > v_operation_id
           AND s.is_hopeless;
        IF v_operation_id IS NULL THEN
            COMMIT AND NO CHAIN NO RELEASE;
            LEAVE give_up;
        END IF;
        -- The apply's row first, as ever.
        SELECT o.apply_id INTO v_apply_id FROM operation AS o WHERE o.operation_id = v_operation_id;
        SELECT a.apply_id INTO v_apply_id FROM apply AS a WHERE a.apply_id = v_apply_id FOR UPDATE;
        SELECT COUNT(*)
          INTO v_is_unclaimed
          FROM (SELECT l.state, l.lease_token FROM operation_live AS l WHERE l.operation_id = v_operation_id FOR UPDATE) AS h
         WHERE h.state       = 'cancelling'
           AND h.lease_token IS NULL;
        IF v_is_unclaimed THEN
            CALL _operation_advance(v_apply_id, v_operation_id, 'failed', USER(),
                                    'deployment_remove: the clean-up is given up, what was left there stays', FALSE, NULL, NULL);
        END IF;
        COMMIT AND NO CHAIN NO RELEASE;
        CALL _own_transaction();
    END LOOP;
END
