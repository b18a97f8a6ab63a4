-- Procedure: _lease_enter
--
-- How every call of a driver that moves its operation begins, inside its transaction: locks the apply's row, then the
-- operation's, and refuses a token that is not the operation's own. A call that took effect and spent the token before is
-- recognised when it is asked again.
--
-- out_state   the operation's state
-- out_answer  NULL; or, if this call has taken effect already, what it was answered
CREATE PROCEDURE _lease_enter (
    IN  in_operation_id BIGINT UNSIGNED,
    IN  in_lease_token  LONGTEXT CHARACTER SET utf8mb4,
    IN  in_call         VARCHAR(32),
    OUT out_apply_id    BIGINT UNSIGNED,
    OUT out_driver      VARCHAR(64),
    OUT out_state       VARCHAR(32),
    OUT out_answer      VARCHAR(32)
)
    COMMENT 'Locks and checks at the beginning of a driver''s call.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_token       VARCHAR(36) CHARACTER SET utf8mb4;
    DECLARE v_spent_token VARCHAR(36) CHARACTER SET utf8mb4;
    DECLARE v_spent_call  VARCHAR(32);
    DECLARE v_answer      VARCHAR(32);
    DECLARE v_is_strange  BOOLEAN;

    CALL _lease_token_check(in_lease_token);
    CALL _operation_find(in_operation_id, out_apply_id);
    -- Without a lock first: who comes too late is not to hide the operation from the claim that would take it.
    SELECT MAX(NOT (   l.lease_token <=> in_lease_token COLLATE utf8mb4_0900_bin
                    OR l.spent_token <=> in_lease_token COLLATE utf8mb4_0900_bin))
      INTO v_is_strange
      FROM operation_live AS l
     WHERE l.operation_id = in_operation_id;
    IF v_is_strange IS NOT TRUE THEN
        SELECT a.apply_id INTO out_apply_id FROM apply AS a WHERE a.apply_id = out_apply_id FOR UPDATE;
        SET out_state = NULL;
        BEGIN
            DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;
            SELECT l.state, l.lease_token, l.spent_token, l.spent_call, l.spent_answer, l.lease_driver
              INTO out_state, v_token, v_spent_token, v_spent_call, v_answer, out_driver
              FROM operation_live AS l
             WHERE l.operation_id = in_operation_id
               FOR UPDATE;
        END;
        -- Not live: settled. Its last token is kept with it.
        IF out_state IS NULL THEN
            SELECT o.state, o.spent_token, o.spent_call, o.state, o.driver
              INTO out_state, v_spent_token, v_spent_call, v_answer, out_driver
              FROM operation AS o
             WHERE o.operation_id = in_operation_id;
        END IF;
    END IF;

    SET out_answer = NULL;
    IF NOT (v_token <=> in_lease_token COLLATE utf8mb4_0900_bin) THEN
        IF v_spent_token <=> in_lease_token COLLATE utf8mb4_0900_bin AND v_spent_call <=> in_call THEN
            SET out_answer = v_answer;
        ELSE
            CALL _refuse(50101, CONCAT('lease of operation ', in_operation_id, ' is lost; touch its deployment no more'));
        END IF;
    END IF;
END
