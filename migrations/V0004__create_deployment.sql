-- The servers that changes are applied to. An address, never a credential.
CREATE TABLE IF NOT EXISTS deployment (
    deployment    VARCHAR(64)      NOT NULL,
    position      INT UNSIGNED     NOT NULL,
    host          VARCHAR(255)     NOT NULL,
    port          SMALLINT UNSIGNED NOT NULL,
    labels        JSON             NOT NULL,
    registered_by VARCHAR(288)     NOT NULL,
    registered_at DATETIME(6)      NOT NULL,
    PRIMARY KEY (deployment),
    UNIQUE KEY deployment_position (position)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
