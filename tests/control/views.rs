//! Cases 89 to 91: what a DBA sees.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::catalogue::VIEWS;
use crate::support::control::{Fleet, arguments};

/// Case 89: after each step of every test `Fleet::check` has looked that each operation that waits is in one of the two views.
/// Here: what the first of them says is what the claims do.
#[tokio::test]
async fn what_is_shown_as_claimable_is_what_the_claims_hand_out() {
    for round in 0..6 {
        let fleet = Fleet::of(4).await;
        let mut applies = Vec::new();
        for (number, policy) in ["rolling", "barrier", "parallel"].iter().enumerate() {
            let mut options = json!({
                "cutover_policy": policy,
                "on_failure": (["halt", "continue", "pause"][(round + number) % 3]),
            });
            if round % 2 == 0 {
                options["max_copies"] = json!(2);
            }
            applies.push(fleet.submit(options).await);
        }
        // Any mixture of states.
        for step in 0..15 {
            let claim = if step % 3 == 2 {
                fleet.claim_cutover("alpha").await
            } else {
                fleet.claim_copy("alpha").await
            };
            let Some(claim) = claim else { continue };
            match rand::random_range(0..6) {
                0 => drop(fleet.fail_for_now(&claim).await),
                1 => drop(fleet.fail_for_good(&claim).await),
                2 => fleet.age(claim.operation, 61).await,
                3 => drop(fleet.release(&claim).await),
                _ if claim.state == "running" => drop(fleet.arrive(&claim).await),
                _ => {}
            }
        }
        if round >= 3 {
            drop(fleet.try_stop(&applies[round % 3]).await);
            drop(fleet.try_cancel(&applies[(round + 1) % 3]).await);
            drop(fleet.try_start(&applies[round % 3]).await);
        }

        for claim in ["copy", "cutover"] {
            loop {
                let shown: Vec<u64> = fleet
                    .claimable()
                    .await
                    .into_iter()
                    .filter(|(_, kind)| kind == claim)
                    .map(|(operation, _)| operation)
                    .collect();
                let procedure = format!("operation_claim_{claim}");
                let given = fleet.claim(&procedure, "alpha", Value::Null).await;
                match given {
                    Some(given) => {
                        assert_eq!(
                            Some(&given.operation),
                            shown.first(),
                            "the one that waited longest"
                        );
                        // A recovery leaves the row leased, as any claim does.
                        assert!(!fleet.is_claimable(given.operation, claim).await);
                    }
                    None => {
                        assert!(
                            shown.is_empty(),
                            "round {round}: {shown:?} shown, none given"
                        );
                        break;
                    }
                }
            }
        }
    }
}

/// Case 90.
#[tokio::test]
async fn what_blocks_an_operation_is_named_in_one_sentence() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1, o2] = apply.all();
    fleet.run(o1).await;
    let blocked = fleet.blocked(o2).await.unwrap();
    assert_eq!((blocked.gate.as_str(), blocked.blocker), ("copy", Some(o1)));
    assert!(
        blocked.reason.contains("d1") && blocked.reason.contains("running"),
        "{blocked:?}"
    );
    assert_eq!(blocked.reason.matches('.').count(), 1, "{blocked:?}");
    assert_eq!(fleet.blocked(o1).await, None, "it has a driver");
}

/// Case 90: of several blockers the earliest is named; and what else shuts a gate has its own sentence.
#[tokio::test]
async fn each_reason_has_its_sentence() {
    let fleet = Fleet::of(3).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2, o3] = apply.all();
    fleet.park(o3).await;
    fleet.park(o2).await;
    assert_eq!(fleet.blocked(o3).await.unwrap().blocker, Some(o1));
    let swapping = fleet.swap(o1).await;
    assert_eq!(fleet.blocked(o3).await.unwrap().blocker, Some(o2));
    assert_eq!(swapping.position, 0);

    let window = fleet.submit(json!({"cutover_policy": "parallel", "revert_window_seconds": 600, "revert_scope": "apply"})).await;
    let [w1, w2, _] = window.all();
    fleet.park(w2).await;
    fleet.swap(w1).await;
    fleet.revert(&window).await;
    let blocked = fleet.blocked(w2).await.unwrap();
    assert!(blocked.reason.contains("revert"), "{blocked:?}");

    // A copy that runs under a stop holds the request open; nobody else is pending, parked or due.
    let stopping = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [s1, s2, _] = stopping.all();
    fleet.run(s1).await;
    fleet.stop(&stopping).await;
    assert_eq!(fleet.state(s2).await, "stopped");
    assert_eq!(
        fleet.blocked(s2).await,
        None,
        "stopped: it waits for a person, not at a gate"
    );
}

/// Why it doesn't move, whoever is waited for: a driver, an earlier one, a person, or what throttles it.
#[tokio::test]
async fn whatever_does_not_move_says_why_in_one_place() {
    let fleet = Fleet::of(2).await;
    let apply = fleet
        .submit(json!({"cutover_policy": "parallel", "defer_cutover": true}))
        .await;
    let [o1, o2] = apply.all();
    let free = "Any driver may claim its copy now.";
    assert_eq!(fleet.waiting(o1).await.as_deref(), Some(free));
    let first = fleet.run(o1).await;
    assert_eq!(fleet.waiting(o1).await, None, "at full speed");
    let progress = json!({"phase": "copy", "throttled_by": "replica lag"});
    fleet
        .call(
            "operation_heartbeat",
            arguments![o1, first.token.clone(), progress, Value::Null],
        )
        .await;
    let throttled = fleet.waiting(o1).await;
    assert_eq!(throttled.as_deref(), Some("Throttled: replica lag."));
    fleet.release(&first).await;
    let released = fleet.waiting(o1).await;
    assert_eq!(released.as_deref(), Some(free), "what throttled it is over");

    let held = fleet.hold(o1).await;
    fleet.hold(o2).await;
    let progress = json!({"phase": "waiting"});
    fleet
        .call(
            "operation_heartbeat",
            arguments![o1, held.token.clone(), progress, Value::Null],
        )
        .await;
    let word = "The cutover is deferred by hand; apply_cutover opens it.";
    assert_eq!(fleet.waiting(o1).await.as_deref(), Some(word));
    let turn = "The cutover waits for d1, which comes earlier and is waiting_for_cutover.";
    assert_eq!(fleet.waiting(o2).await.as_deref(), Some(turn));
    fleet.age(o2, 61).await;
    let stale = fleet.waiting(o2).await.expect("nobody beats for it");
    assert!(
        stale.starts_with("Its driver ") && stale.ends_with(" any driver may take it over."),
        "{stale}"
    );
    fleet.cutover(&apply).await;
    assert_eq!(fleet.waiting(o1).await, None, "its driver is told");

    let stopped = fleet.submit(Value::Null).await;
    let [s1, s2] = stopped.all();
    assert_eq!(
        fleet.waiting(s2).await,
        fleet.blocked(s2).await.map(|blocked| blocked.reason),
        "in the words of operation_blocked"
    );
    fleet.stop(&stopped).await;
    let word = "The apply is stopped or stopping; apply_start resumes it.";
    assert_eq!(fleet.waiting(s1).await.as_deref(), Some(word));
}

/// Case 91.
#[tokio::test]
async fn progress_shows_and_a_heartbeat_without_any_leaves_it() {
    let fleet = Fleet::of(1).await;
    let apply = fleet
        .try_submit(
            "[\"ALTER TABLE a ADD c INT\", \"ALTER TABLE b ADD c INT\"]",
            Value::Null,
        )
        .await
        .unwrap();
    let [o1] = apply.all();
    let claim = fleet.claim_copy("alpha").await.unwrap();
    let (a, b) = (
        claim.tasks[0]["task_id"].clone(),
        claim.tasks[1]["task_id"].clone(),
    );
    let progress = json!({
        "phase": "copy",
        "rows_copied": 250,
        "rows_total": 1000,
        "rows_per_second": 50.5,
        "seconds_left": 15,
        "binlog_lag_seconds": 0.5,
        "throttled_by": "replica lag",
        "tasks": [
            {"task_id": a, "phase": "verify", "rows_copied": 100, "rows_total": 200},
            {"task_id": b, "rows_copied": 150, "rows_total": 800},
        ],
    });
    let beat = fleet
        .sql()
        .await
        .heartbeat(&claim, progress, Value::Null)
        .await;
    beat.expect("a live lease");
    for _ in 0..2 {
        let row = fleet
            .sql()
            .await
            .rows("SELECT s.* FROM operation_status AS s", &[])
            .await
            .remove(0);
        assert_eq!(row.text("phase"), "copy");
        assert_eq!(
            (row.number("rows_copied"), row.number("rows_total")),
            (250, 1000)
        );
        assert_eq!(fleet.column(o1, "percent").await.parse::<f64>(), Ok(25.0));
        assert_eq!(
            fleet.column(o1, "rows_per_second").await.parse::<f64>(),
            Ok(50.5)
        );
        assert_eq!(
            fleet.column(o1, "seconds_left").await.parse::<f64>(),
            Ok(15.0)
        );
        assert_eq!(fleet.column(o1, "throttled_by").await, "replica lag");
        let tasks = fleet
            .sql()
            .await
            .texts(
                "SELECT CONCAT_WS(' ', t.table_name, t.state, t.phase, t.percent + 0, t.rows_copied, t.rows_total)
                   FROM task_status AS t ORDER BY t.position",
                &[],
            )
            .await;
        assert_eq!(
            tasks,
            ["a running verify 50 100 200", "b running copy 18.8 150 800"]
        );
        assert_eq!(
            fleet.apply_column(&apply, "percent").await.parse::<f64>(),
            Ok(25.0)
        );
        assert_eq!(
            fleet
                .apply_column(&apply, "seconds_left")
                .await
                .parse::<f64>(),
            Ok(15.0)
        );
        // NULL leaves it.
        fleet.beat(&claim).await;
    }
    let bare = json!({"phase": "catch-up", "rows_copied": 1000, "rows_total": 1000, "throttled_by": null, "seconds_left": null});
    let beat = fleet.sql().await.heartbeat(&claim, bare, Value::Null).await;
    beat.expect("a live lease");
    assert_eq!(fleet.column(o1, "throttled_by").await, "NULL");
    assert_eq!(fleet.column(o1, "seconds_left").await, "NULL");
    assert_eq!(fleet.column(o1, "percent").await.parse::<f64>(), Ok(100.0));
    fleet.arrive(&claim).await;
    fleet.swapped(&claim).await;
    assert_eq!(fleet.column(o1, "percent").await.parse::<f64>(), Ok(100.0));
    assert_eq!(fleet.column(o1, "driver").await, "alpha");
}

/// Whoever tends a parked operation reports as a driver with a lease does.
#[tokio::test]
async fn a_null_in_what_is_reported_of_a_parked_operation_is_nothing() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "barrier"})).await;
    let [o1, _] = apply.all();
    fleet.park(o1).await;
    fleet.age(o1, 61).await;
    let tend = fleet.claim("operation_tend", "alpha", Value::Null).await;
    let tend = tend.expect("it waits to be tended");
    let progress =
        json!({"phase": null, "rows_copied": null, "rows_total": 8, "rows_per_second": null});
    fleet
        .call(
            "operation_tended",
            arguments![o1, &tend.token, progress, 0u64],
        )
        .await;
    for column in ["phase", "rows_copied", "rows_per_second"] {
        assert_eq!(fleet.column(o1, column).await, "NULL", "{column}");
    }
    assert_eq!(fleet.column(o1, "rows_total").await, "8");
}

#[tokio::test]
async fn hostile_progress_is_refused_and_leaves_what_was_there() {
    let fleet = Fleet::of(1).await;
    let [o1] = fleet.submit(Value::Null).await.all();
    let claim = fleet.claim_copy("alpha").await.unwrap();
    let good = json!({"rows_copied": 5, "rows_total": 10});
    let beat = fleet
        .sql()
        .await
        .heartbeat(&claim, good, json!({"w": 5}))
        .await;
    beat.expect("a live lease");
    for bad in [
        json!([]),
        json!("copy"),
        json!({"rows_copied": "5"}),
        json!({"rows_copied": -1}),
        json!({"rows_copied": 1.5}),
        json!({"rows_copied": 1e30}),
        json!({"phase": 7}),
        json!({"phase": "x".repeat(65)}),
        json!({"seconds_left": "soon"}),
        json!({"tasks": {}}),
        json!({"tasks": [{"rows_copied": 1}]}),
        json!({"tasks": [{"task_id": "x"}]}),
        json!({"colour": "red"}),
    ] {
        let outcome = fleet
            .sql()
            .await
            .heartbeat(&claim, bad.clone(), Value::Null)
            .await;
        match &outcome {
            Err(refusal) if refusal.number == 50001 => {}
            other => panic!("{bad}: {other:?}"),
        }
        let beats = json!([{"operation_id": o1, "lease_token": claim.token, "progress": bad}]);
        let outcome = fleet
            .sql()
            .await
            .call("driver_heartbeat", arguments!["alpha", beats])
            .await;
        assert!(outcome.is_err(), "{bad}");
        for view in VIEWS {
            let query = format!("SELECT v.* FROM {view} AS v");
            fleet.sql().await.rows(&query, &[]).await;
        }
    }
    assert_eq!(fleet.column(o1, "rows_copied").await, "5");
    let huge = json!({"w": "x".repeat(1_048_576)});
    let outcome = fleet.sql().await.heartbeat(&claim, Value::Null, huge).await;
    assert_eq!(outcome.unwrap_err().number, 50001);
    fleet.age(o1, 61).await;
    assert_eq!(
        fleet.claim_copy("beta").await.unwrap().checkpoint,
        json!({"w": 5})
    );
}

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

/// SPEC.md section 9: empty when all is well; else what is wrong, and what to do.
#[tokio::test]
async fn health_says_what_is_wrong_and_nothing_when_all_is_well() {
    let fleet = Fleet::of(2).await;
    let problems =
        "SELECT CONCAT_WS(' | ', h.severity, h.subject, h.problem, h.remedy) FROM health AS h";
    assert!(fleet.sql().await.texts(problems, &[]).await.is_empty());
    let apply = fleet.submit(json!({"on_failure": "pause"})).await;
    let [o1, _] = apply.all();
    let claim = fleet.claim_copy("alpha").await.unwrap();
    assert!(fleet.sql().await.texts(problems, &[]).await.is_empty());

    fleet.age(o1, 61).await;
    let found = fleet.sql().await.texts(problems, &[]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("alpha") && found[0].contains("operation_release_lease"),
        "{found:?}"
    );
    fleet.beat(&claim).await;
    assert!(fleet.sql().await.texts(problems, &[]).await.is_empty());

    fleet.fail_for_good(&claim).await;
    let found = fleet.sql().await.texts(problems, &[]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("paused") && found[0].contains("apply_release"),
        "{found:?}"
    );
    fleet.release_pause(&apply).await;
    assert!(fleet.sql().await.texts(problems, &[]).await.is_empty());
}

/// What waits while drivers live that may take it waits for them, not for somebody to start one.
#[tokio::test]
async fn health_tells_a_queue_from_a_deployment_that_no_driver_serves() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2] = apply.all();
    for operation in [o1, o2] {
        fleet.age(operation, 181).await;
    }
    let problems = "SELECT CONCAT_WS(' | ', h.severity, h.subject, h.problem) FROM health AS h ORDER BY h.subject";
    for (scope, severities) in [
        (None, ["warning", "warning"]),
        (Some(json!({"deployments": ["d2"]})), ["warning", "notice"]),
        (
            Some(json!({"labels": {"parity": "odd"}})),
            ["notice", "notice"],
        ),
    ] {
        if let Some(scope) = scope {
            let name = scope.to_string();
            fleet
                .call("driver_register", arguments![name, "1.0", 1u64, scope])
                .await;
        }
        let found = fleet.sql().await.texts(problems, &[]).await;
        assert_eq!(found.len(), 2, "{found:?}");
        for (problem, severity) in found.iter().zip(severities) {
            assert!(problem.starts_with(severity), "{found:?}");
            let nobody = problem.contains("no driver takes it");
            assert_eq!(nobody, severity == "warning", "{found:?}");
        }
    }
}

/// It is asked every few seconds by those who watch: requests of applies that have settled are none of its business.
#[tokio::test]
async fn health_reads_no_more_where_there_is_much_history() {
    let fleet = Fleet::of(1).await;
    let mut session = fleet.session().await;
    let mut reads = Vec::new();
    for requests in [1, 200] {
        let apply = fleet.submit(Value::Null).await;
        for _ in 0..requests {
            let throttle = arguments![apply.id, 3u64, "peak hour"];
            session.command("apply_throttle", throttle).await.unwrap();
        }
        fleet.retire(&apply).await;
        let unsettled = fleet.submit(Value::Null).await;
        session.run("FLUSH STATUS").await.unwrap();
        session.text_rows("SELECT h.problem FROM health AS h").await;
        let (seeks, rows) = session.reads().await;
        reads.push(seeks + rows);
        fleet.retire(&unsettled).await;
    }
    // The second time there are two more applies.
    assert!(reads[1] < reads[0] + 100, "{reads:?}");
}

/// Not copies alone are tried again.
#[tokio::test]
async fn a_clean_up_that_fails_again_and_again_is_a_problem_too() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [operation] = apply.all();
    let mut claim = fleet.run(operation).await;
    fleet.cancel(&apply).await;
    for _ in 0..2 {
        assert_eq!(fleet.fail_for_now(&claim).await, "cancelling");
        claim = fleet.claim_copy("alpha").await.expect("due at once");
    }
    fleet.fail_for_now(&claim).await;
    // An hour further off, or a slow machine might let the time come while the test looks.
    fleet.age(operation, -3600).await;
    let waiting = fleet.waiting(operation).await;
    assert_eq!(waiting.as_deref(), Some("The next attempt is not due yet."));
    let problems = "SELECT CONCAT_WS(' | ', h.problem, h.remedy) FROM health AS h";
    let found = fleet.sql().await.texts(problems, &[]).await;
    assert!(
        found.len() == 1 && found[0].starts_with("failed 3 times: "),
        "{found:?}"
    );
    assert!(
        !found[0].contains("apply_start"),
        "a cancel beats it: {found:?}"
    );
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
