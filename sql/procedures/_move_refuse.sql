-- Procedure: _move_refuse
--
-- Refuses a driver's call that the operation's state does not allow, or that nobody asked for.
--
-- in_why  a sentence as long as those of _gate_sentence; _refuse cuts the whole
CREATE PROCEDURE _move_refuse (
    IN in_operation_id BIGINT UNSIGNED,
    IN in_state        VARCHAR(32),
    IN in_why          VARCHAR(255) CHARACTER SET utf8mb4
)
    COMMENT 'Refuses a call that the state does not allow.'
    SQL SECURITY DEFINER
    NO SQL
CALL _refuse(50201, CONCAT('operation ', in_operation_id, ' is ', in_state, '; ', in_why))
