-- The statements of an operation, in order. A task moves with its operation: all of them swap in one statement.
CREATE TABLE IF NOT EXISTS task (
    task_id      BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    operation_id BIGINT UNSIGNED NOT NULL,
    position     INT UNSIGNED    NOT NULL,
    statement    MEDIUMTEXT      NOT NULL,
    table_name   VARCHAR(64)     NOT NULL,
    PRIMARY KEY (task_id),
    UNIQUE KEY task_order (operation_id, position)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
