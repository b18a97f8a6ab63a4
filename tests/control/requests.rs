//! Cases 67 to 73: what is asked for, and what comes of it.

use serde_json::{Value, json};

use crate::support::control::{Apply, Fleet, arguments, refused};
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

/// All commands, with a reason, on one apply.
async fn commands(
    fleet: &Fleet,
    apply: &Apply,
) -> Vec<(&'static str, Result<String, (u16, String)>)> {
    let mut outcomes = Vec::new();
    for (procedure, arguments) in [
        ("apply_start", arguments![apply.id, "why"].to_vec()),
        ("apply_stop", arguments![apply.id, "why"].to_vec()),
        ("apply_cancel", arguments![apply.id, "why"].to_vec()),
        ("apply_release", arguments![apply.id, "why"].to_vec()),
        ("apply_skip_revert", arguments![apply.id, "why"].to_vec()),
        (
            "apply_cutover",
            arguments![apply.id, Value::Null, "why"].to_vec(),
        ),
        (
            "apply_cutover",
            arguments![apply.id, json!({"all": true}), "why"].to_vec(),
        ),
        (
            "apply_revert",
            arguments![apply.id, Value::Null, "why"].to_vec(),
        ),
        ("apply_throttle", arguments![apply.id, 3u64, "why"].to_vec()),
    ] {
        let outcome = fleet.command(procedure, &arguments).await;
        outcomes.push((
            procedure,
            outcome
                .map(|answer| answer.status)
                .map_err(|refusal| (refusal.number, refusal.message)),
        ));
    }
    outcomes
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
        for (procedure, outcome) in commands(&fleet, &apply).await {
            match outcome {
                Err((50501, message)) => {
                    assert!(
                        message.contains(end) && message.contains("submit"),
                        "{procedure}: {message}"
                    );
                }
                other => panic!("{procedure} on a {end} apply: {other:?}"),
            }
        }
        assert_eq!(fleet.trace().await, before, "{end}");
    }
}

/// Case 70.
#[tokio::test]
async fn one_cutover_request_is_one_swap_of_the_operation_whose_turn_it_is() {
    let fleet = Fleet::of(2).await;
    let options = json!({"cutover_policy": "parallel", "defer_cutover": true});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    // Out of turn: o1 still copies.
    let first = fleet.run(o1).await;
    let second = fleet.hold(o2).await;
    let refusal = refused(50501, fleet.try_cutover(&apply, Value::Null).await);
    assert!(
        refusal.message.contains("d1") && refusal.message.contains(&o1.to_string()),
        "{refusal:?}"
    );
    assert_eq!(fleet.arrive(&first).await, "hold");

    let request = fleet.cutover(&apply).await;

    assert_eq!(request.operation, Some(o1));
    assert_eq!(request.status, "pending");
    assert_eq!(
        fleet.cutover(&apply).await.request,
        request.request,
        "asked again"
    );
    assert_eq!(fleet.directive(&first).await, "cutover");
    assert_eq!(fleet.directive(&second).await, "none");
    let early = fleet
        .sql()
        .await
        .report("operation_begin_cutover", &second)
        .await;
    let refusal = refused(50201, early);
    assert!(
        refusal.message.contains("d1"),
        "names the blocker: {refusal:?}"
    );
    assert_eq!(
        fleet.report("operation_begin_cutover", &first).await,
        "cutting_over"
    );
    let requests = fleet.trace().await;
    let again = fleet.cutover(&apply).await;
    assert_eq!(again.request, request.request);
    assert_eq!(fleet.trace().await, requests, "success, no new request");
    assert_eq!(fleet.swapped(&first).await, "completed");
    assert_eq!(fleet.request_status(&request).await, "done");

    // It never passes on to the next.
    assert_eq!(fleet.directive(&second).await, "none");
    let next = fleet.cutover(&apply).await;
    assert_ne!(next.request, request.request);
    assert_eq!(next.operation, Some(o2));
    assert_eq!(fleet.directive(&second).await, "cutover");
}

/// Case 69: a swap behind one that was swapped back never starts.
#[tokio::test]
async fn a_cutover_of_all_is_refused_where_no_swap_can_ever_start() {
    let fleet = Fleet::of(2).await;
    let options =
        json!({"cutover_policy": "parallel", "defer_cutover": true, "revert_window_seconds": 600});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    let claim = fleet.hold(o1).await;
    fleet.hold(o2).await;
    fleet.cutover(&apply).await;
    fleet.report("operation_begin_cutover", &claim).await;
    fleet.swapped(&claim).await;
    fleet.revert(&apply).await;
    fleet.report("operation_begin_revert", &claim).await;
    fleet.report("operation_reverted", &claim).await;

    let before = fleet.trace().await;
    for options in [json!({"all": true}), Value::Null] {
        refused(50501, fleet.try_cutover(&apply, options).await);
    }
    assert_eq!(fleet.trace().await, before);
}

/// What waits for a revert says for whose.
#[tokio::test]
async fn a_swap_behind_a_pending_revert_is_blocked_by_name() {
    let fleet = Fleet::of(2).await;
    let options = json!({"cutover_policy": "parallel", "revert_window_seconds": 600, "revert_scope": "apply"});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    fleet.swap(o1).await;
    fleet.park(o2).await;
    fleet.revert(&apply).await;
    let blocked = fleet.blocked(o2).await.expect("a revert is pending");
    assert_eq!(blocked.blocker, Some(o1));
    assert!(blocked.reason.contains("d1"), "{}", blocked.reason);
}

#[tokio::test]
async fn a_cutover_of_all_opens_the_gate_for_each_in_its_turn() {
    let fleet = Fleet::of(3).await;
    let options = json!({"cutover_policy": "parallel", "defer_cutover": true});
    let apply = fleet.submit(options).await;
    let mut claims = Vec::new();
    for operation in apply.all::<3>() {
        claims.push(fleet.hold(operation).await);
    }
    let one = fleet.cutover(&apply).await;
    let all = fleet
        .try_cutover(&apply, json!({"all": true}))
        .await
        .unwrap();
    assert_eq!((all.operation, all.status.as_str()), (None, "pending"));
    assert_eq!(fleet.request_status(&one).await, "moot");
    for (number, claim) in claims.iter().enumerate() {
        assert_eq!(fleet.directive(claim).await, "cutover");
        for later in &claims[number + 1..] {
            assert_eq!(fleet.directive(later).await, "none", "not its turn");
        }
        fleet.report("operation_begin_cutover", claim).await;
        fleet.swapped(claim).await;
    }
    assert_eq!(fleet.request_status(&all).await, "done");
    assert_eq!(fleet.apply_state(&apply).await, "completed");
}

/// What a request for one swap asked for has happened once that swap is under way.
#[tokio::test]
async fn a_cutover_of_all_leaves_the_request_of_a_swap_under_way_done() {
    let fleet = Fleet::of(2).await;
    let options = json!({"cutover_policy": "parallel", "defer_cutover": true});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    let first = fleet.hold(o1).await;
    let second = fleet.hold(o2).await;
    let one = fleet.cutover(&apply).await;
    fleet.report("operation_begin_cutover", &first).await;

    let all = fleet.try_cutover(&apply, json!({"all": true})).await;
    let all = all.expect("another swap may come");
    assert_ne!(all.request, one.request);
    assert_eq!(fleet.request_status(&one).await, "done");
    fleet.swapped(&first).await;
    assert_eq!(fleet.directive(&second).await, "cutover");
    fleet.report("operation_begin_cutover", &second).await;
    fleet.swapped(&second).await;
    assert_eq!(fleet.request_status(&all).await, "done");
}

/// What waits behind a failure under `halt` never swaps: a request for all of them must not stay pending for it.
#[tokio::test]
async fn a_cutover_of_all_ends_with_the_last_swap_that_could_come() {
    for (swapped, status) in [(0, "moot"), (1, "done")] {
        let fleet = Fleet::of(3).await;
        let options = json!({"cutover_policy": "parallel", "defer_cutover": true});
        let apply = fleet.submit(options).await;
        let mut claims = Vec::new();
        for operation in apply.all::<3>() {
            claims.push(fleet.hold(operation).await);
        }
        let all = fleet
            .try_cutover(&apply, json!({"all": true}))
            .await
            .unwrap();
        for claim in &claims[..swapped] {
            fleet.report("operation_begin_cutover", claim).await;
            fleet.swapped(claim).await;
        }
        fleet
            .report("operation_begin_cutover", &claims[swapped])
            .await;
        assert_eq!(fleet.request_status(&all).await, "pending");
        fleet.fail_for_good(&claims[swapped]).await;
        assert_eq!(fleet.request_status(&all).await, status);
    }
}

/// A cutover that fails has used nothing up: the request is for one swap, and there was none.
#[tokio::test]
async fn a_cutover_request_outlives_a_swap_that_did_not_happen() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({"defer_cutover": true})).await;
    let [o1] = apply.all();
    let claim = fleet.hold(o1).await;
    let request = fleet.cutover(&apply).await;
    fleet.report("operation_begin_cutover", &claim).await;
    assert_eq!(fleet.fail_for_now(&claim).await, "failed_retryable");
    let claim = fleet.hold(o1).await;
    assert_eq!(fleet.directive(&claim).await, "cutover");
    fleet.report("operation_begin_cutover", &claim).await;
    fleet.swapped(&claim).await;
    assert_eq!(fleet.request_status(&request).await, "done");
}

/// Case 71.
#[tokio::test]
async fn a_window_is_skipped_or_reverted_when_asked_and_not_before_it_is_over() {
    let fleet = Fleet::of(1).await;
    let options = json!({"revert_window_seconds": 600});
    let apply = fleet.submit(options.clone()).await;
    let claim = fleet.swap(apply.operations[0]).await;
    let mut session = fleet.session().await;
    refused(50201, session.report("operation_complete", &claim).await);
    refused(
        50201,
        session.report("operation_begin_revert", &claim).await,
    );
    refused(50201, session.report("operation_reverted", &claim).await);
    fleet.age(claim.operation, 540).await;
    refused(50201, session.report("operation_complete", &claim).await);

    let skip = fleet.skip_revert(&apply).await;
    assert_eq!(skip.status, "pending");
    assert_eq!(fleet.directive(&claim).await, "skip_revert");
    assert_eq!(
        fleet.report("operation_complete", &claim).await,
        "completed"
    );
    assert_eq!(fleet.request_status(&skip).await, "done");

    let apply = fleet.submit(options).await;
    let claim = fleet.swap(apply.operations[0]).await;
    let revert = fleet.revert(&apply).await;
    assert_eq!(revert.status, "pending");
    assert_eq!(fleet.directive(&claim).await, "revert");
    // A window that is to be reverted does not close by itself.
    fleet.age(claim.operation, 601).await;
    refused(50201, session.report("operation_complete", &claim).await);
    assert_eq!(
        fleet.report("operation_begin_revert", &claim).await,
        "reverting"
    );
    assert_eq!(fleet.report("operation_reverted", &claim).await, "reverted");
    assert_eq!(fleet.request_status(&revert).await, "done");
    assert_eq!(fleet.apply_state(&apply).await, "reverted");
}

/// SPEC.md section 6: while a revert window is open. One that has run out is not, though no driver has settled it yet.
#[tokio::test]
async fn a_window_that_has_run_out_is_neither_reverted_nor_skipped() {
    let fleet = Fleet::of(2).await;
    let lone = json!({"deployments": ["d1"], "revert_window_seconds": 600});
    let apply = fleet.submit(lone).await;
    let claim = fleet.swap(apply.operations[0]).await;
    fleet.age(claim.operation, 601).await;
    let before = fleet.trace().await;
    for options in [Value::Null, json!({"deployments": ["d1"]})] {
        refused(50501, fleet.try_revert(&apply, options).await);
    }
    refused(50501, fleet.try_skip_revert(&apply).await);
    assert_eq!(fleet.trace().await, before, "nothing recorded");
    fleet.report("operation_complete", &claim).await;

    // Side by side they stay open while another swap may come.
    let options = json!({"cutover_policy": "parallel", "revert_window_seconds": 600, "revert_scope": "apply"});
    let apply = fleet.submit(options).await;
    let claim = fleet.swap(apply.operations[0]).await;
    fleet.age(claim.operation, 601).await;
    fleet.revert(&apply).await;
    fleet.beat(&claim).await;
    assert_eq!(fleet.directive(&claim).await, "revert");
}

/// SPEC.md section 6: with several open, the last swapped goes back first, one at a time.
#[tokio::test]
async fn a_whole_rollout_goes_back_one_after_the_other_the_last_swapped_first() {
    let fleet = Fleet::of(3).await;
    let options =
        json!({"cutover_policy": "barrier", "revert_window_seconds": 600, "revert_scope": "apply"});
    let apply = fleet.submit(options).await;
    let mut claims = Vec::new();
    for operation in apply.all::<3>() {
        claims.push(fleet.swap(operation).await);
    }
    let revert = fleet.revert(&apply).await;
    let mut session = fleet.session().await;
    for number in [2, 1, 0] {
        for other in &claims[..number] {
            assert_eq!(fleet.directive(other).await, "none", "one at a time");
            refused(50201, session.report("operation_begin_revert", other).await);
        }
        assert_eq!(fleet.directive(&claims[number]).await, "revert");
        fleet
            .report("operation_begin_revert", &claims[number])
            .await;
        assert_eq!(fleet.apply_state(&apply).await, "reverting");
        if number > 0 {
            refused(
                50201,
                session
                    .report("operation_begin_revert", &claims[number - 1])
                    .await,
            );
        }
        fleet.report("operation_reverted", &claims[number]).await;
    }
    assert_eq!(fleet.request_status(&revert).await, "done");
    assert_eq!(fleet.apply_state(&apply).await, "reverted");
}

/// What swaps while a revert is asked for is the last swapped once it has: it goes back too, and first.
#[tokio::test]
async fn a_swap_under_way_when_a_revert_is_asked_for_goes_back_first() {
    let fleet = Fleet::of(2).await;
    let options =
        json!({"cutover_policy": "barrier", "revert_window_seconds": 600, "revert_scope": "apply"});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    let first = fleet.swap(o1).await;
    let second = fleet.cut_over(o2).await;
    let some = json!({"deployments": ["d1"]});
    let refusal = refused(50501, fleet.try_revert(&apply, some).await);
    assert!(refusal.message.contains("d2"), "{refusal:?}");

    let revert = fleet.revert(&apply).await;
    assert_eq!(fleet.directive(&first).await, "none", "a swap is under way");
    assert_eq!(fleet.swapped(&second).await, "revert_window");

    for claim in [&second, &first] {
        assert_eq!(fleet.request_status(&revert).await, "pending");
        assert_eq!(fleet.directive(claim).await, "revert");
        fleet.report("operation_begin_revert", claim).await;
        fleet.report("operation_reverted", claim).await;
    }
    assert_eq!(fleet.request_status(&revert).await, "done");
    assert_eq!(fleet.apply_state(&apply).await, "reverted");
}

#[tokio::test]
async fn a_revert_of_some_takes_the_last_ones_only() {
    let fleet = Fleet::of(3).await;
    let options =
        json!({"cutover_policy": "barrier", "revert_window_seconds": 600, "revert_scope": "apply"});
    let apply = fleet.submit(options).await;
    let [o1, o2, o3] = apply.all();
    for operation in [o1, o2] {
        fleet.swap(operation).await;
    }
    refused(
        50501,
        fleet
            .try_revert(&apply, json!({"deployments": ["d3"]}))
            .await,
    );
    refused(
        50501,
        fleet
            .try_revert(&apply, json!({"deployments": ["nowhere"]}))
            .await,
    );
    refused(
        50001,
        fleet.try_revert(&apply, json!({"deployments": []})).await,
    );
    let last = fleet.swap(o3).await;
    refused(
        50501,
        fleet
            .try_revert(&apply, json!({"deployments": ["d1"]}))
            .await,
    );
    fleet
        .try_revert(&apply, json!({"deployments": ["d3"]}))
        .await
        .unwrap();
    assert_eq!(fleet.directive(&last).await, "revert");
    fleet.report("operation_begin_revert", &last).await;
    fleet.report("operation_reverted", &last).await;
    assert_eq!(
        fleet.states(&apply).await,
        ["revert_window", "revert_window", "reverted"]
    );
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
        for (procedure, arguments) in [
            ("apply_stop", arguments![nobody, "why"].to_vec()),
            ("apply_start", arguments![nobody, "why"].to_vec()),
            ("apply_cancel", arguments![nobody, "why"].to_vec()),
            ("apply_release", arguments![nobody, "why"].to_vec()),
            ("apply_skip_revert", arguments![nobody, "why"].to_vec()),
            (
                "apply_cutover",
                arguments![nobody, Value::Null, "why"].to_vec(),
            ),
            (
                "apply_revert",
                arguments![nobody, Value::Null, "why"].to_vec(),
            ),
            ("apply_throttle", arguments![nobody, 5u64, "why"].to_vec()),
        ] {
            refused(50002, fleet.command(procedure, &arguments).await);
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
