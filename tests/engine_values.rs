//! Values and transactions that are easily lost: unique values that move while the driver dies, what no
//! longer fits, savepoints, very large values and transactions, JSON that only changes its inner type.

mod deployment;
mod support;

use deployment::{Deployment, copied, swapped_alike};
use lockkeeper::engine::{EngineError, ErrorKind, Job};
use lockkeeper::server::{Server, ServerOptions};
use sqlx::Executor as _;
use support::PATIENCE;

async fn private(flags: &[&str]) -> (Server, Deployment) {
    let options = ServerOptions::relaxed("values");
    let options = flags
        .iter()
        .fold(options, |options, flag| options.flag(*flag));
    let server = Server::start(options).await.expect("a private server");
    let db = Deployment::on(server.administrator().clone()).await;
    (server, db)
}

/// Case 26.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_no_longer_fits_after_the_copy_stops_the_change() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, note VARCHAR(100)); \
         INSERT INTO orders VALUES (1, 'short'), (2, NULL)",
    )
    .await;
    let job = db.job(&["ALTER TABLE orders MODIFY note VARCHAR(10)"]);
    let (mut engine, _lease) = copied(&db, job).await;
    db.run("INSERT INTO orders VALUES (3, REPEAT('x', 50))")
        .await;
    let kept = tokio::time::timeout(PATIENCE, engine.keep_current()).await;
    let error: EngineError = kept
        .expect("in time")
        .expect_err("a value that is too long");
    assert_eq!(error.kind(), ErrorKind::Permanent, "{}", error.message());
    assert!(error.message().contains("too long"), "{}", error.message());
    engine.close().await;
    let kept = db.text("SELECT SUM(LENGTH(note)) FROM orders").await;
    assert_eq!(kept, "55");
}

/// Case 33. Two epochs follow one transaction with savepoints: it begins under the first driver and
/// is committed under the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_with_savepoints_is_followed_across_two_drivers() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, n INT); \
         INSERT INTO orders VALUES (1, 1), (2, 2), (3, 3), (4, 4)",
    )
    .await;
    let job = db.job(&["ALTER TABLE orders MODIFY id BIGINT"]);
    let settings = db.settings.clone().with_schema(&db.schema);
    let mut writer = settings.connect().await.expect("a session");
    let (engine, _lease) = copied(&db, job.clone()).await;
    writer
        .execute(
            "BEGIN; UPDATE orders SET n = 10 WHERE id = 1; SAVEPOINT a; \
             DELETE FROM orders WHERE id = 2; SAVEPOINT b; UPDATE orders SET n = 30 WHERE id = 3",
        )
        .await
        .expect("savepoints");
    // Nothing is ended in order.
    engine.abandon();
    writer
        .execute(
            "ROLLBACK TO SAVEPOINT b; INSERT INTO orders VALUES (5, 5); SAVEPOINT c; \
             RELEASE SAVEPOINT a; UPDATE orders SET id = 6 WHERE id = 4; COMMIT",
        )
        .await
        .expect("a commit");
    let second = Job {
        lease_epoch: 2,
        ..job
    };
    let (engine, _lease) = copied(&db, second).await;
    let content = "SELECT GROUP_CONCAT(id, ':', n ORDER BY id) FROM orders";
    let found = swapped_alike(&mut db, engine, content).await;
    assert_eq!(found, "1:10,3:3,5:5,6:4");
}

/// A change of only an inner type is a change; where the server writes it, it must arrive.
#[tokio::test(flavor = "multi_thread")]
async fn json_that_changes_only_its_inner_types_arrives() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, j JSON); \
         INSERT INTO orders VALUES (1, '{\"a\": [1, \"1\"], \"b\": 1}'), (2, '{\"a\": [1, \"1\"], \"b\": 1}'), \
         (3, '{\"a\": [1, \"1\"], \"b\": 1}'), (4, '{\"a\": [1, \"1\"], \"b\": 1}'), (5, '1'), (6, '[1.0]')",
    )
    .await;
    let job = db.job(&["ALTER TABLE orders MODIFY id BIGINT"]);
    let (mut engine, _lease) = copied(&db, job).await;
    let content = "SELECT GROUP_CONCAT(id, j, JSON_TYPE(j), IFNULL(JSON_TYPE(j->'$.a[0]'), '-'), \
         IFNULL(JSON_TYPE(j->'$.a[1]'), '-'), IFNULL(JSON_TYPE(j->'$.b'), '-'), \
         IFNULL(JSON_TYPE(j->'$[0]'), '-') ORDER BY id SEPARATOR ' ') FROM orders";
    let before = db.text(content).await;
    // The first three as one statement, where the server thinks that something changes; the others by
    // way of another value, in one transaction, so that the stream's last image equals the copy.
    db.run(
        "UPDATE orders SET j = JSON_SET(j, '$.a[0]', 1.0e0) WHERE id = 1; \
         UPDATE orders SET j = JSON_REPLACE(j, '$.a[1]', 1) WHERE id = 2; \
         UPDATE orders SET j = '{\"a\": [1.0, 1], \"b\": true}' WHERE id = 3; \
         BEGIN; UPDATE orders SET j = NULL WHERE id IN (4, 5, 6); \
         UPDATE orders SET j = '{\"a\": [1.0, \"1\"], \"b\": 1.0}' WHERE id = 4; \
         UPDATE orders SET j = CAST(1e0 AS JSON) WHERE id = 5; \
         UPDATE orders SET j = JSON_ARRAY(1) WHERE id = 6; COMMIT",
    )
    .await;
    assert_ne!(db.text(content).await, before);
    let found = engine.differences().await.expect("a comparison");
    assert_eq!(found, Vec::<String>::new());
    swapped_alike(&mut db, engine, content).await;
}

const LARGE: &str =
    "SELECT GROUP_CONCAT(id, ':', LENGTH(b), ':', SHA2(b, 256) ORDER BY id) FROM orders";

/// Case 61: 16 MiB in the copy, 64 in the stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_64_mib_is_followed() {
    let (_server, mut db) = private(&["--max-allowed-packet=256M"]).await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, b LONGBLOB, v VECTOR(3)); \
         INSERT INTO orders VALUES (1, REPEAT(UNHEX('00FF275C'), 4 << 20), STRING_TO_VECTOR('[1, 2, 3]')), (2, 'x', NULL)",
    )
    .await;
    let job = db.job(&["ALTER TABLE orders MODIFY id BIGINT NOT NULL"]);
    let (engine, _lease) = copied(&db, job).await;
    db.run(
        "UPDATE orders SET b = REPEAT(UNHEX('80005C27'), 16 << 20), v = STRING_TO_VECTOR('[4, 5, 0.1]') WHERE id = 2",
    )
    .await;
    swapped_alike(&mut db, engine, LARGE).await;
    let vectors = "SELECT GROUP_CONCAT(HEX(v) ORDER BY id) FROM orders";
    assert_eq!(
        db.text(vectors).await,
        "0000803F0000004000004040,000080400000A040CDCCCC3D"
    );
}

/// A value that the application could write and no statement of ours can carry.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_no_statement_can_carry_is_named_and_followed_once_it_can() {
    let (_server, mut db) = private(&["--max-allowed-packet=4M"]).await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, b LONGBLOB); INSERT INTO orders VALUES (1, 'x')",
    )
    .await;
    let job = db.job(&["ALTER TABLE orders MODIFY id BIGINT NOT NULL"]);
    let (mut engine, _lease) = copied(&db, job.clone()).await;
    db.run("UPDATE orders SET b = REPEAT(UNHEX('80005C27'), 768 << 10) WHERE id = 1")
        .await;
    let kept = tokio::time::timeout(PATIENCE, engine.keep_current()).await;
    let error = kept
        .expect("in time")
        .expect_err("a value that is too large");
    let message = error.message();
    assert_eq!(error.kind(), ErrorKind::Retryable, "{message}");
    assert!(
        message.contains("max_allowed_packet is 4194304"),
        "{message}"
    );
    engine.close().await;
    db.run("SET GLOBAL max_allowed_packet = 16 << 20").await;
    let second = Job {
        lease_epoch: 2,
        ..job
    };
    let (engine, _lease) = copied(&db, second).await;
    swapped_alike(&mut db, engine, LARGE).await;
}

/// Case 32: far more than any queue of the driver's holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_transaction_of_60_mib_is_followed() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, b LONGTEXT); SET SESSION cte_max_recursion_depth = 10000; \
         INSERT INTO orders WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 240) \
         SELECT i, 'x' FROM n",
    )
    .await;
    let job = db.job(&["ALTER TABLE orders MODIFY id BIGINT NOT NULL"]);
    let (engine, _lease) = copied(&db, job).await;
    db.run(
        "SET SESSION binlog_transaction_compression = ON; \
         UPDATE orders SET b = REPEAT(SHA2(id, 256), 4 << 10)",
    )
    .await;
    let content = "SELECT CONCAT_WS(' ', COUNT(*), SUM(LENGTH(b)), SUM(CRC32(b))) FROM orders";
    let found = swapped_alike(&mut db, engine, content).await;
    assert!(found.starts_with("240 62914560 "), "{found}");
}

/// `a > -5` is shown as `-(5)` at first, and as `-5` after a next ALTER: building the indexes, say.
#[tokio::test(flavor = "multi_thread")]
async fn expressions_that_the_server_spells_anew_are_nobody_elses_change() {
    let mut db = Deployment::fresh().await;
    let expression = "`a` > -5 AND `b` <> _latin1'x' OR `a` > -5 - -6";
    db.run(&format!(
        "CREATE TABLE orders (id INT PRIMARY KEY, a INT, b VARCHAR(9), u INT, g INT AS ({expression}) STORED, \
           KEY by_a (a), UNIQUE KEY by_u (u), KEY computed ((a > -5)), CHECK ({expression})); \
         INSERT INTO orders (id, a, b, u) VALUES (1, -4, 'y', 1), (2, 3, 'x', 2)"
    ))
    .await;
    let shown = "SELECT CONCAT_WS(' ', CHECK_CLAUSE) FROM information_schema.CHECK_CONSTRAINTS \
                  WHERE CONSTRAINT_SCHEMA = DATABASE() AND CONSTRAINT_NAME = 'orders_chk_1'";
    let before = db.text(shown).await;
    let job = Job {
        options: serde_json::json!({ "index_build": "deferred" }),
        ..db.job(&["ALTER TABLE orders MODIFY a BIGINT"])
    };
    let (engine, _lease) = copied(&db, job).await;
    db.run("UPDATE orders SET u = u + 1 ORDER BY u DESC; INSERT INTO orders (id, a, b) VALUES (3, 0, 'z')")
        .await;
    let content =
        "SELECT GROUP_CONCAT(CONCAT_WS(',', id, a, b, u, g) ORDER BY id SEPARATOR ' ') FROM orders";
    let content = swapped_alike(&mut db, engine, content).await;
    assert_eq!(content, "1,-4,y,2,1 2,3,x,3,1 3,0,z,1");
    assert_ne!(
        db.text(shown).await,
        before,
        "this server spells it the same: the test shows nothing"
    );
}

/// Case 60: keys that nobody wrote down or that are computed, and defaults that are another value each time.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_itself_puts_into_a_row_is_carried_and_not_made_again() {
    let mut db = Deployment::fresh().await;
    let columns = "a INT NOT NULL, b VARCHAR(40) NOT NULL DEFAULT (UUID()), c DOUBLE NOT NULL DEFAULT (RAND()), \
        at DATETIME(6) NOT NULL DEFAULT (NOW(6)), g INT AS (a * 2) STORED NOT NULL, v INT AS (a + 1) VIRTUAL";
    db.run(&format!(
        "SET SESSION sql_generate_invisible_primary_key = ON; \
         CREATE TABLE numbered ({columns}); \
         SET SESSION sql_generate_invisible_primary_key = OFF; \
         CREATE TABLE computed ({columns}, UNIQUE KEY by_a (a), UNIQUE KEY by_g (g, v)); \
         INSERT INTO numbered (a) VALUES (1), (2), (3), (4); INSERT INTO computed (a) VALUES (1), (2), (3), (4)"
    ))
    .await;
    let job = db.job(&[
        "ALTER TABLE numbered MODIFY a BIGINT NOT NULL",
        "ALTER TABLE computed MODIFY b VARCHAR(400) NOT NULL DEFAULT (UUID())",
    ]);
    let (engine, _lease) = copied(&db, job).await;
    for table in ["numbered", "computed"] {
        db.run(&format!(
            "INSERT INTO {table} (a) VALUES (5), (6); UPDATE {table} SET a = 10 WHERE a = 1; DELETE FROM {table} WHERE a = 2; \
             UPDATE {table} SET b = DEFAULT, c = DEFAULT WHERE a IN (3, 6)"
        ))
        .await;
    }
    let content = "SELECT CONCAT_WS(' ', \
        (SELECT GROUP_CONCAT(CONCAT_WS('/', my_row_id, a, b, c, at, g, v) ORDER BY a) FROM numbered), \
        (SELECT GROUP_CONCAT(CONCAT_WS('/', a, b, c, at, g, v) ORDER BY a) FROM computed))";
    swapped_alike(&mut db, engine, content).await;
    assert_eq!(db.column_type("numbered", "a").await, "bigint");
    assert_eq!(db.column_type("computed", "b").await, "varchar(400)");
    // The next row has the next number.
    db.run("INSERT INTO numbered (a) VALUES (7)").await;
    let number = "SELECT my_row_id FROM numbered WHERE a = 7";
    assert_eq!(db.text(number).await, "7");
}

/// What the rows get that are there already is looked up on a trial at the swap, when the shadow has the names of the new CHECKs.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_without_a_default_comes_beside_checks_that_have_names() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, a INT, CHECK (a > 0), CONSTRAINT small CHECK (a < 9)); \
         INSERT INTO orders VALUES (1, 1), (2, 2)",
    )
    .await;
    let job = db.job(&[
        "ALTER TABLE orders ADD CONSTRAINT `a b` CHECK (id > 0), DROP CHECK small, ADD CONSTRAINT small CHECK (a < 99), \
           ADD COLUMN d INT NOT NULL CONSTRAINT beside CHECK (d >= 0) FIRST",
    ]);
    let (engine, _lease) = copied(&db, job).await;
    db.run("UPDATE orders SET a = 5 WHERE id = 2").await;
    let content =
        "SELECT GROUP_CONCAT(CONCAT_WS(',', id, a) ORDER BY id SEPARATOR ' ') FROM orders";
    assert_eq!(swapped_alike(&mut db, engine, content).await, "1,1 2,5");
    let shape = "SELECT CONCAT_WS(' ', \
        (SELECT COUNT(*) FROM information_schema.TABLE_CONSTRAINTS \
          WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'orders' AND CONSTRAINT_TYPE = 'CHECK'), \
        (SELECT COALESCE(COLUMN_DEFAULT, 'none') FROM information_schema.COLUMNS \
          WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'orders' AND COLUMN_NAME = 'd'), \
        (SELECT GROUP_CONCAT(d) FROM orders))";
    assert_eq!(db.text(shape).await, "4 none 0,0");
}

/// Its text is that of a SET without members.
#[tokio::test(flavor = "multi_thread")]
async fn the_empty_member_of_a_set_is_kept_there_and_back() {
    let mut db = Deployment::fresh().await;
    db.run(
        "CREATE TABLE orders (id INT PRIMARY KEY, s SET('a','') NOT NULL, e ENUM('a','')); \
         INSERT INTO orders VALUES (1, 0, 'a'), (2, 2, ''), (3, 3, NULL)",
    )
    .await;
    let mut job = db.job(&[
        "ALTER TABLE orders MODIFY id BIGINT, MODIFY s SET('a','','c') NOT NULL, MODIFY e ENUM('a','','c')",
    ]);
    job.revert_window_seconds = 3600;
    let (mut engine, _lease) = copied(&db, job).await;
    db.run("INSERT INTO orders VALUES (4, 2, ''); UPDATE orders SET s = 2 WHERE id = 1")
        .await;
    let content =
        "SELECT GROUP_CONCAT(id, ':', s + 0, ':', IFNULL(e + 0, '-') ORDER BY id) FROM orders";
    let expected = db.text(content).await;
    assert_eq!(expected, "1:2:1,2:2:2,3:3:-,4:2:2");
    engine.cut_over().await.expect("the swap");
    assert_eq!(db.text(content).await, expected);
    db.run("INSERT INTO orders VALUES (5, 2, ''); UPDATE orders SET s = 0 WHERE id = 1")
        .await;
    let expected = db.text(content).await;
    engine.revert().await.expect("the way back");
    assert_eq!(db.text(content).await, expected);
    engine.close().await;
}
