-- Settings and their bounds. A setting that has no row here does not exist.
CREATE TABLE IF NOT EXISTS setting (
    name          VARCHAR(64)     NOT NULL,
    value         BIGINT UNSIGNED NOT NULL,
    minimum_value BIGINT UNSIGNED NOT NULL,
    maximum_value BIGINT UNSIGNED NOT NULL,
    description   VARCHAR(255)    NOT NULL,
    PRIMARY KEY (name),
    CONSTRAINT setting_is_within_bounds CHECK (value BETWEEN minimum_value AND maximum_value)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
