//! What the binlog holds besides rows: statements, groups that end in other ways than most, DDL.
//! Cases 31, 35 and 36.

mod deployment;
mod support;

use deployment::{Deployment, copied, open, swapped_alike};
use lockkeeper::engine::ErrorKind;
use lockkeeper::server::{Server, ServerOptions};
use support::PATIENCE;

const TABLES: &str = "CREATE TABLE orders (id INT PRIMARY KEY, n INT) \
      AS WITH RECURSIVE r AS (SELECT 1 AS id, 1 AS n UNION ALL SELECT id + 1, id FROM r WHERE id < 500) \
      SELECT id, n FROM r; \
    CREATE TABLE other (id INT PRIMARY KEY, n INT); \
    CREATE TABLE old_engine (id INT PRIMARY KEY, n INT) ENGINE = MyISAM";

const CONTENT: &str = "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(CONCAT_WS('/', id, n)))) FROM orders";

const CHANGE: &str = "ALTER TABLE orders MODIFY n BIGINT";

/// Such a statement need not name the table that it changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_reaches_the_table_by_another_name_stops_the_change() {
    for (road, statement) in [
        (
            "CREATE VIEW seen AS SELECT id, n FROM orders",
            "UPDATE seen SET n = -1 WHERE id = 5",
        ),
        (
            "CREATE TRIGGER passes_on AFTER INSERT ON other FOR EACH ROW \
               UPDATE orders SET n = -1 WHERE id = NEW.id",
            "INSERT INTO other VALUES (5, 1)",
        ),
        (
            "CREATE TABLE parent (id INT PRIMARY KEY); INSERT INTO parent SELECT id FROM orders; \
             ALTER TABLE orders ADD COLUMN p INT, ADD FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE; \
             UPDATE orders SET p = id, n = -1 WHERE id = 5; UPDATE orders SET p = id WHERE id = 6",
            "DELETE FROM parent WHERE id = 6",
        ),
        (
            "CREATE FUNCTION spoil (i INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA \
               BEGIN UPDATE orders SET n = -1 WHERE id = i; RETURN 1; END",
            "SELECT spoil(5)",
        ),
        (
            "CREATE FUNCTION spoil (i INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA \
               BEGIN UPDATE orders SET n = -1 WHERE id = i; RETURN 1; END",
            "BEGIN; DO spoil(5); COMMIT",
        ),
    ] {
        let mut db = Deployment::fresh().await;
        db.run(TABLES).await;
        db.run(road).await;
        let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
        db.run(&format!(
            "SET SESSION binlog_format = STATEMENT; {statement}; SET SESSION binlog_format = ROW"
        ))
        .await;
        let changed = db.text("SELECT n FROM orders WHERE id = 5").await;
        assert_eq!(changed, "-1", "{statement}");
        let kept = tokio::time::timeout(PATIENCE, engine.keep_current()).await;
        let error = kept.expect("within seconds").expect_err(statement);
        assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
        assert!(error.message().contains("binlog_format"), "{error}");
        engine.close().await;
        assert_eq!(db.column_type("orders", "n").await, "int", "{statement}");
    }
}

/// Its event is not like that of other statements.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_loaded_by_a_statement_stops_the_change_if_it_is_into_the_table() {
    let options = ServerOptions::relaxed("statements").flag("--secure-file-priv=");
    let server = Server::start(options).await.expect("a server");
    let mut db = Deployment::on(server.administrator().clone()).await;
    db.run(TABLES).await;
    db.run(
        "CREATE VIEW seen AS SELECT id, n FROM orders; SELECT 9000, 1 INTO OUTFILE 'rows.txt'; \
         SET SESSION cte_max_recursion_depth = 100000; \
         WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 60000) \
         SELECT i, 1 INTO OUTFILE 'many.txt' FROM r",
    )
    .await;
    for (into, file, stops) in [
        ("orders", "rows", true),
        ("seen", "rows", true),
        ("other", "many", false),
    ] {
        let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
        db.run(&format!(
            "SET SESSION binlog_format = STATEMENT; LOAD DATA INFILE '{file}.txt' INTO TABLE {into}; \
             SET SESSION binlog_format = ROW"
        ))
        .await;
        let swapped = tokio::time::timeout(PATIENCE, engine.cut_over()).await;
        match swapped.expect("within seconds") {
            Ok(_) => {
                assert!(!stops, "{into}");
                engine.finish().await.expect("the end");
            }
            Err(error) => {
                assert!(stops, "{into}: {error}");
                assert_eq!(error.kind(), ErrorKind::Permanent, "{error}");
                assert!(error.message().contains("binlog_format"), "{error}");
                engine.remove_artifacts().await.expect("removed");
                db.run("DELETE FROM orders WHERE id = 9000").await;
            }
        }
        engine.close().await;
    }
}

/// Each of these is a group, or several, of its own kind.
const GROUPS: [&str; 11] = [
    "INSERT INTO old_engine VALUES (1, 1), (2, 2)",
    "CREATE TABLE made AS SELECT id, n FROM orders",
    "CREATE TEMPORARY TABLE mine (id INT); INSERT INTO mine VALUES (1); DROP TEMPORARY TABLE mine",
    "SET SESSION binlog_format = STATEMENT; CREATE TEMPORARY TABLE mine (id INT); \
       DROP TEMPORARY TABLE mine; SET SESSION binlog_format = ROW",
    "BEGIN; UPDATE orders SET n = 9001 WHERE id = 9; SAVEPOINT a; \
       UPDATE orders SET n = 9002 WHERE id = 10; ROLLBACK TO a; COMMIT",
    "BEGIN; INSERT INTO other VALUES (70, 1); ROLLBACK",
    "CREATE VIEW seen AS SELECT id FROM other; DROP VIEW seen",
    "ALTER TABLE other ADD COLUMN extra INT; TRUNCATE TABLE other; RENAME TABLE other TO another",
    "ANALYZE TABLE another; FLUSH TABLES; OPTIMIZE TABLE another",
    "SET SESSION binlog_format = STATEMENT; INSERT INTO another (id) VALUES (1); \
       SET SESSION binlog_format = ROW",
    "CREATE PROCEDURE twice () BEGIN UPDATE orders SET n = n + 1 WHERE id = 11; \
       UPDATE orders SET n = n + 1 WHERE id = 12; END; CALL twice(); DROP TABLE made",
];

/// A server with GTIDs takes none of these.
const GROUPS_WITHOUT_GTIDS: [&str; 5] = [
    "CREATE TABLE made_old ENGINE = MyISAM AS SELECT id, n FROM orders",
    "BEGIN; UPDATE orders SET n = 7001 WHERE id = 7; INSERT INTO old_engine VALUES (3, 3); \
       UPDATE orders SET n = 8001 WHERE id = 8; COMMIT",
    "BEGIN; INSERT INTO old_engine VALUES (4, 4); UPDATE another SET extra = 1; COMMIT",
    "BEGIN; INSERT INTO old_engine VALUES (5, 5); INSERT INTO another (id) VALUES (71); ROLLBACK",
    "SET SESSION binlog_format = STATEMENT; BEGIN; INSERT INTO another (id) VALUES (72); \
       CREATE TEMPORARY TABLE mine (id INT); INSERT INTO another (id) VALUES (73); \
       DROP TEMPORARY TABLE mine; COMMIT; SET SESSION binlog_format = ROW",
];

/// Before and after each group a row of the table changes, and a second driver goes on where the first one left.
async fn rows_around_groups_arrive(mut db: Deployment, groups: &[&str]) {
    db.run(TABLES).await;
    let (mut engine, _lease) = copied(&db, db.job(&[CHANGE])).await;
    for (at, group) in groups.iter().enumerate() {
        if at == groups.len() / 2 {
            engine.close().await;
            let mut job = db.job(&[CHANGE]);
            job.lease_epoch = 2;
            engine = open(&db, job).await.0;
        }
        let change = |id: usize| format!("UPDATE orders SET n = {at} WHERE id = {}", id + at);
        db.run(&format!("{}; {group}; {}", change(100), change(200)))
            .await;
    }
    swapped_alike(&mut db, engine, CONTENT).await;
    assert_eq!(db.column_type("orders", "n").await, "bigint");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_every_kind_are_passed_and_the_rows_around_them_arrive() {
    rows_around_groups_arrive(Deployment::fresh().await, &GROUPS).await;
}

/// There, groups that have changed tables without transactions end in a COMMIT, or in a ROLLBACK.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_they_are_without_gtids() {
    let options = ServerOptions::relaxed("statements")
        .flag("--gtid-mode=OFF")
        .flag("--enforce-gtid-consistency=OFF");
    let server = Server::start(options).await.expect("a server");
    let db = Deployment::on(server.administrator().clone()).await;
    let groups: Vec<&str> = GROUPS.into_iter().chain(GROUPS_WITHOUT_GTIDS).collect();
    rows_around_groups_arrive(db, &groups).await;
}
