-- Function: _json_path
--
-- The path for JSON_EXTRACT to the place that a validation report names: '#/deployments/0' becomes '$."deployments"[0]'.
--
-- in_pointer  a JSON pointer; what is unusual in it is encoded as in an URI, so that no quote is there
CREATE FUNCTION _json_path (in_pointer LONGTEXT CHARACTER SET utf8mb4)
    RETURNS LONGTEXT CHARACTER SET utf8mb4
    COMMENT 'A JSON pointer as a path.'
    DETERMINISTIC
    NO SQL
    SQL SECURITY DEFINER
RETURN REGEXP_REPLACE(REGEXP_REPLACE(CONCAT('$', SUBSTRING(in_pointer, 2)), '/([0-9]+)(?=/|$)', '[$1]'), '/([^/\\[]*)', '."$1"')
