//! Installing: at any time, by anybody, any number of times, with one result.

mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use lockkeeper::config::ConnectionSettings;
use lockkeeper::install::{self, Difference, InstallError, Kind, PROGRAM_VERSION, install};
use lockkeeper::server::{Server, ServerOptions};
use sqlx::Executor as _;
use support::{TestDatabase, run};

/// Everything in a schema as information_schema tells it, without the schema's own name and without times.
async fn contents(database: &TestDatabase) -> BTreeMap<String, String> {
    let queries = [
        // Of a view's columns the server works out anew whether they may be NULL, not always with the same result.
        "SELECT CONCAT('column ', c.table_name, ' ', LPAD(c.ordinal_position, 3, '0')),
                CONCAT_WS(' ', c.column_name, c.column_type, c.collation_name, c.extra,
                          IF(t.table_type = 'VIEW', NULL, CONCAT_WS(' ', c.is_nullable, c.column_default)))
           FROM information_schema.columns AS c
           JOIN information_schema.tables  AS t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
          WHERE c.table_schema = DATABASE()",
        "SELECT CONCAT('index ', s.table_name, ' ', s.index_name, ' ', s.seq_in_index),
                CONCAT_WS(' ', s.non_unique, s.column_name, s.collation)
           FROM information_schema.statistics AS s WHERE s.table_schema = DATABASE()",
        "SELECT CONCAT('foreign key ', k.constraint_name), CONCAT_WS(' ', k.table_name, k.referenced_table_name, k.delete_rule, k.update_rule)
           FROM information_schema.referential_constraints AS k WHERE k.constraint_schema = DATABASE()",
        "SELECT CONCAT('check ', c.constraint_name), c.check_clause
           FROM information_schema.check_constraints AS c WHERE c.constraint_schema = DATABASE()",
        "SELECT CONCAT(r.routine_type, ' ', r.routine_name),
                CONCAT_WS(' ', r.routine_definition, r.security_type, r.sql_data_access, r.is_deterministic, r.sql_mode,
                          r.routine_comment, r.character_set_client, r.collation_connection, r.database_collation)
           FROM information_schema.routines AS r WHERE r.routine_schema = DATABASE()",
        "SELECT CONCAT('parameter ', p.specific_name, ' ', p.ordinal_position),
                CONCAT_WS(' ', p.parameter_mode, p.parameter_name, p.dtd_identifier, p.collation_name)
           FROM information_schema.parameters AS p WHERE p.specific_schema = DATABASE()",
        "SELECT CONCAT('view ', v.table_name),
                CONCAT_WS(' ', REPLACE(v.view_definition, DATABASE(), 'here'), v.security_type, v.collation_connection)
           FROM information_schema.views AS v WHERE v.table_schema = DATABASE()",
        "SELECT CONCAT('trigger ', t.trigger_name),
                CONCAT_WS(' ', t.event_object_table, t.action_timing, t.event_manipulation, t.action_statement, t.sql_mode)
           FROM information_schema.triggers AS t WHERE t.trigger_schema = DATABASE()",
        "SELECT CONCAT('installed ', o.kind, ' ', o.object_name), CONCAT_WS(' ', o.api_version, o.version, o.sha256)
           FROM installed_object AS o",
        "SELECT CONCAT('migration ', h.version), CONCAT_WS(' ', h.name, h.checksum) FROM refinery_schema_history AS h",
    ];
    let mut session = database.connect().await;
    let mut contents = BTreeMap::new();
    for query in queries {
        let rows: Vec<(String, String)> = sqlx::query_as(query)
            .fetch_all(&mut session)
            .await
            .expect("the contents of a schema");
        contents.extend(rows);
    }
    contents
}

/// Shows only what differs: the whole is long.
fn assert_same(left: &BTreeMap<String, String>, right: &BTreeMap<String, String>) {
    let differing: Vec<_> = left
        .keys()
        .chain(right.keys())
        .filter(|key| left.get(*key) != right.get(*key))
        .map(|key| (key, left.get(key), right.get(key)))
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

async fn installed_at(database: &TestDatabase) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT CONCAT_WS(' ', o.kind, o.name, o.installed_at) FROM object_version AS o ORDER BY o.kind, o.name",
    )
    .fetch_all(&mut database.connect().await)
    .await
    .expect("object_version")
}

#[tokio::test]
async fn installing_twice_changes_nothing() {
    let database = TestDatabase::bare().await;
    let first = install(database.settings()).await.expect("installed");
    assert!(first.migrations > 0 && first.replaced > 0 && first.unchanged == 0);
    let before = (contents(&database).await, installed_at(&database).await);

    let second = install(database.settings()).await.expect("installed again");
    assert_eq!(
        (second.migrations, second.replaced, second.dropped),
        (0, 0, 0)
    );
    assert_eq!(second.unchanged, first.replaced);
    assert_eq!(second.warnings, Vec::<String>::new());
    assert_eq!(
        before,
        (contents(&database).await, installed_at(&database).await)
    );
}

#[tokio::test]
async fn ten_installations_at_once_all_succeed_with_one_result() {
    let reference = TestDatabase::fresh().await;
    let database = TestDatabase::bare().await;
    let all = (0..10).map(|_| install(database.settings()));
    let reports = futures_util::future::try_join_all(all)
        .await
        .expect("ten successes");
    let working = reports.iter().filter(|report| report.replaced > 0).count();
    assert_eq!(working, 1, "one does the work, nine find it done");
    assert_same(&contents(&database).await, &contents(&reference).await);
}

#[tokio::test]
async fn the_printed_sql_run_by_the_mysql_client_gives_the_same_schema() {
    let Some(mut client) = support::server()
        .await
        .program()
        .and_then(|program| program.tool("mysql"))
    else {
        eprintln!("the server came without its mysql client");
        return;
    };
    let reference = TestDatabase::fresh().await;
    let database = TestDatabase::bare().await;
    let text = install::print(database.schema()).expect("printed");
    let ConnectionSettings {
        host,
        port,
        credentials,
        ..
    } = database.settings();

    client
        .args(["--no-defaults", "--comments", "--protocol=TCP"])
        .args(["--host", host, "--user", &credentials.user])
        .arg(format!("--port={port}"))
        .env("MYSQL_PWD", credentials.password.expose())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut run_it = || {
        let mut running = client.spawn().expect("the mysql client");
        let mut input = running.stdin.take().expect("its input");
        let text = text.clone();
        // A client that stops early says why by itself.
        let writing = std::thread::spawn(move || input.write_all(text.as_bytes()).ok());
        let output = running.wait_with_output().expect("its end");
        writing.join().expect("written");
        let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(told(&output.stdout)),
            false => Err(told(&output.stderr)),
        }
    };

    // The second run finds everything in place.
    for _ in 0..2 {
        run_it().expect("installed");
    }

    assert_same(&contents(&database).await, &contents(&reference).await);
    let report = install(database.settings())
        .await
        .expect("installed on top");
    assert_eq!(
        (report.migrations, report.replaced),
        (0, 0),
        "nothing is left to do"
    );
    let mut session = database.connect().await;
    let findings = install::inspect(&mut session, database.schema())
        .await
        .expect("inspected");
    assert_eq!(findings, []);

    // What an older version had is to be dropped by hand, and is forgotten.
    run(
        &mut session,
        "UPDATE installed_object SET version = '0.0.1'",
    )
    .await;
    run(&mut session, "INSERT INTO installed_object (object_name, kind, api_version, version, sha256, installed_at, \
                       installed_by) VALUES ('retired', 'procedure', 1, '0.0.1', '', UTC_TIMESTAMP(6), 'dba')").await;
    let told = run_it().expect("upgraded");
    let drops: Vec<&str> = told
        .lines()
        .filter(|line| line.starts_with("DROP "))
        .collect();
    assert_eq!(drops, ["DROP PROCEDURE IF EXISTS retired;"]);
    let findings = install::inspect(&mut session, database.schema())
        .await
        .expect("inspected");
    assert_eq!(findings, []);
    install::check_for_drive(&mut session, database.schema())
        .await
        .expect("this program's own");

    // And what a newer one has made is left alone.
    for newer in ["version = '0.10.0'", "version = '1.0'", "api_version = 2"] {
        let update =
            format!("UPDATE installed_object SET {newer} WHERE object_name = 'apply_stop'");
        run(&mut session, &update).await;
        let before = contents(&database).await;
        let refused = run_it().expect_err(newer);
        assert!(refused.contains("50403"), "{refused}");
        // The client stops there.
        run(&mut session, "DROP PROCEDURE _install_guard").await;
        assert_eq!(
            contents(&database).await,
            before,
            "a refusal changes nothing"
        );
        run(
            &mut session,
            "UPDATE installed_object SET version = '0.1.0', api_version = 1",
        )
        .await;
    }
}

#[tokio::test]
async fn an_object_edited_by_hand_is_named_and_the_next_installation_puts_it_right() {
    let database = TestDatabase::fresh().await;
    let mut session = database.connect().await;
    run(&mut session, "DROP PROCEDURE apply_stop").await;
    run(&mut session, "CREATE OR REPLACE VIEW object_version AS SELECT object_name AS name, kind, api_version, version, \
                       sha256, installed_at, installed_by FROM installed_object WHERE 1 = 1").await;

    let findings = install::inspect(&mut session, database.schema())
        .await
        .expect("inspected");
    let named: Vec<_> = findings
        .iter()
        .map(|finding| (finding.kind, finding.name.as_str(), finding.difference))
        .collect();
    assert_eq!(
        named,
        [
            (Kind::View, "object_version", Difference::Edited),
            (Kind::Procedure, "apply_stop", Difference::Missing),
        ]
    );

    let report = install(database.settings()).await.expect("installed");
    assert_eq!(report.replaced, 2);
    let findings = install::inspect(&mut session, database.schema())
        .await
        .expect("inspected");
    assert_eq!(findings, []);
}

#[tokio::test]
async fn an_installation_that_broke_off_is_completed_by_the_next_one() {
    let reference = TestDatabase::fresh().await;
    let database = TestDatabase::fresh().await;
    let mut session = database.connect().await;
    // As if it had died between a DROP and its CREATE, and before half of the records.
    run(&mut session, "DROP PROCEDURE apply_submit").await;
    run(
        &mut session,
        "DELETE FROM installed_object WHERE object_name >= 'm'",
    )
    .await;
    // And between what a migration does and the record of it.
    run(
        &mut session,
        "DELETE FROM refinery_schema_history WHERE version > 1",
    )
    .await;
    let found = install::check_for_drive(&mut session, database.schema()).await;
    let found = found.expect_err("not whole");
    assert!(
        matches!(found, InstallError::SchemaIncomplete { .. }),
        "{found}"
    );
    install(database.settings()).await.expect("completed");
    assert_same(&contents(&database).await, &contents(&reference).await);
}

#[tokio::test]
async fn tables_of_a_build_that_cannot_be_followed_are_left_as_they_are() {
    let database = TestDatabase::fresh().await;
    let mut session = database.connect().await;
    let other = "UPDATE refinery_schema_history SET name = 'of_another_build' WHERE version = 1";
    run(&mut session, other).await;
    let before = contents(&database).await;
    let refused = install(database.settings())
        .await
        .expect_err("other tables");
    assert!(
        matches!(refused, InstallError::UnknownTables { .. }),
        "{refused}"
    );
    assert_same(&contents(&database).await, &before);
}

#[tokio::test]
async fn an_object_that_is_no_longer_in_the_set_is_dropped_and_others_stay() {
    let database = TestDatabase::fresh().await;
    let mut session = database.connect().await;
    for name in ["retired", "somebody_elses"] {
        run(
            &mut session,
            format!("CREATE PROCEDURE {name} () BEGIN END"),
        )
        .await;
    }
    run(&mut session, "INSERT INTO installed_object (object_name, kind, api_version, version, sha256, installed_at, \
                       installed_by) VALUES ('retired', 'procedure', 1, '0.0.1', '', UTC_TIMESTAMP(6), 'dba')").await;
    let report = install(database.settings()).await.expect("installed");
    assert_eq!(report.dropped, 1);
    let left: Vec<String> = sqlx::query_scalar(
        "SELECT r.routine_name FROM information_schema.routines AS r
          WHERE r.routine_schema = DATABASE() AND r.routine_name IN ('retired', 'somebody_elses')",
    )
    .fetch_all(&mut session)
    .await
    .expect("routines");
    assert_eq!(left, ["somebody_elses"]);
}

#[tokio::test]
async fn an_older_program_refuses_a_newer_schema_and_a_newer_driver_an_older_one() {
    let database = TestDatabase::fresh().await;
    let mut session = database.connect().await;
    install::check_for_drive(&mut session, database.schema())
        .await
        .expect("its own schema");

    run(
        &mut session,
        "UPDATE installed_object SET version = '0.0.1'",
    )
    .await;
    let refused = install::check_for_drive(&mut session, database.schema())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, InstallError::SchemaOlder { .. }),
        "{refused}"
    );

    run(
        &mut session,
        "UPDATE installed_object SET version = '99.0.0', api_version = 99",
    )
    .await;
    let before = contents(&database).await;
    let refused = install(database.settings()).await.unwrap_err();
    assert!(
        refused.to_string().contains("run a newer lockkeeper"),
        "{refused}"
    );
    let refused = install::check_for_drive(&mut session, database.schema())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, InstallError::SchemaNewer { .. }),
        "{refused}"
    );
    assert_eq!(
        contents(&database).await,
        before,
        "a refusal changes nothing"
    );
}

#[tokio::test]
async fn a_driver_is_told_to_install_where_nothing_is() {
    let database = TestDatabase::bare().await;
    let mut session = database
        .settings()
        .clone()
        .without_schema()
        .connect()
        .await
        .expect("a session");
    run(
        &mut session,
        format!("CREATE DATABASE `{0}`", database.schema()),
    )
    .await;
    run(&mut session, format!("USE `{0}`", database.schema())).await;
    let refused = install::check_for_drive(&mut session, database.schema())
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("run `lockkeeper install`"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_schema_may_have_any_name() {
    let bare = TestDatabase::bare().await;
    for name in [
        "Träger-`quoted` $x",
        "a_name_of_sixty_four_characters_which_is_as_long_as_one_can_be_.",
    ] {
        let schema: String = format!("{}{name}", &bare.schema()[..6])
            .chars()
            .take(64)
            .collect();
        let settings = bare.settings().clone().with_schema(&schema);
        let report = install(&settings).await.expect("installed");
        assert_eq!(report.warnings, Vec::<String>::new());
        let mut session = settings.connect().await.expect("a session");
        let findings = install::inspect(&mut session, &schema)
            .await
            .expect("inspected");
        assert_eq!(findings, []);
        let quoted = schema.replace('`', "``");
        run(&mut session, format!("DROP DATABASE `{quoted}`")).await;
        for role in ["reader", "operator", "driver"] {
            let role = install::role_name(&schema, role);
            run(&mut session, format!("DROP ROLE '{role}'")).await;
        }
    }
}

#[tokio::test]
async fn the_collation_of_a_schema_that_was_there_does_not_matter_while_it_is_empty() {
    let database = TestDatabase::bare().await;
    let mut session = database
        .settings()
        .clone()
        .without_schema()
        .connect()
        .await
        .expect("a session");
    run(
        &mut session,
        format!(
            "CREATE DATABASE `{}` CHARACTER SET latin1",
            database.schema()
        ),
    )
    .await;
    install(database.settings()).await.expect("installed");
    let reference = TestDatabase::fresh().await;
    assert_same(&contents(&database).await, &contents(&reference).await);

    let used = TestDatabase::bare().await;
    run(
        &mut session,
        format!("CREATE DATABASE `{}` CHARACTER SET latin1", used.schema()),
    )
    .await;
    run(
        &mut session,
        format!(
            "CREATE TABLE `{}`.theirs (id INT PRIMARY KEY)",
            used.schema()
        ),
    )
    .await;
    let refused = install(used.settings()).await.unwrap_err();
    assert!(
        matches!(refused, InstallError::Collation { .. }),
        "{refused}"
    );
}

/// As on one that has come from an older one: with other defaults for what a session or a table does not say.
#[tokio::test]
async fn a_server_with_older_defaults_is_served_or_told_what_to_set() {
    let server = Server::start(ServerOptions::relaxed("defaults"))
        .await
        .expect("a server");
    let database = TestDatabase::on(server.administrator());
    let bare = database.settings().clone().without_schema();
    let mut session = bare.connect().await.expect("a session");
    run(
        &mut session,
        "SET GLOBAL default_collation_for_utf8mb4 = utf8mb4_general_ci, GLOBAL innodb_default_row_format = 'compact'",
    )
    .await;
    let refused = install(database.settings()).await.unwrap_err();
    assert!(
        matches!(refused, InstallError::RowFormat { .. }),
        "{refused}"
    );
    run(
        &mut session,
        "SET GLOBAL innodb_default_row_format = 'dynamic'",
    )
    .await;
    install(database.settings()).await.expect("installed");
    let reference = TestDatabase::fresh().await;
    assert_same(&contents(&database).await, &contents(&reference).await);

    run(
        &mut session,
        "SET GLOBAL innodb_default_row_format = 'redundant'",
    )
    .await;
    let again = install(database.settings())
        .await
        .expect("the tables are there");
    assert_eq!(again.replaced, 0);
    let mut caller = database.connect().await;
    for call in [
        "CALL deployment_register('d1', 1, 'db1', 3306, '{\"region\": \"eu\"}')",
        "CALL apply_submit('shop', 'ALTER TABLE orders ADD c INT', '{\"name\": \"é\"}')",
        "CALL operation_claim_copy('driver', '{\"labels\": {\"region\": \"eu\"}}')",
    ] {
        let rows = caller.fetch_all(call).await.expect(call);
        assert_eq!(rows.len(), 1, "{call}");
    }
    for view in ["apply_status", "operation_waiting", "health", "consistency"] {
        let look = format!("SELECT * FROM {view}");
        let rows = caller.fetch_all(sqlx::AssertSqlSafe(look)).await;
        rows.expect(view);
    }
}

#[tokio::test]
async fn each_role_may_do_what_it_is_for_and_nobody_reads_a_table() {
    let database = TestDatabase::fresh().await;
    let [reader, operator, driver] = database.roles();
    let may = |role: String, statement: &'static str| {
        let database = &database;
        async move {
            let settings = database.account(&[&role]).await;
            let mut session = settings.connect().await.expect("a session");
            match session.execute(statement).await {
                Ok(_) => true,
                Err(error) => {
                    let text = error.to_string();
                    // A refusal of the procedure's own comes from inside.
                    let denied = text.contains("denied");
                    assert!(
                        denied || text.contains("45000"),
                        "{role}: {statement}: {text}"
                    );
                    !denied
                }
            }
        }
    };
    let view = "SELECT o.name FROM object_version AS o";
    let table = "SELECT o.object_name FROM installed_object AS o";
    let for_dbas = "CALL setting_set('lease_ttl_seconds', 60)";
    let for_drivers = "CALL driver_register('d', '0', 1, NULL)";
    for (role, expected) in [
        (reader, [true, false, false, false]),
        (operator, [true, false, true, false]),
        (driver, [false, false, false, true]),
    ] {
        let found = [
            may(role.clone(), view).await,
            may(role.clone(), table).await,
            may(role.clone(), for_dbas).await,
            may(role.clone(), for_drivers).await,
        ];
        assert_eq!(
            found, expected,
            "{role}: view, table, DBA's call, driver's call"
        );
    }
}

#[tokio::test]
async fn an_account_that_may_not_create_roles_installs_with_a_warning() {
    let database = TestDatabase::bare().await;
    let all = format!("ALL ON `{}`.*", database.schema());
    let settings = database.account(&[&all, "SUPER ON *.*"]).await;
    let report = install(&settings).await.expect("installed");
    assert_eq!(report.warnings.len(), 1);
    assert!(
        report.warnings[0].contains("install --print"),
        "{}",
        report.warnings[0]
    );
    // Somebody who may do it completes it.
    let report = install(database.settings()).await.expect("completed");
    assert_eq!((report.replaced, report.warnings), (0, Vec::new()));
}

/// By somebody's REVOKE or DROP ROLE: nothing else tells of it before a driver or a DBA is refused.
#[tokio::test]
async fn grants_and_roles_that_are_gone_are_told_and_given_again() {
    let database = TestDatabase::fresh().await;
    let [reader, operator, _] = database.roles();
    let mut session = database.connect().await;
    let schema = database.schema().to_owned();
    for statement in [
        format!("REVOKE EXECUTE ON PROCEDURE `{schema}`.apply_stop FROM {operator}"),
        format!("DROP ROLE {reader}"),
    ] {
        session
            .execute(sqlx::AssertSqlSafe(statement))
            .await
            .expect("taken away");
    }
    let found = install::inspect(&mut session, &schema).await;
    let found = found.expect("compared");
    let found: Vec<(&str, Difference)> = found
        .iter()
        .map(|finding| (finding.name.as_str(), finding.difference))
        .collect();
    let reader_name = reader.split('\'').nth(1).expect("its name");
    assert_eq!(
        found,
        [
            (reader_name, Difference::Missing),
            ("apply_stop", Difference::NotGranted)
        ]
    );
    install(database.settings()).await.expect("mended");
    let found = install::inspect(&mut session, &schema).await;
    assert_eq!(found.expect("compared"), []);
}

#[tokio::test]
async fn object_version_shows_what_is_there() {
    let database = TestDatabase::fresh().await;
    let rows: Vec<(String, u32, String)> = sqlx::query_as(
        "SELECT o.kind, o.api_version, o.version FROM object_version AS o WHERE o.name = 'object_version'",
    )
    .fetch_all(&mut database.connect().await)
    .await
    .expect("object_version");
    assert_eq!(
        rows,
        [(
            "view".to_owned(),
            install::API_VERSION,
            PROGRAM_VERSION.to_owned()
        )]
    );
}
