//! Keys that are not a plain number, and unique keys that the change adds.

mod deployment;
mod support;

use std::sync::Arc;

use deployment::{Deployment, HalfCopied, TestLease, copied, half_copied, open, swapped_alike};
use lockkeeper::engine::{Engine, ErrorKind, Job, Orders};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use support::{PATIENCE, eventually};

const NUMBERS: &str = "SET SESSION cte_max_recursion_depth = 10000000; \
    CREATE TEMPORARY TABLE n AS WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 12000) SELECT i FROM n";

/// Changes the table while it is written to, and compares old and new.
async fn change(table: &str, fill: &str, statement: &str, writes: &[&str]) {
    let (mut db, copying) = half_changed(table, fill, statement, writes).await;
    ends_equal(&mut db, copying, writes).await;
}

/// On both sides of what is copied, and on what is being copied, the writes are made.
async fn half_changed(
    table: &str,
    fill: &str,
    statement: &str,
    writes: &[&str],
) -> (Deployment, HalfCopied) {
    let mut db = Deployment::fresh().await;
    for statements in [NUMBERS, table, fill] {
        db.run(statements).await;
    }
    let job = Job {
        options: serde_json::json!({ "chunk_seconds": 0.01 }),
        ..db.job(&[statement])
    };
    let copying = half_copied(&mut db, job, 7_000).await;
    for write in writes {
        db.run(write).await;
    }
    (db, copying)
}

/// And they are made once more after the copy.
async fn ends_equal(db: &mut Deployment, copying: HalfCopied, writes: &[&str]) {
    let mut engine = copying.copied().await;
    for write in writes {
        db.run(write).await;
    }
    let found = engine.differences().await.expect("a comparison");
    assert_eq!(found, Vec::<String>::new());
    engine.cut_over().await.expect("the swap");
    let old = db.ours("_old").await;
    for (table, other) in [("orders", old.as_str()), (old.as_str(), "orders")] {
        let extra = db
            .text(&format!(
                "SELECT CAST(COUNT(*) AS CHAR) FROM `{table}` AS a WHERE NOT EXISTS (SELECT 1 FROM `{other}` AS b \
                 WHERE HEX(a.k) = HEX(b.k) AND a.id = b.id AND a.v <=> b.v)"
            ))
            .await;
        assert_eq!(extra, "0", "rows of {table} that are not in {other}");
    }
    engine.finish().await.expect("the end");
    engine.close().await;
}

/// Cases 3 and 8. Rows cross over from what is not copied to what is, and back, and leave and reach the chunk in flight.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_move_between_what_is_copied_and_what_is_not_arrive() {
    let writes = [
        "DELETE FROM orders WHERE k IN (5, 6, 7, 8, 6990, 7010, 11990, 11991)",
        "UPDATE orders SET k = 5 WHERE k = 11995",
        "UPDATE orders SET k = 6 WHERE k = 7005",
        "UPDATE orders SET k = 11990 WHERE k = 15",
        "UPDATE orders SET k = 7010 WHERE k = 16",
        "UPDATE orders SET k = -k WHERE k BETWEEN 11900 AND 11910",
        "UPDATE orders SET k = k + 50000 WHERE k BETWEEN 20 AND 30",
        "DELETE FROM orders WHERE k BETWEEN 6995 AND 7004",
        "INSERT INTO orders VALUES (7001, 7001, -1), (11991, 11991, -1), (7, 7, -1)",
        "UPDATE orders SET v = v - 100000 WHERE k = 1",
    ];
    let (mut db, copying) = half_changed(
        "CREATE TABLE orders (k INT NOT NULL PRIMARY KEY, id INT NOT NULL, v INT)",
        "INSERT INTO orders SELECT i, i, i FROM n",
        "ALTER TABLE orders MODIFY v BIGINT",
        &writes,
    )
    .await;
    // The last one is of a row that is copied. Once it is there, all before it have come and met the chunk.
    let shadow = db.ours("_new").await;
    let met = format!("SELECT v FROM `{shadow}` WHERE k = 1");
    eventually("the writes are applied", PATIENCE, async || {
        db.text(&met).await == "-99999"
    })
    .await;
    ends_equal(&mut db, copying, &writes).await;
}

/// Pieces end at numbers that nobody has, where most numbers have their row, and at rows elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn rows_arrive_whose_keys_have_holes_of_every_size() {
    change(
        "CREATE TABLE orders (k BIGINT NOT NULL PRIMARY KEY, id INT NOT NULL, v INT)",
        "INSERT INTO orders SELECT i - 4000, i, i FROM n WHERE i <= 8000; \
         INSERT INTO orders SELECT 1000000 + 50 * i, 10000 + i, i FROM n WHERE i <= 1500; \
         INSERT INTO orders SELECT 2000000 + i, 20000 + i, i FROM n WHERE i <= 6000; \
         INSERT INTO orders VALUES (-9223372036854775808, 1, 1), (9223372036854775807, 2, 2)",
        "ALTER TABLE orders MODIFY v BIGINT",
        &[
            "DELETE FROM orders WHERE k BETWEEN 2001000 AND 2003000",
            "REPLACE INTO orders VALUES (500000, 3, 3), (1000001, 4, 4), (2001500, 5, 5), (9223372036854775806, 6, 6)",
            "UPDATE orders SET k = k + 3000000 WHERE k BETWEEN 100 AND 120",
            "UPDATE orders SET v = v + 1 WHERE id % 89 = 0",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_key_that_ignores_case_keeps_the_order_of_its_changes() {
    change(
        "CREATE TABLE orders (k VARCHAR(30) NOT NULL, id INT NOT NULL, v INT, PRIMARY KEY (k)) COLLATE utf8mb4_0900_ai_ci",
        "INSERT INTO orders SELECT CONCAT('key', i), i, i FROM n WHERE i <= 12000",
        "ALTER TABLE orders MODIFY v BIGINT",
        &[
            "UPDATE orders SET k = UPPER(k), v = v + 1 WHERE id % 97 = 0",
            "UPDATE orders SET k = LOWER(k) WHERE id % 97 = 0 AND id % 2 = 0",
            "DELETE FROM orders WHERE id = 50",
            "INSERT INTO orders VALUES ('KEY50', 50, 0)",
            "DELETE FROM orders WHERE id = 50",
            "INSERT INTO orders VALUES ('kéy50', 50, 1)",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_composite_key_is_copied_through_its_prefix() {
    change(
        "CREATE TABLE orders (k INT NOT NULL, id INT NOT NULL, v INT, PRIMARY KEY (k, id))",
        "INSERT INTO orders SELECT IF(i % 10 = 0, i, 5), i, i FROM n",
        "ALTER TABLE orders MODIFY v BIGINT, ADD KEY (v)",
        &[
            "UPDATE orders SET k = k + 1 WHERE id BETWEEN 500 AND 520",
            "UPDATE orders SET k = k - 1 WHERE id BETWEEN 510 AND 540 AND k > 5",
            "UPDATE orders SET v = v + 1 WHERE id % 1000 = 0",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_key_that_ends_in_zeros_is_followed() {
    change(
        "CREATE TABLE orders (k BINARY(16) NOT NULL, id INT NOT NULL, v INT, PRIMARY KEY (k))",
        "INSERT INTO orders SELECT UNHEX(CONCAT(LEFT(SHA2(i, 256), 28), '0000')), i, i FROM n",
        "ALTER TABLE orders MODIFY v BIGINT",
        &[
            "UPDATE orders SET v = v + 1 WHERE id % 100 = 0",
            "DELETE FROM orders WHERE id % 1000 = 7",
            "INSERT INTO orders SELECT UNHEX(CONCAT(LEFT(SHA2(i, 256), 28), '0000')), i, i FROM n WHERE i % 1000 = 7",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_a_unique_key_move_between_rows() {
    change(
        "CREATE TABLE orders (k INT NOT NULL PRIMARY KEY, id INT NOT NULL, v INT NULL, UNIQUE (v))",
        "INSERT INTO orders SELECT i, i, i FROM n",
        "ALTER TABLE orders MODIFY id BIGINT",
        &[
            "BEGIN; UPDATE orders SET v = NULL WHERE k = 10; UPDATE orders SET v = 10 WHERE v = 11000; \
             UPDATE orders SET v = 11000 WHERE k = 10; COMMIT",
            "BEGIN; UPDATE orders SET v = NULL WHERE v = 10; UPDATE orders SET v = 10 WHERE k = 10; \
             UPDATE orders SET v = 11000 WHERE v IS NULL; COMMIT",
            "UPDATE orders SET v = -v WHERE k BETWEEN 3000 AND 3100",
        ],
    )
    .await;
}

/// All rows are copied, with the last of the keys that a unique value has had, and the stream tells of one before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_unique_value_that_has_moved_on_is_followed_by_a_stream_that_is_behind_the_copys_end() {
    let mut db = Deployment::fresh().await;
    db.run(NUMBERS).await;
    db.run(
        "CREATE TABLE orders (k INT PRIMARY KEY, id INT NOT NULL, v INT); INSERT INTO orders SELECT 2 * i, i, i FROM n",
    )
    .await;
    let job = Job {
        options: serde_json::json!({ "chunk_seconds": 0.01 }),
        // A primary key can't be built later.
        ..db.job(&[
            "ALTER TABLE orders DROP PRIMARY KEY, ADD PRIMARY KEY (id), ADD UNIQUE KEY by_k (k)",
        ])
    };
    let copying = half_copied(&mut db, job, 7_000).await;
    let lease = Arc::clone(&copying.lease);
    let shadow = db.ours("_new").await;
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut holder = settings.connect().await.expect("a session");
    let hold = format!("BEGIN; SELECT v FROM `{shadow}` WHERE k = 20 FOR UPDATE");
    let held = holder.fetch_all(AssertSqlSafe(hold)).await;
    assert_eq!(held.expect("a row of the shadow").len(), 1);
    let id = holder.fetch_one("SELECT CONNECTION_ID()").await;
    let id: u64 = id.expect("a number").get(0);
    let waits = format!(
        "SELECT COUNT(*) > 0 FROM performance_schema.data_lock_waits AS w \
           JOIN performance_schema.threads AS t ON t.THREAD_ID = w.BLOCKING_THREAD_ID WHERE t.PROCESSLIST_ID = {id}"
    );
    db.run("UPDATE orders SET v = -1 WHERE k = 20").await;
    // Such a table goes in rounds: this one ends, and no other begins.
    lease.order(Orders {
        throttle_level: 10,
        ..Orders::default()
    });
    let let_go = async {
        eventually("the applier waits", PATIENCE, async || {
            db.text(&waits).await == "1"
        })
        .await;
        // More than one batch takes, so that the next key comes in another one.
        db.run(
            "BEGIN; UPDATE orders SET k = 101 WHERE k = 100; UPDATE orders SET v = -v WHERE k BETWEEN 102 AND 9000; COMMIT; \
             UPDATE orders SET k = 23001 WHERE k = 101",
        )
        .await;
        lease.order(Orders::default());
        eventually("all rows are copied", PATIENCE, async || {
            lease.progress().phase == "catch_up"
        })
        .await;
        holder.execute("ROLLBACK").await.expect("the lock goes");
    };
    let (engine, ()) = tokio::join!(copying.copied(), let_go);
    let content = "SELECT CONCAT_WS(' ', COUNT(*), SUM(k), SUM(v), (SELECT k FROM orders WHERE id = 50)) FROM orders";
    let found = swapped_alike(&mut db, engine, content).await;
    assert!(found.ends_with(" 23001"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_members_and_bits_is_copied_in_one_order() {
    change(
        "CREATE TABLE orders (k ENUM('z','a','m') NOT NULL, b BIT(8) NOT NULL, id INT NOT NULL, v INT, PRIMARY KEY (k, b, id))",
        "INSERT INTO orders SELECT 1 + i % 3, i % 256, i, i FROM n",
        "ALTER TABLE orders MODIFY v BIGINT",
        &["UPDATE orders SET v = v + 1, k = 1 + id % 2 WHERE id % 500 = 0"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_under_a_new_unique_key_are_named_and_stay() {
    let mut deployment = Deployment::fresh().await;
    deployment
        .run("CREATE TABLE orders (id INT PRIMARY KEY, c VARCHAR(10) COLLATE utf8mb4_bin)")
        .await;
    deployment
        .run("INSERT INTO orders VALUES (1, 'a'), (7, 'x'), (9, 'x')")
        .await;
    let job = deployment.job(&["ALTER TABLE orders MODIFY id BIGINT, ADD UNIQUE (c)"]);
    let (mut engine, _lease) = open(&deployment, job).await;
    let error = engine.copy().await.expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::Permanent);
    let message = error.message();
    assert!(message.contains('7') && message.contains('9'), "{message}");
    assert_eq!(
        deployment
            .text("SELECT CAST(COUNT(*) AS CHAR) FROM orders")
            .await,
        "3"
    );
    engine.remove_artifacts().await.expect("removal");
    engine.close().await;
}

/// A primary key is not built afterwards: until the copy is caught up one of the two rows takes the other's place.
#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_of_a_new_primary_key_that_comes_during_the_copy_stops_the_change() {
    let mut db = Deployment::fresh().await;
    for statements in [
        NUMBERS,
        "CREATE TABLE orders (id INT PRIMARY KEY, code BIGINT NOT NULL)",
        "INSERT INTO orders SELECT i, i FROM n",
    ] {
        db.run(statements).await;
    }
    let statement =
        "ALTER TABLE orders DROP PRIMARY KEY, ADD PRIMARY KEY (code), ADD UNIQUE KEY (id)";
    // What the verification finds is what the test has brought about.
    let lease = TestLease::of_a_spoilt_copy();
    let paused = Orders {
        throttle_level: 10,
        ..Orders::default()
    };
    lease.order(paused);
    let engine = Engine::open(db.target(), db.job(&[statement]), Arc::clone(&lease) as _).await;
    let mut engine = engine.expect("the engine");
    let copying = tokio::spawn(async move {
        let outcome = engine.copy().await;
        engine.close().await;
        outcome
    });
    eventually("the copy is about to begin", PATIENCE, async || {
        lease.progress().phase == "copy"
    })
    .await;
    db.run("INSERT INTO orders VALUES (20000, 5)").await;
    lease.order(Orders::default());
    let outcome = copying.await.expect("no panic");
    let error = outcome.expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
    assert!(error.message().contains("Duplicate entry '5'"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_that_comes_after_the_copy_stops_the_change() {
    let mut deployment = Deployment::fresh().await;
    deployment
        .run("CREATE TABLE orders (id INT PRIMARY KEY, c VARCHAR(10))")
        .await;
    deployment
        .run("INSERT INTO orders VALUES (1, 'a'), (7, 'x')")
        .await;
    let job = deployment.job(&["ALTER TABLE orders MODIFY id BIGINT, ADD UNIQUE (c)"]);
    let (mut engine, _lease) = copied(&deployment, job).await;
    deployment.run("INSERT INTO orders VALUES (8, 'X')").await;
    let error = engine.cut_over().await.expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::Permanent, "{}", error.message());
    let message = error.message();
    let row = format!("row id = 8 of `{}`.`orders` is refused", deployment.schema);
    assert!(
        message.contains(&row) && message.contains("Duplicate entry 'X' for key 'c'"),
        "{message}"
    );
    let shadow = deployment.ours("_new").await;
    assert_eq!(
        deployment
            .text(&format!("SELECT CAST(COUNT(*) AS CHAR) FROM `{shadow}`"))
            .await,
        "2"
    );
    engine.close().await;
}

/// Case 12: nine in ten rows have the first column in common, so a range that went by it alone would read them all each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_under_a_large_prefix_reads_no_more_than_its_rows() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE orders (tenant INT, id INT, n INT, PRIMARY KEY (tenant, id)); \
         SET SESSION cte_max_recursion_depth = 100000; \
         INSERT INTO orders WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 30000) \
         SELECT IF(i % 10 = 0, i % 7, 5), i, i FROM r; ANALYZE TABLE orders",
    )
    .await;
    // It has room for so many statements, and no more.
    db.run("TRUNCATE performance_schema.events_statements_summary_by_digest")
        .await;
    let mut job = db.job(&["ALTER TABLE orders MODIFY n BIGINT"]);
    // Many small chunks.
    job.options = serde_json::json!({ "chunk_seconds": 0.01, "copy_threads": 1 });
    let (engine, _lease) = copied(&db, job).await;
    engine.close().await;
    // Chunks, and the searches for their ends, of this schema alone.
    let schema = db.schema.clone();
    let of = |statement: &str, what: &str| {
        format!(
            "SELECT CAST(COALESCE(SUM(d.{what}), 0) AS UNSIGNED) \
               FROM performance_schema.events_statements_summary_by_digest AS d \
              WHERE d.DIGEST_TEXT LIKE '%`{schema}`%orders%' AND d.DIGEST_TEXT LIKE '{statement}%'"
        )
    };
    // Verification looks for ends of its own.
    for (statement, most) in [("INSERT INTO", 30_000), ("SELECT%OFFSET", 2 * 30_000)] {
        let chunks = number(db.text(&of(statement, "COUNT_STAR")).await);
        // Were they to read all that have the prefix, three would be over the limit.
        assert!(chunks > 3, "{statement}: {chunks} times");
        let read = number(db.text(&of(statement, "SUM_ROWS_EXAMINED")).await);
        assert!(read >= 20_000, "{statement}: not all is counted: {read}");
        assert!(read <= most, "{statement}: {read} rows were read");
    }
}

fn number(text: String) -> u64 {
    text.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_key_goes_from_utf8mb3_to_its_namesake_in_utf8mb4() {
    for collation in ["general_ci", "bin", "unicode_ci"] {
        change(
            &format!(
                "CREATE TABLE orders (k VARCHAR(20) NOT NULL, id INT, v INT, PRIMARY KEY (k)) \
                 CHARACTER SET utf8mb3 COLLATE utf8mb3_{collation}"
            ),
            "INSERT INTO orders SELECT CONCAT(ELT(1 + i % 3, 'é', 'z', '中'), i), i, i FROM n",
            &format!(
                "ALTER TABLE orders CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_{collation}"
            ),
            &[
                "UPDATE orders SET k = UPPER(k) WHERE id % 1000 = 1",
                "UPDATE orders SET k = LOWER(k), v = v + 1 WHERE id % 1000 = 1",
                "DELETE FROM orders WHERE id % 1000 = 2 LIMIT 1",
                "INSERT INTO orders VALUES (CONCAT('Ж', UUID_SHORT() % 1000000000), 5, 5)",
                "UPDATE orders SET k = CONCAT('中 ', k) WHERE id % 1000 = 3 AND k NOT LIKE '中 %'",
            ],
        )
        .await;
    }
}

/// Of the rows that a new one meets, it goes by the index that was made first; and AUTO_INCREMENT wants one of its own all the time.
#[tokio::test(flavor = "multi_thread")]
async fn on_duplicate_key_update_meets_the_same_row_as_before() {
    for (keys, index_build) in [
        (
            "PRIMARY KEY (id), UNIQUE KEY by_a (a), UNIQUE KEY by_b (b)",
            "deferred",
        ),
        (
            "PRIMARY KEY (id), UNIQUE KEY by_a (a), UNIQUE KEY by_b (b)",
            "inline",
        ),
        (
            "UNIQUE KEY by_w (w), UNIQUE KEY by_b (b), UNIQUE KEY by_a (a)",
            "auto",
        ),
        // Rows go by none of these: a part of a text, and what is approximate.
        (
            "PRIMARY KEY (f), UNIQUE KEY by_w (w(2)), UNIQUE KEY by_b (b)",
            "auto",
        ),
        (
            "UNIQUE KEY by_f (f), UNIQUE KEY by_w (w), UNIQUE KEY by_b (b)",
            "auto",
        ),
    ] {
        let mut db = Deployment::fresh().await;
        db.run(&format!(
            "CREATE TABLE orders (id INT NOT NULL, w VARCHAR(9) NOT NULL, a INT NOT NULL, b INT NOT NULL AUTO_INCREMENT, c INT, \
               f FLOAT NOT NULL, {keys}, KEY by_c (c)); \
             INSERT INTO orders VALUES (1, 'w1', 1, 1, 1, 1.5), (2, 'w2', 2, 2, 2, 2.5); CREATE TABLE twin LIKE orders; \
             INSERT INTO twin SELECT * FROM orders"
        ))
        .await;
        let job = Job {
            options: serde_json::json!({ "index_build": index_build, "hold_old_table_seconds": 0 }),
            ..db.job(&["ALTER TABLE orders MODIFY c BIGINT"])
        };
        let (engine, _lease) = copied(&db, job).await;
        for table in ["orders", "twin"] {
            db.run(&format!(
                "INSERT INTO {table} (id, w, a, c, f) VALUES (3, 'w3', 3, 3, 3.5)"
            ))
            .await;
        }
        let content =
            "SELECT GROUP_CONCAT(CONCAT_WS(',', id, w, a, b, c) ORDER BY id SEPARATOR ' ') FROM ";
        swapped_alike(&mut db, engine, &format!("{content}orders")).await;
        db.run("ALTER TABLE twin MODIFY c BIGINT, ALGORITHM=COPY")
            .await;
        let schema = db.schema.clone();
        let mut ends = Vec::new();
        for table in ["orders", "twin"] {
            db.run(&format!(
                "INSERT INTO {table} VALUES (9, 'w1', 2, 3, 9, 9.5) ON DUPLICATE KEY UPDATE c = c + 100; \
                 INSERT INTO {table} (id, w, a, f) VALUES (4, 'w4', 4, 4.5)"
            ))
            .await;
            // Of those that are not unique, none is made in a place of its own.
            let order = format!(
                "SELECT GROUP_CONCAT(i.NAME ORDER BY i.INDEX_ID) FROM information_schema.INNODB_INDEXES AS i \
                   JOIN information_schema.INNODB_TABLES AS t ON t.TABLE_ID = i.TABLE_ID \
                  WHERE t.NAME = '{schema}/{table}' AND i.TYPE IN (2, 3)"
            );
            let content = db.text(&format!("{content}{table}")).await;
            ends.push((content, db.text(&order).await));
        }
        assert_eq!(ends[0], ends[1], "{keys}, {index_build}");
        let keys = "SELECT GROUP_CONCAT(INDEX_NAME) FROM information_schema.STATISTICS \
                     WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'orders' AND INDEX_NAME LIKE '\\_lk%'";
        assert_eq!(db.text(keys).await, "NULL");
    }
}
