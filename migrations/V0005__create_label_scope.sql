-- The deployments that a scope by labels means, worked out once: a claim reads one row instead of every deployment. Emptied
-- whenever a deployment changes.
CREATE TABLE IF NOT EXISTS label_scope (
    labels_sha256 CHAR(64) NOT NULL,
    deployments   JSON     NOT NULL,
    PRIMARY KEY (labels_sha256)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
