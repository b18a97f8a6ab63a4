-- Function: _statement_target
--
-- What a DDL statement changes: {"kind": "alter" | "create" | "drop", "schema": … or null, "table": …}, or NULL for anything
-- that is no ALTER, CREATE or DROP of one table, or CREATE or DROP of an index, or that is several statements. Whether the
-- statement is right in itself is for the deployment's server to say.
CREATE FUNCTION _statement_target (in_statement MEDIUMTEXT CHARACTER SET utf8mb4)
    RETURNS JSON
    COMMENT 'The kind and the table of a DDL statement.'
    DETERMINISTIC
    NO SQL
    SQL SECURITY DEFINER
BEGIN
    -- White space or a comment; an identifier, quoted or not, between gaps that a quoted one does without; schema.table.
    DECLARE v_gap       VARCHAR(128) DEFAULT '(?:\\s|/\\*(?!!)(?:[^*]|\\*(?!/))*+\\*/|--(?=\\s)[^\\n]*\\n|#[^\\n]*\\n)';
    DECLARE v_name      VARCHAR(64)  DEFAULT '(?:`(?:[^`]|``)+`|[0-9A-Za-z_$\\x{80}-\\x{FFFF}]+)';
    DECLARE v_before    VARCHAR(160) DEFAULT CONCAT('(?:', v_gap, '+|(?=`))');
    DECLARE v_between   VARCHAR(320) DEFAULT CONCAT('(?:', v_gap, '+|(?<=`)', v_gap, '*)');
    DECLARE v_after     VARCHAR(64)  DEFAULT '(?:(?<=`)|(?=[\\s(/#]|--\\s))';
    DECLARE v_target    VARCHAR(255) DEFAULT CONCAT('(', v_name, ')(?:\\s*\\.\\s*(', v_name, '))?');
    DECLARE v_alter     VARCHAR(2000) DEFAULT CONCAT('^ALTER', v_gap, '+TABLE', v_before, v_target, v_after, '.*$');
    DECLARE v_create    VARCHAR(2000) DEFAULT CONCAT('^CREATE', v_gap, '+TABLE', v_before, '(?:IF', v_gap, '+NOT', v_gap, '+EXISTS',
                                                    v_before, ')?', v_target, v_after, '.*$');
    DECLARE v_drop      VARCHAR(2000) DEFAULT CONCAT('^DROP', v_gap, '+TABLE', v_before, '(?:IF', v_gap, '+EXISTS', v_before, ')?',
                                                    v_target, v_gap, '*$');
    DECLARE v_index     VARCHAR(2000) DEFAULT CONCAT('^(?:CREATE', v_gap, '+(?:(?:UNIQUE|FULLTEXT|SPATIAL)', v_gap, '+)?|DROP',
                                                    v_gap, '+)INDEX', v_before, v_name, '(?:', v_between, 'USING', v_gap, '+\\w+)?',
                                                    v_between, 'ON', v_before, v_target, '(?:', v_after, '.*)?$');
    DECLARE v_quoted    VARCHAR(255) DEFAULT CONCAT('\'(?:[^\'\\\\]++|\\\\.|\'\')*+\'|"(?:[^"\\\\]++|\\\\.|"")*+"|`(?:[^`]++|``)*+`',
                                                    '|/\\*.*?\\*/|--(?=\\s)[^\\n]*+|#[^\\n]*+');
    DECLARE v_statement MEDIUMTEXT CHARACTER SET utf8mb4;
    DECLARE v_pattern   VARCHAR(2000);
    DECLARE v_kind      VARCHAR(8);
    DECLARE v_first     TEXT CHARACTER SET utf8mb4;
    DECLARE v_second    TEXT CHARACTER SET utf8mb4;

    SET v_statement = REGEXP_REPLACE(in_statement, CONCAT('^', v_gap, '+'), '', 1, 1, 'n');
    SET v_statement = REGEXP_REPLACE(v_statement, '[\\s;]+$', '', 1, 1, 'n');
    -- A semicolon that is not in a string, a name or a comment ends a statement. Possessive: long texts need no stack.
    IF LOCATE(';', v_statement) > 0 AND LOCATE(';', REGEXP_REPLACE(v_statement, v_quoted, '', 1, 0, 'n')) > 0 THEN
        RETURN NULL;
    END IF;
    CASE
        WHEN REGEXP_LIKE(v_statement, v_alter,  'in') THEN SET v_kind = 'alter',  v_pattern = v_alter;
        WHEN REGEXP_LIKE(v_statement, v_create, 'in') THEN SET v_kind = 'create', v_pattern = v_create;
        WHEN REGEXP_LIKE(v_statement, v_drop,   'in') THEN SET v_kind = 'drop',   v_pattern = v_drop;
        WHEN REGEXP_LIKE(v_statement, v_index,  'in') THEN SET v_kind = 'alter',  v_pattern = v_index;
        ELSE RETURN NULL;
    END CASE;

    SET v_first  = REGEXP_REPLACE(v_statement, v_pattern, '$1', 1, 1, 'in'),
        v_second = REGEXP_REPLACE(v_statement, v_pattern, '$2', 1, 1, 'in');
    IF v_first LIKE '`%' THEN
        SET v_first = REPLACE(SUBSTRING(v_first, 2, CHAR_LENGTH(v_first) - 2), '``', '`');
    END IF;
    IF v_second LIKE '`%' THEN
        SET v_second = REPLACE(SUBSTRING(v_second, 2, CHAR_LENGTH(v_second) - 2), '``', '`');
    END IF;
    RETURN JSON_OBJECT('kind',   v_kind,
                       'schema', IF(v_second = '', NULL, v_first),
                       'table',  IF(v_second = '', v_first, v_second));
END
