-- Procedure: _scope_check
--
-- Refuses a scope that is neither NULL nor {"deployments": [...]} nor {"labels": {...}}.
CREATE PROCEDURE _scope_check (IN in_scope JSON)
    COMMENT 'Refuses a scope of the wrong shape.'
    SQL SECURITY DEFINER
    NO SQL
BEGIN
    CALL _json_check('scope', in_scope, _json_shape('scope'));
END
