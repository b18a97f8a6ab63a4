-- Procedure: _report_run
--
-- A driver's report that takes its lease alone, from its arguments to its answer: state.
--
-- in_call  'stopped', 'cancelled', 'complete', 'reverted', 'begin_cutover' or 'begin_revert'
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101, 50201.
CREATE PROCEDURE _report_run (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4,
    IN in_call         VARCHAR(32)
)
    COMMENT 'A report that takes its lease alone.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id       BIGINT UNSIGNED DEFAULT _id(in_operation_id);
    DECLARE v_apply_id BIGINT UNSIGNED;
    DECLARE v_driver   VARCHAR(64);
    DECLARE v_state    VARCHAR(32);
    DECLARE v_answer   VARCHAR(32);

    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _lease_enter(v_id, in_lease_token, in_call, v_apply_id, v_driver, v_state, v_answer);
        IF v_answer IS NULL THEN
            -- A statement each: the server opens the tables of all functions that one names.
            CASE in_call
                WHEN 'stopped'       THEN SELECT _operation_stopped(v_apply_id, v_id, v_driver, v_state)       INTO v_state;
                WHEN 'cancelled'     THEN SELECT _operation_cancelled(v_apply_id, v_id, v_driver, v_state)     INTO v_state;
                WHEN 'complete'      THEN SELECT _operation_complete(v_apply_id, v_id, v_driver, v_state)      INTO v_state;
                WHEN 'reverted'      THEN SELECT _operation_reverted(v_apply_id, v_id, v_driver, v_state)      INTO v_state;
                WHEN 'begin_cutover' THEN SELECT _operation_begin_cutover(v_apply_id, v_id, v_driver, v_state) INTO v_state;
                WHEN 'begin_revert'  THEN SELECT _operation_begin_revert(v_apply_id, v_id, v_driver, v_state)  INTO v_state;
            END CASE;
            CALL _function_check(v_state IS NOT NULL);
        END IF;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_state AS state;
END
