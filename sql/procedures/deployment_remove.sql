-- Procedure: deployment_remove
--
-- Removes a deployment that no unsettled apply uses; what was done on it stays in the history. Answers deployment, position.
-- A server that is gone for good would hold its apply, and the apply its tables, for ever. So where nothing else of the apply goes on,
-- what has failed there more than twice is given up first: a clean-up and a way back are failed, a revert window is completed. What
-- is left on the server stays there. Of several such servers each is removed in turn, and again, once the last has let the apply settle.
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL deployment_remove('cell-1');
CREATE PROCEDURE deployment_remove (IN in_name LONGTEXT CHARACTER SET utf8mb4)
    COMMENT 'Removes a deployment that no unsettled apply uses.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_position INT UNSIGNED;

    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        -- Nothing is given up for as long as anything else goes on.
        START TRANSACTION READ WRITE;
        CALL _deployment_refuse_used(in_name, TRUE);
        COMMIT AND NO CHAIN NO RELEASE;
    END;
    CALL _own_transaction();
    CALL _hopeless_give_up(in_name);
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _deployment_refuse_used(in_name, FALSE);
        SELECT MAX(d.position) INTO v_position FROM deployment AS d WHERE d.deployment = in_name;
        DELETE FROM deployment WHERE deployment = in_name;
        -- All rows; a session with sql_safe_updates wants a key named.
        DELETE FROM label_scope WHERE labels_sha256 >= '';

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT in_name AS deployment, v_position AS position;
END
