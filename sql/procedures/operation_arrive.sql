-- Procedure: operation_arrive
--
-- Reports a copy that is caught up and verified, and is told what now. Answers decision, state:
--   parked    the lease has ended; a cutover claim swaps it in its turn
--   hold      keep the lease and the shadow table current; wait for the directive `cutover`
--   cut_over  the state is cutting_over: swap now
--   stop      it is stopped, the lease has ended
--   cancel    it is cancelling: remove the artifacts
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
-- in_checkpoint    NULL leaves it
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101, 50201.
CREATE PROCEDURE operation_arrive (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4,
    IN in_checkpoint   JSON
)
    COMMENT 'Reports a verified copy; says what now.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id          BIGINT UNSIGNED DEFAULT _id(in_operation_id);
    DECLARE v_apply_id    BIGINT UNSIGNED;
    DECLARE v_driver      VARCHAR(64);
    DECLARE v_state       VARCHAR(32);
    DECLARE v_answer      VARCHAR(32);
    DECLARE v_decision    VARCHAR(16);
    DECLARE v_to_state    VARCHAR(32);
    DECLARE v_directive   VARCHAR(16);
    DECLARE v_cause       VARCHAR(16);
    DECLARE v_is_deferred BOOLEAN;
    DECLARE v_parks       BOOLEAN;
    DECLARE v_is_done     BOOLEAN;

    CALL _checkpoint_check(JSON_STORAGE_SIZE(in_checkpoint));
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _lease_enter(v_id, in_lease_token, 'arrive', v_apply_id, v_driver, v_state, v_answer);

        IF v_answer IS NOT NULL THEN
            SET v_decision = v_answer;
        ELSE
            UPDATE operation_live AS l
               SET l.checkpoint = IF(JSON_TYPE(in_checkpoint) <> 'NULL', in_checkpoint, l.checkpoint)
             WHERE l.operation_id = v_id;
            SELECT g.declared_directive, g.cause, a.defer_cutover, a.operations > 1 AND a.cutover_policy IN ('barrier', 'parallel')
              INTO v_directive, v_cause, v_is_deferred, v_parks
              FROM _operation_gate AS g
              JOIN _apply_gate     AS a
                ON a.apply_id = g.apply_id
             WHERE g.operation_id = v_id;
            SET v_decision = CASE
                                 WHEN v_state = 'cancelling'   THEN 'cancel'
                                 WHEN v_state = 'cutting_over' THEN 'cut_over'
                                 WHEN v_directive = 'stop'     THEN 'stop'
                                 WHEN v_state = 'waiting_for_cutover' OR (v_state = 'running' AND v_is_deferred) THEN 'hold'
                                 -- A lone or rolling one parks only where its gate has shut behind it.
                                 WHEN v_state = 'running' AND (v_parks OR v_cause IS NOT NULL) THEN 'parked'
                                 WHEN v_state = 'running'      THEN 'cut_over'
                             END,
                v_to_state = CASE v_decision
                                 WHEN 'cancel'   THEN 'cancelling'
                                 WHEN 'cut_over' THEN 'cutting_over'
                                 WHEN 'stop'     THEN 'stopped'
                                 WHEN 'hold'     THEN 'waiting_for_cutover'
                                 WHEN 'parked'   THEN 'waiting_for_cutover'
                             END;
            IF v_decision IS NULL THEN
                CALL _move_refuse(v_id, v_state, 'only a copy arrives at the barrier');
            END IF;
            IF v_to_state <> v_state THEN
                SELECT _operation_step(v_apply_id, v_id, v_to_state, v_driver, CONCAT('arrived: ', v_decision),
                                       v_decision IN ('hold', 'cut_over'), 'arrive', v_decision)
                  INTO v_is_done;
                CALL _function_check(v_is_done IS NOT NULL);
                SET v_state = v_to_state;
            END IF;
        END IF;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_decision AS decision, v_state AS state;
END
