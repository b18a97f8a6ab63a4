//! The way of a statement is the server's own answer.

mod deployment;
mod support;

use deployment::Deployment;
use lockkeeper::engine::plan;
use lockkeeper::engine::table::{TablePlan, Way};

const TABLE: &str = "CREATE TABLE t (
    id INT PRIMARY KEY, a INT, b INT NOT NULL DEFAULT 3, s VARCHAR(10), e ENUM('x','y'),
    u VARCHAR(20) NOT NULL, KEY by_a (a), UNIQUE KEY by_u (u), CONSTRAINT positive CHECK (a > 0))";

async fn plan_one(db: &mut Deployment, statement: &str) -> Result<TablePlan, String> {
    let mut session = db.session(1).await;
    let job = db.job(&[statement]);
    let result = plan::plan(&mut session, &job, &db.owner(1)).await;
    session.close().await;
    result
        .map(|mut plans| plans.remove(0))
        .map_err(|error| error.message())
}

#[tokio::test]
async fn each_statement_goes_the_cheapest_way_that_the_server_offers() {
    let mut db = Deployment::fresh().await;
    db.run(TABLE).await;
    db.run("CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))").await;
    for (statement, way) in [
        ("ALTER TABLE t ADD COLUMN c INT", Way::Instant),
        (
            "ALTER TABLE t ADD COLUMN c INT FIRST, ALGORITHM=COPY",
            Way::Instant,
        ),
        ("ALTER TABLE t DROP COLUMN s", Way::Instant),
        // The server would do it at once, but nobody could tell afterwards whether it had.
        (
            "ALTER TABLE t DROP COLUMN s, ADD COLUMN s VARCHAR(10) AFTER b",
            Way::Copy,
        ),
        (
            "ALTER TABLE t DROP COLUMN s, ADD COLUMN s VARCHAR(10)",
            Way::Instant,
        ),
        ("ALTER TABLE t ALTER COLUMN b SET DEFAULT 4", Way::Instant),
        ("ALTER TABLE t MODIFY e ENUM('x','y','z')", Way::Instant),
        ("ALTER TABLE t DROP CHECK positive", Way::Instant),
        ("ALTER TABLE t RENAME COLUMN s TO z", Way::Instant),
        (
            "ALTER TABLE t RENAME INDEX by_a TO by_b",
            Way::InPlaceMetadata,
        ),
        ("ALTER TABLE t DROP INDEX by_a", Way::InPlaceMetadata),
        ("DROP INDEX by_a ON t", Way::InPlaceMetadata),
        (
            "ALTER TABLE t ALTER INDEX by_a INVISIBLE",
            Way::InPlaceMetadata,
        ),
        ("ALTER TABLE t COMMENT 'x'", Way::InPlaceMetadata),
        ("ALTER TABLE t MODIFY s VARCHAR(20)", Way::InPlaceMetadata),
        (
            "ALTER TABLE parts ADD PARTITION (PARTITION p2 VALUES LESS THAN (30))",
            Way::InPlaceMetadata,
        ),
        ("ALTER TABLE parts DROP PARTITION p1", Way::InPlaceMetadata),
        ("ALTER TABLE t MODIFY s VARCHAR(300)", Way::Copy),
        ("ALTER TABLE t ADD INDEX by_b (b)", Way::Copy),
        ("CREATE INDEX by_b ON t (b)", Way::Copy),
        ("ALTER TABLE t MODIFY a BIGINT", Way::Copy),
        ("ALTER TABLE t MODIFY a INT NOT NULL", Way::Copy),
        ("ALTER TABLE t FORCE", Way::Copy),
        ("ALTER TABLE t ENGINE=InnoDB", Way::Copy),
        (
            "ALTER TABLE t CONVERT TO CHARACTER SET latin1, DROP INDEX by_u, DROP PRIMARY KEY, ADD PRIMARY KEY (id)",
            Way::Copy,
        ),
        (
            "ALTER TABLE parts REORGANIZE PARTITION p1 INTO (PARTITION a VALUES LESS THAN (15), PARTITION b VALUES LESS THAN (20))",
            Way::Copy,
        ),
        ("ALTER TABLE parts REMOVE PARTITIONING", Way::Copy),
        (
            "ALTER TABLE t PARTITION BY HASH (id) PARTITIONS 3",
            Way::Copy,
        ),
        ("CREATE TABLE n (id INT PRIMARY KEY)", Way::Create),
        ("DROP TABLE t", Way::Drop),
    ] {
        let before = db.text("SHOW CREATE TABLE t").await;
        match plan_one(&mut db, statement).await {
            Ok(plan) => assert_eq!(plan.way, way, "{statement}"),
            Err(error) => {
                assert!(
                    statement.contains("HASH") && error.contains("UNIQUE"),
                    "{statement}: {error}"
                );
            }
        }
        assert_eq!(db.text("SHOW CREATE TABLE t").await, before, "{statement}");
    }
}

/// The server doesn't show the indexes of partitions, and calls it in place, too, where it builds all of them anew.
#[tokio::test]
async fn a_table_with_partitions_goes_the_same_ways_as_one_without() {
    let mut db = Deployment::fresh().await;
    let columns = "id INT PRIMARY KEY, a INT, b INT, s VARCHAR(10), KEY by_a (a), KEY by_s (s)";
    let tables = [
        ("plain", ""),
        ("hashed", "PARTITION BY KEY (id) PARTITIONS 3"),
        (
            "ranged",
            "PARTITION BY RANGE (id) SUBPARTITION BY HASH (id) SUBPARTITIONS 2 \
             (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)",
        ),
    ];
    for (table, partitions) in tables {
        db.run(&format!("CREATE TABLE {table} ({columns}) {partitions}"))
            .await;
        db.run(&format!(
            "INSERT INTO {table} (id, a) VALUES (1, 1), (20, 2), (30, 3)"
        ))
        .await;
    }
    for (clauses, way) in [
        ("ADD COLUMN c INT FIRST", Way::Instant),
        ("RENAME COLUMN b TO z", Way::Instant),
        ("COMMENT 'x'", Way::InPlaceMetadata),
        ("MODIFY s VARCHAR(20)", Way::InPlaceMetadata),
        ("DROP KEY by_a", Way::InPlaceMetadata),
        (
            "RENAME KEY by_a TO by_b, DROP KEY by_s",
            Way::InPlaceMetadata,
        ),
        ("FORCE", Way::Copy),
        ("ROW_FORMAT=COMPACT", Way::Copy),
        ("ENGINE=InnoDB, DROP COLUMN b", Way::Copy),
        ("MODIFY a INT NOT NULL", Way::Copy),
        ("ADD COLUMN c INT FIRST, ADD KEY by_c (c)", Way::Copy),
        ("ADD KEY by_b (b)", Way::Copy),
        ("DROP KEY by_a, ADD KEY by_a (b)", Way::Copy),
        ("RENAME KEY by_a TO by_b, ADD KEY by_a (b)", Way::Copy),
    ] {
        for (table, _) in tables {
            let statement = format!("ALTER TABLE {table} {clauses}");
            let plan = plan_one(&mut db, &statement).await.expect("a plan");
            assert_eq!(plan.way, way, "{statement}");
            // Of a copy, the shadow is like its original.
            if let Some(shadow) = &plan.shadow {
                let partitions = |text: &str| text.split("/*!").nth(1).map(str::to_owned);
                assert_eq!(
                    partitions(&shadow.create_statement),
                    partitions(&plan.original.expect("a table").create_statement),
                    "{statement}"
                );
            }
        }
    }
}

#[tokio::test]
async fn generated_invisible_and_functional_parts_are_seen_and_computed_ones_not_written() {
    let mut db = Deployment::fresh().await;
    db.run("SET sql_generate_invisible_primary_key = ON; CREATE TABLE hidden (a INT)")
        .await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, a INT, v INT AS (a + 1) VIRTUAL, s INT AS (a + 2) STORED, h INT INVISIBLE, \
            d CHAR(36) DEFAULT (UUID()), g GEOMETRY NOT NULL SRID 4326, KEY f ((a * 2)), KEY by_v (v), UNIQUE KEY u (s, id), SPATIAL KEY by_g (g))").await;
    let plan = plan_one(&mut db, "ALTER TABLE hidden MODIFY a BIGINT")
        .await
        .unwrap();
    assert_eq!(plan.key.unwrap().source_index, "PRIMARY");
    assert_eq!(plan.carried.len(), 2);
    let plan = plan_one(&mut db, "ALTER TABLE t MODIFY a BIGINT")
        .await
        .unwrap();
    let (original, shadow) = (plan.original.unwrap(), plan.shadow.unwrap());
    let names: Vec<&str> = plan
        .carried
        .iter()
        .map(|c| original.columns[c.source].name.as_str())
        .collect();
    assert_eq!(names, ["id", "a", "h", "d", "g"]);
    assert_eq!(original.columns[6].srs_id, Some(4326));
    assert!(original.columns[4].invisible);
    assert_eq!(shadow.keys.len(), original.keys.len());
    assert!(
        shadow
            .keys
            .iter()
            .any(|key| key.parts.iter().any(|part| part.column.is_none()))
    );
}

#[tokio::test]
async fn our_own_settings_hold_whatever_the_servers_are() {
    let servers = support::private_servers(1).await;
    let mut db = Deployment::on(servers[0].administrator().clone()).await;
    db.run("SET GLOBAL lock_wait_timeout = 1, GLOBAL wait_timeout = 10, GLOBAL innodb_lock_wait_timeout = 1, GLOBAL max_execution_time = 100, \
            GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH', GLOBAL time_zone = '+05:00', GLOBAL transaction_isolation = 'SERIALIZABLE', \
            GLOBAL sql_safe_updates = ON, GLOBAL sql_select_limit = 3, GLOBAL autocommit = OFF").await;
    let mut session = db.session(1).await;
    let rows = session.rows("SELECT CONCAT_WS(' ', @@lock_wait_timeout, @@wait_timeout, @@innodb_lock_wait_timeout, @@max_execution_time, @@time_zone, @@transaction_isolation, @@sql_safe_updates, @@autocommit, @@binlog_row_image, @@sql_mode)").await.unwrap();
    let text: String = sqlx::Row::try_get_unchecked(&rows[0], 0).unwrap();
    assert_eq!(
        text,
        "30 86400 30 0 +00:00 READ-COMMITTED 0 1 FULL NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION"
    );
    // The user's own statements are read as the server's default says.
    db.run("SET sql_mode = 'ANSI_QUOTES'; CREATE TABLE t (id INT PRIMARY KEY, n INT)")
        .await;
    let plan = plan_one(&mut db, "ALTER TABLE \"t\" CHANGE \"n\" \"m\" BIGINT")
        .await
        .unwrap();
    assert_eq!(plan.carried.len(), 2);
    let executable = plan_one(&mut db, "ALTER TABLE \"t\" ADD \"c\" INT")
        .await
        .unwrap()
        .executable
        .unwrap();
    assert!(executable.contains("ADD \"c\" INT"), "{executable}");
    // Rows are tried on a table without unique keys, but for the one that such a server wants in each.
    db.run("SET GLOBAL sql_generate_invisible_primary_key = ON; \
            CREATE TABLE keyed (id INT NOT NULL, a VARCHAR(10), UNIQUE KEY by_id (id)); INSERT INTO keyed VALUES (1, '1')").await;
    let statement = "ALTER TABLE keyed MODIFY a INT";
    let refused = deployment::refusal(&mut db, &[statement], serde_json::json!({})).await;
    assert_eq!(refused, None);
}

#[tokio::test]
async fn a_plan_leaves_the_shadow_of_a_copy_and_nothing_else() {
    let mut db = Deployment::fresh().await;
    db.run(TABLE).await;
    for statement in [
        "ALTER TABLE t ADD c INT",
        "ALTER TABLE t MODIFY nothing INT",
        "ALTER TABLE t COMMENT 'x'",
        "CREATE TABLE x (a INT)",
    ] {
        let _ = plan_one(&mut db, statement).await;
        assert_eq!(db.tables().await.len(), 1, "{statement}");
    }
    let plan = plan_one(&mut db, "ALTER TABLE t MODIFY a BIGINT")
        .await
        .unwrap();
    let shadow = plan.shadow.unwrap();
    assert!(db.tables().await.contains(&shadow.name));
    assert_eq!(shadow.columns[1].column_type, "bigint");
    assert_eq!(shadow.keys.len(), 3);
    assert_eq!(shadow.keys[2].definition, "KEY `by_a` (`a`)");
}

#[tokio::test]
async fn columns_are_followed_through_every_kind_of_rename() {
    let mut db = Deployment::fresh().await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, c INT, g INT AS (id + 1) STORED, `odd``na me` INT)").await;
    for (statement, expected) in [
        (
            "ALTER TABLE t CHANGE a b INT, CHANGE b a INT, FORCE",
            "id>id a>b b>a c>c odd`na me>odd`na me",
        ),
        (
            "ALTER TABLE t RENAME COLUMN a TO b, RENAME COLUMN b TO a, FORCE",
            "id>id a>b b>a c>c odd`na me>odd`na me",
        ),
        (
            "ALTER TABLE t RENAME COLUMN A TO B2, FORCE",
            "id>id a>B2 b>b c>c odd`na me>odd`na me",
        ),
        (
            "ALTER TABLE t CHANGE a A BIGINT",
            "id>id a>A b>b c>c odd`na me>odd`na me",
        ),
        (
            "ALTER TABLE t MODIFY C BIGINT FIRST",
            "id>id a>a b>b c>C odd`na me>odd`na me",
        ),
        (
            "ALTER TABLE t DROP COLUMN a, ADD COLUMN a BIGINT, FORCE",
            "id>id b>b c>c odd`na me>odd`na me",
        ),
        (
            "ALTER TABLE t DROP a, CHANGE b a BIGINT",
            "id>id b>a c>c odd`na me>odd`na me",
        ),
        (
            "ALTER TABLE t CHANGE `odd``na me` `x``y` BIGINT",
            "id>id a>a b>b c>c odd`na me>x`y",
        ),
        (
            "ALTER TABLE t MODIFY g INT",
            "id>id a>a b>b c>c g>g odd`na me>odd`na me",
        ),
    ] {
        let plan = plan_one(&mut db, statement)
            .await
            .unwrap_or_else(|e| panic!("{statement}: {e}"));
        assert_eq!(plan.way, Way::Copy, "{statement}");
        let (original, shadow) = (plan.original.unwrap(), plan.shadow.unwrap());
        let pairs: Vec<String> = plan
            .carried
            .iter()
            .map(|c| {
                format!(
                    "{}>{}",
                    original.columns[c.source].name, shadow.columns[c.target].name
                )
            })
            .collect();
        assert_eq!(pairs.join(" "), expected, "{statement}");
    }
}

#[tokio::test]
async fn the_copy_goes_by_a_key_that_means_the_same_in_both_tables() {
    let mut db = Deployment::fresh().await;
    let of_members = |count: u32| {
        let members: Vec<String> = (0..count).map(|i| format!("'m{i}'")).collect();
        format!("s SET({}) PRIMARY KEY, a INT", members.join(","))
    };
    for (table, statement, expected) in [
        (
            "id INT PRIMARY KEY, a INT",
            "MODIFY a BIGINT",
            Ok("PRIMARY>PRIMARY"),
        ),
        (
            "id INT PRIMARY KEY, u INT NOT NULL, UNIQUE KEY by_u (u)",
            "DROP PRIMARY KEY, ADD PRIMARY KEY (u, id)",
            Ok("by_u>by_u"),
        ),
        (
            "a INT, u INT NOT NULL, UNIQUE KEY by_u (u)",
            "DROP INDEX by_u, ADD PRIMARY KEY (u)",
            Ok("by_u>PRIMARY"),
        ),
        (
            "a INT NOT NULL, b INT NOT NULL, PRIMARY KEY (a, b)",
            "DROP PRIMARY KEY, ADD PRIMARY KEY (b, a)",
            Ok("PRIMARY>PRIMARY"),
        ),
        (
            "id BINARY(16) PRIMARY KEY, a INT",
            "MODIFY id VARBINARY(16)",
            Err("goes from"),
        ),
        (
            "id VARCHAR(20) COLLATE utf8mb4_bin PRIMARY KEY",
            "MODIFY id VARCHAR(20) COLLATE utf8mb4_general_ci",
            Err("goes from"),
        ),
        (
            "id INT PRIMARY KEY",
            "MODIFY id BIGINT UNSIGNED",
            Ok("PRIMARY>PRIMARY"),
        ),
        (
            "id FLOAT PRIMARY KEY, a INT",
            "MODIFY a BIGINT",
            Err("approximate"),
        ),
        ("id INT, UNIQUE KEY (id)", "FORCE", Err("may be NULL")),
        (
            "s SET('x', '') PRIMARY KEY, a INT",
            "MODIFY a BIGINT",
            Err("an empty member"),
        ),
        (
            &of_members(54),
            "MODIFY a BIGINT",
            Err("more than 53 members"),
        ),
        (&of_members(53), "MODIFY a BIGINT", Ok("PRIMARY>PRIMARY")),
        (
            "s SET('x', '') PRIMARY KEY, a INT NOT NULL, UNIQUE KEY by_a (a)",
            "MODIFY a BIGINT NOT NULL",
            Ok("by_a>by_a"),
        ),
        // By any other key a code that moves between rows would be there twice for a while.
        (
            "id INT PRIMARY KEY, code INT NOT NULL, UNIQUE KEY by_code (code)",
            "DROP PRIMARY KEY, DROP KEY by_code, ADD PRIMARY KEY (code), ADD UNIQUE KEY by_id (id)",
            Ok("by_code>PRIMARY"),
        ),
        (
            "s VARCHAR(50) NOT NULL, UNIQUE KEY (s(10))",
            "FORCE",
            Err("only a prefix"),
        ),
        ("a INT", "FORCE", Err("no unique key")),
        (
            "id INT PRIMARY KEY, a INT",
            "DROP PRIMARY KEY",
            Err("no unique key of the same columns"),
        ),
        (
            "id INT PRIMARY KEY, a INT",
            "DROP COLUMN id, FORCE",
            Err("is dropped"),
        ),
    ] {
        db.run(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t ({table})"))
            .await;
        let plan = plan_one(&mut db, &format!("ALTER TABLE t {statement}")).await;
        match (plan, expected) {
            (Ok(plan), Ok(expected)) => {
                let key = plan.key.unwrap();
                assert_eq!(
                    format!("{}>{}", key.source_index, key.target_index),
                    expected,
                    "{statement}"
                );
            }
            (Err(error), Err(expected)) => {
                assert!(error.contains(expected), "{table} {statement}: {error}");
                assert_eq!(db.tables().await.len(), 1, "{statement}");
            }
            (plan, expected) => panic!("{table} {statement}: {plan:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn what_the_server_refuses_is_refused_in_its_own_words() {
    let mut db = Deployment::fresh().await;
    db.run(TABLE).await;
    for (statements, expected) in [
        (
            vec!["ALTER TABLE t ADD COLUMN"],
            "You have an error in your SQL syntax",
        ),
        (
            vec!["ALTER TABLE missing ADD COLUMN c INT"],
            "there is no table",
        ),
        (
            vec!["ALTER TABLE t MODIFY zz INT"],
            "Unknown column 'zz' in 't'",
        ),
        (
            vec!["ALTER TABLE t ADD c CHAR(36) DEFAULT (UUID())"],
            "add the column without it",
        ),
        (
            vec!["CREATE TABLE n LIKE missing"],
            ".missing' doesn't exist",
        ),
        (
            vec!["CREATE TABLE n (id INT, KEY (zz))"],
            "Key column 'zz' doesn't exist",
        ),
        (
            vec!["CREATE TABLE n (id INT PRIMARY KEY, a INT AS (zz))"],
            "Unknown column 'zz'",
        ),
        (
            vec!["ALTER TABLE elsewhere.t ADD c INT"],
            "schema elsewhere",
        ),
        (
            vec!["ALTER TABLE t ADD c INT", "DROP TABLE T"],
            "both change table",
        ),
        (
            vec!["ALTER TABLE t ADD c INT; DROP TABLE t"],
            "more than one statement",
        ),
        (vec!["CREATE TABLE n (id INT, id INT)"], "Duplicate column"),
    ] {
        let mut session = db.session(1).await;
        let error = plan::plan(&mut session, &db.job(&statements), &db.owner(1))
            .await
            .unwrap_err();
        assert!(
            error.message().contains(expected),
            "{statements:?}: {}",
            error.message()
        );
        assert!(
            !error.message().contains("_lk_"),
            "{statements:?}: {}",
            error.message()
        );
        assert_eq!(db.tables().await.len(), 1);
    }
}

/// A session of ours is in no schema; the new table's is the apply's.
#[tokio::test]
async fn a_table_is_made_like_another_of_its_schema() {
    let mut db = Deployment::fresh().await;
    db.run(TABLE).await;
    let job = db.job(&["CREATE TABLE n LIKE t", "CREATE TABLE m (LIKE `t`)"]);
    let (engine, _lease) = deployment::copied(&db, job).await;
    deployment::swap(engine).await;
    for table in ["n", "m"] {
        assert_eq!(db.column_type(table, "e").await, "enum('x','y')");
    }
}

/// A foreign key may point at the table itself, or at one that the same change creates.
#[tokio::test(flavor = "multi_thread")]
async fn tables_with_foreign_keys_to_what_is_not_there_yet_are_created() {
    let mut db = Deployment::fresh().await;
    let job = db.job(&[
        "CREATE TABLE tree (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES tree (id))",
        "CREATE TABLE p (id INT PRIMARY KEY)",
        "CREATE TABLE c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id))",
    ]);
    let (engine, _lease) = deployment::copied(&db, job).await;
    deployment::swap(engine).await;
    let keys = "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.REFERENTIAL_CONSTRAINTS AS r \
                 WHERE r.CONSTRAINT_SCHEMA = DATABASE()";
    assert_eq!(db.text(keys).await, "2");
    let statement =
        "CREATE TABLE x (id INT PRIMARY KEY, y INT, FOREIGN KEY (y) REFERENCES nobody (id))";
    let refused = deployment::refusal(&mut db, &[statement], serde_json::json!({})).await;
    assert!(refused.is_some_and(|text| text.contains("nobody")));
}
