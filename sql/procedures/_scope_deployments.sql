-- Procedure: _scope_deployments
--
-- The deployments that a scope means, as an array: those it names, or those that carry all of its labels; refuses one of the
-- wrong shape. Labels are checked and worked out once, and kept in label_scope until a deployment changes.
CREATE PROCEDURE _scope_deployments (IN in_scope JSON, OUT out_deployments JSON)
    COMMENT 'The deployments that a scope means.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_labels   JSON DEFAULT JSON_EXTRACT(in_scope, '$.labels');
    DECLARE v_sha256   CHAR(64);
    DECLARE v_only_row TINYINT UNSIGNED;

    SET out_deployments = NULL;
    IF v_labels IS NOT NULL AND JSON_LENGTH(in_scope) = 1 THEN
        SET v_sha256 = SHA2(v_labels, 256);
        SELECT CAST(MAX(CAST(s.deployments AS CHAR)) AS JSON)
          INTO out_deployments
          FROM label_scope AS s
         WHERE s.labels_sha256 = v_sha256;
    END IF;
    IF out_deployments IS NULL THEN
        CALL _json_check('scope', in_scope, _json_shape('scope'));
        IF v_labels IS NULL THEN
            SET out_deployments = JSON_EXTRACT(in_scope, '$.deployments');
        ELSE
            -- Kept only under the lock that a change of deployments takes, or an answer from before it could be kept after it;
            -- and by one at a time: two that add the same row behind a third that takes it away would each wait for the other's
            -- gap. Where somebody has that lock it is not waited for: the next one keeps it.
            BEGIN
                DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;
                SELECT i.only_row INTO v_only_row FROM installation AS i FOR UPDATE SKIP LOCKED;
            END;
            CALL _function_check(_scope_holds(in_scope, '', JSON_OBJECT()) IS NOT NULL);
            SELECT COALESCE(JSON_ARRAYAGG(d.deployment), JSON_ARRAY())
              INTO out_deployments
              FROM deployment AS d
             WHERE _scope_holds(in_scope, d.deployment, d.labels);
            IF v_only_row IS NOT NULL THEN
                INSERT IGNORE INTO label_scope (labels_sha256, deployments)
                VALUES (v_sha256, out_deployments);
            END IF;
        END IF;
    END IF;
END
