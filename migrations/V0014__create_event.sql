-- Everything that happened, in order. No foreign key: it would make a claim wait for its apply's row.
CREATE TABLE IF NOT EXISTS event (
    event_id     BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    occurred_at  DATETIME(6)     NOT NULL,
    apply_id     BIGINT UNSIGNED NULL,
    operation_id BIGINT UNSIGNED NULL,
    deployment   VARCHAR(64)     NULL,
    actor        VARCHAR(288)    NOT NULL,
    event        VARCHAR(32)     NOT NULL,
    from_state   VARCHAR(32)     NULL,
    to_state     VARCHAR(32)     NULL,
    lease_epoch  BIGINT UNSIGNED NULL,
    detail       VARCHAR(1024)   NULL,
    PRIMARY KEY (event_id),
    KEY event_apply (apply_id, event_id),
    KEY event_operation (operation_id, event_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
