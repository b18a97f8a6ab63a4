-- One row: what names this installation on the deployments, and the lock that serialises the intake of applies and deployments.
CREATE TABLE IF NOT EXISTS installation (
    only_row     TINYINT UNSIGNED NOT NULL,
    installation CHAR(8)          NOT NULL,
    created_at   DATETIME(6)      NOT NULL,
    PRIMARY KEY (only_row),
    CONSTRAINT installation_is_one_row CHECK (only_row = 1)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
