//! What holds for all views: their columns, and how they may be asked.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::catalogue::VIEWS;
use crate::support::control::{Fleet, arguments};

/// SQL-API.md gives the columns and their order; others may stand behind them.
#[tokio::test]
async fn the_views_have_their_columns_in_order() {
    let fleet = Fleet::of(1).await;
    for (view, columns) in [
        (
            "apply_status",
            "apply_id, apply_name, schema_name, state, cutover_policy, on_failure, operations, completed, failed, percent, seconds_left, error, submitted_by, submitted_at, finished_at",
        ),
        (
            "operation_status",
            "operation_id, apply_id, position, deployment, state, phase, percent, rows_copied, rows_total, rows_per_second, seconds_left, throttled_by, driver, attempt, next_attempt_at, error, started_at, completed_at",
        ),
        (
            "task_status",
            "task_id, operation_id, position, statement, table_name, state, phase, percent, rows_copied, rows_total",
        ),
        (
            "operation_claimable",
            "operation_id, apply_id, deployment, claim, state, claimable_at",
        ),
        (
            "operation_blocked",
            "operation_id, apply_id, deployment, state, gate, blocker_operation_id, reason",
        ),
        (
            "operation_waiting",
            "operation_id, apply_id, deployment, state, reason",
        ),
        (
            "lease_status",
            "operation_id, apply_id, deployment, driver, lease_epoch, heartbeat_at, heartbeat_age_seconds, expires_at, stale",
        ),
        (
            "driver_status",
            "driver, version, api_version, last_seen_at, operations, scope",
        ),
        (
            "deployment_status",
            "deployment, position, host, port, labels, state, running_operations, last_completed_at, installation",
        ),
        (
            "control_request_log",
            "request_id, apply_id, operation_id, command, status, requested_by, reason, requested_at, resolved_at, outcome",
        ),
        (
            "event_log",
            "event_id, occurred_at, apply_id, operation_id, deployment, actor, event, from_state, to_state, lease_epoch, detail",
        ),
        ("health", "severity, subject, problem, remedy"),
        ("consistency", "operation_id, recorded, declared"),
        (
            "object_version",
            "name, kind, api_version, version, sha256, installed_at, installed_by",
        ),
    ] {
        let found = fleet
            .sql()
            .await
            .texts(
                "SELECT c.column_name FROM information_schema.columns AS c
                  WHERE c.table_schema = DATABASE() AND c.table_name = ? ORDER BY c.ordinal_position",
                arguments![view],
            )
            .await
            .join(", ");
        assert!(
            found == columns || found.starts_with(&format!("{columns}, ")),
            "{view}: {found}"
        );
    }
}

/// Who compares, joins or concatenates columns of views meets no mixture of collations, whatever the session's own is.
#[tokio::test]
async fn all_texts_of_the_views_go_together() {
    let fleet = Fleet::of(2).await;
    fleet.submit(Value::Null).await;
    let mut session = fleet.session().await;
    let mut wrong = Vec::new();
    for setting in [
        "SET NAMES utf8mb4",
        "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
        "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    ] {
        session.run(setting).await.unwrap();
        for view in VIEWS {
            let columns = session
                .texts(
                    "SELECT c.column_name FROM information_schema.columns AS c
                      WHERE c.table_schema = DATABASE() AND c.table_name = ? AND c.collation_name IS NOT NULL
                      ORDER BY c.ordinal_position",
                    arguments![view],
                )
                .await;
            let all: Vec<String> = columns.iter().map(|column| format!("v.{column}")).collect();
            let mut conditions = vec![format!("CONCAT_WS(' ', {}) = 'x'", all.join(", "))];
            for column in all {
                conditions.push(format!("{column} = 'x'"));
                conditions.push(format!("{column} IN ('x', 'y') OR {column} LIKE 'x%'"));
            }
            for condition in conditions {
                let query = format!("SELECT COUNT(*) FROM {view} AS v WHERE {condition}");
                if let Err(refusal) = session.fetch(&query, &[]).await {
                    wrong.push(format!("{setting}: {query}: {}", refusal.message));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Where the server pushes a condition into a view, it reads the names of functions anew, in the session's default schema.
#[tokio::test]
async fn views_answer_under_any_condition_without_a_default_schema() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(Value::Null).await;
    let claim = fleet.run(apply.operations[0]).await;
    fleet.age(claim.operation, 61).await;
    let mut session = fleet.session().await;
    let schema = session.texts("SELECT DATABASE()", &[]).await.remove(0);
    let columns = session
        .text_rows(
            "SELECT c.table_name, c.column_name FROM information_schema.columns AS c JOIN information_schema.views AS v
                 ON v.table_schema = c.table_schema AND v.table_name = c.table_name
              WHERE c.table_schema = DATABASE() AND c.table_name NOT LIKE '\\_%'",
        )
        .await;
    assert!(columns.len() > 100);
    session.run("USE mysql").await.expect("another schema");
    let mut wrong = Vec::new();
    for switch in [
        "default",
        "'derived_merge=off'",
        "'derived_merge=off,subquery_to_derived=on'",
    ] {
        session
            .run(&format!("SET SESSION optimizer_switch = {switch}"))
            .await
            .expect("a setting");
        let mut queries = BTreeSet::new();
        for row in &columns {
            let (view, column) = (row.text_at(0), row.text_at(1));
            let all = format!("SELECT COUNT(*) FROM `{schema}`.{view}");
            // Each part is pushed down by itself.
            queries.insert(format!(
                "{all} WHERE {column} IS NOT NULL AND CONCAT('', {column}) <> 'x'"
            ));
            queries.insert(all);
        }
        for query in queries {
            if let Err(refusal) = session.fetch(&query, &[]).await {
                wrong.push(format!("{switch}: {query}: {refusal:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
