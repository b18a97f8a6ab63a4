-- Procedure: _json_check
--
-- Refuses a JSON argument that does not fit its shape (see _json_shape), naming the place and the rule. NULL fits.
--
-- in_what   what the argument is called in the message, e.g. 'option'
-- in_json   the argument
-- in_shape  a JSON schema
CREATE PROCEDURE _json_check (IN in_what VARCHAR(32), IN in_json JSON, IN in_shape JSON)
    COMMENT 'Refuses a JSON argument that does not fit its shape.'
    SQL SECURITY DEFINER
    NO SQL
BEGIN
    DECLARE v_report  JSON;
    DECLARE v_place   TEXT        CHARACTER SET utf8mb4;
    DECLARE v_rule    VARCHAR(64) CHARACTER SET utf8mb4;
    DECLARE v_limit   TEXT        CHARACTER SET utf8mb4;
    DECLARE v_value   TEXT        CHARACTER SET utf8mb4;
    DECLARE v_unknown VARCHAR(64) CHARACTER SET utf8mb4;

    IF in_json IS NOT NULL AND NOT JSON_SCHEMA_VALID(in_shape, in_json) THEN
        SET v_report = JSON_SCHEMA_VALIDATION_REPORT(in_shape, in_json),
            v_place  = JSON_UNQUOTE(JSON_EXTRACT(v_report, '$."document-location"')),
            v_rule   = LEFT(JSON_UNQUOTE(JSON_EXTRACT(v_report, '$."schema-failed-keyword"')), 64);

        IF v_rule = 'additionalProperties' AND v_place = '#' AND JSON_CONTAINS_PATH(in_shape, 'one', '$.properties') THEN
            SELECT LEFT(MIN(k.name), 40)
              INTO v_unknown
              FROM JSON_TABLE(JSON_KEYS(in_json), '$[*]' COLUMNS (name TEXT PATH '$')) AS k
             WHERE NOT JSON_CONTAINS(JSON_KEYS(in_shape, '$.properties'), JSON_QUOTE(k.name));
            CALL _refuse(50001, CONCAT(in_what, ' "', v_unknown, '" is not known; known are ',
                                       REPLACE(TRIM(BOTH '[' FROM TRIM(BOTH ']' FROM JSON_KEYS(in_shape, '$.properties'))), '"', '')));
        END IF;
        SET v_value = JSON_EXTRACT(in_json, _json_path(v_place)),
            v_limit = JSON_EXTRACT(in_shape, CONCAT(_json_path(JSON_UNQUOTE(JSON_EXTRACT(v_report, '$."schema-location"'))),
                                                    '."', v_rule, '"'));
        CALL _refuse(50001, CONCAT(in_what, IF(v_place = '#', '', CONCAT(' at ', LEFT(v_place, 40))),
                                   COALESCE(CONCAT(' is ', LEFT(v_value, 24)), ' does not fit'), '; required: ', v_rule, ' ',
                                   COALESCE(v_limit, '')));
    END IF;
END
