-- Procedure: deployment_remove
--
-- Removes a deployment that no unsettled apply uses; what was done on it stays in the history. Answers deployment, position.
-- A clean-up there that has failed more than twice is given up first: a server that is gone for good would hold its apply, and the
-- apply its tables, for ever. Such an operation is failed, and what it has left on the server stays there.
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50501. Example: CALL deployment_remove('cell-1');
CREATE PROCEDURE deployment_remove (IN in_name LONGTEXT CHARACTER SET utf8mb4)
    COMMENT 'Removes a deployment that no unsettled apply uses.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_position INT UNSIGNED;
    DECLARE v_apply_id BIGINT UNSIGNED;

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
        CALL _intake_lock();

        SELECT MAX(d.position) INTO v_position FROM deployment AS d WHERE d.deployment = in_name;
        IF v_position IS NULL THEN
            CALL _refuse(50002, CONCAT('deployment "', COALESCE(LEFT(in_name, 40), 'NULL'), '" does not exist; see deployment_status'));
        END IF;
        SELECT MIN(a.apply_id)
          INTO v_apply_id
          FROM apply     AS a
          JOIN operation AS o
            ON o.apply_id   = a.apply_id
           AND o.deployment = in_name
         WHERE a.finished_at IS NULL;
        IF v_apply_id IS NOT NULL THEN
            CALL _refuse(50501, CONCAT('deployment "', LEFT(in_name, 40), '" is used by apply ', v_apply_id,
                                       '; remove it when that has settled'));
        END IF;
        DELETE FROM deployment WHERE deployment = in_name;
        -- All rows; a session with sql_safe_updates wants a key named.
        DELETE FROM label_scope WHERE labels_sha256 >= '';

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT in_name AS deployment, v_position AS position;
END
