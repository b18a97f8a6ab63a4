-- The operations that are not settled: what a claim, a heartbeat or a gate looks at, and nothing else.
--
-- claim, claimable_at   which claim may take the row and since when; NULL on every other row, so that the claim indexes hold
--                       claimable rows only. Stored by _apply_refresh from operation_gate, the one definition.
-- lease_*               the lease. Heartbeats write no indexed column. lease_check_at is when a claim has to look whether the
--                       lease ran out; it moves once a lease's length, not once a beat, so that its index stays small.
-- tend_*                a parked operation is caught up now and then: when next, and the token of whoever does it now.
-- host … options        what a claim hands out, kept here so that a claim reads this one row.
-- move_*                who moves the row, and why: written with the state, logged by the trigger.
CREATE TABLE IF NOT EXISTS operation_live (
    operation_id       BIGINT UNSIGNED NOT NULL,
    apply_id           BIGINT UNSIGNED NOT NULL,
    position           INT UNSIGNED    NOT NULL,
    deployment         VARCHAR(64)     NOT NULL,
    state              ENUM('pending', 'running', 'waiting_for_cutover', 'cutting_over', 'revert_window', 'reverting',
                            'failed_retryable', 'stopped', 'cancelling', 'completed', 'failed', 'cancelled', 'reverted') NOT NULL,
    claim              ENUM('copy', 'cutover') NULL,
    claimable_at       DATETIME(6)     NULL,
    is_capped          BOOLEAN         NOT NULL,
    is_held            BOOLEAN         NOT NULL DEFAULT FALSE,
    held_at            DATETIME(6)     NULL,
    stopped_from       ENUM('pending', 'running', 'parked') NULL,
    start_request_id   BIGINT UNSIGNED NULL,
    cutover_request_id BIGINT UNSIGNED NULL,
    revert_request_id  BIGINT UNSIGNED NULL,
    skip_request_id    BIGINT UNSIGNED NULL,
    directive          ENUM('none', 'stop', 'cancel', 'cutover', 'revert', 'skip_revert') NOT NULL DEFAULT 'none',
    started_at         DATETIME(6)     NULL,
    completed_at       DATETIME(6)     NULL,
    revert_until       DATETIME(6)     NULL,
    attempt            INT UNSIGNED    NOT NULL DEFAULT 0,
    next_attempt_at    DATETIME(6)     NULL,
    error              VARCHAR(1024)   NULL,
    lease_driver       VARCHAR(64)     NULL,
    lease_token        CHAR(36)        NULL,
    lease_epoch        BIGINT UNSIGNED NOT NULL DEFAULT 0,
    lease_ttl_seconds  INT UNSIGNED    NOT NULL,
    lease_heartbeat_at DATETIME(6)     NULL,
    lease_expires_at   DATETIME(6)     NULL,
    lease_check_at     DATETIME(6)     NULL,
    spent_token        CHAR(36)        NULL,
    spent_call         VARCHAR(32)     NULL,
    spent_answer       VARCHAR(32)     NULL,
    last_driver        VARCHAR(64)     NULL,
    tend_at            DATETIME(6)     NULL,
    tend_token         CHAR(36)        NULL,
    move_serial        BIGINT UNSIGNED NOT NULL DEFAULT 0,
    move_actor         VARCHAR(288)    NOT NULL,
    move_reason        VARCHAR(1024)   NULL,
    host               VARCHAR(255)    NOT NULL,
    port               SMALLINT UNSIGNED NOT NULL,
    schema_name        VARCHAR(64)     NOT NULL,
    progress           JSON            NULL,
    checkpoint         JSON            NULL,
    tasks              JSON            NOT NULL,
    options            JSON            NOT NULL,
    PRIMARY KEY (operation_id),
    UNIQUE KEY operation_live_order (apply_id, position),
    KEY operation_live_claim (claim, claimable_at, operation_id),
    KEY operation_live_claim_of_deployment (claim, deployment, claimable_at, operation_id),
    KEY operation_live_lease_check (lease_check_at),
    KEY operation_live_tend (tend_at),
    KEY operation_live_deployment (deployment),
    CONSTRAINT operation_claimable_has_since CHECK ((claim IS NULL) = (claimable_at IS NULL)),
    CONSTRAINT operation_leased_is_whole CHECK (
        (lease_token IS NULL) = (lease_driver IS NULL)       AND (lease_token IS NULL) = (lease_heartbeat_at IS NULL)
    AND (lease_token IS NULL) = (lease_expires_at IS NULL)   AND (lease_token IS NULL) = (lease_check_at IS NULL)),
    CONSTRAINT operation_waiting_has_no_lease CHECK (
        lease_token IS NULL OR state NOT IN ('pending', 'failed_retryable', 'stopped')),
    CONSTRAINT operation_held_waits_for_cutover CHECK (is_held = FALSE OR state = 'waiting_for_cutover'),
    CONSTRAINT operation_leased_at_the_barrier_is_held CHECK (
        lease_token IS NULL OR state <> 'waiting_for_cutover' OR is_held = TRUE),
    CONSTRAINT operation_stopped_knows_from_where CHECK ((state = 'stopped') = (stopped_from IS NOT NULL)),
    CONSTRAINT operation_retry_has_due_time CHECK (state <> 'failed_retryable' OR next_attempt_at IS NOT NULL),
    CONSTRAINT operation_completed_at_is_of_the_settled CHECK (
        (completed_at IS NOT NULL) = (state IN ('completed', 'failed', 'cancelled', 'reverted'))),
    CONSTRAINT operation_window_has_an_end CHECK (state NOT IN ('revert_window', 'reverting') OR revert_until IS NOT NULL)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
