-- Procedure: _deployment_refuse_used
--
-- Refuses to remove a deployment that there is none of, or that an unsettled apply uses. Takes the intake's lock: no apply comes
-- between the look and the caller's end.
--
-- in_but_hopeless  TRUE: an apply of which only what is hopeless is left, wherever, does not count, nor what is to go back and waits for
--                  that: it swapped earlier
CREATE PROCEDURE _deployment_refuse_used (IN in_name LONGTEXT CHARACTER SET utf8mb4, IN in_but_hopeless BOOLEAN)
    COMMENT 'Refuses to remove a deployment that is used.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_name     VARCHAR(64);
    DECLARE v_apply_id BIGINT UNSIGNED;
    DECLARE v_others   VARCHAR(64);

    CALL _intake_lock();
    SELECT MAX(d.deployment) INTO v_name FROM deployment AS d WHERE d.deployment = in_name;
    IF v_name IS NULL THEN
        CALL _refuse(50002, CONCAT('deployment "', COALESCE(LEFT(in_name, 40), 'NULL'), '" does not exist; see deployment_status'));
    END IF;

    SELECT MIN(a.apply_id)
      INTO v_apply_id
      FROM apply     AS a
      JOIN operation AS o
        ON o.apply_id   = a.apply_id
       AND o.deployment = v_name
     WHERE a.finished_at IS NULL
       AND NOT (in_but_hopeless AND NOT EXISTS (SELECT 1
                                                  FROM operation_live AS l
                                                  JOIN _sibling       AS s
                                                    ON s.operation_id = l.operation_id
                                                 WHERE l.apply_id = a.apply_id
                                                   AND NOT s.is_hopeless
                                                   AND NOT (    l.revert_request_id IS NOT NULL
                                                            AND EXISTS (SELECT 1
                                                                          FROM _sibling AS later
                                                                         WHERE later.apply_id = l.apply_id
                                                                           AND later.position > l.position
                                                                           AND later.is_hopeless))));
    IF v_apply_id IS NOT NULL THEN
        SELECT MIN(l.deployment)
          INTO v_others
          FROM operation_live AS l
         WHERE l.apply_id    = v_apply_id
           AND l.deployment <> v_name;
        CALL _refuse(50501, CONCAT('deployment "', LEFT(in_name, 40), '" is used by apply ', v_apply_id,
                                   '; remove it when that has settled',
                                   COALESCE(CONCAT(' (it is not done with ', LEFT(v_others, 20), ')'), '')));
    END IF;
END
