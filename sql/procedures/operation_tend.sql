-- Procedure: operation_tend
--
-- Gives a driver with room to spare a parked operation to catch up, the one that has waited longest for it; or none. That is no
-- lease: the operation stays parked, and a cutover claim, a stop or a cancel may take it away at any moment, with a larger
-- epoch. Columns as operation_claim_copy's; the token is good for operation_tended alone.
--
-- in_driver  1 to 64 characters, shown to people
-- in_scope   NULL, {"deployments": [...]} or {"labels": {...}}
--
-- Owns its transaction. Errors 50001, 50003. Example: CALL operation_tend('db7-4711', NULL);
CREATE PROCEDURE operation_tend (IN in_driver LONGTEXT CHARACTER SET utf8mb4, IN in_scope JSON)
    COMMENT 'Gives a parked operation out to be caught up.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_deployments  JSON;
    DECLARE v_operation_id BIGINT UNSIGNED;
    DECLARE v_seen_id      BIGINT UNSIGNED DEFAULT 0;
    DECLARE v_seen_at      DATETIME(6) DEFAULT '1000-01-01';
    DECLARE v_token        CHAR(36)    CHARACTER SET utf8mb4 DEFAULT BIN_TO_UUID(RANDOM_BYTES(16));
    DECLARE v_now          DATETIME(6) DEFAULT UTC_TIMESTAMP(6);
    DECLARE v_answer       JSON;

    CALL _name_check('driver name', in_driver, 64);
    CALL _own_transaction();
    BEGIN
        DECLARE EXIT HANDLER FOR SQLEXCEPTION
        BEGIN
            ROLLBACK AND NO CHAIN NO RELEASE;
            RESIGNAL;
        END;
        -- Nothing to tend is no error.
        DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;

        START TRANSACTION READ WRITE;
        IF in_scope IS NOT NULL THEN
            CALL _scope_deployments(in_scope, v_deployments);
        END IF;
        -- Seen without a lock, then locked by its key: whoever locks while he scans hides rows that were meant for a cutover claim.
        -- What such a claim may take is left to it.
        WHILE v_operation_id IS NULL AND v_seen_id IS NOT NULL DO
            SELECT MAX(t.operation_id), MAX(t.tend_at)
              INTO v_seen_id, v_seen_at
              FROM (SELECT l.operation_id, l.tend_at
                      FROM operation_live AS l FORCE INDEX (operation_live_tend)
                     WHERE l.tend_at BETWEEN v_seen_at AND v_now
                       AND (l.tend_at > v_seen_at OR l.operation_id > v_seen_id)
                       AND l.claim IS NULL
                       AND (v_deployments IS NULL OR JSON_CONTAINS(v_deployments, JSON_QUOTE(l.deployment)))
                     ORDER BY l.tend_at, l.operation_id
                     LIMIT 1) AS t;
            SELECT l.operation_id
              INTO v_operation_id
              FROM operation_live AS l
             WHERE l.operation_id = v_seen_id
               AND l.tend_at     <= v_now
               AND l.state        = 'waiting_for_cutover'
               AND l.lease_token IS NULL
               AND l.claim       IS NULL
               FOR UPDATE SKIP LOCKED;
        END WHILE;

        -- A subquery: of a joined table the server would lock the row.
        UPDATE operation_live AS l
           SET l.tend_at     = v_now + INTERVAL (SELECT s.value FROM setting AS s WHERE s.name = 'tend_seconds') SECOND,
               l.tend_token  = v_token,
               l.lease_epoch = l.lease_epoch + 1
         WHERE l.operation_id = v_operation_id;
        SELECT JSON_OBJECT('operation_id', l.operation_id, 'apply_id', l.apply_id, 'position', l.position,
                           'deployment', l.deployment, 'host', l.host, 'port', l.port, 'schema_name', l.schema_name,
                           'state', l.state, 'lease_epoch', l.lease_epoch, 'lease_ttl_seconds', l.lease_ttl_seconds,
                           'attempt', l.attempt, 'checkpoint', l.checkpoint, 'options', l.options,
                           -- As in _operation_claim: a task moves with its operation.
                           'tasks', CAST(REPLACE(l.tasks, '"state": "pending"', CONCAT('"state": "', l.state, '"')) AS JSON))
          INTO v_answer
          FROM operation_live AS l
         WHERE l.operation_id = v_operation_id;

        COMMIT AND NO CHAIN NO RELEASE;
    END;

    SELECT t.operation_id, t.apply_id, t.position, t.deployment, t.host, t.port, t.schema_name, t.state AS previous_state, t.state,
           v_token AS lease_token, t.lease_epoch, t.lease_ttl_seconds, t.attempt, t.checkpoint, t.tasks, t.options
      FROM JSON_TABLE(v_answer, '$' COLUMNS (
               operation_id      BIGINT UNSIGNED   PATH '$.operation_id',
               apply_id          BIGINT UNSIGNED   PATH '$.apply_id',
               position          INT UNSIGNED      PATH '$.position',
               deployment        VARCHAR(64)       PATH '$.deployment',
               host              VARCHAR(255)      PATH '$.host',
               port              SMALLINT UNSIGNED PATH '$.port',
               schema_name       VARCHAR(64)       PATH '$.schema_name',
               state             VARCHAR(32)       PATH '$.state',
               lease_epoch       BIGINT UNSIGNED   PATH '$.lease_epoch',
               lease_ttl_seconds INT UNSIGNED      PATH '$.lease_ttl_seconds',
               attempt           INT UNSIGNED      PATH '$.attempt',
               checkpoint        JSON              PATH '$.checkpoint',
               tasks             JSON              PATH '$.tasks',
               options           JSON              PATH '$.options')) AS t;
END
