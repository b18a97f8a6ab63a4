-- Procedure: _submit_store
--
-- Stores an apply with its operations and tasks, and takes its tables, or refuses if an unsettled apply has one of them.
CREATE PROCEDURE _submit_store (
    IN  in_name        VARCHAR(64) CHARACTER SET utf8mb4,
    IN  in_sha256      CHAR(64),
    IN  in_schema_name VARCHAR(64) CHARACTER SET utf8mb4,
    IN  in_statements  JSON,
    IN  in_tasks       JSON,
    IN  in_options     JSON,
    IN  in_deployments JSON,
    IN  in_note        VARCHAR(1024) CHARACTER SET utf8mb4,
    OUT out_apply_id   BIGINT UNSIGNED
)
    COMMENT 'Stores an apply with its operations and tasks.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_now         DATETIME(6) DEFAULT UTC_TIMESTAMP(6);
    DECLARE v_trouble     TEXT CHARACTER SET utf8mb4;
    DECLARE v_ttl_seconds INT UNSIGNED;

    -- Names of shards differ at their ends.
    SELECT MIN(CONCAT('table ', LEFT(h.table_name, 40), ' on ',
                      IF(CHAR_LENGTH(h.deployment) <= 30, h.deployment, CONCAT(LEFT(h.deployment, 9), '…', RIGHT(h.deployment, 20))),
                      ' is held by apply ', h.apply_id, '; wait, or end it (see apply_status)'))
      INTO v_trouble
      FROM JSON_TABLE(in_deployments, '$[*]' COLUMNS (deployment VARCHAR(64) PATH '$')) AS d
      JOIN JSON_TABLE(in_tasks, '$[*]' COLUMNS (table_name VARCHAR(64) PATH '$.table')) AS t
      JOIN table_hold AS h
        ON h.deployment  = d.deployment   COLLATE utf8mb4_0900_bin
       AND h.schema_name = in_schema_name COLLATE utf8mb4_0900_as_ci
       AND h.table_name  = t.table_name   COLLATE utf8mb4_0900_as_ci;
    IF v_trouble IS NOT NULL THEN
        CALL _refuse(50502, v_trouble);
    END IF;

    INSERT INTO apply (apply_name, request_sha256, schema_name, operations, cutover_policy, cutover_gate, on_failure, max_copies,
                       defer_cutover, defer_timeout_seconds, revert_window_seconds, revert_scope, engine, note, submitted_by,
                       submitted_at)
    VALUES (in_name, in_sha256, in_schema_name, JSON_LENGTH(in_deployments), in_options->>'$.cutover_policy',
            in_options->>'$.cutover_gate', in_options->>'$.on_failure', in_options->>'$.max_copies',
            in_options->>'$.defer_cutover' = 'true', in_options->>'$.defer_timeout_seconds',
            in_options->>'$.revert_window_seconds', in_options->>'$.revert_scope', in_options->'$.engine', in_note, USER(), v_now);
    SET out_apply_id = LAST_INSERT_ID();

    INSERT INTO operation (apply_id, position, deployment)
    SELECT out_apply_id, d.number - 1, d.deployment
      FROM JSON_TABLE(in_deployments, '$[*]' COLUMNS (number FOR ORDINALITY, deployment VARCHAR(64) PATH '$')) AS d
     ORDER BY d.number;

    INSERT INTO task (operation_id, position, statement, table_name)
    SELECT o.operation_id, s.number - 1, s.statement, t.table_name
      FROM operation AS o
      JOIN JSON_TABLE(in_statements, '$[*]' COLUMNS (number FOR ORDINALITY, statement MEDIUMTEXT PATH '$')) AS s
      JOIN JSON_TABLE(in_tasks, '$[*]' COLUMNS (number FOR ORDINALITY, table_name VARCHAR(64) PATH '$.table')) AS t
        ON t.number = s.number
     WHERE o.apply_id = out_apply_id
     ORDER BY o.operation_id, s.number;

    INSERT INTO table_hold (deployment, schema_name, table_name, apply_id)
    SELECT o.deployment, in_schema_name, t.table_name, out_apply_id
      FROM operation AS o
      JOIN JSON_TABLE(in_tasks, '$[*]' COLUMNS (table_name VARCHAR(64) PATH '$.table')) AS t
     WHERE o.apply_id = out_apply_id
     ORDER BY o.deployment, t.table_name;

    SELECT s.value INTO v_ttl_seconds FROM setting AS s WHERE s.name = 'lease_ttl_seconds';
    INSERT INTO operation_live (operation_id, apply_id, position, deployment, state, is_capped, lease_ttl_seconds, move_actor, host,
                                port, schema_name, tasks, options)
    SELECT o.operation_id, o.apply_id, o.position, o.deployment, 'pending', in_options->>'$.max_copies' IS NOT NULL, v_ttl_seconds,
           USER(), d.host, d.port, in_schema_name,
           -- The order is kept: the rows of the derived table come by task_id. A claim fills the state in.
           (SELECT JSON_ARRAYAGG(JSON_OBJECT('task_id', t.task_id, 'position', t.position, 'statement', t.statement, 'state', 'pending'))
              FROM (SELECT k.task_id, k.position, k.statement
                      FROM task AS k
                     WHERE k.operation_id = o.operation_id
                     ORDER BY k.position
                     LIMIT 1000) AS t),
           in_options
      FROM operation  AS o
      JOIN deployment AS d
        ON d.deployment = o.deployment
     WHERE o.apply_id = out_apply_id
     ORDER BY o.operation_id;
END
