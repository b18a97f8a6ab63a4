-- Every operation that ever was: who it is, and, once it is settled, how it ended. What moves is in operation_live.
CREATE TABLE IF NOT EXISTS operation (
    operation_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    apply_id     BIGINT UNSIGNED NOT NULL,
    position     INT UNSIGNED    NOT NULL,
    deployment   VARCHAR(64)     NOT NULL,
    state        ENUM('completed', 'failed', 'cancelled', 'reverted') NULL,
    started_at   DATETIME(6)     NULL,
    completed_at DATETIME(6)     NULL,
    attempt      INT UNSIGNED    NULL,
    error        VARCHAR(1024)   NULL,
    progress     JSON            NULL,
    driver       VARCHAR(64)     NULL,
    lease_epoch  BIGINT UNSIGNED NULL,
    spent_token  CHAR(36)        NULL,
    spent_call   VARCHAR(32)     NULL,
    PRIMARY KEY (operation_id),
    UNIQUE KEY operation_order (apply_id, position),
    UNIQUE KEY operation_deployment (apply_id, deployment),
    KEY operation_of_deployment (deployment, completed_at),
    CONSTRAINT operation_settled_has_completed_at CHECK ((state IS NULL) = (completed_at IS NULL))
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
