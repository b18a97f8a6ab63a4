-- The tables of unsettled applies: the primary key lets none be changed by two at a time. Names compare as on a server
-- that folds their case: too strict elsewhere, safe everywhere.
CREATE TABLE IF NOT EXISTS table_hold (
    deployment  VARCHAR(64)     NOT NULL,
    schema_name VARCHAR(64)     CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_as_ci NOT NULL,
    table_name  VARCHAR(64)     CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_as_ci NOT NULL,
    apply_id    BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (deployment, schema_name, table_name),
    KEY table_hold_apply (apply_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
