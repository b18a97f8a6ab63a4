//! Case 94: who may do what, and what nobody may pass.

use serde_json::{Value, json};

use crate::catalogue::{Caller, VIEWS, procedures};
use crate::support::TestDatabase;
use crate::support::control::{Fleet, Outcome, Session, arguments};

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
            "SELECT t.table_name AS name, t.table_type AS kind, c.column_name AS a_column
               FROM information_schema.tables  AS t
               JOIN information_schema.columns AS c
                 ON c.table_schema = t.table_schema AND c.table_name = t.table_name AND c.ordinal_position = 1
              WHERE t.table_schema = DATABASE()
             UNION ALL
             SELECT r.routine_name, r.routine_type, NULL FROM information_schema.routines AS r WHERE r.routine_schema = DATABASE()",
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
                    // Nothing but the missing right is in the way of these.
                    let target = format!("`{schema}`.`{name}`");
                    let column = object.text("a_column");
                    let (drop, alter) = match kind.as_str() {
                        "VIEW" => ("VIEW", format!("ALTER VIEW {target} AS SELECT 1")),
                        _ => ("TABLE", format!("ALTER TABLE {target} ADD x INT")),
                    };
                    for write in [
                        format!("INSERT INTO {target} ({column}) VALUES (1)"),
                        format!("REPLACE INTO {target} ({column}) VALUES (1)"),
                        format!("UPDATE {target} SET {column} = {column}"),
                        format!("DELETE FROM {target}"),
                        format!("LOCK TABLES {target} WRITE"),
                        format!("DROP {drop} {target}"),
                        alter,
                    ] {
                        let outcome = session.run(&write).await;
                        assert!(is_denied(&outcome), "{role:?}: {write}: {outcome:?}");
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
