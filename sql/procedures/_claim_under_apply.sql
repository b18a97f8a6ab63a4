-- Procedure: _claim_under_apply
--
-- Whatever a claim has found, with all locks that it needs: two things make it take the apply's row first, which comes before the
-- operations' in the lock order. A limit of copies, which it has to count under, and a start request, which it may end.
-- It waits there for the length of one commit; but first it takes what comes later in the queue, if there is anything, as whoever
-- holds the apply's row may be a call that was interrupted in a session that nobody ends. To wait for nothing at all would say
-- "nothing" of what is claimable.
--
-- io_operation_id  locked by the caller; what may be claimed in its stead, locked, or NULL where somebody else was faster: then
--                  seek again
-- out_has_apply    whether the apply's row is locked, too
--
-- Inside the caller's transaction, which holds no other lock; commits it where it has to let go, and begins another.
CREATE PROCEDURE _claim_under_apply (
    IN    in_claim        VARCHAR(8),
    IN    in_driver       VARCHAR(64) CHARACTER SET utf8mb4,
    IN    in_deployments  JSON,
    INOUT io_operation_id BIGINT UNSIGNED,
    OUT   out_has_apply   BOOLEAN
)
    COMMENT 'Locks what a claim may take, after its apply.'
    SQL SECURITY DEFINER
    MODIFIES SQL DATA
BEGIN
    DECLARE v_candidate_id   BIGINT UNSIGNED DEFAULT io_operation_id;
    DECLARE v_apply_id       BIGINT UNSIGNED;
    DECLARE v_since          DATETIME(6);
    DECLARE v_held_apply_id  BIGINT UNSIGNED;
    -- The first whose apply somebody else holds.
    DECLARE v_first_id       BIGINT UNSIGNED;
    DECLARE v_first_apply_id BIGINT UNSIGNED;
    DECLARE v_has_waited     BOOLEAN DEFAULT FALSE;
    DECLARE v_stale          INT UNSIGNED;
    DECLARE v_is_mended      BOOLEAN DEFAULT FALSE;
    -- Somebody else may have what was seen.
    DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;

    candidates: LOOP
        SET io_operation_id = NULL;
        SELECT l.operation_id, l.apply_id, l.claimable_at,
               l.start_request_id IS NOT NULL OR (l.is_capped AND l.state IN ('pending', 'failed_retryable', 'stopped'))
          INTO io_operation_id, v_apply_id, v_since, out_has_apply
          FROM operation_live AS l
         WHERE l.operation_id  = v_candidate_id
           AND l.claim         = in_claim
           AND l.claimable_at <= UTC_TIMESTAMP(6)
           FOR UPDATE SKIP LOCKED;
        IF io_operation_id IS NOT NULL AND NOT out_has_apply THEN
            LEAVE candidates;
        END IF;
        IF io_operation_id IS NOT NULL AND v_held_apply_id <=> v_apply_id THEN
            -- Whatever has left a sibling's stored answer behind: the limit is hard.
            SELECT COUNT(*) INTO v_stale FROM _operation_unrecorded AS u WHERE u.apply_id = v_apply_id;
            IF v_stale = 0 OR v_is_mended THEN
                LEAVE candidates;
            END IF;
            CALL _apply_refresh(v_apply_id, in_driver);
            SET v_is_mended = TRUE;
            ITERATE candidates;
        END IF;
        IF io_operation_id IS NULL AND (v_first_id IS NULL OR v_has_waited) THEN
            -- Whoever took it may have taken the last slot, too.
            LEAVE candidates;
        END IF;

        COMMIT AND NO CHAIN NO RELEASE;
        CALL _own_transaction();
        START TRANSACTION READ WRITE;
        SET v_held_apply_id = NULL;
        IF io_operation_id IS NOT NULL THEN
            SELECT a.apply_id INTO v_held_apply_id FROM apply AS a WHERE a.apply_id = v_apply_id FOR UPDATE SKIP LOCKED;
            IF v_held_apply_id IS NOT NULL THEN
                ITERATE candidates;
            END IF;
            SET v_first_id       = COALESCE(v_first_id, v_candidate_id),
                v_first_apply_id = COALESCE(v_first_apply_id, v_apply_id);
        END IF;

        -- Somebody else has it: what comes next? Looked for without a lock, as one on a row that is passed over would hide it from
        -- other claimers. Of what waits for the same apply's row the others need not be tried; what has been leased need not wait.
        SET io_operation_id = NULL;
        SELECT l.operation_id, l.claimable_at
          INTO io_operation_id, v_since
          FROM operation_live AS l FORCE INDEX (operation_live_claim)
         WHERE l.claim = in_claim
           AND l.claimable_at BETWEEN v_since AND UTC_TIMESTAMP(6)
           AND (l.claimable_at > v_since OR l.operation_id > v_candidate_id)
           AND (l.apply_id NOT IN (v_first_apply_id, v_apply_id) OR l.lease_token IS NOT NULL)
           AND (in_deployments IS NULL OR JSON_CONTAINS(in_deployments, JSON_QUOTE(l.deployment)))
         ORDER BY l.claimable_at, l.operation_id
         LIMIT 1;
        SET v_candidate_id = io_operation_id;
        IF v_candidate_id IS NULL THEN
            SELECT a.apply_id INTO v_held_apply_id FROM apply AS a WHERE a.apply_id = v_first_apply_id FOR UPDATE;
            SET v_candidate_id = v_first_id,
                v_has_waited   = TRUE;
        END IF;
    END LOOP;
END
