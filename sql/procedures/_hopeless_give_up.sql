-- Procedure: _hopeless_give_up
--
-- Ends what is hopeless on a deployment: a clean-up and a way back as `failed`, a revert window as `completed`, for the change is in use.
--
-- Owns its transactions; the first is prepared by the caller: see _own_transaction.
CREATE PROCEDURE _hopeless_give_up (IN in_deployment LONGTEXT CHARACTER SET utf8mb4)
    COMMENT 'Ends what waits for a server that is gone.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_apply_id     BIGINT UNSIGNED;
    DECLARE v_operation_id BIGINT UNSIGNED DEFAULT 0;
    DECLARE v_state        VARCHAR(32);
    DECLARE v_is_hopeless  BOOLEAN;
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
        SELECT MAX(l.state) INTO v_state FROM operation_live AS l WHERE l.operation_id = v_operation_id FOR UPDATE;
        -- A driver may have taken it meanwhile, or ended it.
        SELECT s.is_hopeless INTO v_is_hopeless FROM _sibling AS s WHERE s.operation_id = v_operation_id;
        IF v_is_hopeless THEN
            SELECT _operation_given_up(v_apply_id, v_operation_id, v_state) INTO v_state;
            CALL _function_check(v_state IS NOT NULL);
        END IF;
        COMMIT AND NO CHAIN NO RELEASE;
        CALL _own_transaction();
    END LOOP;
END
