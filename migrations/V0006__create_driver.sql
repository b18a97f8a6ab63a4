CREATE TABLE IF NOT EXISTS driver (
    driver        VARCHAR(64)  NOT NULL,
    version       VARCHAR(64)  NOT NULL,
    api_version   INT UNSIGNED NOT NULL,
    scope         JSON         NULL,
    registered_at DATETIME(6)  NOT NULL,
    last_seen_at  DATETIME(6)  NOT NULL,
    PRIMARY KEY (driver)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
