//! What is said before a change is submitted, by breaking each thing that should be noticed.

mod support;

use std::process::Stdio;
use std::time::Duration;

use lockkeeper::config::{Access, ConnectionSettings, Credentials, Secret};
use lockkeeper::preflight::{self, Change, Place, Severity};
use lockkeeper::server::{Server, ServerOptions};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::mysql::MySqlConnection;
use support::terminal::Terminal;
use support::{Answer, TestDatabase, one, run};

fn lockkeeper(database: &TestDatabase, arguments: &[&str]) -> (i32, String, String) {
    lockkeeper_with(database, arguments, &[])
}

fn lockkeeper_with(
    database: &TestDatabase,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (i32, String, String) {
    let mut command = support::program();
    command
        .args(arguments)
        .env("LOCKKEEPER_URL", database.url())
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    let Answer { code, out, err } = support::answer(command);
    (code, out, err)
}

fn place(deployment: &str, settings: &ConnectionSettings) -> Place {
    Place {
        deployment: deployment.to_owned(),
        host: settings.host.clone(),
        port: settings.port,
    }
}

fn access(settings: &ConnectionSettings) -> Access {
    Access::everywhere(settings.credentials.clone(), settings.tls.clone())
}

/// A schema with a table on the server, and a session there.
async fn shop(settings: &ConnectionSettings, schema: &str, total: &str) -> MySqlConnection {
    let mut session = settings
        .clone()
        .without_schema()
        .connect()
        .await
        .expect("a session");
    run(&mut session, format!("CREATE DATABASE {schema}")).await;
    run(
        &mut session,
        format!("CREATE TABLE {schema}.orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, total {total}, note VARCHAR(20))"),
    )
    .await;
    run(
        &mut session,
        format!("INSERT INTO {schema}.orders (total) VALUES (1), (2)"),
    )
    .await;
    session
}

#[tokio::test]
async fn the_way_of_each_statement_is_shown_and_nothing_is_left_behind() {
    let database = TestDatabase::fresh().await;
    database.register_deployments(1).await;
    let schema = database.other_schema();
    let mut session = shop(database.settings(), &schema, "INT").await;
    run(
        &mut session,
        format!("CREATE TABLE {schema}.small (id INT PRIMARY KEY)"),
    )
    .await;
    let (code, out, said) = lockkeeper(
        &database,
        &[
            "submit",
            "--schema",
            &schema,
            "-e",
            "ALTER TABLE orders MODIFY total BIGINT",
            "-e",
            "ALTER TABLE small ADD COLUMN x INT",
            "--yes",
        ],
    );
    assert_eq!(code, 0, "{said}");
    assert!(out.contains("is submitted"), "{out}");
    assert!(
        said.contains("copy while the application writes: about 2 rows"),
        "{said}"
    );
    assert!(said.contains("instant: about 0 rows"), "{said}");
    let tables: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM information_schema.TABLES AS t WHERE t.TABLE_SCHEMA = ?",
    )
    .bind(&schema)
    .fetch_one(&mut session)
    .await
    .expect("counted");
    assert_eq!(tables, 2, "orders and small");
}

#[tokio::test]
async fn what_a_killed_preflight_left_is_dropped_by_the_next_one_and_that_of_a_living_one_is_not() {
    let database = TestDatabase::fresh().await;
    let schema = database.other_schema();
    let mut session = shop(database.settings(), &schema, "INT").await;
    let operation = u64::from(rand::random::<u32>());
    let (killed, living) = (operation, operation + 1);
    for table in [
        format!("_lk_00000000_{killed}_1_0_new"),
        format!("_lk_00000000_{killed}_1_0_parent0"),
        format!("_lk_00000000_{living}_1_0_trial"),
        // Not a preflight's.
        format!("_lk_0a1b2c3d_{killed}_1_0_new"),
    ] {
        run(
            &mut session,
            format!("CREATE TABLE {schema}.{table} LIKE {schema}.orders"),
        )
        .await;
    }
    run(
        &mut session,
        format!("DO GET_LOCK('_lk_00000000_{living}_1_s3', 0)"),
    )
    .await;
    let change = Change {
        schema: schema.clone(),
        statements: vec!["ALTER TABLE orders ADD x INT".to_owned()],
        engine: serde_json::json!({}),
    };
    let found = preflight::examine(
        &place("here", database.settings()),
        &access(database.settings()),
        &change,
    )
    .await;
    assert_eq!((found.unreachable, found.refusal), (None, None));
    let tables: String = sqlx::query_scalar(
        "SELECT GROUP_CONCAT(t.TABLE_NAME ORDER BY t.TABLE_NAME) FROM information_schema.TABLES AS t WHERE t.TABLE_SCHEMA = ?",
    )
    .bind(&schema)
    .fetch_one(&mut session)
    .await
    .expect("tables");
    assert_eq!(
        tables,
        format!("_lk_00000000_{living}_1_0_trial,_lk_0a1b2c3d_{killed}_1_0_new,orders")
    );
}

#[tokio::test]
async fn what_the_engine_would_refuse_is_refused_before_anything_is_submitted() {
    let database = TestDatabase::fresh().await;
    database.register_deployments(1).await;
    let schema = database.other_schema();
    let mut session = shop(database.settings(), &schema, "INT").await;
    run(
        &mut session,
        format!("CREATE TRIGGER {schema}.t BEFORE INSERT ON {schema}.orders FOR EACH ROW SET NEW.note = ''"),
    )
    .await;
    run(
        &mut session,
        format!("CREATE TABLE {schema}.line (id INT PRIMARY KEY, o BIGINT, FOREIGN KEY (o) REFERENCES orders (id))"),
    )
    .await;
    run(
        &mut session,
        format!("CREATE TABLE {schema}.keyless (a INT)"),
    )
    .await;
    for (statement, reason) in [
        ("ALTER TABLE orders MODIFY total BIGINT", "triggers"),
        (
            "ALTER TABLE line MODIFY id BIGINT, ADD FOREIGN KEY (id) REFERENCES orders (id)",
            "foreign key",
        ),
        ("ALTER TABLE missing ADD x INT", "there is no table"),
        ("ALTER TABLE keyless MODIFY a BIGINT", "primary key"),
        ("ALTER TABLE orders ADD note INT", "Duplicate column"),
    ] {
        let (code, _, said) = lockkeeper(
            &database,
            &["submit", "--schema", &schema, "-e", statement, "--yes"],
        );
        assert_eq!(code, 1, "{statement}: {said}");
        assert!(said.contains(reason), "{statement}: {said}");
        assert!(said.contains("nothing was submitted"), "{said}");
    }
    let applies = "SELECT COUNT(*) FROM apply_status";
    let applies: i64 = support::one(&mut database.connect().await, applies).await;
    assert_eq!(applies, 0);
}

#[tokio::test]
async fn a_table_that_differs_is_shown_as_a_diff_and_must_be_accepted_by_name() {
    let database = TestDatabase::fresh().await;
    database.register_deployments(1).await;
    let [other] = support::private_servers(1).await.try_into().expect("one");
    let other = other.administrator().clone();
    let schema = database.other_schema();
    shop(database.settings(), &schema, "INT").await;
    shop(&other, &schema, "SMALLINT").await;
    let change = Change {
        schema: schema.clone(),
        statements: vec!["ALTER TABLE orders MODIFY total BIGINT".to_owned()],
        engine: serde_json::Value::Null,
    };
    let here = database.settings();
    let examinations = [
        preflight::examine(&place("d0", here), &access(here), &change).await,
        preflight::examine(&place("d1", &other), &access(&other), &change).await,
    ];
    let drifts = preflight::drift(&examinations, &[]);
    assert_eq!(drifts.len(), 1, "{examinations:?}");
    assert_eq!(
        (drifts[0].deployment.as_str(), drifts[0].like.as_str()),
        ("d1", "d0")
    );
    assert!(
        drifts[0]
            .difference
            .iter()
            .any(|line| line.starts_with('+') && line.contains("smallint"))
    );
    assert!(preflight::drift(&examinations, &["d1".to_owned()]).is_empty());
}

#[tokio::test]
async fn a_deployment_that_cannot_be_reached_from_here_does_not_hold_up_the_submit() {
    let database = TestDatabase::fresh().await;
    let register = "CALL deployment_register('far', 7, '127.0.0.1', 1, NULL)";
    run(&mut database.connect().await, register.to_owned()).await;
    let schema = database.other_schema();
    shop(database.settings(), &schema, "INT").await;
    let statement = "ALTER TABLE orders ADD x INT";
    let mut arguments = vec!["submit", "--schema", &schema, "-e", statement, "--yes"];
    let (code, _, said) = lockkeeper(&database, &arguments);
    assert_eq!(code, 1, "nobody has looked at anything: {said}");
    assert!(
        said.contains("not looked at") && said.contains("--no-preflight"),
        "{said}"
    );
    database.register_deployments(1).await;
    arguments.push("--json");
    let (code, out, said) = lockkeeper(&database, &arguments);
    assert_eq!(code, 0, "{said}");
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let left_out = &answer["not_looked_at"];
    assert_eq!(left_out.as_array().map(Vec::len), Some(1), "{out}");
    assert_eq!(left_out[0]["deployment"], "far");
    let why = left_out[0]["why"].as_str().expect("why");
    assert!(why.contains("127.0.0.1:1"), "{why}");
}

#[tokio::test]
async fn doctor_names_each_missing_privilege_with_a_grant_that_mends_it() {
    let database = TestDatabase::fresh().await;
    let schema = database.other_schema();
    let mut session = shop(database.settings(), &schema, "INT").await;
    let account = database
        .account(&[format!("SELECT ON {schema}.*").as_str()])
        .await;
    let look = async || {
        let schemas = std::slice::from_ref(&schema);
        preflight::checkup(&place("d0", &account), &access(&account), schemas, |_| None)
            .await
            .expect("reachable")
    };
    let findings = look().await;
    let rights = findings
        .iter()
        .find(|one| one.subject == "privileges")
        .expect("a finding");
    assert_eq!(rights.severity, Severity::Error);
    for grant in rights.remedy.split("; ") {
        run(&mut session, grant.to_owned()).await;
    }
    let findings = look().await;
    let rights = findings
        .iter()
        .find(|one| one.subject == "privileges")
        .expect("a finding");
    assert_eq!(rights.severity, Severity::Good, "{findings:?}");
    let is_note =
        |one: &&preflight::Finding| (one.severity, one.subject) == (Severity::Note, "privileges");
    let note = findings.iter().find(is_note).expect("of what helps, too");
    assert!(note.remedy.contains("performance_schema"), "{note:?}");
    run(&mut session, note.remedy.clone()).await;
    let findings = look().await;
    assert!(!findings.iter().any(|one| is_note(&one)), "{findings:?}");
}

#[tokio::test]
async fn doctor_shows_settings_and_leftovers_and_whose_they_are() {
    let [server] = support::private_servers(1).await.try_into().expect("one");
    let settings = server.administrator().clone();
    let mut session = shop(&settings, "shop", "INT").await;
    for statement in [
        "CREATE TABLE shop._lk_00000000_7_1_0_trial (id INT PRIMARY KEY)",
        "CREATE TABLE shop._lk_0a1b2c3d_41_5_0_new (id INT PRIMARY KEY)",
        "CREATE TABLE shop._lk_0a1b2c3d_42_drop0_20240102030405 (id INT PRIMARY KEY)",
        "CREATE TABLE shop._lk_0a1b2c3d_43_drop0_20240102030405 (id INT PRIMARY KEY)",
        "CREATE TABLE shop._lk_99999999_44_drop0_20240102030405 (id INT PRIMARY KEY)",
        "SET GLOBAL binlog_row_image = MINIMAL",
    ] {
        run(&mut session, statement.to_owned()).await;
    }
    let whose = |artifact: &lockkeeper::engine::names::Artifact| {
        (artifact.installation == "0a1b2c3d").then(|| preflight::Whose {
            words: format!("operation {} of ours", artifact.operation_id),
            is_reverted: artifact.operation_id == 43,
            remedy: String::new(),
        })
    };
    let findings = preflight::checkup(&place("d0", &settings), &access(&settings), &[], whose)
        .await
        .expect("reachable");
    let said = |subject: &str| -> String {
        let of = findings.iter().filter(|one| one.subject == subject);
        of.map(|one| format!("{} {}\n", one.finding, one.remedy))
            .collect()
    };
    assert!(
        said("settings").contains("binlog_row_image is 'MINIMAL'"),
        "{findings:?}"
    );
    assert!(
        said("leftovers").contains("a preflight that did not end"),
        "{findings:?}"
    );
    assert!(
        said("leftovers").contains("0_new of operation 41 of ours, lease epoch 5"),
        "{findings:?}"
    );
    for part in [
        "the former table of operation 42 of ours",
        "the changed table of operation 43 of ours",
        "where its control schema is gone: DROP TABLE `shop`.`_lk_99999999_44_",
    ] {
        assert!(said("leftovers").contains(part), "{part}: {findings:?}");
    }
    assert!(said("disk").contains("MB"), "{findings:?}");
}

/// Tables of the rules are no application's: a right on them would undo the roles.
#[tokio::test]
async fn doctor_asks_for_no_right_on_the_control_schema_and_for_those_that_no_schema_has() {
    let database = TestDatabase::fresh().await;
    let roles = database.roles();
    for role in [&roles[0], &roles[2]] {
        let account = database.account(&[role.as_str()]).await;
        let findings = preflight::checkup(&place("d0", &account), &access(&account), &[], |_| None)
            .await
            .expect("reachable");
        let of = |subject: &str| {
            let of = findings.iter().filter(|one| one.subject == subject);
            of.collect::<Vec<_>>()
        };
        let rights = of("privileges");
        assert_eq!(rights[0].severity, Severity::Error, "{findings:?}");
        assert!(
            rights[0]
                .remedy
                .starts_with("GRANT REPLICATION SLAVE, REPLICATION CLIENT, PROCESS ON *.* TO"),
            "{findings:?}"
        );
        assert!(
            rights
                .iter()
                .all(|one| !one.remedy.contains(database.schema())),
            "{findings:?}"
        );
        let leftovers = of("leftovers");
        assert_eq!(leftovers[0].severity, Severity::Note, "{findings:?}");
    }
}

/// A fleet's driver and an `alter` of another control schema, say: neither asks the other.
#[tokio::test]
async fn a_copy_of_the_same_table_that_is_under_way_is_told_of() {
    let database = TestDatabase::fresh().await;
    let schema = database.other_schema();
    let mut session = shop(database.settings(), &schema, "INT").await;
    let checkpoint = format!("{schema}._lk_0123abcd_5_1_checkpoint");
    for statement in [
        format!(
            "CREATE TABLE {checkpoint} (name VARCHAR(64) PRIMARY KEY, value LONGTEXT NOT NULL)"
        ),
        format!(
            r#"INSERT INTO {checkpoint} VALUES ('head', '{{"plans": [{{"original": {{"name": "orders"}}}}]}}')"#
        ),
    ] {
        run(&mut session, statement).await;
    }
    let alter = |statement| {
        let alter = ["alter", "--dry-run", "--schema", &schema, statement];
        let (code, out, said) = lockkeeper(&database, &alter);
        assert_eq!(code, 0, "{said}");
        out.replace('\n', " ")
    };
    let said = alter("ALTER TABLE orders MODIFY total BIGINT");
    assert!(
        said.contains("a copy of table orders is under way already"),
        "{said}"
    );
    let said = alter("CREATE TABLE others (id INT PRIMARY KEY)");
    assert!(!said.contains("is under way already"), "{said}");
}

/// A table says of itself that it is far larger than any disk.
#[tokio::test]
async fn a_copy_that_the_disk_has_no_room_for_is_refused() {
    if support::server().await.pid().is_none() {
        eprintln!("skipped: the disk of a server elsewhere can't be seen");
        return;
    }
    let database = TestDatabase::fresh().await;
    database.register_deployments(1).await;
    let schema = database.other_schema();
    let mut session = shop(database.settings(), &schema, "INT").await;
    for statement in [
        format!("ALTER TABLE {schema}.orders STATS_PERSISTENT = 1, STATS_AUTO_RECALC = 0"),
        format!("ANALYZE TABLE {schema}.orders"),
        format!(
            "UPDATE mysql.innodb_table_stats SET clustered_index_size = 4294967296 \
              WHERE database_name = '{schema}' AND table_name = 'orders'"
        ),
        format!("FLUSH TABLES {schema}.orders"),
    ] {
        run(&mut session, statement).await;
    }
    let copied = "ALTER TABLE orders MODIFY total BIGINT";
    let alter = ["alter", "--dry-run", "--json", "--schema", &schema, copied];
    let (code, _, said) = lockkeeper(&database, &alter);
    let refusal = "MB are free on the disk of the data; table orders has 70368744 MB";
    assert!(code == 1 && said.contains(refusal), "{code} {said}");
    let submit = ["submit", "--schema", &schema, "-e", copied, "--yes"];
    let (code, _, said) = lockkeeper(&database, &submit);
    assert!(code == 1 && said.contains(refusal), "{code} {said}");

    // Who knows better is warned still.
    let consent = ["--engine", r#"{"allow_little_room": true}"#];
    let (code, out, said) = lockkeeper(&database, &[&alter[..], &consent].concat());
    assert_eq!(code, 0, "{said}");
    let warning = "MB are free; table orders has 70368744 MB, and a copy needs as much again";
    assert!(
        said.contains("warning: disk: ") && said.contains(warning),
        "{said}"
    );
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let found = answer["room"]["finding"].as_str().expect("a finding");
    assert!(found.contains(warning), "{found}");

    let submit = |statement| {
        let arguments = [
            "submit", "--schema", &schema, "-e", statement, "--yes", "--json",
        ];
        let (code, out, said) = lockkeeper(&database, &[&arguments[..], &consent].concat());
        assert_eq!(code, 0, "{said}");
        let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        answer["without_room"].as_array().expect("a list").clone()
    };
    let without_room = submit(copied);
    assert_eq!(without_room.len(), 1, "{without_room:?}");
    assert_eq!(without_room[0]["deployment"], "d0");
    run(
        &mut database.connect().await,
        "CALL apply_cancel(1, 'a test')".to_owned(),
    )
    .await;
    assert_eq!(submit("ALTER TABLE orders ADD x INT").len(), 0, "no copy");
}

/// For a pipeline, or before a meeting: the same look, and an end.
#[tokio::test]
async fn a_dry_run_of_a_submit_shows_the_plan_or_the_refusal_and_submits_nothing() {
    let database = TestDatabase::fresh().await;
    database.register_deployments(1).await;
    let schema = database.other_schema();
    shop(database.settings(), &schema, "INT").await;
    let look = |statement| {
        let flags = ["submit", "--dry-run", "--json", "--schema", &schema];
        lockkeeper(&database, &[&flags[..], &["-e", statement]].concat())
    };
    let (code, out, said) = look("ALTER TABLE orders MODIFY total BIGINT");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("Nothing was submitted."), "{said}");
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(answer[0]["deployment"], "d0");
    let (code, _, said) = look("ALTER TABLE no_such_table ADD x INT");
    assert_eq!(code, 1, "{said}");
    let mut control = database.connect().await;
    let applies: i64 = one(&mut control, "SELECT COUNT(*) FROM apply_status").await;
    assert_eq!(applies, 0);
}

/// One setting after the other is made wrong; each is named with the statement that puts it right, which does.
#[tokio::test]
async fn doctor_names_each_wrong_setting_with_the_statement_that_mends_it() {
    let options = ServerOptions::relaxed("tests")
        .flag("--gtid-mode=OFF")
        .flag("--enforce-gtid-consistency=OFF");
    let server = Server::start(options).await.expect("a private server");
    let settings = server.administrator().clone();
    let mut session = shop(&settings, "shop", "INT").await;
    let look = async || {
        preflight::checkup(&place("d0", &settings), &access(&settings), &[], |_| None)
            .await
            .expect("reachable")
    };
    for (name, wrong, severity) in [
        ("binlog_format", "STATEMENT", Severity::Error),
        ("binlog_row_image", "MINIMAL", Severity::Error),
        ("binlog_row_value_options", "PARTIAL_JSON", Severity::Error),
        ("super_read_only", "ON", Severity::Error),
        ("gtid_mode", "", Severity::Note),
    ] {
        if !wrong.is_empty() {
            run(&mut session, format!("SET GLOBAL {name} = '{wrong}'")).await;
        }
        let findings = look().await;
        let about = format!("{name} is ");
        let found = findings
            .iter()
            .find(|one| one.finding.starts_with(&about))
            .unwrap_or_else(|| panic!("{name}: {findings:?}"));
        assert_eq!((found.subject, found.severity), ("settings", severity));
        let statements = found
            .remedy
            .split("; ")
            .filter_map(|text| text.split_once("SET ").map(|(_, rest)| rest))
            .map(|rest| format!("SET {}", rest.split(", and ").next().unwrap_or_default()));
        for statement in statements {
            run(&mut session, statement).await;
        }
        let findings = look().await;
        let is_named = |one: &preflight::Finding| one.finding.starts_with(&about);
        assert!(!findings.iter().any(is_named), "{findings:?}");
        // It implies read_only, and stays behind.
        run(&mut session, "SET GLOBAL read_only = OFF".to_owned()).await;
    }
}

#[tokio::test]
async fn doctor_shows_a_long_transaction_and_who_has_it() {
    let [server] = support::private_servers(1).await.try_into().expect("one");
    let settings = server.administrator().clone();
    let mut session = shop(&settings, "shop", "INT").await;
    for statement in [
        "CREATE USER lk@'%' IDENTIFIED BY 'only-for-a-test'",
        "GRANT PROCESS, SELECT ON *.* TO lk@'%'",
        // The clock of whoever may not do everything goes wrong by a minute: no test waits for a long transaction.
        "SET GLOBAL init_connect = 'SET timestamp = UNIX_TIMESTAMP() + 60'",
        "BEGIN",
        "UPDATE shop.orders SET total = 7",
    ] {
        run(&mut session, statement.to_owned()).await;
    }
    let id: u64 = sqlx::query_scalar("SELECT CONNECTION_ID()")
        .fetch_one(&mut session)
        .await
        .expect("its number");
    let mut account = settings.clone();
    account.credentials = Credentials {
        user: "lk".to_owned(),
        password: Secret::new("only-for-a-test"),
    };
    let look = async || {
        preflight::checkup(&place("d0", &account), &access(&account), &[], |_| None)
            .await
            .expect("reachable")
            .into_iter()
            .find(|one| one.subject == "transactions")
            .expect("a finding")
    };
    let found = look().await;
    assert_eq!(found.severity, Severity::Warning, "{found:?}");
    assert!(
        found.finding.contains(&format!("session {id} of root@")),
        "{found:?}"
    );
    assert!(
        found.finding.contains("(2 rows changed)") && found.remedy.contains(&format!("KILL {id}")),
        "{found:?}"
    );
    run(&mut session, "ROLLBACK".to_owned()).await;
    // Sessions of the server's own that have just begun look old by that clock, too.
    let ended = async || look().await.severity == Severity::Good;
    support::eventually("no transaction is long", Duration::from_secs(60), ended).await;
}

#[tokio::test]
async fn drift_blocks_the_submit_until_it_is_accepted_by_name() {
    let database = TestDatabase::fresh().await;
    database.register_deployments(1).await;
    let [other] = support::private_servers(1).await.try_into().expect("one");
    let other = other.administrator();
    // One account for both, as a fleet has.
    let account = database.account(&["ALL ON *.*"]).await;
    let schema = database.other_schema();
    shop(database.settings(), &schema, "INT").await;
    let mut there = shop(other, &schema, "SMALLINT").await;
    let (user, password) = (&account.credentials.user, &account.credentials.password);
    for statement in [
        format!(
            "CREATE USER {user}@'%' IDENTIFIED BY '{}'",
            password.expose()
        ),
        format!("GRANT ALL ON *.* TO {user}@'%'"),
    ] {
        run(&mut there, statement).await;
    }
    run(
        &mut database.connect().await,
        format!(
            "CALL deployment_register('d1', 1, '{}', {}, NULL)",
            other.host, other.port
        ),
    )
    .await;
    let submit = |more: &[&str]| {
        let statement = "ALTER TABLE orders MODIFY total BIGINT";
        let mut arguments = vec!["submit", "--schema", &schema, "-e", statement, "--yes"];
        arguments.extend(["--deployment-user", user]);
        arguments.extend(more);
        lockkeeper_with(
            &database,
            &arguments,
            &[("LOCKKEEPER_DEPLOYMENT_PASSWORD", password.expose())],
        )
    };
    let (code, _, said) = submit(&["--accept-drift", "d7"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("'d7'") && said.contains("d0, d1"), "{said}");
    let (code, _, said) = submit(&[]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("total` smallint") && said.contains("nothing was submitted"),
        "{said}"
    );
    assert!(said.contains("--accept-drift d1"), "the next step: {said}");
    let (code, out, said) = submit(&["--accept-drift", "d1"]);
    assert_eq!(code, 0, "{said}");
    assert!(out.contains("is submitted, for 2 deployments"), "{out}");
}

#[tokio::test]
async fn a_deployment_with_a_wrong_password_has_a_next_step() {
    let database = TestDatabase::fresh().await;
    database.register_deployments(1).await;
    let arguments = ["doctor", "--deployment", "d0"];
    let wrong = [("LOCKKEEPER_DEPLOYMENT_PASSWORD", "hunter2")];
    let (code, out, said) = lockkeeper_with(&database, &arguments, &wrong);
    assert_eq!(code, 1, "{said}");
    assert!(
        out.contains("Access denied") && out.contains("LOCKKEEPER_DEPLOYMENT_USER"),
        "{out}"
    );
    assert!(!format!("{out}{said}").contains("hunter2"), "{out}{said}");
}

/// A server whose disk is full, or that hangs, answers no submit. The look has listened for Ctrl-C until then.
#[tokio::test]
async fn an_interrupt_ends_a_submit_that_the_control_database_does_not_answer() {
    let database = TestDatabase::fresh().await;
    database.register_deployments(1).await;
    let schema = database.other_schema();
    let mut here = shop(database.settings(), &schema, "INT").await;
    let mut held = database.connect().await;
    run(
        &mut held,
        "START TRANSACTION; SELECT 1 FROM installation FOR UPDATE",
    )
    .await;
    let child = support::program()
        .args(["submit", "--schema", &schema, "--yes", "-e"])
        .arg("ALTER TABLE orders MODIFY total BIGINT")
        .env("LOCKKEEPER_URL", database.url())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let waiting = format!(
        "SELECT COUNT(*) FROM performance_schema.data_locks AS l
          WHERE l.OBJECT_SCHEMA = '{}' AND l.LOCK_STATUS = 'WAITING'",
        database.schema()
    );
    support::eventually("the call waits", support::PATIENCE, async || {
        one::<i64>(&mut here, &waiting).await > 0
    })
    .await;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("it runs"), Signal::INT).expect("a signal");
    let output = tokio::task::spawn_blocking(|| child.wait_with_output());
    let output = tokio::time::timeout(Duration::from_secs(30), output).await;
    let output = output.expect("an answer to Ctrl-C").expect("ran");
    let output = output.expect("its end");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(
        said.contains("it is not known whether it was submitted"),
        "{said}"
    );
    run(&mut held, "ROLLBACK").await;
}

/// Nothing but the program itself ends it: Ctrl-C was listened for before.
#[tokio::test]
async fn a_second_interrupt_ends_a_look_at_a_server_that_hangs() {
    let database = TestDatabase::fresh().await;
    let [other] = support::private_servers(1).await.try_into().expect("one");
    let address = other.administrator().clone();
    let mut there = shop(&address, "hangs", "INT").await;
    // The trial's table has to wait, and nobody sees the session end.
    run(&mut there, "LOCK INSTANCE FOR BACKUP").await;
    let register = format!(
        "CALL deployment_register('hangs', 1, '{}', {}, NULL)",
        address.host, address.port
    );
    run(&mut database.connect().await, register).await;
    let Credentials { user, password } = &address.credentials;
    let account = [
        format!("LOCKKEEPER_DEPLOYMENT_USER={user}"),
        format!("LOCKKEEPER_DEPLOYMENT_PASSWORD={}", password.expose()),
    ];
    let mut submit = vec!["env", &account[0], &account[1]];
    submit.extend([env!("CARGO_BIN_EXE_lockkeeper"), "submit", "--yes"]);
    submit.extend(["--schema", "hangs", "-e", "ALTER TABLE orders ADD x INT"]);
    let mut terminal = Terminal::run(&database, &submit, 80, 24);
    let waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST AS p
                    WHERE p.STATE = 'Waiting for backup lock'";
    support::eventually("the look waits", support::PATIENCE, async || {
        one::<i64>(&mut there, waiting).await > 0
    })
    .await;
    other.freeze().await.expect("frozen");
    terminal.press("\u{3}");
    terminal.says("removing what the look has made").await;
    terminal.press("\u{3}");
    assert_eq!(terminal.end().await.code(), Some(130));
    terminal.says("the next look").await;
}
