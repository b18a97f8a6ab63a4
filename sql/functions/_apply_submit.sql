-- Function: _apply_submit
--
-- What apply_submit writes, when its arguments are read and it is let in. Answers the apply's id.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
CREATE FUNCTION _apply_submit (
    in_name        VARCHAR(64) CHARACTER SET utf8mb4,
    in_sha256      CHAR(64),
    in_schema_name VARCHAR(64) CHARACTER SET utf8mb4,
    in_statements  JSON,
    in_tasks       JSON,
    in_options     JSON,
    in_deployments JSON,
    in_note        VARCHAR(1024) CHARACTER SET utf8mb4
)
    RETURNS BIGINT UNSIGNED
    COMMENT 'What apply_submit writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_apply_id BIGINT UNSIGNED;

    CALL _submit_store(in_name, in_sha256, in_schema_name, in_statements, in_tasks, in_options, in_deployments, in_note, v_apply_id);
    CALL _event_record(v_apply_id, NULL, USER(), 'submitted', in_note);
    CALL _apply_refresh(v_apply_id, USER());
    RETURN v_apply_id;
END
