//! Case 6: which deployments there are.

use serde_json::{Value, json};

use crate::support::control::{Claim, Fleet, arguments};

/// Case 6.
#[tokio::test]
async fn a_deployment_in_use_cannot_be_removed() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"deployments": ["d1"]})).await;

    let refusal = fleet
        .refuses(50501, "deployment_remove", arguments!["d1"])
        .await;
    assert!(
        refusal.message.contains(&format!("apply {}", apply.id)),
        "{refusal:?}"
    );
    fleet.call("deployment_remove", arguments!["d2"]).await;

    fleet.cancel(&apply).await;
    fleet.call("deployment_remove", arguments!["d1"]).await;
    fleet
        .refuses(50002, "deployment_remove", arguments!["d1"])
        .await;
    // Its history stays.
    assert_eq!(fleet.states(&apply).await, ["cancelled"]);
}

/// Nobody can clean up on a server that is gone, and its apply would hold its tables everywhere.
#[tokio::test]
async fn a_clean_up_that_fails_again_and_again_is_given_up_with_its_deployment() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({})).await;
    let operation = apply.operations[0];
    let mut claim = fleet.run(operation).await;
    fleet.cancel(&apply).await;
    for attempt in 1..=3 {
        fleet
            .refuses(50501, "deployment_remove", arguments!["d1"])
            .await;
        assert_eq!(fleet.states(&apply).await, ["cancelling"], "{attempt}");
        assert_eq!(fleet.fail_for_now(&claim).await, "cancelling");
        if attempt < 3 {
            fleet.age(operation, 600).await;
            claim = fleet.claim_copy("driver").await.expect("the clean-up");
        }
    }
    fleet.call("deployment_remove", arguments!["d1"]).await;
    assert_eq!(fleet.states(&apply).await, ["failed"]);
    assert_eq!(fleet.apply_state(&apply).await, "failed");
}

async fn fails_again_and_again(fleet: &Fleet, mut claim: Claim, state: &str) {
    for attempt in 1..=3 {
        assert_eq!(fleet.fail_for_now(&claim).await, state, "{attempt}");
        if attempt < 3 {
            fleet.age(claim.operation, 600).await;
            let again = fleet.claim_cutover_on(&claim.deployment).await;
            claim = match again {
                Some(claim) => claim,
                None => fleet
                    .claim_copy_on(&claim.deployment)
                    .await
                    .expect("it is tried again"),
            };
        }
    }
}

#[tokio::test]
async fn two_servers_that_are_gone_do_not_keep_each_other() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2] = apply.all();
    let claims = [fleet.run(o1).await, fleet.run(o2).await];
    fleet.cancel(&apply).await;
    for claim in claims {
        fails_again_and_again(&fleet, claim, "cancelling").await;
    }
    let refusal = fleet
        .refuses(50501, "deployment_remove", arguments!["d1"])
        .await;
    assert!(refusal.message.contains("not done with d2"), "{refusal:?}");
    assert_eq!(fleet.states(&apply).await, ["failed", "cancelling"]);
    fleet.call("deployment_remove", arguments!["d2"]).await;
    assert_eq!(fleet.states(&apply).await, ["failed", "failed"]);
    fleet.call("deployment_remove", arguments!["d1"]).await;
}

/// Failures of the copy are none of the clean-up: nobody has tried that yet.
#[tokio::test]
async fn a_clean_up_that_nobody_has_tried_is_not_given_up() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({})).await;
    let operation = apply.operations[0];
    for _ in 0..3 {
        let claim = fleet.run(operation).await;
        fleet.fail_for_now(&claim).await;
        fleet.age(operation, 600).await;
    }
    fleet.cancel(&apply).await;
    fleet
        .refuses(50501, "deployment_remove", arguments!["d1"])
        .await;
    assert_eq!(fleet.states(&apply).await, ["cancelling"]);
}

/// The change is in use where it has swapped; what was to be taken back was not.
#[tokio::test]
async fn a_server_that_is_gone_after_its_swap_is_given_up_with_its_deployment() {
    for (asks_back, end) in [(false, "completed"), (true, "failed")] {
        let fleet = Fleet::of(2).await;
        let apply = fleet.submit(json!({"revert_window_seconds": 86400})).await;
        let [o1, o2] = apply.all();
        let claim = fleet.cut_over(o1).await;
        fleet.swapped(&claim).await;
        let mut state = "revert_window";
        if asks_back {
            fleet.begin_revert(&apply, &claim).await;
            state = "reverting";
        }
        fails_again_and_again(&fleet, claim, state).await;
        fleet
            .refuses(50501, "deployment_remove", arguments!["d1"])
            .await;
        assert_eq!(fleet.states(&apply).await[1], "pending", "d2 waits for it");
        fleet.cancel(&apply).await;
        assert_eq!(fleet.state(o2).await, "cancelled");
        fleet.call("deployment_remove", arguments!["d1"]).await;
        assert_eq!(fleet.states(&apply).await, [end, "cancelled"]);
    }
}

/// What swapped earlier would wait for it with its own way back, and nothing else can be asked meanwhile.
#[tokio::test]
async fn a_server_that_is_gone_keeps_no_other_from_going_back() {
    for has_begun in [false, true] {
        let fleet = Fleet::of(2).await;
        let apply = fleet
            .submit(json!({"cutover_policy": "parallel", "revert_scope": "apply", "revert_window_seconds": 86400}))
            .await;
        let [o1, o2] = apply.all();
        let first = fleet.cut_over(o1).await;
        fleet.swapped(&first).await;
        let second = fleet.cut_over(o2).await;
        fleet.swapped(&second).await;
        let revert = fleet.revert(&apply).await;
        let mut state = "revert_window";
        if has_begun {
            fleet.report("operation_begin_revert", &second).await;
            state = "reverting";
        }
        fails_again_and_again(&fleet, second, state).await;
        fleet
            .refuses(50501, "deployment_remove", arguments!["d1"])
            .await;
        fleet
            .refuses(50501, "deployment_remove", arguments!["d2"])
            .await;
        assert_eq!(fleet.request_status(&revert).await, "refused");
        fleet.go_back(&apply, &first).await;
        let end = if has_begun { "failed" } else { "completed" };
        assert_eq!(fleet.states(&apply).await, ["reverted", end]);
        fleet.call("deployment_remove", arguments!["d2"]).await;
    }
}

#[tokio::test]
async fn what_a_stop_keeps_from_its_beginning_makes_no_deployment_busy() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({})).await;
    fleet.stop(&apply).await;
    let state = "SELECT d.state FROM deployment_status AS d";
    assert_eq!(fleet.sql().await.texts(state, &[]).await, ["waiting"]);
}

/// It would open gates: what a call that is refused must not do.
#[tokio::test]
async fn a_removal_that_is_refused_gives_no_clean_up_up() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [first, second] = apply.all();
    let mut claim = fleet.run(first).await;
    let other = fleet.run(second).await;
    fleet.cancel(&apply).await;
    for _ in 0..2 {
        fleet.fail_for_now(&claim).await;
        fleet.age(first, 600).await;
        claim = fleet.claim_copy("driver").await.expect("the clean-up");
    }
    fleet.fail_for_now(&claim).await;
    fleet
        .refuses(50501, "deployment_remove", arguments!["d1"])
        .await;
    assert_eq!(fleet.states(&apply).await, ["cancelling", "cancelling"]);
    fleet.report("operation_cancelled", &other).await;
    fleet.call("deployment_remove", arguments!["d1"]).await;
    assert_eq!(fleet.states(&apply).await, ["failed", "cancelled"]);
}

#[tokio::test]
async fn a_position_is_held_by_one_deployment() {
    let fleet = Fleet::of(2).await;
    for other in ["d3", "d1"] {
        let register = arguments![other, 1u64, "h", 1u64, Value::Null];
        fleet.refuses(50504, "deployment_register", register).await;
    }
    fleet
        .call(
            "deployment_register",
            arguments!["d2", 1u64, "moved.example", 3307u64, Value::Null],
        )
        .await;
    let apply = fleet.submit(json!({"deployments": ["d2"]})).await;
    let claim = fleet.claim_copy("alpha").await.unwrap();
    assert_eq!(
        (claim.apply, claim.host.as_str()),
        (apply.id, "moved.example")
    );
}

/// The next driver of each goes to another server, with the old one's checkpoint.
#[tokio::test]
async fn an_address_that_changes_under_live_operations_is_logged_with_who_changed_it() {
    let fleet = Fleet::of(2).await;
    // What has settled goes nowhere.
    fleet.settled("completed").await;
    let mut carol = fleet.session_as("carol").await;
    let apply = fleet.submit(Value::Null).await;
    let [o1, _] = apply.all();
    for (host, port) in [
        ("db1.example", 3301u64),
        ("moved.example", 3310),
        ("moved.example", 3310),
    ] {
        let register = arguments!["d1", 0u64, host, port, Value::Null];
        carol.call("deployment_register", register).await.unwrap();
    }

    let events = "SELECT CONCAT_WS(' ', e.apply_id, e.operation_id, e.deployment, LEFT(e.actor, 6), e.detail)
                    FROM event_log AS e WHERE e.event = 'address'";
    let expected = format!(
        "{} {o1} d1 carol_ db1.example:3301 -> moved.example:3310",
        apply.id
    );
    assert_eq!(fleet.sql().await.texts(events, &[]).await, [expected]);
    let registered =
        "SELECT LEFT(d.registered_by, 6) FROM deployment_status AS d WHERE d.deployment = 'd1'";
    assert_eq!(fleet.sql().await.texts(registered, &[]).await, ["carol_"]);
}
