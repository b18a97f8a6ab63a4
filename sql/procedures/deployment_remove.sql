-- Procedure: deployment_remove
--
-- Removes a deployment that no unsettled apply uses; what was done on it stays in the history. Answers deployment, position.
-- Where nothing else is in the way, clean-ups there that have failed more than twice are given up first: a server that is gone for good
-- would hold its apply, and the apply its tables, for ever. Such an operation is failed, and what it has left on the server stays there.
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

        -- A call that is refused gives nothing up.
        START TRANSACTION READ WRITE;
        CALL _deployment_refuse_used(in_name, TRUE);
        COMMIT AND NO CHAIN NO RELEASE;
    END;
    CALL _own_transaction();
    CALL _clean_ups_give_up(in_name);
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
