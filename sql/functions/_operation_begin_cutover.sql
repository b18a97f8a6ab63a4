-- Function: _operation_begin_cutover
--
-- What operation_begin_cutover writes, when it has locked its operation. Answers the state that comes of it.
-- One statement, and said to be deterministic: ARCHITECTURE.md says why.
--
-- in_state  the operation's, which is under the caller's lock
CREATE FUNCTION _operation_begin_cutover (
    in_apply_id     BIGINT UNSIGNED,
    in_operation_id BIGINT UNSIGNED,
    in_driver       VARCHAR(64),
    in_state        VARCHAR(32)
)
    RETURNS VARCHAR(32)
    COMMENT 'What operation_begin_cutover writes, as one statement.'
    DETERMINISTIC
    MODIFIES SQL DATA
    SQL SECURITY DEFINER
BEGIN
    DECLARE v_directive VARCHAR(16);
    DECLARE v_sentence  VARCHAR(255) CHARACTER SET utf8mb4;

    -- Also where it is asked again.
    IF in_state <> 'cutting_over' THEN
        SELECT g.declared_directive, g.sentence
          INTO v_directive, v_sentence
          FROM _operation_blocker AS g
         WHERE g.operation_id = in_operation_id;
        IF NOT (v_directive <=> 'cutover') THEN
            CALL _move_refuse(in_operation_id, in_state, COALESCE(v_sentence, 'only an operation on hold begins its cutover'));
        END IF;
        CALL _operation_advance(in_apply_id, in_operation_id, 'cutting_over', in_driver, 'its turn', TRUE, NULL, NULL);
    END IF;
    RETURN 'cutting_over';
END
