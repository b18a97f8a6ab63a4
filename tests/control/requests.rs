//! Cases 67 to 69, 72 and 73: what is asked for, and what comes of it.

use serde_json::{Value, json};

use crate::catalogue::{Procedure, commands};
use crate::support::control::{Fleet, arguments, refused};
use crate::together::at_once;

/// Case 67.
#[tokio::test]
async fn asking_again_is_the_same_request_of_who_asked_first() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    fleet.run(apply.operations[0]).await;
    let mut alice = fleet.session_as("alice").await;
    let mut bob = fleet.session_as("bob").await;

    let first = alice
        .command("apply_stop", arguments![apply.id, "reason R"])
        .await
        .unwrap();
    let second = bob
        .command("apply_stop", arguments![apply.id, "another"])
        .await
        .unwrap();

    assert_eq!(second.request, first.request);
    assert_eq!(
        (second.status.as_str(), second.command.as_str()),
        ("pending", "stop")
    );
    let log = fleet
        .sql()
        .await
        .rows("SELECT r.* FROM control_request_log AS r", &[])
        .await;
    assert_eq!(log.len(), 1);
    assert!(log[0].text("requested_by").contains("alice"));
    assert_eq!(log[0].text("reason"), "reason R");
    assert_eq!(log[0].text("status"), "pending");
    assert_eq!(log[0].maybe_text("outcome"), None);
}

/// Case 68.
#[tokio::test]
async fn eight_who_ask_at_once_are_given_one_request() {
    let fleet = Fleet::of(3).await;
    for command in ["apply_cancel", "apply_stop"] {
        let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
        // Something must be left to do, or the first who asks has it done.
        fleet.run(apply.operations[0]).await;
        let answers = at_once(&fleet, 8, async |session, number| {
            session
                .command(command, arguments![apply.id, format!("asked by {number}")])
                .await
                .expect("accepted")
        })
        .await;
        assert!(
            answers
                .iter()
                .all(|answer| answer.request == answers[0].request),
            "{answers:?}"
        );
        let requests = fleet
            .sql()
            .await
            .number(
                "SELECT COUNT(*) FROM control_request_log AS r WHERE r.apply_id = ?",
                arguments![apply.id],
            )
            .await;
        assert_eq!(requests, 1);
        fleet.check().await;
        fleet.retire(&apply).await;
    }
}

/// Case 69.
#[tokio::test]
async fn a_command_that_cannot_apply_is_refused_and_says_what_is_possible() {
    let fleet = Fleet::of(1).await;
    let fresh = fleet.submit(Value::Null).await;
    let before = fleet.trace().await;
    for refusal in [
        refused(50501, fleet.try_start(&fresh).await),
        refused(50501, fleet.try_release_pause(&fresh).await),
        refused(50501, fleet.try_revert(&fresh, Value::Null).await),
        refused(50501, fleet.try_skip_revert(&fresh).await),
        refused(50501, fleet.try_cutover(&fresh, Value::Null).await),
    ] {
        assert!(
            refusal.message.contains(&format!("apply {}", fresh.id)),
            "{refusal:?}"
        );
        assert!(
            ["possible", "see", "operation_blocked", "submit"]
                .iter()
                .any(|hint| refusal.message.contains(hint)),
            "{refusal:?}"
        );
        assert!(refusal.message.chars().count() <= 128);
    }
    assert_eq!(fleet.trace().await, before, "nothing recorded");

    for end in ["completed", "failed", "cancelled", "reverted"] {
        let fleet = Fleet::of(1).await;
        let apply = fleet.settled(end).await;
        let before = fleet.trace().await;
        for Procedure {
            name, arguments, ..
        } in commands(apply.id)
        {
            let refusal = fleet.refuses(50501, name, &arguments).await;
            assert!(
                refusal.message.contains(end) && refusal.message.contains("submit"),
                "{name}: {refusal:?}"
            );
        }
        let all = json!({"all": true});
        refused(50501, fleet.try_cutover(&apply, all).await);
        assert_eq!(fleet.trace().await, before, "{end}");
    }
}

/// Case 72.
#[tokio::test]
async fn a_throttle_level_has_bounds_and_an_apply_has_to_exist() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let claim = fleet.run(apply.operations[0]).await;
    let before = fleet.trace().await;
    for level in [
        json!(-1),
        json!(11),
        json!(1_000_000_000_000_i64),
        json!("x"),
        json!(null),
        json!("3x"),
        json!("3\n"),
        json!(1.5),
    ] {
        let outcome = fleet
            .command(
                "apply_throttle",
                arguments![
                    apply.id,
                    level.as_str().map_or(level.to_string(), str::to_owned),
                    "why"
                ],
            )
            .await;
        refused(50001, outcome);
    }
    refused(
        50001,
        fleet
            .command("apply_throttle", arguments![apply.id, Value::Null, "why"])
            .await,
    );
    for nobody in [0i64, -1, 4_000_000_000, i64::MAX] {
        for mut command in commands(apply.id) {
            command.arguments[0] = nobody.into();
            fleet.refuses(50002, command.name, &command.arguments).await;
        }
    }
    assert_eq!(fleet.trace().await, before);
    for level in [10u64, 0, 7] {
        let answer = fleet
            .command("apply_throttle", arguments![apply.id, level, "why"])
            .await
            .unwrap();
        assert_eq!(
            (answer.command.as_str(), answer.status.as_str()),
            ("throttle", "done")
        );
        assert_eq!(
            fleet.beat(&claim).await.throttle_level,
            i64::try_from(level).unwrap()
        );
    }
}

/// Case 73.
#[tokio::test]
async fn a_resolved_request_has_a_time_and_an_outcome_and_stays_as_it_is() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "barrier"})).await;
    let [o1, _] = apply.all();
    let claim = fleet.run(o1).await;
    fleet.stop(&apply).await;
    fleet.report("operation_stopped", &claim).await;
    fleet.start(&apply).await;
    fleet.stop(&apply).await;
    fleet
        .command("apply_throttle", arguments![apply.id, 2u64, Value::Null])
        .await
        .unwrap();

    let resolved = "SELECT CONCAT_WS(' | ', r.request_id, r.command, r.status, r.requested_by, r.requested_at, r.resolved_at, r.outcome)
                      FROM control_request_log AS r ORDER BY r.request_id";
    let before = fleet.sql().await.texts(resolved, &[]).await;
    assert_eq!(before.len(), 4);
    for request in &before {
        assert_eq!(request.split(" | ").count(), 7, "{request}");
    }
    let words: Vec<&str> = before
        .iter()
        .map(|request| request.split(" | ").nth(2).unwrap())
        .collect();
    assert_eq!(words, ["done", "moot", "done", "done"]);
    // What was asked and what came of it, in order.
    let history = "SELECT CONCAT_WS(' ', e.event, SUBSTRING_INDEX(e.detail, ':', 1)) FROM event_log AS e
                    WHERE e.event IN ('requested', 'resolved') AND COALESCE(e.actor, '') <> '' ORDER BY e.event_id";
    assert_eq!(
        fleet.sql().await.texts(history, &[]).await,
        [
            "requested stop",
            "resolved stop done",
            "requested start",
            "resolved start moot",
            "requested stop",
            "resolved stop done",
            "requested throttle",
            "resolved throttle done",
        ]
    );

    fleet.start(&apply).await;
    fleet.retire(&apply).await;
    let after = fleet.sql().await.texts(resolved, &[]).await;
    assert_eq!(after[..4], before[..]);
    let pending = fleet
        .sql()
        .await
        .number(
            "SELECT COUNT(*) FROM control_request_log AS r WHERE r.status = 'pending'",
            &[],
        )
        .await;
    assert_eq!(pending, 0, "a settled apply has nothing pending");
}

/// A claim passes over what is locked and would say "nothing": a throttle, which shuts no gate, locks no operation.
#[tokio::test]
async fn a_throttle_waits_for_no_claim_and_locks_no_operation() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let mut holder = fleet.session().await;
    holder.run("START TRANSACTION").await.unwrap();
    let lock = "SELECT l.operation_id FROM operation_live AS l WHERE l.operation_id = ? FOR UPDATE";
    holder.rows(lock, arguments![apply.operations[0]]).await;

    let mut session = fleet.session().await;
    session
        .run("SET SESSION innodb_lock_wait_timeout = 1")
        .await
        .unwrap();
    let throttle = session
        .command("apply_throttle", arguments![apply.id, 7u64, "peak hour"])
        .await;

    assert_eq!(throttle.expect("no lock to wait for").status, "done");
    holder.run("ROLLBACK").await.unwrap();
    let claim = fleet.claim_copy("alpha").await.expect("still pending");
    assert_eq!(fleet.beat(&claim).await.throttle_level, 7);
}

/// SPEC.md section 6: naming what is possible instead.
#[tokio::test]
async fn a_refusal_names_the_cutover_that_the_apply_waits_for() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({"defer_cutover": true})).await;
    let [operation] = apply.all();
    let refusal = fleet.try_start(&apply).await.expect_err("nothing to start");
    assert!(!refusal.message.contains("apply_cutover"), "{refusal:?}");
    fleet.hold(operation).await;
    let refusal = fleet.try_start(&apply).await.expect_err("nothing to start");
    assert!(refusal.message.contains("apply_cutover"), "{refusal:?}");
    fleet.cutover(&apply).await;
    let refusal = fleet.try_start(&apply).await.expect_err("nothing to start");
    assert!(!refusal.message.contains("apply_cutover"), "{refusal:?}");
}

/// SQL-API.md: an unknown name is refused, whatever is pending.
#[tokio::test]
async fn a_revert_of_an_unknown_deployment_is_refused() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({"revert_window_seconds": 600})).await;
    let [operation] = apply.all();
    let claim = fleet.cut_over(operation).await;
    fleet.swapped(&claim).await;
    let unknown = || json!({"deployments": ["no-such"]});
    for _ in 0..2 {
        let refusal = fleet.try_revert(&apply, unknown()).await;
        let refusal = refusal.expect_err("there is no such deployment");
        assert!(
            refusal.number == 50002 && refusal.message.contains("no-such"),
            "{refusal:?}"
        );
        fleet.revert(&apply).await;
    }
}
