-- What DBAs asked for, and what came of it. At most one request of a command is pending in an apply: pending_command is
-- NULL once it is resolved.
CREATE TABLE IF NOT EXISTS control_request (
    request_id      BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    apply_id        BIGINT UNSIGNED NOT NULL,
    operation_id    BIGINT UNSIGNED NULL,
    command         ENUM('stop', 'start', 'cancel', 'cutover', 'release', 'revert', 'skip_revert', 'throttle') NOT NULL,
    options         JSON            NULL,
    status          ENUM('pending', 'done', 'moot', 'refused') NOT NULL,
    requested_by    VARCHAR(288)    NOT NULL,
    reason          VARCHAR(1024)   NULL,
    requested_at    DATETIME(6)     NOT NULL,
    resolved_at     DATETIME(6)     NULL,
    outcome         VARCHAR(1024)   NULL,
    pending_command VARCHAR(16)     GENERATED ALWAYS AS (IF(status = 'pending', command, NULL)) VIRTUAL,
    PRIMARY KEY (request_id),
    UNIQUE KEY control_request_pending_once (apply_id, pending_command),
    CONSTRAINT control_request_resolved_has_outcome CHECK (
        (status = 'pending') = (resolved_at IS NULL) AND (status = 'pending') = (outcome IS NULL))
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
