-- Function: _json_shape
--
-- The JSON schema that an argument must fit. NULL for a name that there is none of.
--
-- in_name  submit_options, cutover_options, revert_options, scope, labels, progress, beats, statements
CREATE FUNCTION _json_shape (in_name VARCHAR(32))
    RETURNS JSON
    COMMENT 'The JSON schema that an argument must fit.'
    DETERMINISTIC
    NO SQL
    SQL SECURITY DEFINER
RETURN CASE in_name
    WHEN 'submit_options' THEN '{
        "type": "object", "additionalProperties": false, "properties": {
            "name":                  {"type": "string", "minLength": 1, "maxLength": 64},
            "deployments":           {"type": "array", "minItems": 1, "maxItems": 10000, "uniqueItems": true,
                                      "items": {"type": "string", "minLength": 1, "maxLength": 64}},
            "cutover_policy":        {"enum": ["rolling", "barrier", "parallel"]},
            "cutover_gate":          {"enum": ["in_order", "all_parked"]},
            "on_failure":            {"enum": ["halt", "continue", "pause"]},
            "max_copies":            {"type": "integer", "minimum": 1, "maximum": 1000000},
            "defer_cutover":         {"type": "boolean"},
            "defer_timeout_seconds": {"type": "integer", "minimum": 1, "maximum": 31536000},
            "revert_window_seconds": {"type": "integer", "minimum": 0, "maximum": 31536000},
            "revert_scope":          {"enum": ["operation", "apply"]},
            "engine":                {"type": "object"},
            "note":                  {"type": "string", "maxLength": 1024}}}'
    WHEN 'cutover_options' THEN '{
        "type": "object", "additionalProperties": false, "properties": {"all": {"type": ["boolean", "null"]}}}'
    WHEN 'revert_options' THEN '{
        "type": "object", "additionalProperties": false, "properties": {
            "deployments": {"type": ["array", "null"], "minItems": 1, "maxItems": 10000, "uniqueItems": true,
                            "items": {"type": "string", "minLength": 1, "maxLength": 64}}}}'
    WHEN 'scope' THEN '{
        "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1, "properties": {
            "deployments": {"type": "array", "minItems": 1, "maxItems": 1000,
                            "items": {"type": "string", "minLength": 1, "maxLength": 64}},
            "labels":      {"type": "object", "minProperties": 1, "maxProperties": 32,
                            "additionalProperties": {"type": "string", "maxLength": 255}}}}'
    WHEN 'labels' THEN '{
        "type": "object", "maxProperties": 32, "additionalProperties": {"type": "string", "maxLength": 255}}'
    WHEN 'progress' THEN '{
        "type": "object", "additionalProperties": false, "properties": {
            "phase":              {"type": ["string", "null"], "maxLength": 64},
            "rows_copied":        {"type": ["integer", "null"], "minimum": 0, "maximum": 1e15},
            "rows_total":         {"type": ["integer", "null"], "minimum": 0, "maximum": 1e15},
            "rows_verified":      {"type": ["integer", "null"], "minimum": 0, "maximum": 1e15},
            "rows_per_second":    {"type": ["number", "null"], "minimum": 0, "maximum": 1e15},
            "seconds_left":       {"type": ["number", "null"], "minimum": 0, "maximum": 1e15},
            "binlog_lag_seconds": {"type": ["number", "null"], "minimum": 0, "maximum": 1e15},
            "throttled_by":       {"type": ["string", "null"], "maxLength": 255},
            "tasks": {"type": ["array", "null"], "maxItems": 1000, "items": {
                "type": "object", "additionalProperties": false, "required": ["task_id"], "properties": {
                    "task_id":            {"type": "integer", "minimum": 0},
                    "phase":              {"type": ["string", "null"], "maxLength": 64},
                    "rows_copied":        {"type": ["integer", "null"], "minimum": 0, "maximum": 1e15},
                    "rows_total":         {"type": ["integer", "null"], "minimum": 0, "maximum": 1e15},
                    "rows_per_second":    {"type": ["number", "null"], "minimum": 0, "maximum": 1e15},
                    "seconds_left":       {"type": ["number", "null"], "minimum": 0, "maximum": 1e15},
                    "binlog_lag_seconds": {"type": ["number", "null"], "minimum": 0, "maximum": 1e15},
                    "throttled_by":       {"type": ["string", "null"], "maxLength": 255}}}}}}'
    WHEN 'beats' THEN '{
        "type": "array", "maxItems": 100000, "items": {
            "type": "object", "additionalProperties": false, "required": ["operation_id", "lease_token"], "properties": {
                "operation_id": {"type": "integer", "minimum": 0},
                "lease_token":  {"type": "string", "minLength": 1},
                "progress":     {"type": ["object", "null"]},
                "checkpoint":   {}}}}'
    WHEN 'statements' THEN '{
        "type": "array", "minItems": 1, "maxItems": 1000, "items": {"type": "string", "minLength": 1, "maxLength": 65535}}'
END
