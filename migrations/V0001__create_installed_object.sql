-- What is installed here: one row for each routine, view, trigger and set of data rows; object_version shows it.
CREATE TABLE IF NOT EXISTS installed_object (
    object_name  VARCHAR(64)     NOT NULL,
    kind         ENUM('function', 'view', 'procedure', 'trigger', 'data') NOT NULL,
    api_version  INT UNSIGNED    NOT NULL,
    version      VARCHAR(32)     NOT NULL,
    sha256       CHAR(64)        NOT NULL,
    -- Of what the server has made of it; tells an edit by hand. NULL for rows.
    definition_sha256 CHAR(64),
    installed_at DATETIME(6)     NOT NULL,
    installed_by VARCHAR(288)    NOT NULL,
    PRIMARY KEY (object_name, kind)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin
