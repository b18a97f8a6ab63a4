//! Rows that the changed table would not take are found by the server itself, and named, before a row is copied.

mod deployment;
mod support;

use deployment::{Deployment, TestLease, refusal, swap};
use lockkeeper::engine::Engine;
use serde_json::Value;

/// More rows than are tried at a time, the bad one at the end.
async fn rows(db: &mut Deployment, columns: &str, good: &str, bad: &str) {
    db.run(&format!(
        "DROP TABLE IF EXISTS t; CREATE TABLE t (id INT, `k``ey` VARCHAR(9), {columns}, PRIMARY KEY (id, `k``ey`)); \
         SET SESSION cte_max_recursion_depth = 5000; \
         INSERT INTO t WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 4100) \
         SELECT i, 'a', {good} FROM n; INSERT INTO t VALUES (5000, 'i''t', {bad})"
    ))
    .await;
}

async fn is_named(db: &mut Deployment, change: &str, expected: &str) {
    let refused = refusal(db, &[&format!("ALTER TABLE t {change}")], Value::Null).await;
    let text = refused.unwrap_or_else(|| panic!("{change} is not refused"));
    assert!(
        text.contains(expected)
            && text.contains("id = 5000, k`ey = 'i't'")
            && !text.contains("_lk_")
            // Among those of a statement of ours.
            && !text.contains(" at row "),
        "{change}: {text}"
    );
}

#[tokio::test]
async fn values_that_a_type_does_not_take() {
    let mut db = Deployment::fresh().await;
    for (was, good, bad, now, expected) in [
        (
            "VARCHAR(20)",
            "'12'",
            "'x'",
            "INT",
            "Incorrect integer value: 'x'",
        ),
        (
            "VARCHAR(20)",
            "'2020-01-02'",
            "'2020-13-01'",
            "DATE",
            "'2020-13-01'",
        ),
        (
            "DATE",
            "'2020-01-02'",
            "'1960-01-01'",
            "TIMESTAMP NULL",
            "'1960-01-01'",
        ),
        ("INT", "12", "1234", "VARCHAR(3)", "too long for column 'c'"),
        ("BLOB", "NULL", "'[1]'", "JSON", "CHARACTER SET 'binary'"),
        (
            "VARCHAR(20)",
            "NULL",
            "'POINT(1 2)'",
            "GEOMETRY",
            "GEOMETRY",
        ),
        (
            "POINT",
            "ST_SRID(POINT(1, 2), 4326)",
            "POINT(1, 2)",
            "POINT SRID 4326",
            "SRID",
        ),
        (
            "GEOMETRY",
            "POINT(1, 2)",
            "ST_GeomFromText('LINESTRING(0 0, 1 1)')",
            "POINT",
            "geometry",
        ),
        (
            "VECTOR(8)",
            "STRING_TO_VECTOR('[1]')",
            "STRING_TO_VECTOR('[1,2,3]')",
            "VECTOR(2)",
            "too long",
        ),
    ] {
        rows(&mut db, &format!("c {was}"), good, bad).await;
        is_named(&mut db, &format!("MODIFY c {now}"), expected).await;
    }
}

#[tokio::test]
async fn values_that_an_expression_does_not_take() {
    let mut db = Deployment::fresh().await;
    for (columns, good, bad, change, expected) in [
        (
            "c VARCHAR(20)",
            "'1'",
            "'x'",
            "ADD g INT AS (CAST(c AS SIGNED)) STORED",
            "'x'",
        ),
        (
            "c VARCHAR(20)",
            "'1'",
            "'xxxx'",
            "ADD g VARCHAR(3) AS (c), FORCE",
            "column 'g'",
        ),
        (
            "c VARCHAR(20)",
            "'1'",
            "'x'",
            "ADD KEY f ((CAST(c AS SIGNED))), FORCE",
            "functional index 'f'",
        ),
        (
            "c JSON",
            "'[1]'",
            "'[\"x\"]'",
            "ADD KEY f ((CAST(c->'$' AS UNSIGNED ARRAY))), FORCE",
            "functional index 'f'",
        ),
        (
            "c INT",
            "1",
            "-1",
            "ADD CONSTRAINT pos CHECK (c > 0)",
            "the new constraint CHECK ((`c` > 0))",
        ),
        (
            "c INT",
            "1",
            "-1",
            "CHANGE c d BIGINT, ADD CHECK (d > 0)",
            "constraint CHECK ((`d` > 0)) is violated",
        ),
        (
            "c INT",
            "1",
            "1",
            "PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN (5000))",
            "no partition for value 5000 (1526); give the statement one",
        ),
    ] {
        rows(&mut db, columns, good, bad).await;
        is_named(&mut db, change, expected).await;
    }
    // These rows the server takes.
    for (bad, change) in [
        ("-1", "ADD CHECK (c > 0) NOT ENFORCED, FORCE"),
        ("NULL", "ADD CHECK (c > 0)"),
        ("-1", "ADD g INT AS (c + 1) STORED, ADD KEY ((c * 2))"),
    ] {
        rows(&mut db, "c INT", "1", bad).await;
        let refused = refusal(&mut db, &[&format!("ALTER TABLE t {change}")], Value::Null).await;
        assert_eq!(refused, None, "{change}");
    }
}

#[tokio::test]
async fn an_empty_value_of_an_enum_is_named_where_its_column_changes_and_else_carried() {
    let mut db = Deployment::fresh().await;
    let lax = |values: &str| {
        format!("SET sql_mode = ''; INSERT INTO t VALUES {values}; SET sql_mode = DEFAULT")
    };
    db.run("CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a', 'b'), n INT)")
        .await;
    db.run(&lax("(1, 'a', 1), (2, 'no member', 2)")).await;
    let refused = refusal(&mut db, &["ALTER TABLE t MODIFY e VARCHAR(9)"], Value::Null).await;
    let text = refused.expect("a refusal");
    assert!(
        text.contains("the empty value of an ENUM") && text.contains("id = 2"),
        "{text}"
    );

    let job = db.job(&["ALTER TABLE t MODIFY n BIGINT"]);
    let mut engine = Engine::open(db.target(), job, TestLease::held())
        .await
        .expect("the engine");
    engine.copy().await.expect("the copy");
    db.run(&lax("(3, 'no member', 3), (4, 'b', 4)")).await;
    db.run("UPDATE t SET n = 20 WHERE id = 2").await;
    engine.cut_over().await.expect("the swap");
    engine.finish().await.expect("the end");
    engine.close().await;
    let rows = db
        .text("SELECT GROUP_CONCAT(id, ':', e + 0, ':', n ORDER BY id) FROM t")
        .await;
    assert_eq!(rows, "1:1:1,2:0:20,3:0:3,4:2:4");
}

#[tokio::test]
async fn a_full_text_whose_documents_the_user_numbers_is_refused() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE t (id INT PRIMARY KEY, a TEXT, n INT, FTS_DOC_ID BIGINT UNSIGNED NOT NULL, \
           UNIQUE KEY FTS_DOC_ID_INDEX (FTS_DOC_ID)); \
         INSERT INTO t VALUES (1, 'one', 1, 5), (2, 'two', 2, 3)",
    )
    .await;
    let refused = refusal(
        &mut db,
        &["ALTER TABLE t ADD FULLTEXT KEY ft (a)"],
        Value::Null,
    )
    .await;
    assert!(refused.is_some_and(|text| text.contains("FTS_DOC_ID") && text.contains("key ft")));
    let other = refusal(&mut db, &["ALTER TABLE t MODIFY n BIGINT"], Value::Null).await;
    assert_eq!(
        other, None,
        "without a full-text key it is a column like others"
    );
    db.run("ALTER TABLE t ADD FULLTEXT KEY ft (a)").await;
    let refused = refusal(&mut db, &["ALTER TABLE t MODIFY n BIGINT"], Value::Null).await;
    assert!(refused.is_some_and(|text| text.contains("FTS_DOC_ID")));
    let without =
        "ALTER TABLE t MODIFY n BIGINT, DROP KEY FTS_DOC_ID_INDEX, DROP COLUMN FTS_DOC_ID";
    assert_eq!(refusal(&mut db, &[without], Value::Null).await, None);
}

/// Its own name stays with the old table; one that the server made goes with the table.
#[tokio::test]
async fn a_constraint_that_gets_another_name_is_told_before_the_cutover() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE t (id INT PRIMARY KEY, n INT, CHECK (n <> 1), CONSTRAINT `p q` CHECK (n > 0), \
           CONSTRAINT gone CHECK (n < 100)); INSERT INTO t VALUES (5, 5)",
    )
    .await;
    let lease = TestLease::held();
    let job = db.job(&["ALTER TABLE t MODIFY n BIGINT, DROP CHECK gone"]);
    let mut engine = Engine::open(db.target(), job, lease.clone())
        .await
        .expect("the engine");
    engine.copy().await.expect("the copy");
    let warnings = lease.progress().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let told = "p q becomes ";
    let (_, name) = warnings[0].split_once(told).expect("the constraint's name");
    let (name, _) = name.split_once(';').expect("its new name");
    assert!(!warnings[0].contains("t_chk_1 becomes") && !warnings[0].contains("gone"));
    engine.cut_over().await.expect("the swap");
    engine.finish().await.expect("the end");
    engine.close().await;
    let names = db
        .text(
            "SELECT GROUP_CONCAT(CONSTRAINT_NAME ORDER BY CONSTRAINT_NAME) \
               FROM information_schema.TABLE_CONSTRAINTS \
              WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 't' AND CONSTRAINT_TYPE = 'CHECK'",
        )
        .await;
    assert_eq!(names, format!("t_chk_1,{name}"));
}

const CHECKS: &str = "SELECT GROUP_CONCAT(t.CONSTRAINT_NAME, ' ', t.ENFORCED, ' ', c.CHECK_CLAUSE ORDER BY t.CONSTRAINT_NAME SEPARATOR '; ') \
    FROM information_schema.TABLE_CONSTRAINTS AS t \
    JOIN information_schema.CHECK_CONSTRAINTS AS c USING (CONSTRAINT_SCHEMA, CONSTRAINT_NAME) \
    WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_NAME = 't'";

/// Names of constraints are unique in a schema, and the original has this one as long as it is there.
#[tokio::test]
async fn a_constraint_is_replaced_by_one_of_its_name_in_one_statement() {
    for (change, expected, told) in [
        (
            "DROP CHECK POS, ADD CONSTRAINT pos CHECK (n > 1) NOT ENFORCED",
            "pos NO (`n` > 1); t_chk_1 YES (`n` <> 1)",
            None,
        ),
        (
            "DROP CHECK pos, ADD CONSTRAINT `Pos` CHECK (n > 1)",
            "t_chk_1 YES (`n` <> 1); t_chk_2 YES (`n` > 1)",
            Some("pos becomes t_chk_2"),
        ),
        (
            "DROP CONSTRAINT t_chk_1, ADD m INT CONSTRAINT t_chk_1 CHECK (m <> 3)",
            "t_chk_1 YES (`m` <> 3); t_chk_2 YES (`n` > 0)",
            Some("pos becomes t_chk_2"),
        ),
    ] {
        let mut db = Deployment::fresh().await;
        db.run(
            "CREATE TABLE t (id INT PRIMARY KEY, n INT, CHECK (n <> 1), CONSTRAINT pos CHECK (n > 0)); \
             INSERT INTO t VALUES (5, 5)",
        )
        .await;
        let lease = TestLease::held();
        let statement = format!("ALTER TABLE t {change}");
        let mut engine = Engine::open(db.target(), db.job(&[&statement]), lease.clone())
            .await
            .expect("the engine");
        engine
            .copy()
            .await
            .unwrap_or_else(|error| panic!("{change}: {}", error.message()));
        let warnings = lease.progress().warnings.join("\n");
        assert_eq!(warnings.is_empty(), told.is_none(), "{change}: {warnings}");
        assert!(
            warnings.contains(told.unwrap_or_default()),
            "{change}: {warnings}"
        );
        swap(engine).await;
        assert_eq!(db.text(CHECKS).await, expected, "{change}");
    }
}

/// Where the statement drops it, it is free; else the server refuses it, in the names that people gave.
#[tokio::test]
async fn a_constraint_whose_name_is_taken_is_refused_by_its_name() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT, CONSTRAINT pos CHECK (n > 0))")
        .await;
    let change = "ALTER TABLE t ADD CONSTRAINT pos CHECK (n > 1)";
    let text = refusal(&mut db, &[change], Value::Null)
        .await
        .expect("a refusal");
    assert!(
        text.contains("'pos'") && text.contains("3822") && !text.contains("_lk_"),
        "{text}"
    );
}
