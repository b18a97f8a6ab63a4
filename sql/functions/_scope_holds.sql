-- Function: _scope_holds
--
-- Whether a driver's scope has a deployment with these labels in it: one of those that it names, or one that carries all of its
-- labels; without a scope, any.
-- Said to be not deterministic for the same reason as _gate_sentence: views use it.
CREATE FUNCTION _scope_holds (in_scope JSON, in_deployment VARCHAR(64) CHARACTER SET utf8mb4, in_labels JSON)
    RETURNS BOOLEAN
    COMMENT 'Whether a scope has a deployment in it.'
    NOT DETERMINISTIC
    NO SQL
    SQL SECURITY DEFINER
RETURN CASE
    WHEN in_scope IS NULL                                THEN TRUE
    WHEN JSON_CONTAINS_PATH(in_scope, 'one', '$.labels') THEN JSON_CONTAINS(in_labels, JSON_EXTRACT(in_scope, '$.labels'))
    ELSE JSON_CONTAINS(JSON_EXTRACT(in_scope, '$.deployments'), JSON_QUOTE(in_deployment))
END IS TRUE
