-- The numbers of the refusals, for people and for a test that holds sql/ and src/ together.
CREATE TABLE IF NOT EXISTS error_code (
    error_code INT UNSIGNED NOT NULL,
    name       VARCHAR(64)  NOT NULL,
    remedy     VARCHAR(255) NOT NULL,
    PRIMARY KEY (error_code)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
