//! Case 94: who may do what, and what nobody may pass.

use serde_json::{Value, json};

use crate::catalogue::{Caller, Kind, Procedure, VIEWS, procedures};
use crate::support::TestDatabase;
use crate::support::control::{Argument, Fleet, Outcome, Session, arguments, refused};

/// Not allowed, as the server says it; or allowed, whatever came of it.
fn is_denied<T: std::fmt::Debug>(outcome: &Outcome<T>) -> bool {
    match outcome {
        Ok(_) => false,
        // No right to the schema, the table or view, the routine; for more than that.
        Err(refusal) => matches!(
            refusal.number,
            1044 | 1142 | 1143 | 1227 | 1305 | 1370 | 1410 | 1419
        ),
    }
}

/// Case 94.
#[tokio::test]
async fn each_role_reaches_its_own_views_and_procedures_and_nothing_else() {
    let fleet = Fleet::of(2).await;
    let schema = fleet.database().schema().to_owned();
    let objects = fleet
        .sql()
        .await
        .rows(
            "SELECT t.table_name AS name, t.table_type AS kind FROM information_schema.tables AS t WHERE t.table_schema = DATABASE()
             UNION ALL
             SELECT r.routine_name, r.routine_type FROM information_schema.routines AS r WHERE r.routine_schema = DATABASE()",
            &[],
        )
        .await;
    let public = procedures(1, 1, "x");
    for (role, callers, sees_views) in [
        (Some("reader"), vec![], true),
        (Some("operator"), vec![Caller::Dba], true),
        (Some("driver"), vec![Caller::Driver], false),
        (None, vec![], false),
    ] {
        let roles: Vec<&str> = role.into_iter().collect();
        let mut session = fleet.session_with_roles("somebody", &roles).await;
        for object in &objects {
            let (name, kind) = (object.text("name"), object.text("kind"));
            match kind.as_str() {
                "BASE TABLE" | "VIEW" => {
                    let is_public = VIEWS.contains(&name.as_str());
                    let read = session
                        .run(&format!("SELECT 1 FROM `{schema}`.`{name}` LIMIT 1"))
                        .await;
                    assert_eq!(
                        !is_denied(&read),
                        is_public && sees_views,
                        "{role:?} reads {name}: {read:?}"
                    );
                    for write in [
                        format!("DELETE FROM `{schema}`.`{name}`"),
                        format!("INSERT INTO `{schema}`.`{name}` VALUES ()"),
                        format!("DROP TABLE `{schema}`.`{name}`"),
                        format!("ALTER TABLE `{schema}`.`{name}` ADD x INT"),
                        format!("LOCK TABLES `{schema}`.`{name}` WRITE"),
                    ] {
                        let outcome = session.run(&write).await;
                        assert!(outcome.is_err(), "{role:?}: {write}");
                    }
                }
                "PROCEDURE" => {
                    let expected = public
                        .iter()
                        .find(|procedure| procedure.name == name)
                        .is_some_and(|procedure| callers.contains(&procedure.caller));
                    let outcome = session.run(&format!("CALL `{schema}`.`{name}`()")).await;
                    // Called with no argument: the count is looked at only by who may call.
                    let is_allowed = matches!(&outcome, Err(refusal) if refusal.number == 1318);
                    assert_eq!(is_allowed, expected, "{role:?} calls {name}: {outcome:?}");
                }
                "FUNCTION" => {
                    let outcome = session.run(&format!("SELECT `{schema}`.`{name}`(1)")).await;
                    assert!(is_denied(&outcome), "{role:?}: {name}: {outcome:?}");
                }
                other => panic!("{name} is a {other}"),
            }
        }
        let create = session
            .run(&format!("CREATE TABLE `{schema}`.mine (a INT PRIMARY KEY)"))
            .await;
        assert!(is_denied(&create), "{create:?}");
    }
}

/// A whole rollout by an operator and a driver that have their roles and nothing else.
#[tokio::test]
async fn roles_are_enough_for_all_that_they_are_for() {
    let fleet = Fleet::of(1).await;
    let mut operator = fleet.session_with_roles("operator", &["operator"]).await;
    let mut driver = fleet.session_with_roles("driver", &["driver"]).await;
    let mut reader = fleet.session_with_roles("reader", &["reader"]).await;
    let apply = operator
        .call_row(
            "apply_submit",
            arguments![
                "shop",
                "DROP TABLE junk",
                json!({"revert_window_seconds": 600})
            ],
        )
        .await
        .expect("an operator submits")
        .id("apply_id");
    driver
        .call(
            "driver_register",
            arguments!["alpha", "1.0", 1u64, Value::Null],
        )
        .await
        .expect("a driver registers");
    let claim = driver
        .claim_copy("alpha")
        .await
        .expect("a driver claims")
        .expect("o1");
    driver
        .heartbeat(&claim, json!({"rows_copied": 1}), Value::Null)
        .await
        .expect("and beats");
    operator
        .command("apply_throttle", arguments![apply, 4u64, "why"])
        .await
        .expect("throttles");
    assert_eq!(driver.arrive(&claim).await.expect("arrives"), "cut_over");
    assert_eq!(
        driver.swapped(&claim).await.expect("swaps"),
        "revert_window"
    );
    operator
        .command("apply_skip_revert", arguments![apply, "why"])
        .await
        .expect("skips");
    assert_eq!(
        driver
            .report("operation_complete", &claim)
            .await
            .expect("completes"),
        "completed"
    );
    for view in VIEWS {
        for session in [&mut operator, &mut reader] {
            session
                .rows(&format!("SELECT v.* FROM {view} AS v"), &[])
                .await;
        }
    }
    let asked_by = reader
        .texts("SELECT r.requested_by FROM control_request_log AS r", &[])
        .await;
    assert!(
        asked_by.iter().all(|who| who.starts_with("operator_")),
        "the caller, not the definer: {asked_by:?}"
    );
}

/// What somebody might pass instead, by what is asked for. None of it may change anything.
fn hostile(kind: Kind) -> Vec<Argument> {
    let megabyte = "x".repeat(1_048_577);
    let mut values = match kind {
        Kind::Id => arguments![
            Value::Null,
            0i64,
            -1i64,
            i64::MIN,
            i64::MAX,
            u64::MAX,
            "",
            "x",
            "-1",
            "99999999999999999999999",
            "1e400",
            "1x",
            "1.5",
            "NULL"
        ]
        .to_vec(),
        Kind::Number => arguments![
            -1i64,
            i64::MIN,
            i64::MAX,
            u64::MAX,
            "",
            "x",
            "1x",
            "1.5",
            "-0.1",
            "0x10",
            "99999999999999999999999",
            "٣",
            "true"
        ]
        .to_vec(),
        Kind::Name => {
            arguments![Value::Null, "", " ", "\t", "a\0b", "a\nb", "n".repeat(300)].to_vec()
        }
        Kind::Token => arguments![
            Value::Null,
            "",
            " ",
            "' OR '1'='1",
            "\0",
            "x",
            "%",
            "%%%%%%%%-%",
            "00000000-0000-0000-0000-000000000000",
            "\u{1F41B}"
        ]
        .to_vec(),
        Kind::Statements => arguments![
            Value::Null,
            "",
            "'",
            "\0",
            "[",
            "[]",
            "{}",
            "[[]]",
            "DROP DATABASE shop",
            "SELECT SLEEP(9)",
            "-- DROP TABLE junk",
            "DROP TABLE junk; DROP TABLE other",
            "ALTER TABLE `` ADD a INT",
            "/*!50000 DROP TABLE junk */"
        ]
        .to_vec(),
        Kind::Json => arguments![
            "",
            "{",
            "[1",
            "{\"a\":}",
            "{\"a\": 1}",
            "[]",
            "7",
            "\"x\"",
            "true",
            "'{}'",
            "\0",
            "NULL",
            "{\"deployments\": 7}",
            "{\"all\": \"yes\"}",
            "[{\"operation_id\": \"x\"}]",
            format!("[{}]", "[".repeat(200)),
            format!("\"{megabyte}\"")
        ]
        .to_vec(),
        Kind::Words => Vec::new(),
    };
    if !matches!(kind, Kind::Number) {
        values.push(Argument::Text(megabyte));
    }
    values
}

/// What is no attack on this procedure, but one of its good values.
fn is_good(procedure: &Procedure, position: usize, value: &Argument) -> bool {
    let text = match value {
        Argument::Null => "NULL",
        Argument::Text(text) => text.as_str(),
        Argument::Integer(_) | Argument::Natural(_) => "",
    };
    match (procedure.name, position) {
        // Checkpoints, and what is told of a swap, are the engine's own affair, if they are JSON at all.
        ("operation_heartbeat", 3) | ("operation_arrive" | "operation_swapped", 2) => {
            text.len() < 1_000_000 && serde_json::from_str::<Value>(text).is_ok()
        }
        ("driver_heartbeat", 1) => text == "[]",
        // Labels are whatever who registers calls them.
        ("deployment_register", 4) => text == "{\"all\": \"yes\"}",
        // Tests may age by whatever they like.
        ("operation_age", 1) => true,
        // Never an error for a lost lease.
        ("operation_release" | "operation_tended", 1) => !matches!(text, "" | "NULL"),
        ("operation_tended", 0) => true,
        _ => false,
    }
}

/// Sessions that see text and numbers differently.
const SESSIONS: [&str; 4] = [
    "SET SESSION sql_mode = DEFAULT",
    "SET SESSION sql_mode = ''",
    "SET SESSION sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'",
    "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
];

/// Case 94.
#[tokio::test]
async fn hostile_arguments_are_refused_and_change_nothing() {
    let fleet = Fleet::of(2).await;
    // Something for each command to bite on.
    let options = json!({"cutover_policy": "parallel", "revert_window_seconds": 600, "revert_scope": "apply", "on_failure": "pause", "deployments": ["d1", "d2"]});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    let window = fleet.swap(o1).await;
    fleet.park(o2).await;
    assert_eq!(
        fleet.states(&apply).await,
        ["revert_window", "waiting_for_cutover"]
    );

    let mut wrong = Vec::new();
    for setting in SESSIONS {
        let mut session = fleet.session().await;
        session.run(setting).await.expect("a setting");
        let before = everything(&fleet, &[o1, o2]).await;
        for procedure in procedures(apply.id, o1, &window.token) {
            for (position, kind) in procedure.kinds.iter().enumerate() {
                for value in hostile(*kind) {
                    if is_good(&procedure, position, &value) {
                        continue;
                    }
                    let mut arguments = procedure.arguments.clone();
                    arguments[position] = value.clone();
                    let outcome = session.call(procedure.name, &arguments).await;
                    let shown: String = format!("{value:?}").chars().take(60).collect();
                    let what = format!(
                        "{setting}: {} with {shown} as argument {}",
                        procedure.name,
                        position + 1
                    );
                    match outcome {
                        Ok(rows) => wrong.push(format!("{what}: accepted, {} rows", rows.len())),
                        Err(refusal) => {
                            let ours = (50000..52000).contains(&refusal.number);
                            // Not an integer, or out of range of one; not JSON.
                            let servers =
                                [1264, 1265, 1292, 1366, 1367, 1406, 3140, 3141, 3143, 3157]
                                    .contains(&refusal.number);
                            if !ours && !servers {
                                wrong.push(format!("{what}: {refusal:?}"));
                            }
                        }
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_eq!(everything(&fleet, &[o1, o2]).await, before, "{setting}");
    }
    fleet.beat(&window).await;
}

async fn everything(fleet: &Fleet, operations: &[u64]) -> Vec<String> {
    let mut everything = fleet.trace().await;
    for operation in operations {
        everything.extend(fleet.everything_of(*operation).await);
    }
    let settings = "SELECT CONCAT_WS(' ', s.name, s.value) FROM setting AS s ORDER BY s.name";
    everything.extend(fleet.sql().await.texts(settings, &[]).await);
    let deployments = "SELECT CONCAT_WS(' ', d.deployment, d.position, d.host, d.port, CAST(d.labels AS CHAR) COLLATE utf8mb4_0900_bin) FROM deployment AS d ORDER BY d.position";
    everything.extend(fleet.sql().await.texts(deployments, &[]).await);
    everything
}

/// Case 94: NULL for every argument, one at a time and all at once.
#[tokio::test]
async fn null_is_refused_wherever_something_is_needed() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"deployments": ["d1"]})).await;
    let [o1] = apply.all();
    let claim = fleet.run(o1).await;
    let before = everything(&fleet, &[o1]).await;
    let mut session = fleet.session().await;
    for procedure in procedures(apply.id, o1, &claim.token) {
        if matches!(procedure.name, "history_purge" | "operation_age") {
            continue;
        }
        let nothing = vec![Argument::Null; procedure.arguments.len()];
        let outcome = session.call(procedure.name, &nothing).await;
        let refusal = outcome.map(|rows| rows.len()).expect_err(procedure.name);
        assert!(
            (50000..52000).contains(&refusal.number),
            "{}: {refusal:?}",
            procedure.name
        );
    }
    assert_eq!(everything(&fleet, &[o1]).await, before);
}

/// Quotes and any script are good in a text for people, and are kept as they are.
#[tokio::test]
async fn words_are_kept_as_they_were_given() {
    let words = "it's \"quoted\" `so` \\ 100% _; DROP TABLE apply; -- ü 漢 \u{1F41B}\n\t*/";
    let fleet = Fleet::of(2).await;
    for setting in SESSIONS {
        let mut session = fleet.session().await;
        session.run(setting).await.expect("a setting");
        let apply = session
            .call_row(
                "apply_submit",
                arguments![
                    "shop",
                    format!(
                        "ALTER TABLE {} ADD c INT COMMENT 'it''s \u{1F41B}'",
                        fleet.new_table()
                    ),
                    json!({"note": words})
                ],
            )
            .await
            .expect("accepted")
            .id("apply_id");
        session
            .command("apply_stop", arguments![apply, words])
            .await
            .expect("stop");
        let kept = session
            .texts(
                "SELECT r.reason FROM control_request_log AS r WHERE r.apply_id = ?",
                arguments![apply],
            )
            .await;
        assert_eq!(kept, [words], "{setting}");
        session
            .command("apply_start", arguments![apply, Value::Null])
            .await
            .expect("start");
        let claim = session
            .claim_copy("it's \"me\" \u{1F41B}")
            .await
            .unwrap()
            .expect("o1");
        assert!(
            claim.tasks[0]["statement"]
                .as_str()
                .unwrap()
                .ends_with("'it''s \u{1F41B}'")
        );
        session.fail(&claim, words, 0).await.expect("fail");
        assert_eq!(
            fleet.column(claim.operation, "error").await,
            words,
            "{setting}"
        );
        assert_eq!(
            fleet.column(claim.operation, "driver").await,
            "it's \"me\" \u{1F41B}"
        );
        let long = "w".repeat(1025);
        let apply = fleet.submit(Value::Null).await;
        refused(
            50001,
            session
                .command("apply_stop", arguments![apply.id, long])
                .await,
        );
        fleet.cancel(&apply).await;
    }
}

/// SPEC.md section 11: under any schema name, whatever its default collation was.
#[tokio::test]
async fn any_schema_name_and_any_collation_of_it_will_do() {
    for (schema, collation) in [
        ("it's `odd`, \"very\" – 100%_", "utf8mb4_general_ci"),
        ("lk latin", "latin1_swedish_ci"),
        ("sélect", "utf8mb4_bin"),
    ] {
        let server = TestDatabase::bare().await;
        let name = format!("{schema} {:08x}", rand::random::<u32>());
        let quoted = name.replace('`', "``");
        let mut administrator = Session::new(
            server
                .settings()
                .clone()
                .without_schema()
                .connect()
                .await
                .expect("a session"),
        );
        administrator
            .run(&format!("CREATE DATABASE `{quoted}` COLLATE {collation}"))
            .await
            .expect("a schema");
        let settings = server.settings().clone().with_schema(&name);
        lockkeeper::install::install(&settings)
            .await
            .expect("installed");

        let mut session = Session::new(settings.connect().await.expect("a session"));
        for setting in [
            "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
            "SET SESSION character_set_client = latin1, SESSION collation_connection = latin1_swedish_ci",
            "SET NAMES utf8mb4",
        ] {
            session.run(setting).await.expect("a setting");
            session
                .call(
                    "deployment_register",
                    arguments!["d1", 0u64, "h", 1u64, json!({"a": "b"})],
                )
                .await
                .expect("register");
            session
                .call(
                    "apply_submit",
                    arguments!["shop", "DROP TABLE junk", Value::Null],
                )
                .await
                .expect("submit");
            let scope = json!({"labels": {"a": "b"}});
            let claim = session
                .claim("operation_claim_copy", "alpha", scope)
                .await
                .unwrap()
                .expect("o1");
            session
                .heartbeat(&claim, json!({"rows_copied": 1}), json!({}))
                .await
                .expect("beat");
            assert_eq!(session.arrive(&claim).await.expect("arrive"), "cut_over");
            assert_eq!(session.swapped(&claim).await.expect("swapped"), "completed");
            for view in VIEWS {
                session
                    .rows(&format!("SELECT v.* FROM {view} AS v"), &[])
                    .await;
            }
        }
        administrator
            .run(&format!("DROP DATABASE `{quoted}`"))
            .await
            .expect("dropped");
        let roles = ["reader", "operator", "driver"].map(|role| {
            format!(
                "'{}'@'%'",
                lockkeeper::install::role_name(&name, role).replace('\'', "''")
            )
        });
        administrator
            .run(&format!("DROP ROLE IF EXISTS {}", roles.join(", ")))
            .await
            .expect("dropped");
    }
}

/// A message of the server would end at a NUL, and a terminal obeys an escape.
#[tokio::test]
async fn a_control_character_is_refused_in_names_and_reasons() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1, _] = apply.all();
    let claim = fleet.run(o1).await;
    let before = everything(&fleet, &[o1]).await;
    for text in ["a\0b", "\0", "a\u{1b}[2Jb", "a\u{7f}b"] {
        let mut sql = fleet.sql().await;
        for (procedure, arguments) in [
            ("apply_stop", arguments![apply.id, text].to_vec()),
            ("apply_cancel", arguments![apply.id, text].to_vec()),
            ("apply_throttle", arguments![apply.id, 3u64, text].to_vec()),
            ("operation_release_lease", arguments![o1, text].to_vec()),
            (
                "apply_submit",
                arguments![
                    "shop",
                    "ALTER TABLE t_name ADD c INT",
                    json!({"name": text})
                ]
                .to_vec(),
            ),
            (
                "apply_submit",
                arguments![
                    "shop",
                    "ALTER TABLE t_note ADD c INT",
                    json!({"note": text})
                ]
                .to_vec(),
            ),
        ] {
            let refusal = refused(50001, sql.call(procedure, &arguments).await);
            assert!(
                refusal.message.contains("; pass "),
                "{procedure} with {text:?}: the next step is said: {refusal:?}"
            );
        }
    }
    assert_eq!(everything(&fleet, &[o1]).await, before);

    // What a broken server has said does not keep its failure from being reported.
    let mut sql = fleet.sql().await;
    sql.fail(&claim, "lost\0 it\u{1b}\n\tat 5", 0)
        .await
        .expect("a failure");
    drop(sql);
    assert_eq!(fleet.column(o1, "error").await, "lost? it?\n\tat 5");
}

/// Ids are unsigned: one beyond what a signed number holds is not found, like any other.
#[tokio::test]
async fn an_id_of_any_size_is_not_found() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1] = apply.all();
    let claim = fleet.run(o1).await;
    for procedure in procedures(apply.id, o1, &claim.token) {
        for (position, _) in procedure
            .kinds
            .iter()
            .enumerate()
            .filter(|(_, kind)| matches!(kind, Kind::Id))
        {
            for id in [
                "9223372036854775807",
                "9223372036854775808",
                "9999999999999999999",
                "18446744073709551615",
            ] {
                let mut arguments = procedure.arguments.clone();
                arguments[position] = id.into();
                let outcome = fleet.sql().await.call(procedure.name, &arguments).await;
                // A lease that is gone is an answer there.
                if procedure.name != "operation_tended" || outcome.is_err() {
                    refused(50002, outcome);
                }
            }
        }
    }
    fleet.beat(&claim).await;
}
