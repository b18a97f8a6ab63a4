-- Procedure: apply_submit
--
-- Asks for a schema change on a list of deployments. Answers apply_id, apply_name, operations. The same request under the
-- same name again answers the same apply.
--
-- in_schema_name  the schema on the deployments
-- in_statements   one DDL statement, or a JSON array of them, each on another table
-- in_options      NULL, or an object of: name, deployments, cutover_policy (rolling, barrier, parallel), cutover_gate (in_order,
--                 all_parked), on_failure (halt, continue, pause), max_copies, defer_cutover, defer_timeout_seconds,
--                 revert_window_seconds, revert_scope (operation, apply), engine, note. defer_timeout_seconds runs for each
--                 operation from when it is on hold, also while another has the turn
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50502, 50503.
-- Example: CALL apply_submit('shop', 'ALTER TABLE orders ADD KEY (created_at)', '{"cutover_policy": "barrier"}');
CREATE PROCEDURE apply_submit (
    IN in_schema_name LONGTEXT CHARACTER SET utf8mb4,
    IN in_statements  LONGTEXT CHARACTER SET utf8mb4,
    IN in_options     JSON
)
    COMMENT 'Asks for a schema change on a list of deployments.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_statements  JSON;
    DECLARE v_options     JSON;
    DECLARE v_given       JSON;
    DECLARE v_deployments JSON;
    DECLARE v_tasks       JSON;
    DECLARE v_sha256      CHAR(64);
    DECLARE v_known       CHAR(64);
    DECLARE v_apply_id    BIGINT UNSIGNED;
    DECLARE v_name        VARCHAR(64) CHARACTER SET utf8mb4;
    DECLARE v_note        VARCHAR(1024) CHARACTER SET utf8mb4;
    DECLARE v_operations  INT UNSIGNED;

    CALL _submit_read(in_schema_name, in_statements, in_options, v_statements, v_tasks, v_options, v_given);
    SET v_name   = JSON_UNQUOTE(JSON_EXTRACT(v_given, '$.name')),
        v_note   = JSON_UNQUOTE(JSON_EXTRACT(v_given, '$.note')),
        v_sha256 = SHA2(JSON_ARRAY(in_schema_name, v_statements, v_options, JSON_EXTRACT(v_given, '$.deployments'),
                                   JSON_EXTRACT(v_given, '$.note')), 256);
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        -- Two that ask for the same name or table are told apart without a deadlock.
        CALL _intake_lock();

        SELECT MAX(a.apply_id), MAX(a.request_sha256), MAX(a.operations)
          INTO v_apply_id, v_known, v_operations
          FROM apply AS a
         WHERE a.apply_name = v_name;
        IF v_known <> v_sha256 THEN
            CALL _refuse(50503, CONCAT('name "', LEFT(v_name, 40), '" is apply ', v_apply_id, ', a different request; choose another name'));
        END IF;

        IF v_apply_id IS NULL THEN
            CALL _submit_deployments(v_given, v_deployments);
            SELECT _apply_submit(v_name, v_sha256, in_schema_name, v_statements, v_tasks, v_options, v_deployments, v_note)
              INTO v_apply_id;
            CALL _function_check(v_apply_id IS NOT NULL);
            SET v_operations = JSON_LENGTH(v_deployments);
        END IF;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_apply_id AS apply_id, COALESCE(v_name, CONCAT('apply-', v_apply_id)) AS apply_name, v_operations AS operations;
END
