-- Procedure: _submit_read
--
-- Checks what apply_submit was given, without looking at any table.
--
-- out_statements  the statements as an array
-- out_tasks       what they change: an array of {"kind", "schema", "table"}
-- out_options     every option that the control plane or the engine reads, the defaults filled in
-- out_given       the options that were given; one of NULL is none
CREATE PROCEDURE _submit_read (
    IN  in_schema_name LONGTEXT CHARACTER SET utf8mb4,
    IN  in_statements  LONGTEXT CHARACTER SET utf8mb4,
    IN  in_options     JSON,
    OUT out_statements JSON,
    OUT out_tasks      JSON,
    OUT out_options    JSON,
    OUT out_given      JSON
)
    COMMENT 'Checks the arguments of a submit.'
    SQL SECURITY DEFINER
    NO SQL
BEGIN
    DECLARE v_trouble TEXT CHARACTER SET utf8mb4;
    DECLARE v_name    TEXT CHARACTER SET utf8mb4;
    DECLARE v_note    TEXT CHARACTER SET utf8mb4;

    CALL _name_check('schema name', in_schema_name, 64);
    IF OCTET_LENGTH(in_statements) > 1048576 THEN
        CALL _refuse(50001, 'statements of more than 1 MiB refused; submit several applies');
    END IF;
    IF TRIM(COALESCE(in_statements, '')) = '' THEN
        CALL _refuse(50001, 'no statement given; pass one DDL statement, or a JSON array of them');
    END IF;

    SET out_statements = IF(JSON_VALID(in_statements), in_statements, JSON_ARRAY(in_statements));
    CALL _json_check('statements', out_statements, _json_shape('statements'));

    SELECT JSON_ARRAYAGG(t.target)
      INTO out_tasks
      FROM (SELECT CAST(_statement_target(s.statement) AS JSON) AS target
              FROM JSON_TABLE(out_statements, '$[*]' COLUMNS (number FOR ORDINALITY, statement MEDIUMTEXT PATH '$')) AS s
             ORDER BY s.number
             LIMIT 1000) AS t;
    -- No server takes a NUL in a name, and what shows or keeps the statement may end at one.
    SELECT MIN(CONCAT('statement "', LEFT(s.statement, 24),
                      CASE
                          WHEN s.has_nul THEN '" has a NUL in it; pass it without, in a string as \\0'
                          WHEN LOCATE(';', s.statement) > 0
                          THEN '" is several, or none that is known; pass one, or an array with one each'
                          ELSE '" is refused; pass ALTER, CREATE or DROP of one table, or of an INDEX ON one'
                      END))
      INTO v_trouble
      FROM (SELECT t.statement,
                   LOCATE(CHAR(0 USING utf8mb4), t.statement COLLATE utf8mb4_0900_bin) > 0 AS has_nul
              FROM JSON_TABLE(out_statements, '$[*]' COLUMNS (statement MEDIUMTEXT PATH '$')) AS t) AS s
     WHERE s.has_nul
        OR _statement_target(s.statement) IS NULL;
    IF v_trouble IS NOT NULL THEN
        CALL _refuse(50001, v_trouble);
    END IF;

    SELECT MIN(CASE
                   WHEN CHAR_LENGTH(t.table_name) > 64 THEN 'a table name has at most 64 characters'
                   ELSE CONCAT('table ', LEFT(t.in_schema, 30), '.', LEFT(t.table_name, 30), ' is not in schema ', LEFT(in_schema_name, 20), '; submit it by itself')
               END)
      INTO v_trouble
      FROM JSON_TABLE(out_tasks, '$[*]' COLUMNS (in_schema TEXT PATH '$.schema', table_name TEXT PATH '$.table')) AS t
     WHERE CHAR_LENGTH(t.table_name) > 64
        OR t.in_schema COLLATE utf8mb4_0900_bin <> in_schema_name COLLATE utf8mb4_0900_bin;
    IF v_trouble IS NOT NULL THEN
        CALL _refuse(50001, v_trouble);
    END IF;

    SELECT MIN(CONCAT('table ', LEFT(t.table_name, 40), ' has several statements; write them as one ALTER TABLE'))
      INTO v_trouble
      FROM (SELECT u.table_name COLLATE utf8mb4_0900_as_ci AS table_name
              FROM JSON_TABLE(out_tasks, '$[*]' COLUMNS (table_name TEXT PATH '$.table')) AS u
             GROUP BY u.table_name COLLATE utf8mb4_0900_as_ci
            HAVING COUNT(*) > 1) AS t;
    IF v_trouble IS NOT NULL THEN
        CALL _refuse(50001, v_trouble);
    END IF;

    -- A NULL option is the default: merging a patch takes it out.
    SET out_given = JSON_MERGE_PATCH(JSON_OBJECT(), COALESCE(in_options, JSON_OBJECT()));
    IF JSON_TYPE(out_given) <> 'OBJECT' OR JSON_TYPE(COALESCE(in_options, JSON_OBJECT())) NOT IN ('OBJECT', 'NULL') THEN
        CALL _refuse(50001, 'options refused; pass NULL or a JSON object');
    END IF;
    CALL _json_check('option', out_given, _json_shape('submit_options'));
    SET v_name = JSON_UNQUOTE(JSON_EXTRACT(out_given, '$.name')),
        v_note = JSON_UNQUOTE(JSON_EXTRACT(out_given, '$.note'));
    IF v_name IS NOT NULL THEN
        CALL _name_check('name', v_name, 64);
    END IF;
    IF NOT _is_text(v_note, 1024) THEN
        CALL _refuse(50001, 'option "note" with a control character refused; pass plain text, tabs and line ends at most');
    END IF;
    IF OCTET_LENGTH(CAST(COALESCE(JSON_EXTRACT(out_given, '$.engine'), JSON_OBJECT()) AS CHAR)) > 65535 THEN
        CALL _refuse(50001, 'option "engine" of more than 64 KiB refused; see docs/changes.md for what it may hold');
    END IF;

    SET out_options = JSON_MERGE_PATCH(
        JSON_OBJECT('cutover_policy', 'rolling', 'cutover_gate', 'in_order', 'on_failure', 'halt', 'defer_cutover', FALSE,
                    'revert_window_seconds', 0, 'revert_scope', 'operation', 'engine', JSON_OBJECT()),
        JSON_REMOVE(out_given, '$.name', '$.deployments', '$.note'));
    IF out_options->>'$.cutover_gate' = 'all_parked' AND out_options->>'$.cutover_policy' = 'rolling' THEN
        CALL _refuse(50001, 'cutover_gate all_parked refused with cutover_policy rolling, which never parks; choose barrier or parallel');
    END IF;
END
