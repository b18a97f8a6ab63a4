//! What can't be done without risk is refused before a row is copied, and nothing is left.

mod deployment;
mod support;

use deployment::{Deployment, TestLease, refusal};
use lockkeeper::config::ConnectionSettings;
use lockkeeper::config::Secret;
use lockkeeper::engine::session::Sessions;
use lockkeeper::engine::{ErrorKind, Job, preflight};
use lockkeeper::server::{Server, ServerOptions};

const NONE: serde_json::Value = serde_json::Value::Null;

const FAMILY: &str = "CREATE TABLE parent (id INT PRIMARY KEY); \
    CREATE TABLE child (id INT PRIMARY KEY, p INT, n INT, \
        CONSTRAINT to_parent FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE)";

/// What is left over looks like any other table.
#[tokio::test]
async fn a_table_of_our_own_is_not_changed() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE _lk_0123abcd_5_1_0_new (id INT PRIMARY KEY)")
        .await;
    let change = "ALTER TABLE _lk_0123abcd_5_1_0_new ADD c INT";
    let refused = refusal(&mut db, &[change], NONE).await.expect("refused");
    assert!(refused.contains("Lockkeeper's own"), "{refused}");
}

#[tokio::test]
async fn what_hangs_on_a_table_can_forbid_a_copy() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE plain (id INT PRIMARY KEY, n INT); CREATE VIEW seen AS SELECT id FROM plain; \
            CREATE TABLE old_engine (id INT PRIMARY KEY, n INT) ENGINE = MyISAM; \
            CREATE TABLE parent (id INT PRIMARY KEY, n INT); \
            CREATE TABLE child (id INT PRIMARY KEY, p INT, n INT, CONSTRAINT to_parent FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE); \
            CREATE TABLE tree (id INT PRIMARY KEY, up INT, n INT, CONSTRAINT to_itself FOREIGN KEY (up) REFERENCES tree (id)); \
            CREATE TABLE watched (id INT PRIMARY KEY, n INT); \
            CREATE TRIGGER watcher BEFORE INSERT ON watched FOR EACH ROW SET NEW.n = 1").await;
    for (statement, expected) in [
        ("ALTER TABLE plain MODIFY n BIGINT", None),
        ("ALTER TABLE seen MODIFY n BIGINT", Some("is a VIEW")),
        ("ALTER TABLE old_engine MODIFY n BIGINT", Some("MyISAM")),
        (
            "ALTER TABLE plain ENGINE = MyISAM",
            Some("would become a MyISAM table"),
        ),
        ("ALTER TABLE parent MODIFY n BIGINT", Some("to_parent")),
        // The server would let it pass, and refuse each write from then on.
        (
            "ALTER TABLE watched RENAME COLUMN n TO m",
            Some("trigger `watcher` uses it"),
        ),
        ("ALTER TABLE watched ADD COLUMN m INT", None),
        ("ALTER TABLE child MODIFY n BIGINT", None),
        ("ALTER TABLE child ADD COLUMN c INT", None),
        ("ALTER TABLE child DROP FOREIGN KEY to_parent", None),
        ("ALTER TABLE child DROP CONSTRAINT to_parent", None),
        (
            "ALTER TABLE child DROP CONSTRAINT to_parent, MODIFY n BIGINT",
            None,
        ),
        // The server refuses these itself, with the foreign key named.
        ("ALTER TABLE child MODIFY p BIGINT", Some("to_parent")),
        ("ALTER TABLE child DROP COLUMN p", Some("to_parent")),
        (
            "ALTER TABLE child DROP KEY to_parent, MODIFY n BIGINT",
            Some("needed in a foreign key constraint"),
        ),
        (
            "ALTER TABLE child MODIFY n BIGINT, ADD FOREIGN KEY (n) REFERENCES parent (n)",
            Some(""),
        ),
        (
            "ALTER TABLE child MODIFY id BIGINT, ADD CONSTRAINT second FOREIGN KEY (n) REFERENCES parent (id)",
            Some("a foreign key can't be added"),
        ),
        ("ALTER TABLE tree MODIFY n BIGINT", Some("to_itself")),
        (
            "ALTER TABLE plain ADD FOREIGN KEY (n) REFERENCES parent (id)",
            Some("a foreign key can't be added"),
        ),
        ("ALTER TABLE watched MODIFY n BIGINT", Some("watcher")),
        ("ALTER TABLE watched ADD COLUMN c INT", None),
        ("DROP TABLE parent", Some("to_parent")),
        ("DROP TABLE child", None),
        ("CREATE TABLE plain (id INT)", Some("exists already")),
        ("CREATE TABLE IF NOT EXISTS plain (id INT)", None),
    ] {
        let refused = refusal(&mut db, &[statement], NONE).await;
        match (refused, expected) {
            (None, None) => {}
            (Some(text), Some(part)) => assert!(text.contains(part), "{statement}: {text}"),
            (refused, _) => panic!("{statement}: {refused:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_child_that_an_apply_creates_comes_behind_the_copy_of_its_parent() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE parent (id INT PRIMARY KEY, n INT)")
        .await;
    let create =
        "CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id))";
    let copy = "ALTER TABLE parent MODIFY n BIGINT";
    let refused = refusal(&mut db, &[create, copy], NONE).await;
    assert!(
        refused.is_some_and(|text| text.contains("put it behind that one")),
        "the key would follow the old table"
    );
    assert_eq!(refusal(&mut db, &[copy, create], NONE).await, None);
}

#[tokio::test]
async fn a_child_is_refused_where_cascades_are_not_in_the_binlog() {
    let options = ServerOptions::relaxed("native").flag("--innodb-native-foreign-keys=ON");
    let server = Server::start(options).await.expect("a server");
    let mut db = Deployment::on(server.administrator().clone()).await;
    db.run(FAMILY).await;
    let refused = refusal(&mut db, &["ALTER TABLE child MODIFY n BIGINT"], NONE).await;
    let refused = refused.expect("a refusal");
    assert!(
        refused.contains("to_parent") && refused.contains("innodb_native_foreign_keys"),
        "{refused}"
    );
    // What needs no copy needs no binlog.
    let instant = refusal(&mut db, &["ALTER TABLE child ADD COLUMN c INT"], NONE).await;
    assert_eq!(instant, None);
}

#[tokio::test]
async fn a_foreign_key_that_a_revert_could_not_give_back_is_not_dropped_in_a_copy() {
    let mut db = Deployment::fresh().await;
    db.run(FAMILY).await;
    let before = db.tables().await;
    let job = Job {
        revert_window_seconds: 60,
        ..db.job(&["ALTER TABLE child DROP FOREIGN KEY to_parent, MODIFY n BIGINT"])
    };
    let mut session = db.session(1).await;
    let error = preflight::plan(&mut session, &job, &db.owner(1)).await;
    let error = error.expect_err("a refusal");
    assert!(error.message().contains("to_parent is dropped"), "{error}");
    assert_eq!(db.tables().await, before);
}

/// A parent in another schema needs rights there.
#[tokio::test]
async fn what_a_parent_needs_is_named_with_the_grant_that_gives_it() {
    let mut db = Deployment::fresh().await;
    let (schema, far) = (db.schema.clone(), format!("{}_far", db.schema));
    let user = format!("u{}", db.installation);
    let password = db.settings.credentials.password.expose().to_owned();
    db.run(&format!(
        "CREATE DATABASE {far}; CREATE TABLE {far}.parent (id INT PRIMARY KEY); \
         CREATE TABLE child (id INT PRIMARY KEY, p INT, n INT, FOREIGN KEY (p) REFERENCES {far}.parent (id)); \
         CREATE USER `{user}`@`%` IDENTIFIED BY '{password}'; \
         GRANT REPLICATION SLAVE, REPLICATION CLIENT, PROCESS ON *.* TO `{user}`@`%`; \
         GRANT SELECT ON {far}.parent TO `{user}`@`%`; \
         GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, LOCK TABLES, \
               CREATE TEMPORARY TABLES, TRIGGER, REFERENCES ON {schema}.* TO `{user}`@`%`"
    ))
    .await;
    let mut target = db.target();
    target.user.clone_from(&user);
    let sessions = Sessions::new(target, db.owner(1), TestLease::held());
    let job = db.job(&["ALTER TABLE child MODIFY n BIGINT"]);
    let mut session = sessions.open().await.expect("a session");
    let error = preflight::plan(&mut session, &job, &db.owner(1)).await;
    let text = error.expect_err("a refusal").message();
    session.close().await;
    let grants = text.split_once("run ").expect("grants").1;
    assert!(
        grants.contains("REFERENCES") && grants.contains(&far),
        "{text}"
    );
    db.run(grants).await;
    let mut session = sessions.open().await.expect("a session");
    let plans = preflight::plan(&mut session, &job, &db.owner(1)).await;
    assert_eq!(plans.expect("a plan").len(), 1);
    session.close().await;
    db.run(&format!(
        "DROP USER `{user}`@`%`; DROP TABLE child; DROP DATABASE {far}"
    ))
    .await;
}

#[tokio::test]
async fn values_that_do_not_fit_are_found_and_the_column_named() {
    let mut db = Deployment::fresh().await;
    for (column, value, to, expected) in [
        (
            "BIGINT",
            "1099511627776",
            "INT",
            Some("1 rows are not between"),
        ),
        ("BIGINT", "5", "INT", None),
        ("INT", "-1", "INT UNSIGNED", Some("not between 0")),
        ("INT", "NULL", "INT NOT NULL", Some("are NULL")),
        (
            "VARCHAR(100)",
            "REPEAT('x', 11)",
            "VARCHAR(10)",
            Some("longer than 10"),
        ),
        ("VARCHAR(100)", "'fits'", "VARCHAR(10)", None),
        ("VARCHAR(10)", "'a '", "CHAR(10)", Some("end in spaces")),
        (
            "VARCHAR(10)",
            "'é€'",
            "VARCHAR(10) CHARACTER SET latin1",
            None,
        ),
        (
            "VARCHAR(10)",
            "'日本'",
            "VARCHAR(10) CHARACTER SET latin1",
            Some("characters that latin1 lacks"),
        ),
        (
            "TEXT",
            "REPEAT('x', 300)",
            "TINYTEXT",
            Some("longer than 255 bytes"),
        ),
        (
            "VARBINARY(20)",
            "REPEAT('x', 20)",
            "VARBINARY(10)",
            Some("longer than 10 bytes"),
        ),
        (
            "VARBINARY(20)",
            "'x'",
            "BINARY(20)",
            Some("would be padded"),
        ),
        (
            "DECIMAL(10,4)",
            "1.2345",
            "DECIMAL(10,2)",
            Some("more than 2 digits after"),
        ),
        ("DECIMAL(10,4)", "1.23", "DECIMAL(10,2)", None),
        (
            "DECIMAL(10,2)",
            "12345678.00",
            "DECIMAL(6,2)",
            Some("before the point"),
        ),
        (
            "DECIMAL(10,2)",
            "1.50",
            "INT",
            Some("digits after the point"),
        ),
        ("DOUBLE", "1.5", "INT", Some("digits after the point")),
        ("DOUBLE", "0.1", "FLOAT", Some("more digits than a FLOAT")),
        (
            "BIGINT",
            "16777217",
            "FLOAT",
            Some("more digits than a FLOAT"),
        ),
        ("MEDIUMINT", "8388607", "FLOAT", None),
        (
            "BIGINT",
            "9007199254740993",
            "DOUBLE",
            Some("more digits than a DOUBLE"),
        ),
        ("BIGINT", "9007199254740992", "DOUBLE", None),
        ("DECIMAL(20,2)", "0.10", "DOUBLE", None),
        (
            "DECIMAL(20,2)",
            "123456789012345678.01",
            "DOUBLE",
            Some("more digits than a DOUBLE"),
        ),
        (
            "DOUBLE",
            "1.25",
            "DOUBLE(10,1)",
            Some("digits after the point"),
        ),
        (
            "VARCHAR(20)",
            "'1.5'",
            "INT",
            Some("digits after the point"),
        ),
        ("VARCHAR(20)", "'007'", "INT", None),
        (
            "VARCHAR(20)",
            "'1.239'",
            "DECIMAL(10,2)",
            Some("digits after the point"),
        ),
        (
            "VARCHAR(30)",
            "'2020-01-01 10:00:00'",
            "DATE",
            Some("time of day"),
        ),
        ("VARCHAR(30)", "'2020-01-01'", "DATE", None),
        ("TIME", "'10:00:00'", "DATETIME", Some("day of the copy")),
        ("DATE", "'2020-05-05'", "TIME", Some("lose their date")),
        ("DATE", "'2020-05-05'", "YEAR", Some("")),
        ("INT", "5", "YEAR", Some("another year")),
        ("INT", "2005", "YEAR", None),
        ("VARCHAR(9)", "'70'", "YEAR", Some("another year")),
        (
            "VARCHAR(9)",
            "'2'",
            "ENUM('a', 'b')",
            Some("member's place"),
        ),
        (
            "VARCHAR(9)",
            "'B'",
            "ENUM('a', 'b')",
            Some("member's place"),
        ),
        ("VARCHAR(9)", "'b'", "ENUM('a', 'b')", None),
        ("VARCHAR(9)", "'3'", "SET('a', 'b')", Some("bits of a SET")),
        ("VARCHAR(9)", "'a,b'", "SET('a', 'b')", None),
        ("VARBINARY(9)", "'a '", "CHAR(9)", Some("end in spaces")),
        (
            "VARBINARY(9)",
            "'abc    '",
            "VARCHAR(4)",
            Some("would be cut"),
        ),
        ("VARBINARY(9)", "'abc '", "VARCHAR(4)", None),
        ("VARCHAR(9)", "'ab'", "BINARY(4)", Some("padded")),
        ("VARCHAR(9)", "'abcd'", "BINARY(4)", None),
        ("FLOAT", "16777215", "VARCHAR(30)", Some("than their text")),
        ("FLOAT", "0.1", "VARCHAR(30)", None),
        ("FLOAT", "1234567", "JSON", Some("than their text")),
        ("INT", "-1", "BIT(64)", Some("negative")),
        ("DOUBLE", "1.5", "BIT(8)", Some("negative")),
        ("INT", "7", "BIT(8)", None),
        (
            "DECIMAL(10,3)",
            "101010.555",
            "TIME",
            Some("digits of a second"),
        ),
        (
            "DATETIME(6)",
            "'2020-01-01 10:00:00.123456'",
            "DOUBLE",
            Some("digits of a second"),
        ),
        (
            "VARCHAR(30)",
            "'12345678901234567890'",
            "DOUBLE",
            Some("than a DOUBLE"),
        ),
        ("VARCHAR(30)", "'0.1'", "DOUBLE", None),
        ("VARCHAR(30)", "'16777217'", "FLOAT", Some("than a FLOAT")),
        ("VARCHAR(30)", "'0.1'", "FLOAT", None),
        ("JSON", "'1.5'", "INT", Some("digits after the point")),
        ("JSON", "'2'", "INT", None),
        (
            "VARCHAR(30)",
            "'2020-01-01 10:00:00.5'",
            "DATETIME",
            Some("digits of a second"),
        ),
        (
            "DATETIME(6)",
            "'2020-01-01 10:00:00.5'",
            "BIGINT",
            Some("digits of a second"),
        ),
        ("TIME(3)", "'10:00:00.5'", "INT", Some("digits of a second")),
        (
            "DATETIME(6)",
            "'2020-01-01 00:00:00.000001'",
            "DATETIME(3)",
            Some("digits of a second"),
        ),
        (
            "DATETIME",
            "'2020-01-01 12:00:00'",
            "DATE",
            Some("time of day"),
        ),
        (
            "ENUM('a','b')",
            "'b'",
            "ENUM('a')",
            Some("member that is removed"),
        ),
        ("ENUM('a','b')", "'a'", "ENUM('a')", None),
        (
            "SET('a','b')",
            "'a,b'",
            "SET('a')",
            Some("member that is removed"),
        ),
        ("ENUM('a','b')", "'b'", "VARCHAR(5)", None),
        ("SET('a','')", "2", "SET('a','','c')", None),
        ("SET('a','b','')", "4", "SET('a','')", Some("empty member")),
        (
            "SET('a','')",
            "2",
            "SET('a')",
            Some("member that is removed"),
        ),
        ("SET('a','')", "3", "SET('','a')", Some("empty member")),
        ("SET('a','')", "1", "SET('','a')", None),
        ("INT", "5", "VARCHAR(20)", None),
        ("INT", "5", "JSON", None),
        ("VARCHAR(20)", "'[1]'", "JSON", None),
        ("VARCHAR(20)", "'no'", "JSON", Some("1 rows are no JSON")),
        (
            "TEXT CHARACTER SET latin1",
            "'no'",
            "JSON",
            Some("are no JSON"),
        ),
    ] {
        db.run(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (id INT PRIMARY KEY, c {column}); INSERT INTO t VALUES (1, {value})")).await;
        let statement = format!("ALTER TABLE t MODIFY c {to}, FORCE");
        let refused = refusal(&mut db, &[&statement], NONE).await;
        match (&refused, expected) {
            (None, None) => {}
            (Some(text), Some(part)) => assert!(
                text.contains(part) && text.contains("column c") && text.contains("such as id = 1"),
                "{column} {value} {to}: {text}"
            ),
            _ => panic!("{column} {value} {to}: {refused:?} instead of {expected:?}"),
        }
        // Consent is enough exactly for what the server does without an error.
        if let Some(text) = refused {
            let consented = refusal(
                &mut db,
                &[&statement],
                serde_json::json!({"allow_lossy": ["C"]}),
            )
            .await;
            assert_eq!(
                consented.is_none(),
                text.contains("allow_lossy"),
                "{column} {value} {to}: {consented:?}"
            );
        }
    }
}

#[tokio::test]
async fn nobody_can_consent_to_losses_in_the_key_that_rows_are_told_apart_by() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (k VARCHAR(9) PRIMARY KEY, c INT); INSERT INTO t VALUES ('a', 1)")
        .await;
    let options = serde_json::json!({"allow_lossy": true});
    let statement = ["ALTER TABLE t MODIFY k CHAR(9)"];
    assert_eq!(refusal(&mut db, &statement, options.clone()).await, None);
    db.run("INSERT INTO t VALUES ('b ', 2)").await;
    let refused = refusal(&mut db, &statement, options).await;
    assert!(
        refused.is_some_and(|text| text.contains("column k") && text.contains("told apart by")),
        "with a trailing space"
    );
}

#[tokio::test]
async fn rows_that_a_unique_key_would_make_equal_are_both_named() {
    let mut db = Deployment::fresh().await;
    for (table, rows, statement, expected) in [
        (
            "id INT PRIMARY KEY, c INT",
            "(1, 7), (2, 8), (3, 7)",
            "ADD UNIQUE KEY u (c)",
            Some("id 1 and 3"),
        ),
        (
            "id INT PRIMARY KEY, c INT",
            "(1, NULL), (2, NULL)",
            "ADD UNIQUE KEY u (c)",
            None,
        ),
        (
            "id INT PRIMARY KEY, c VARCHAR(9) COLLATE utf8mb4_bin, UNIQUE KEY u (c)",
            "(1, 'a'), (2, 'A')",
            "MODIFY c VARCHAR(9) COLLATE utf8mb4_general_ci",
            Some("id 1 and 2"),
        ),
        (
            "id INT PRIMARY KEY, c VARCHAR(9) COLLATE utf8mb4_bin, UNIQUE KEY u (c)",
            "(1, 'a'), (2, 'b')",
            "MODIFY c VARCHAR(9) COLLATE utf8mb4_general_ci",
            None,
        ),
        (
            "a INT, b INT, c VARCHAR(9), PRIMARY KEY (a, b)",
            "(1, 2, 'xy'), (1, 3, 'xz')",
            "ADD UNIQUE KEY u (c(1))",
            Some("a,b 1,2 and 1,3"),
        ),
        (
            "a INT, b INT, c VARCHAR(9), PRIMARY KEY (a, b)",
            "(1, 2, 'xy'), (1, 3, 'xz')",
            "ADD UNIQUE KEY u (b)",
            None,
        ),
        (
            "a INT, b INT, c VARCHAR(9), PRIMARY KEY (a, b)",
            "(1, 2, 'xy'), (1, 3, 'xz')",
            "ADD UNIQUE KEY u (c, b, a)",
            None,
        ),
    ] {
        db.run(&format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t ({table}); INSERT INTO t VALUES {rows}"
        ))
        .await;
        let refused = refusal(&mut db, &[&format!("ALTER TABLE t {statement}")], NONE).await;
        match (&refused, expected) {
            (None, None) => {}
            (Some(text), Some(part)) => assert!(text.contains(part), "{table} {statement}: {text}"),
            _ => panic!("{table} {statement}: {refused:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn settings_that_would_lose_row_images_are_named() {
    let servers = support::private_servers(1).await;
    let mut db = Deployment::on(servers[0].administrator().clone()).await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT)").await;
    for (change, back, expected) in [
        (
            "binlog_row_image = MINIMAL",
            "binlog_row_image = FULL",
            "binlog_row_image is 'MINIMAL'",
        ),
        (
            "binlog_row_value_options = PARTIAL_JSON",
            "binlog_row_value_options = ''",
            "binlog_row_value_options is 'PARTIAL_JSON'",
        ),
        (
            "binlog_format = STATEMENT",
            "binlog_format = ROW",
            "binlog_format is 'STATEMENT'",
        ),
        ("read_only = ON", "read_only = OFF", "read_only on"),
    ] {
        db.run(&format!("SET GLOBAL {change}")).await;
        let refused = refusal(&mut db, &["ALTER TABLE t MODIFY n BIGINT"], NONE)
            .await
            .expect(change);
        assert!(refused.contains(expected), "{change}: {refused}");
        db.run(&format!("SET GLOBAL {back}")).await;
    }
    assert_eq!(
        refusal(&mut db, &["ALTER TABLE t MODIFY n BIGINT"], NONE).await,
        None
    );
}

fn as_user(settings: &ConnectionSettings, user: &str) -> ConnectionSettings {
    let mut settings = settings.clone();
    settings.credentials.user = user.to_owned();
    settings
}

#[tokio::test]
async fn missing_privileges_are_named_with_the_grant_that_gives_them_and_it_is_enough() {
    let mut db = Deployment::fresh().await;
    let user = format!("u{}", db.installation);
    let password = db.settings.credentials.password.expose().to_owned();
    db.run(&format!("CREATE TABLE t (id INT PRIMARY KEY, n INT); CREATE USER `{user}`@`%` IDENTIFIED BY '{password}'")).await;
    let mut target = db.target();
    target.user = as_user(&db.settings, &user).credentials.user;
    target.password = Secret::new(password);
    let sessions = Sessions::new(target, db.owner(1), TestLease::held());
    let job = db.job(&["ALTER TABLE t MODIFY n BIGINT"]);
    let mut session = sessions.open().await.unwrap();
    let error = preflight::plan(&mut session, &job, &db.owner(1))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permanent);
    session.close().await;
    let text = error.message();
    assert!(
        text.contains("REPLICATION SLAVE") && text.contains("LOCK TABLES"),
        "{text}"
    );
    let grants = text.split_once("run ").unwrap().1.to_owned();
    db.run(&grants).await;
    let mut session = sessions.open().await.unwrap();
    let plans = preflight::plan(&mut session, &job, &db.owner(1))
        .await
        .unwrap();
    assert_eq!(plans.len(), 1);
    db.run(&format!("DROP USER `{user}`@`%`")).await;
}

/// RENAME makes the names of CHECK constraints from the table's.
#[tokio::test]
async fn a_table_whose_name_leaves_no_room_for_those_of_its_constraints_is_refused() {
    let mut db = Deployment::fresh().await;
    let (fits, long) = ("é".repeat(58), "é".repeat(59));
    for table in [&fits, &long] {
        db.run(&format!(
            "CREATE TABLE {table} (id INT PRIMARY KEY, n INT, CONSTRAINT {} CHECK (n > 0))",
            table.replace('é', "x")
        ))
        .await;
    }
    let change = |table: &str| format!("ALTER TABLE {table} MODIFY n BIGINT");
    let text = refusal(&mut db, &[&change(&long)], serde_json::json!({})).await;
    let text = text.expect("a name that is too long");
    assert!(text.contains(&format!("{long}_chk_1")), "{text}");
    assert_eq!(
        refusal(&mut db, &[&change(&fits)], serde_json::json!({})).await,
        None
    );
    let without = format!(
        "ALTER TABLE {long} MODIFY n BIGINT, DROP CONSTRAINT {}",
        "x".repeat(59)
    );
    assert_eq!(
        refusal(&mut db, &[&without], serde_json::json!({})).await,
        None
    );
}

/// What a wider pattern grants is of no use beside a more exact one: the copy would be refused halfway.
#[tokio::test]
async fn a_right_that_a_more_exact_grant_hides_is_missing() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let (schema, user) = (db.schema.clone(), format!("u{}", db.installation));
    let password = db.settings.credentials.password.expose().to_owned();
    let exact = schema.replace('_', "\\_");
    let wide = exact[..exact.len() - 1].to_owned();
    db.run(&format!(
        "CREATE USER `{user}`@`%` IDENTIFIED BY '{password}'; \
         GRANT REPLICATION SLAVE, REPLICATION CLIENT, PROCESS ON *.* TO `{user}`@`%`; \
         GRANT ALL ON `{wide}%`.* TO `{user}`@`%`; GRANT SELECT ON `{exact}`.* TO `{user}`@`%`"
    ))
    .await;
    let mut target = db.target();
    target.user = user;
    let sessions = Sessions::new(target, db.owner(1), TestLease::held());
    let mut session = sessions.open().await.expect("a session");
    let write = session
        .run(&format!("INSERT INTO `{schema}`.t VALUES (1)"))
        .await;
    let write = write.expect_err("the server goes by the more exact one");
    assert!(write.to_string().contains("denied"), "{write}");
    let job = db.job(&["ALTER TABLE t MODIFY id BIGINT NOT NULL"]);
    let error = preflight::plan(&mut session, &job, &db.owner(1)).await;
    let error = error.expect_err("rights are missing");
    assert!(error.message().contains("run GRANT INSERT, "), "{error}");
}
