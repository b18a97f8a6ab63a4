-- Procedure: operation_begin_cutover
--
-- Starts the swap of an operation on hold, once its heartbeat has said `cutover`. Refused, naming the blocker, while the
-- gate is shut. Answers state.
--
-- in_operation_id  from the claim
-- in_lease_token   from the claim
--
-- Owns its transaction. Errors 50001, 50002, 50003, 50101, 50201.
CREATE PROCEDURE operation_begin_cutover (
    IN in_operation_id LONGTEXT CHARACTER SET utf8mb4,
    IN in_lease_token  LONGTEXT CHARACTER SET utf8mb4
)
    COMMENT 'Starts the swap of an operation on hold.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_id        BIGINT UNSIGNED DEFAULT _id(in_operation_id);
    DECLARE v_apply_id  BIGINT UNSIGNED;
    DECLARE v_driver    VARCHAR(64);
    DECLARE v_state     VARCHAR(32);
    DECLARE v_answer    VARCHAR(32);
    DECLARE v_directive VARCHAR(16);
    DECLARE v_sentence  VARCHAR(255) CHARACTER SET utf8mb4;

    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;

        START TRANSACTION READ WRITE;
        CALL _lease_enter(v_id, in_lease_token, 'begin_cutover', v_apply_id, v_driver, v_state, v_answer);

        IF v_state <> 'cutting_over' THEN
            SELECT MAX(g.directive), MAX(g.sentence)
              INTO v_directive, v_sentence
              FROM (SELECT h.declared_directive AS directive,
                           _gate_sentence(h.gate, h.cause, b.deployment, b.state) AS sentence
                      FROM _operation_gate AS h
                      LEFT JOIN _sibling   AS b
                        ON b.apply_id = h.apply_id
                       AND b.position = h.blocker_position
                     WHERE h.operation_id = v_id) AS g;
            IF NOT (v_directive <=> 'cutover') THEN
                CALL _move_refuse(v_id, v_state, COALESCE(v_sentence, 'only an operation on hold begins its cutover'));
            END IF;
            CALL _operation_advance(v_apply_id, v_id, 'cutting_over', v_driver, 'its turn', TRUE, NULL, NULL);
            SET v_state = 'cutting_over';
        END IF;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT v_state AS state;
END
