-- The legal moves of an operation; the rows come with the installed set (sql/data/operation_transition.sql).
CREATE TABLE IF NOT EXISTS operation_transition (
    from_state VARCHAR(32) NOT NULL,
    to_state   VARCHAR(32) NOT NULL,
    meaning    VARCHAR(160) NOT NULL,
    PRIMARY KEY (from_state, to_state)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
