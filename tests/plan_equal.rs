//! A change through the engine ends as the server's own ALTER ends: the same definition, the same rows, whether they
//! were copied or came through the stream.

mod deployment;
mod support;

use deployment::{Deployment, TestLease};
use lockkeeper::engine::Engine;

/// A table, its rows, and what is done to it.
const CHANGES: [(&str, &str, &str); 47] = [
    (
        "id INT PRIMARY KEY, a INT, b INT",
        "(1, 10, 20), (2, 11, 21)",
        "CHANGE a b INT, CHANGE b a INT, FORCE",
    ),
    (
        "id INT PRIMARY KEY, a INT, b INT",
        "(1, 10, 20), (2, 11, 21)",
        "RENAME COLUMN a TO b, RENAME COLUMN b TO a, ADD KEY (a)",
    ),
    (
        "id INT PRIMARY KEY, a INT, b INT",
        "(1, 10, 20)",
        "DROP COLUMN a, ADD COLUMN a BIGINT DEFAULT 5, FORCE",
    ),
    (
        "id INT PRIMARY KEY, a INT, b INT",
        "(1, 10, 20)",
        "DROP a, CHANGE b a BIGINT FIRST",
    ),
    ("id INT PRIMARY KEY, a INT", "(1, 10)", "CHANGE a A BIGINT"),
    (
        "id INT PRIMARY KEY, a INT",
        "(0, 1), (5, 2)",
        "MODIFY id INT AUTO_INCREMENT, ADD KEY (a)",
    ),
    (
        "id INT AUTO_INCREMENT PRIMARY KEY, a INT",
        "(5, 2), (9, 3)",
        "MODIFY a VARCHAR(20)",
    ),
    (
        "id INT PRIMARY KEY, a INT",
        "(1, 1)",
        "ADD COLUMN c INT NOT NULL, ADD d VARCHAR(9) NOT NULL, ADD e ENUM('x','y') NOT NULL, MODIFY a BIGINT",
    ),
    (
        "id INT PRIMARY KEY, a INT",
        "(1, 1), (2, 2)",
        "ADD COLUMN g INT AS (a * 2) STORED, ADD COLUMN v INT AS (a + 1) VIRTUAL, ADD KEY (v)",
    ),
    (
        "id INT PRIMARY KEY, a INT, g INT AS (a * 2) STORED",
        "(1, 1, DEFAULT)",
        "MODIFY g INT",
    ),
    (
        "id INT PRIMARY KEY, a INT, g INT AS (a * 2) STORED, v INT AS (a - 1)",
        "(1, 1, DEFAULT, DEFAULT)",
        "MODIFY a BIGINT, ADD KEY (v)",
    ),
    (
        "id INT PRIMARY KEY, a VARCHAR(9), b TEXT CHARACTER SET utf16, c JSON, d VARBINARY(9), e DOUBLE, f FLOAT, g DATE, h ENUM('x','y')",
        "(1, '10', '7', '1', '12', -3.7, 1.5, '2020-01-02', 'y'), (2, NULL, ' 1', 'true', '0', 2.5, -1, NULL, 'x')",
        "MODIFY a BIT(9), MODIFY b BIT(64), MODIFY c BIT(8), MODIFY d BIT(16), MODIFY e BIT(64), MODIFY f BIT(64), MODIFY g BIT(40), MODIFY h BIT(2)",
    ),
    (
        "id INT PRIMARY KEY, a INT",
        "(1, 1), (2, 2)",
        "ADD CONSTRAINT smaller_id CHECK (id > 0), ADD COLUMN d INT NOT NULL CONSTRAINT smaller_d CHECK (d < 9) FIRST",
    ),
    (
        "id INT PRIMARY KEY, e ENUM('a','b','c')",
        "(1, 'a'), (2, 'c'), (3, NULL)",
        "MODIFY e VARCHAR(10)",
    ),
    (
        "id INT PRIMARY KEY, e ENUM('a','b','c')",
        "(1, 'a'), (2, 'c')",
        "MODIFY e ENUM('c','a','b')",
    ),
    (
        "id INT PRIMARY KEY, e SET('a','b','c')",
        "(1, 'a'), (2, 'a,c')",
        "MODIFY e SET('c','b','a')",
    ),
    (
        "id INT PRIMARY KEY, s VARCHAR(20) CHARACTER SET latin1",
        "(1, 'éÿ€'), (2, NULL), (3, 'a ')",
        "CONVERT TO CHARACTER SET utf8mb4",
    ),
    (
        "id INT PRIMARY KEY, s VARCHAR(20)",
        "(1, 'x'), (2, 'yy ')",
        "MODIFY s TEXT",
    ),
    (
        "id INT PRIMARY KEY, s VARCHAR(20)",
        "(1, '12'), (2, '-7')",
        "MODIFY s INT",
    ),
    (
        "id INT PRIMARY KEY, s TEXT",
        "(1, '{\"a\": [1, 2.5, null]}')",
        "MODIFY s JSON",
    ),
    (
        "id INT PRIMARY KEY, j JSON",
        "(1, '{\"a\": 1.0}'), (2, '\"x\"')",
        "MODIFY j LONGTEXT",
    ),
    (
        "id INT PRIMARY KEY, d DATETIME(6)",
        "(1, '2020-01-01 10:11:12.123456')",
        "MODIFY d TIMESTAMP(6) NULL",
    ),
    (
        "id INT PRIMARY KEY, d DATE",
        "(1, '2020-01-01')",
        "MODIFY d DATETIME",
    ),
    (
        "id INT PRIMARY KEY, d DECIMAL(10,2)",
        "(1, 1.50), (2, -7.25)",
        "MODIFY d DOUBLE",
    ),
    (
        "id INT PRIMARY KEY, f FLOAT",
        "(1, 1234567), (2, 0.1)",
        "MODIFY f DOUBLE",
    ),
    (
        "id INT PRIMARY KEY, f FLOAT, g FLOAT(7,2), h FLOAT, i FLOAT, j FLOAT ZEROFILL",
        "(1, 0.3333, 0.33, 1e-10, 16777215, 1.5), (2, -7.1, 100, 3e38, 1e20, 0)",
        "MODIFY f VARCHAR(40), MODIFY g CHAR(40), MODIFY h VARBINARY(60), MODIFY i TEXT, MODIFY j VARCHAR(40)",
    ),
    (
        "id INT PRIMARY KEY, f FLOAT, g FLOAT, h FLOAT, i DOUBLE(10,3), j DOUBLE(10,3), k DECIMAL(6,3) ZEROFILL",
        "(1, 0.1, 0.1, 1.5, 1.5, 2, 7.5), (2, NULL, NULL, 0.1, 0.125, 3, 0)",
        "MODIFY f ENUM('7','0.1'), MODIFY g SET('7','0.1'), MODIFY h JSON, MODIFY i VARCHAR(20), \
         MODIFY j VARBINARY(20), MODIFY k CHAR(20)",
    ),
    (
        "id INT PRIMARY KEY, a INT ZEROFILL, b INT, c INT, d BIGINT UNSIGNED, e YEAR, f TINYINT(1), g DECIMAL(20,5)",
        "(1, 5, 1, 2, 18446744073709551615, 2020, 1, 1.5), (2, 70, 2, 1, 0, 1999, 0, NULL)",
        "MODIFY a VARCHAR(20), MODIFY b ENUM('2','1'), MODIFY c SET('3','1','2'), MODIFY d JSON, MODIFY e JSON, \
         MODIFY f JSON, MODIFY g JSON",
    ),
    (
        "id INT PRIMARY KEY, a DATE, b DATETIME(6), c TIME(3), d YEAR, e BIT(17), f TIMESTAMP(2) NULL",
        "(1, '2020-01-02', '2020-01-02 03:04:05.5', '-838:59:59', 2020, 65535, '2020-01-02 03:04:05.25'), \
         (2, NULL, NULL, NULL, NULL, NULL, NULL), \
         (3, '2021-12-31', '1000-01-01', '00:00:01.5', 1999, 65, '2038-01-01')",
        "MODIFY a VARCHAR(40), MODIFY b BLOB, MODIFY c CHAR(40) CHARACTER SET utf16, MODIFY d TEXT, \
         MODIFY e VARCHAR(40), MODIFY f BIGINT",
    ),
    (
        "id INT PRIMARY KEY, a VARCHAR(40), b VARCHAR(40), c VARCHAR(40), d VARCHAR(40), e INT, f BIGINT, g ENUM('x','y')",
        "(1, '2020-01-02', '2020-01-02 10:00', '10:11:12.7', '1e3', 20200102, 20200102101112, 'y'), \
         (2, '20200103', '2020-01-02T10:00:00+02:00', '0', ' 7 ', 20210304, 20210304, 'x')",
        "MODIFY a DATE, MODIFY b DATETIME, MODIFY c TIME(1), MODIFY d DOUBLE, MODIFY e DATE, MODIFY f DATETIME, \
         MODIFY g INT",
    ),
    (
        "id INT PRIMARY KEY, e ENUM('é','€') CHARACTER SET latin1, s SET('é','€') CHARACTER SET latin1, \
         c CHAR(10) CHARACTER SET ucs2, t TEXT CHARACTER SET latin1, v VARCHAR(9) CHARACTER SET latin1",
        "(1, 'é', 'é', 'a ', 'é€', 'é€'), (2, '€', '€,é', 'é', 'ÿ', 'ÿ')",
        "MODIFY e ENUM('€','é') CHARACTER SET utf8mb4, MODIFY s SET('€','é') CHARACTER SET utf8mb4, \
         MODIFY c VARCHAR(10) CHARACTER SET utf8mb4, MODIFY t TEXT CHARACTER SET utf16, MODIFY v VARBINARY(20)",
    ),
    (
        "id INT PRIMARY KEY, j JSON, k JSON, l JSON, v VECTOR(8), w VECTOR(8)",
        "(1, '5', '[1, 2.0]', '1.5', STRING_TO_VECTOR('[1,2]'), STRING_TO_VECTOR('[3]')), (2, '7', 'null', '1', NULL, NULL)",
        "MODIFY j INT, MODIFY k VARCHAR(50), MODIFY l DOUBLE, MODIFY v VECTOR(16), MODIFY w VARBINARY(90)",
    ),
    (
        "id INT PRIMARY KEY, j JSON, b INT, KEY many ((CAST(j->'$.a' AS UNSIGNED ARRAY)))",
        "(1, '{\"a\": [1, 2]}', 1), (2, '{\"a\": [3]}', 2)",
        "MODIFY b BIGINT, ADD KEY more ((CAST(j->'$.b' AS CHAR(9) ARRAY))), ADD KEY (b, (b + 1))",
    ),
    (
        "id INT PRIMARY KEY, b BIT(7)",
        "(1, b'1010101')",
        "MODIFY b BIT(64)",
    ),
    (
        "id INT PRIMARY KEY, b BINARY(4)",
        "(1, 'a'), (2, 0x00FF)",
        "MODIFY b VARBINARY(9)",
    ),
    (
        "id INT PRIMARY KEY, a INT, CONSTRAINT pos CHECK (a > 0), CHECK (a < 100)",
        "(1, 5)",
        "DROP CHECK pos, MODIFY a BIGINT",
    ),
    (
        "id INT PRIMARY KEY, a INT",
        "(1, 5)",
        "ADD CHECK (a > 0), ADD CONSTRAINT small CHECK (a < 9) NOT ENFORCED",
    ),
    (
        "id INT, a INT NOT NULL, UNIQUE KEY u (a)",
        "(1, 5), (NULL, 6)",
        "ADD PRIMARY KEY (a), DROP KEY u",
    ),
    (
        "id INT PRIMARY KEY, a INT",
        "(1, 5), (20, 6)",
        "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)",
    ),
    (
        "id INT, g INT, a INT, PRIMARY KEY (id, g)",
        "(1, 1, 5), (2, 2, 6), (13, 3, 7)",
        "PARTITION BY LIST (g) (PARTITION p0 VALUES IN (1, 2), PARTITION p1 VALUES IN (3))",
    ),
    (
        "id INT PRIMARY KEY, a INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), \
         PARTITION p1 VALUES LESS THAN MAXVALUE",
        "(1, 5), (20, 6), (21, 7)",
        "MODIFY a BIGINT PARTITION BY HASH (id) PARTITIONS 3",
    ),
    (
        "id INT PRIMARY KEY, a INT) PARTITION BY HASH (id",
        "(1, 5), (20, 6), (21, 7)",
        "PARTITION BY RANGE (id) SUBPARTITION BY HASH (id) SUBPARTITIONS 2 \
         (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (100))",
    ),
    (
        "id INT PRIMARY KEY, a VARCHAR(30), FULLTEXT KEY ft (a)",
        "(1, 'one two'), (2, 'three')",
        "MODIFY a VARCHAR(300) NOT NULL COMMENT 'it''s; a \\\\ `b`'",
    ),
    (
        "id BINARY(4) PRIMARY KEY, a INT",
        "(0x61000000, 1), (0x00000000, 2), (0x6100FF00, 3)",
        "MODIFY a BIGINT",
    ),
    (
        "id VARCHAR(10) COLLATE utf8mb4_general_ci PRIMARY KEY, `odd``name` INT, `key` INT, `a-b` INT, `Größe, 中.'` INT",
        "('a', 1, 2, 3, 4), ('É', 2, 3, 4, 5), ('ß', 4, 5, 6, 7)",
        "CHANGE `odd``name` `rank` BIGINT, MODIFY `key` BIGINT INVISIBLE, MODIFY `a-b` BIGINT, CHANGE `Größe, 中.'` `é\\\"{}` BIGINT, \
         ADD KEY `by-é` (`a-b`)",
    ),
    (
        "a INT, b ENUM('z','a'), c INT, PRIMARY KEY (a, b)",
        "(1, 'z', 1), (1, 'a', 2), (2, 'z', 3)",
        "MODIFY c BIGINT, ROW_FORMAT=COMPRESSED",
    ),
    (
        "id INT PRIMARY KEY, p POINT NOT NULL SRID 4326, SPATIAL KEY sp (p)",
        "(1, ST_SRID(POINT(1, 2), 4326))",
        "ADD n INT NOT NULL DEFAULT 4 FIRST, ALGORITHM=COPY, LOCK=SHARED, FORCE",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_copied_rows_ends_as_the_servers_own_alter_ends() {
    every_change_ends_as_the_servers_own(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_of_rows_from_the_stream_ends_as_the_servers_own_alter_ends() {
    every_change_ends_as_the_servers_own(true).await;
}

/// So many tables change in one operation: each has costs of its own.
const TOGETHER: usize = 7;

async fn every_change_ends_as_the_servers_own(streamed: bool) {
    let mut db = Deployment::fresh().await;
    db.create_far().await;
    db.run("SET time_zone = '+00:00'").await;
    for (number, changes) in CHANGES.chunks(TOGETHER).enumerate() {
        let insert = |at: usize, rows: &str| {
            format!(
                "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'; INSERT INTO t{at} VALUES {rows}; SET sql_mode = DEFAULT"
            )
        };
        for (at, (columns, rows, change)) in changes.iter().enumerate() {
            let create = format!("DROP TABLE IF EXISTS t{at}; CREATE TABLE t{at} ({columns})");
            db.run(&create).await;
            if !streamed {
                db.run(&insert(at, rows)).await;
            }
            db.run_far(&create).await;
            db.run_far(&insert(at, rows)).await;
            db.run_far(&format!(
                "SET sql_mode = CONCAT(@@GLOBAL.sql_mode, ',NO_AUTO_VALUE_ON_ZERO'); ALTER TABLE t{at} {change}; SET sql_mode = DEFAULT"
            ))
            .await;
        }

        let statements: Vec<String> = changes
            .iter()
            .enumerate()
            .map(|(at, (.., change))| format!("ALTER TABLE t{at} {change}"))
            .collect();
        let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
        let mut job = db.job(&statements);
        job.operation_id = 1000 + number as u64;
        job.options = serde_json::json!({"hold_old_table_seconds": 0, "allow_lossy": true});
        let mut engine = Engine::open(db.target(), job, TestLease::held())
            .await
            .unwrap();
        engine
            .copy()
            .await
            .unwrap_or_else(|e| panic!("{statements:#?}: {}", e.message()));
        if streamed {
            for (at, (_, rows, _)) in changes.iter().enumerate() {
                db.run(&insert(at, rows)).await;
            }
        }
        engine
            .cut_over()
            .await
            .unwrap_or_else(|e| panic!("{statements:#?}: {}", e.message()));
        engine.finish().await.unwrap();
        engine.remove_due().await.unwrap();
        engine.close().await;
        for (at, (.., change)) in changes.iter().enumerate() {
            let context = format!("{change}, streamed: {streamed}");
            db.is_as_its_twin(&format!("t{at}"), &context).await;
        }
    }
}
