-- Which state of an earlier sibling shuts the copy gate; the rows come with the installed set (sql/data/gate_rule.sql).
CREATE TABLE IF NOT EXISTS gate_rule (
    cutover_policy ENUM('rolling', 'barrier', 'parallel') NOT NULL,
    earlier_state  VARCHAR(32)                            NOT NULL,
    PRIMARY KEY (cutover_policy, earlier_state)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
