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
    DECLARE v_report JSON;
    -- A name in the document may be long.
    DECLARE v_place  LONGTEXT    CHARACTER SET utf8mb4;
    DECLARE v_schema LONGTEXT    CHARACTER SET utf8mb4;
    DECLARE v_rule   VARCHAR(64) CHARACTER SET utf8mb4;
    DECLARE v_what   VARCHAR(96) CHARACTER SET utf8mb4;
    DECLARE v_value  VARCHAR(24) CHARACTER SET utf8mb4;

    CALL _function_check(in_shape IS NOT NULL);
    IF in_json IS NOT NULL AND NOT JSON_SCHEMA_VALID(in_shape, in_json) THEN
        SET v_report = JSON_SCHEMA_VALIDATION_REPORT(in_shape, in_json),
            v_place  = JSON_UNQUOTE(JSON_EXTRACT(v_report, '$."document-location"')),
            v_schema = _json_path(JSON_UNQUOTE(JSON_EXTRACT(v_report, '$."schema-location"'))),
            v_rule   = JSON_UNQUOTE(JSON_EXTRACT(v_report, '$."schema-failed-keyword"')),
            v_what   = CONCAT(in_what, IF(v_place = '#', '', CONCAT(' at ', LEFT(v_place, 40)))),
            v_value  = IF(CHAR_LENGTH(v_place) <= 256, LEFT(JSON_EXTRACT(in_json, _json_path(v_place)), 24), NULL);

        IF v_rule = 'additionalProperties' AND JSON_CONTAINS_PATH(in_shape, 'one', CONCAT(v_schema, '."properties"')) THEN
            CALL _refuse(50001, CONCAT(v_what, ' is not known; known are ',
                                       REPLACE(TRIM(BOTH '[' FROM TRIM(BOTH ']' FROM JSON_KEYS(in_shape, CONCAT(v_schema, '."properties"')))), '"', '')));
        END IF;
        CALL _refuse(50001, CONCAT(v_what, COALESCE(CONCAT(' is ', v_value), ' does not fit'), '; the rule is ', v_rule, ' ',
                                   COALESCE(JSON_EXTRACT(in_shape, CONCAT(v_schema, '."', v_rule, '"')), '')));
    END IF;
END
