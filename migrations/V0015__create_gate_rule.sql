-- Which state of an earlier sibling shuts which gate; the rows come with the installed set (sql/data/gate_rule.sql).
CREATE TABLE IF NOT EXISTS gate_rule (
    gate           ENUM('copy', 'cutover')                NOT NULL,
    cutover_policy ENUM('rolling', 'barrier', 'parallel') NOT NULL,
    earlier_state  VARCHAR(32)                            NOT NULL,
    is_for_good    BOOLEAN                                NOT NULL,
    PRIMARY KEY (gate, cutover_policy, earlier_state)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
