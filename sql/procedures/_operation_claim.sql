-- Procedure: _operation_claim
--
-- Both claims: the oldest claimable row of one kind, one index seek, one update by primary key, one commit.
--
-- Claims do not lock the apply's row. They may do without, because a claim opens no gate, and because commands lock the
-- operations' rows, so that a claim is either over or has not begun when a command looks. The two things that make a claim take
-- the apply's row after all are in _claim_under_apply.
--
-- in_claim  'copy' or 'cutover'
--
-- Owns its transaction and gives the answer: see operation_claim_copy.
CREATE PROCEDURE _operation_claim (IN in_claim VARCHAR(8), IN in_driver LONGTEXT CHARACTER SET utf8mb4, IN in_scope JSON)
    COMMENT 'Both claims: one row or none.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_deployments    JSON;
    DECLARE v_operation_id   BIGINT UNSIGNED;
    DECLARE v_apply_id       BIGINT UNSIGNED;
    DECLARE v_position       INT UNSIGNED;
    DECLARE v_deployment     VARCHAR(64);
    DECLARE v_host           VARCHAR(255);
    DECLARE v_port           SMALLINT UNSIGNED;
    DECLARE v_schema_name    VARCHAR(64);
    DECLARE v_previous_state VARCHAR(32);
    DECLARE v_state          VARCHAR(32);
    DECLARE v_token          CHAR(36) CHARACTER SET utf8mb4;
    DECLARE v_epoch          BIGINT UNSIGNED;
    DECLARE v_ttl_seconds    INT UNSIGNED;
    DECLARE v_attempt        INT UNSIGNED;
    DECLARE v_checkpoint     JSON;
    DECLARE v_tasks          JSON;
    DECLARE v_options        JSON;
    DECLARE v_may_need_apply BOOLEAN;
    DECLARE v_has_apply      BOOLEAN;
    DECLARE v_lapsed_at      DATETIME(6);
    -- Read for the index's sake; see there.
    DECLARE v_expired_at     DATETIME(6);
    DECLARE v_swept          INT UNSIGNED;
    DECLARE v_head_at        DATETIME(6);
    DECLARE v_now            DATETIME(6);
    -- What others held when it was looked for; how often that has been.
    DECLARE v_is_passed      BOOLEAN;
    DECLARE v_looks          INT UNSIGNED DEFAULT 0;
    DECLARE v_is_victim      BOOLEAN;
    DECLARE v_is_done        BOOLEAN;

    -- Two checks, each in a few words where all is as usual: is it a name, without anything that JSON escapes and without DEL; is the
    -- clock the server's own? The checks proper follow only if not: their regular expression, which the server compiles at each
    -- call, takes as long as a statement. COLLATE: DEL is nothing at all to most collations, and found in every name.
    IF (    CHAR_LENGTH(in_driver) BETWEEN 1 AND 64
        AND JSON_QUOTE(in_driver) = CONCAT('"', TRIM(in_driver), '"') COLLATE utf8mb4_0900_bin
        AND LOCATE(CHAR(127 USING utf8mb4), in_driver COLLATE utf8mb4_0900_bin) = 0
        AND SYSDATE() = NOW()) IS NOT TRUE THEN
        CALL _name_check('driver name', in_driver, 64);
        CALL _own_transaction();
    END IF;
    -- No scope at all is what NULL alone means. A plain list of names is taken as it is: to fit it against its shape (the limits
    -- stand in _json_shape) costs more than a claim. Whatever else there is, is read and checked.
    IF in_scope IS NOT NULL THEN
        IF REGEXP_LIKE(CAST(in_scope AS CHAR), '^\\{"deployments": \\["[^"\\\\]{1,64}"(, "[^"\\\\]{1,64}"){0,999}\\]\\}\\z', 'c') THEN
            SET v_deployments = JSON_EXTRACT(in_scope, '$.deployments');
        ELSE
            CALL _scope_read(in_scope, v_deployments);
        END IF;
    END IF;
    REPEAT
        SET v_is_victim = FALSE;
        BEGIN
            -- It would find the same, and says what it means.
            DECLARE EXIT HANDLER FOR 1568
                CALL _own_transaction();

            -- For the looks without a lock, below. Locking reads and changes are the same on both levels, and what has more to read
            -- than a place to begin at begins a transaction of the usual level first.
            SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED, READ WRITE;
        END;
        BEGIN
            DECLARE EXIT HANDLER FOR SQLEXCEPTION
            BEGIN
                ROLLBACK AND NO CHAIN NO RELEASE;
                RESIGNAL;
            END;
            -- Of a row that somebody else has, SKIP LOCKED keeps the entry in the index that it came by. Two claims that came by
            -- different indexes, and each pass the row that the other one takes as soon as it is let go, wait for each other. The
            -- server gives one of them up, which has done nothing yet.
            DECLARE EXIT HANDLER FOR 1213
            BEGIN
                ROLLBACK AND NO CHAIN NO RELEASE;
                SET v_is_victim    = TRUE,
                    v_operation_id = NULL;
            END;
            -- An empty queue is no error.
            DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;

            START TRANSACTION READ WRITE;
            seek: LOOP
                SET v_now        = UTC_TIMESTAMP(6),
                    v_lapsed_at  = NULL,
                    v_swept      = 0,
                    v_is_passed  = FALSE,
                    v_has_apply  = FALSE;
                -- A look without a lock: did any lease run out? lease_expires_at is no part of the index, so that the server
                -- checks the range inside it and reads no row beyond; MIN or MAX would. The text stands here, as a CALL would cost
                -- more than the look.
                SELECT l.lease_check_at, l.lease_expires_at
                  INTO v_lapsed_at, v_expired_at
                  FROM operation_live AS l FORCE INDEX (operation_live_lease_check)
                 WHERE l.lease_check_at <= v_now
                 LIMIT 1;
                IF v_lapsed_at IS NOT NULL THEN
                    CALL _lease_sweep(v_lapsed_at, v_swept);
                END IF;

                IF v_deployments IS NOT NULL THEN
                    CALL _scope_seek(in_claim, v_deployments, v_operation_id, v_is_passed);
                ELSE
                    -- Where does the queue begin? A look without a lock. Entries of what was claimed stay in the index, marked as
                    -- deleted, until the server purges them: never, while a backup's snapshot is open. To lock past one takes a look
                    -- into the row's older versions; READ UNCOMMITTED just passes it, and those of claims that are under way. What
                    -- it shows is a place to begin at, no more. MIN the server answers while it plans, by one dive into the
                    -- index: for a third of what a statement with LIMIT 1 costs.
                    -- SKIP LOCKED: claimers that ask together get different rows, and none waits. The index serves the order, so
                    -- that LIMIT 1 locks one row. By =, not by a range: past the end of a range the server locks one row more before
                    -- it sees that, and whoever that one is free for would pass it over.
                    SET v_head_at = '1000-01-01';
                    REPEAT
                        SELECT MIN(l.claimable_at)
                          INTO v_head_at
                          FROM operation_live AS l FORCE INDEX (operation_live_claim)
                         WHERE l.claim         = in_claim
                           AND l.claimable_at  > v_head_at
                           AND l.claimable_at <= v_now;
                        IF v_head_at IS NOT NULL THEN
                            SELECT l.operation_id, l.apply_id, l.state, l.lease_ttl_seconds,
                                   l.is_capped OR l.start_request_id IS NOT NULL, l.position, l.deployment, l.host, l.port,
                                   l.schema_name, l.attempt, l.lease_epoch + 1, l.checkpoint, l.tasks, l.options
                              INTO v_operation_id, v_apply_id, v_previous_state, v_ttl_seconds,
                                   v_may_need_apply, v_position, v_deployment, v_host, v_port,
                                   v_schema_name, v_attempt, v_epoch, v_checkpoint, v_tasks, v_options
                              FROM operation_live AS l FORCE INDEX (operation_live_claim)
                             WHERE l.claim        = in_claim
                               AND l.claimable_at = v_head_at
                             ORDER BY l.operation_id
                             LIMIT 1
                               FOR UPDATE SKIP LOCKED;
                            SET v_is_passed = v_operation_id IS NULL;
                        END IF;
                    UNTIL v_operation_id IS NOT NULL OR v_head_at IS NULL END REPEAT;
                END IF;

                IF v_operation_id IS NOT NULL AND (v_may_need_apply OR v_deployments IS NOT NULL) THEN
                    CALL _claim_under_apply(in_claim, in_driver, v_deployments, v_operation_id, v_has_apply);
                    IF v_operation_id IS NULL THEN
                        -- Somebody else was faster.
                        CALL _claim_begin_anew();
                        ITERATE seek;
                    END IF;
                    -- It may have waited; a lease begins when it is given.
                    SET v_now = UTC_TIMESTAMP(6);
                    SELECT l.apply_id, l.state, l.lease_ttl_seconds, l.position, l.deployment, l.host, l.port, l.schema_name,
                           l.attempt, l.lease_epoch + 1, l.checkpoint, l.tasks, l.options
                      INTO v_apply_id, v_previous_state, v_ttl_seconds, v_position, v_deployment, v_host, v_port, v_schema_name,
                           v_attempt, v_epoch, v_checkpoint, v_tasks, v_options
                      FROM operation_live AS l
                     WHERE l.operation_id = v_operation_id;
                END IF;
                IF v_operation_id IS NULL AND v_swept > 0 THEN
                    -- Those were not for this claim. There may be more.
                    ITERATE seek;
                END IF;
                IF v_operation_id IS NULL AND (v_is_passed OR v_lapsed_at IS NOT NULL) AND v_looks < 7 THEN
                    -- Others hold what was seen. A claim takes it; but who sweeps, commands or comes too late lets it go within
                    -- moments, and "nothing" would not be true then. Not for longer than a quarter of a second: an interrupted call
                    -- may hold it for good.
                    SET v_looks = v_looks + 1;
                    DO SLEEP(POW(2, v_looks) / 1000);
                    ITERATE seek;
                END IF;
                LEAVE seek;
            END LOOP;

            IF v_operation_id IS NOT NULL THEN
                SET v_token = BIN_TO_UUID(RANDOM_BYTES(16)),
                    v_state = CASE
                                  WHEN v_previous_state IN ('pending', 'failed_retryable', 'stopped')    THEN 'running'
                                  WHEN v_previous_state = 'waiting_for_cutover' AND in_claim = 'cutover' THEN 'cutting_over'
                                  ELSE v_previous_state
                              END;
                IF v_has_apply THEN
                    SELECT _claim_step(v_apply_id, v_operation_id, in_driver, v_token, v_epoch, v_state, v_now) INTO v_is_done;
                    CALL _function_check(v_is_done IS NOT NULL);
                ELSE
                    CALL _claim_take(v_operation_id, in_driver, v_token, v_epoch, v_state, v_now);
                END IF;
            END IF;

            COMMIT AND NO CHAIN NO RELEASE;
        END;
    UNTIL NOT v_is_victim END REPEAT;

    -- Answer last: a client that stops at the row would miss a failed COMMIT. No table is read, so that with autocommit off
    -- no transaction is left open. A task moves with its operation; inside a JSON string the quotes of "state" are escaped,
    -- so that no statement's text can match.
    SELECT v_operation_id   AS operation_id,
           v_apply_id       AS apply_id,
           v_position       AS position,
           v_deployment     AS deployment,
           v_host           AS host,
           v_port           AS port,
           v_schema_name    AS schema_name,
           v_previous_state AS previous_state,
           v_state          AS state,
           v_token          AS lease_token,
           v_epoch          AS lease_epoch,
           v_ttl_seconds    AS lease_ttl_seconds,
           v_attempt        AS attempt,
           v_checkpoint     AS checkpoint,
           CAST(REPLACE(v_tasks, '"state": "pending"', CONCAT('"state": "', v_state, '"')) AS JSON) AS tasks,
           v_options        AS options
      FROM DUAL
     WHERE v_operation_id IS NOT NULL;
END
