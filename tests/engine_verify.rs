//! The verification is tested by faults that are put into the copy, one at a time.

mod deployment;
mod support;

use deployment::{Deployment, copied};

#[tokio::test(flavor = "multi_thread")]
async fn every_seeded_fault_is_found_and_named() {
    every_fault_is_found("ALTER TABLE orders MODIFY id BIGINT").await;
}

/// No expression reads a text as the server's ALTER does, so rows go through a table of the new types before they are compared.
#[tokio::test(flavor = "multi_thread")]
async fn every_seeded_fault_is_found_where_rows_are_converted_first() {
    every_fault_is_found("ALTER TABLE orders MODIFY id BIGINT, MODIFY due DATE").await;
}

async fn every_fault_is_found(change: &str) {
    // What is done to the copy, and what is said of it.
    let faults: [(&str, &[&str]); 25] = [
        (
            "UPDATE {s} SET b = x'0102030405060709' WHERE id = 5",
            &["(5) differs"],
        ),
        (
            "UPDATE {s} SET f = 1234567.5 WHERE id = 5",
            &["(5) differs"],
        ),
        (
            "UPDATE {s} SET d = d + 1e-16 WHERE id = 5",
            &["(5) differs"],
        ),
        (
            "UPDATE {s} SET at = at + INTERVAL 1 MICROSECOND WHERE id = 5",
            &["(5) differs"],
        ),
        ("UPDATE {s} SET v = 'x ' WHERE id = 5", &["(5) differs"]),
        ("UPDATE {s} SET v = 'X' WHERE id = 5", &["(5) differs"]),
        // In two steps: the server does not write a JSON value that compares as equal.
        (
            "UPDATE {s} SET j = NULL WHERE id = 5; UPDATE {s} SET j = CAST(1e0 AS JSON) WHERE id = 5",
            &["(5) differs"],
        ),
        (
            "UPDATE {s} SET j = NULL WHERE id = 5; UPDATE {s} SET j = CAST(CAST(1 AS UNSIGNED) AS JSON) WHERE id = 5",
            &["(5) differs"],
        ),
        (
            "UPDATE {s} SET j = NULL WHERE id = 8; UPDATE {s} SET j = '{\"a\": [1.0, \"1\"]}' WHERE id = 8",
            &["(8) differs"],
        ),
        (
            "UPDATE {s} SET j = '{\"a\": [1, 1]}' WHERE id = 8",
            &["(8) differs"],
        ),
        (
            "UPDATE {s} SET j = CAST('null' AS JSON) WHERE id = 6",
            &["(6) differs"],
        ),
        ("UPDATE {s} SET v = '' WHERE id = 6", &["(6) differs"]),
        (
            "UPDATE {s} SET v = 'a', w = 'bxx' WHERE id = 7",
            &["(7) differs"],
        ),
        (
            "UPDATE {s} SET v = 'ab#', w = 'x' WHERE id = 7",
            &["(7) differs"],
        ),
        (
            "UPDATE {s} SET n = NULL, m = 3 WHERE id = 5",
            &["(5) differs"],
        ),
        (
            "DELETE FROM {s} WHERE id = 5",
            &["(5) is missing in the copy"],
        ),
        (
            "DELETE FROM {s} WHERE id = 1",
            &["(1) is missing in the copy"],
        ),
        (
            "DELETE FROM {s} WHERE id = 3000",
            &["(3000) is missing in the copy"],
        ),
        (
            "INSERT INTO {s} SELECT id + 100000, b, f, d, at, v, w, j, n, m, e, s, g, due FROM {s} WHERE id = 5",
            &["(100005) is in the copy only"],
        ),
        (
            "INSERT INTO {s} SELECT -1, b, f, d, at, v, w, j, n, m, e, s, g, due FROM {s} WHERE id = 5",
            &["(-1) is in the copy only"],
        ),
        (
            "UPDATE {s} SET id = 900000 WHERE id = 5",
            &["(5) is missing in the copy", "(900000) is in the copy only"],
        ),
        ("UPDATE {s} SET e = 2 WHERE id = 5", &["(5) differs"]),
        ("UPDATE {s} SET s = 0 WHERE id = 5", &["(5) differs"]),
        (
            "SET sql_mode = ''; UPDATE {s} SET g = 0 WHERE id = 5",
            &["(5) differs"],
        ),
        (
            "UPDATE {s} SET due = '2024-01-02' WHERE id = 5",
            &["(5) differs"],
        ),
    ];
    let mut deployment = Deployment::fresh().await;
    deployment
        .run(
            "CREATE TABLE orders (id INT PRIMARY KEY, b BINARY(8), f FLOAT, d DOUBLE, at DATETIME(6), v VARCHAR(20), w VARCHAR(20), \
             j JSON, n INT, m INT, e ENUM('p','q') DEFAULT 'p', s SET('a','') DEFAULT '', g ENUM('','p') DEFAULT '', due VARCHAR(20) DEFAULT '2024-01-01') COLLATE utf8mb4_0900_ai_ci; \
             SET SESSION cte_max_recursion_depth = 1000000; \
             INSERT INTO orders (id, b, f, d, at, v, w, j, n, m) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3000) \
             SELECT i, x'0102030405060708', 1234567, 0.1e0, '2024-01-01 00:00:00.000001', 'x', 'y', CAST(1 AS JSON), 3, NULL FROM n; \
             UPDATE orders SET s = 2; \
             UPDATE orders SET v = NULL, j = NULL WHERE id = 6; UPDATE orders SET v = 'ab', w = '#x' WHERE id = 7; \
             UPDATE orders SET j = '{\"a\": [1, \"1\"]}' WHERE id = 8",
        )
        .await;
    let job = deployment.job(&[change]);
    let (mut engine, _lease) = copied(&deployment, job).await;
    let shadow = deployment.ours("_new").await;
    // Faults that no stream shows: of one that it does, it is told at once.
    deployment
        .run(&format!(
            "SET SESSION sql_log_bin = 0; CREATE TABLE good LIKE `{shadow}`; INSERT INTO good SELECT * FROM `{shadow}`"
        ))
        .await;
    for (fault, named) in faults {
        let fault = fault.replace("{s}", &format!("`{shadow}`"));
        deployment.run(&fault).await;
        let found = engine.differences().await.expect("a comparison");
        assert_eq!(found, named, "{fault}");
        deployment
            .run(&format!(
                // The empty member of a SET has no text by which it would be put back.
                "DELETE FROM `{shadow}`; INSERT INTO `{shadow}` SELECT * FROM good; UPDATE `{shadow}` SET s = 2"
            ))
            .await;
        assert_eq!(
            engine.differences().await.expect("a comparison"),
            Vec::<String>::new()
        );
    }
    engine.close().await;
}

/// The copy's percentage stands still meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_verification_reports_how_many_rows_it_has_compared() {
    const ROWS: u64 = 12_000;
    let mut deployment = Deployment::fresh().await;
    deployment
        .run(&format!(
            "CREATE TABLE orders (id INT PRIMARY KEY, n INT); SET SESSION cte_max_recursion_depth = 1000000; \
             INSERT INTO orders WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) SELECT i, i FROM n"
        ))
        .await;
    let mut job = deployment.job(&["ALTER TABLE orders MODIFY n BIGINT"]);
    // One thread: reports of several might pass each other.
    job.options["copy_threads"] = 1.into();
    let (engine, lease) = copied(&deployment, job).await;
    let verified = lease.verified();
    assert!(verified.len() > 2, "more than the two ends: {verified:?}");
    assert!(verified.is_sorted(), "{verified:?}");
    assert_eq!((verified.first(), verified.last()), (Some(&0), Some(&ROWS)));
    assert_eq!(lease.progress().rows_verified, None, "it is over");
    engine.close().await;
}

/// Of two collations the server makes none, and then takes the character set of whatever text comes next.
#[tokio::test(flavor = "multi_thread")]
async fn texts_of_several_collations_and_character_sets_are_compared() {
    let mut db = Deployment::fresh().await;
    // All may be NULL, and none may: the digests differ.
    let others = [
        "n VARCHAR(20), e ENUM('x','é'), c CHAR(36) CHARACTER SET ascii",
        "n VARCHAR(20) NOT NULL, e JSON NOT NULL, c CHAR(36) CHARACTER SET ascii NOT NULL",
        "n VARCHAR(20) NOT NULL, e VARCHAR(20) COLLATE utf8mb4_ja_0900_as_cs, c TINYTEXT CHARACTER SET utf8mb3",
        "n LONGTEXT, e SET('x','😀') COLLATE utf8mb4_0900_as_cs, c TEXT CHARACTER SET utf8mb3",
        "n VARCHAR(20), e TEXT COLLATE utf8mb4_bin, c CHAR(5) CHARACTER SET latin1",
    ];
    let mut statements = Vec::new();
    for (nth, columns) in others.iter().enumerate() {
        db.run(&format!(
            "CREATE TABLE t{nth} (id INT PRIMARY KEY, {columns}) CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci"
        ))
        .await;
        let e = if columns.contains("JSON") { "{}" } else { "x" };
        db.run(&format!(
            "INSERT INTO t{nth} VALUES (1, 'x', '{e}', 'z'), (2, _utf8mb4 x'C3A9F09F9880', '{e}', 'z')"
        ))
        .await;
        statements.push(format!("ALTER TABLE t{nth} FORCE"));
    }
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    let (mut engine, _lease) = copied(&db, db.job(&statements)).await;
    for table in db.tables().await {
        if table.ends_with("_new") {
            db.run(&format!(
                "SET sql_log_bin = 0; UPDATE `{table}` SET n = _utf8mb4 x'C3A9F09F9881' WHERE id = 2; SET sql_log_bin = 1"
            ))
            .await;
        }
    }
    let found = engine.differences().await.expect("a comparison");
    assert_eq!(found, vec!["(2) differs"; others.len()]);
    engine.close().await;
}
