//! Cases 52 to 57: what a failure holds back.

use serde_json::{Value, json};

use crate::support::control::{Fleet, refused};

/// Case 52.
#[tokio::test]
async fn under_continue_a_failed_sibling_no_longer_blocks() {
    for policy in ["rolling", "barrier", "parallel"] {
        let fleet = Fleet::of(2).await;
        let options = json!({"cutover_policy": policy, "on_failure": "continue"});
        let [o1, o2] = fleet.submit(options).await.all();
        fleet.fail_operation(o1).await;
        assert_eq!(fleet.claim_copy("beta").await.unwrap().operation, o2);
    }
    for policy in ["barrier", "parallel"] {
        let fleet = Fleet::of(3).await;
        let options = json!({"cutover_policy": policy, "on_failure": "continue"});
        let [o1, o2, o3] = fleet.submit(options).await.all();
        fleet.park(o1).await;
        fleet.park(o2).await;
        fleet.park(o3).await;
        let swap = fleet.cut_over(o1).await;
        fleet.fail_for_good(&swap).await;
        assert_eq!(fleet.claim_cutover("beta").await.unwrap().operation, o2);
    }
}

/// Case 53.
#[tokio::test]
async fn under_halt_a_failed_sibling_blocks_for_good() {
    let fleet = Fleet::of(2).await;
    let [o1, o2] = fleet
        .submit(json!({"cutover_policy": "parallel"}))
        .await
        .all();
    fleet.park(o2).await;
    fleet.fail_operation(o1).await;
    fleet.nothing_is_claimable().await;
    fleet.age(o2, 86_400).await;
    fleet.nothing_is_claimable().await;
    assert_eq!(fleet.state(o2).await, "waiting_for_cutover");
}

/// Case 54.
#[tokio::test]
async fn under_continue_a_live_sibling_is_not_skipped() {
    let fleet = Fleet::of(3).await;
    let [o1, o2, o3] = fleet.submit(json!({"on_failure": "continue"})).await.all();
    fleet.fail_operation(o1).await;
    fleet.run(o2).await;
    assert!(fleet.claim_copy("beta").await.is_none());
    assert_eq!(fleet.blocked(o3).await.unwrap().blocker, Some(o2));
}

/// SPEC.md section 3: only `failed` is ever exempted.
#[tokio::test]
async fn neither_continue_nor_a_release_exempts_anything_but_a_failure() {
    for state in ["cancelled", "reverted"] {
        let fleet = Fleet::of(2).await;
        let options = json!({
            "cutover_policy": "barrier",
            "on_failure": "continue",
            "revert_window_seconds": if state == "reverted" { 600 } else { 0 },
            "defer_cutover": state == "cancelled",
            "defer_timeout_seconds": 100,
        });
        let apply = fleet.submit(options).await;
        let [o1, o2] = apply.all();
        if state == "reverted" {
            fleet.park(o1).await;
            fleet.park(o2).await;
            let claim = fleet.swap(o1).await;
            fleet.go_back(&apply, &claim).await;
            fleet.nothing_is_claimable().await;
            assert_eq!(fleet.apply_state(&apply).await, "halted");
            let blocked = fleet.blocked(o2).await.unwrap();
            assert_eq!(blocked.blocker, Some(o1));
        } else {
            let claim = fleet.hold(o1).await;
            fleet.age(o1, 101).await;
            fleet.beat(&claim).await;
            fleet.report("operation_cancelled", &claim).await;
            assert_eq!(fleet.state(o2).await, "cancelled", "it can never start");
        }
    }
}

/// Case 55.
#[tokio::test]
async fn under_pause_a_failure_holds_until_the_release() {
    for policy in ["rolling", "barrier", "parallel"] {
        let fleet = Fleet::of(3).await;
        let options = json!({"cutover_policy": policy, "on_failure": "pause", "max_copies": 1});
        let apply = fleet.submit(options).await;
        let [o1, o2, _] = apply.all();
        fleet.fail_operation(o1).await;
        fleet.nothing_is_claimable().await;
        assert_eq!(fleet.states(&apply).await, ["failed", "pending", "pending"]);
        assert_eq!(fleet.apply_state(&apply).await, "paused");
        assert_eq!(fleet.blocked(o2).await.unwrap().blocker, Some(o1));

        let release = fleet.release_pause(&apply).await;
        assert_eq!(release.status, "done");
        let claim = fleet.claim_copy("beta").await.expect("at once");
        assert_eq!(claim.operation, o2);
        // It latches.
        fleet.fail_for_good(&claim).await;
        assert!(fleet.claim_copy("beta").await.is_some());
        refused(50501, fleet.try_release_pause(&apply).await);
    }
}

/// SPEC.md section 6: a release is possible when a failure under `pause` holds anything back, whatever else still runs.
#[tokio::test]
async fn a_pause_can_be_released_while_others_still_run() {
    let fleet = Fleet::of(3).await;
    let options = json!({"cutover_policy": "parallel", "on_failure": "pause"});
    let apply = fleet.submit(options).await;
    let [o1, o2, o3] = apply.all();
    fleet.run(o2).await;
    fleet.park(o3).await;
    fleet.fail_operation(o1).await;
    assert_eq!(fleet.apply_state(&apply).await, "running_degraded");
    assert_eq!(fleet.release_pause(&apply).await.status, "done");
}

/// Case 56.
/// Behind what was reverted nothing ever goes on, whatever else is released.
#[tokio::test]
async fn a_pause_behind_what_blocks_for_good_is_a_halt() {
    let fleet = Fleet::of(3).await;
    let apply = fleet
        .submit(json!({"cutover_policy": "parallel", "on_failure": "pause", "revert_window_seconds": 600}))
        .await;
    let [o1, o2, o3] = apply.all();
    for operation in [o1, o3] {
        fleet.park(operation).await;
    }
    let copying = fleet.run(o2).await;
    let window = fleet.swap(o1).await;
    fleet.go_back(&apply, &window).await;
    fleet.fail_for_good(&copying).await;
    assert_eq!(fleet.apply_state(&apply).await, "halted");
    let refusal = fleet.try_release_pause(&apply).await.expect_err("in vain");
    assert!(
        refusal
            .message
            .contains("possible: apply_stop, apply_cancel"),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn a_release_of_what_no_failure_holds_back_is_refused() {
    let fleet = Fleet::of(2).await;
    let running = fleet.submit(json!({"on_failure": "pause"})).await;
    refused(50501, fleet.try_release_pause(&running).await);
    let claim = fleet.run(running.operations[0]).await;
    refused(50501, fleet.try_release_pause(&running).await);
    assert_eq!(fleet.arrive(&claim).await, "cut_over");
    fleet.swapped(&claim).await;
    // The last one fails: nothing is behind it.
    fleet.fail_operation(running.operations[1]).await;
    refused(50501, fleet.try_release_pause(&running).await);

    let halts = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2] = halts.all();
    fleet.park(o2).await;
    fleet.fail_operation(o1).await;
    refused(50501, fleet.try_release_pause(&halts).await);

    let fleet = Fleet::of(1).await;
    let completed = fleet.submit(json!({"on_failure": "pause"})).await;
    fleet.swap(completed.operations[0]).await;
    refused(50501, fleet.try_release_pause(&completed).await);
}

/// Case 57.
#[tokio::test]
async fn a_halted_apply_is_cleaned_up_by_a_cancel_and_failed_then() {
    let fleet = Fleet::of(3).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2, o3] = apply.all();
    fleet.park(o2).await;
    fleet.fail_operation(o1).await;

    assert_eq!(fleet.apply_state(&apply).await, "halted");
    let blocked = fleet.blocked(o2).await.unwrap();
    assert_eq!(blocked.blocker, Some(o1));
    assert!(
        blocked.reason.contains("d1") && blocked.reason.contains("failed"),
        "{blocked:?}"
    );
    assert_eq!(fleet.state(o3).await, "cancelled", "it can never start");

    fleet.cancel(&apply).await;
    let claim = fleet.claim_copy("beta").await.unwrap();
    assert_eq!((claim.operation, claim.state.as_str()), (o2, "cancelling"));
    fleet.report("operation_cancelled", &claim).await;
    assert_eq!(fleet.apply_state(&apply).await, "failed");
    assert_eq!(
        fleet.states(&apply).await,
        ["failed", "cancelled", "cancelled"]
    );
}

/// SPEC.md section 7: pending siblings that can never start are settled, with the reason, by the transition that made it so.
#[tokio::test]
async fn pending_siblings_that_can_never_start_are_settled_with_the_reason() {
    for policy in ["rolling", "barrier", "parallel"] {
        let fleet = Fleet::of(3).await;
        let options = json!({"cutover_policy": policy, "max_copies": 1});
        let apply = fleet.submit(options).await;
        let [o1, o2, o3] = apply.all();
        fleet.fail_operation(o1).await;
        assert_eq!(
            fleet.states(&apply).await,
            ["failed", "cancelled", "cancelled"]
        );
        assert_eq!(fleet.apply_state(&apply).await, "failed");
        for operation in [o2, o3] {
            let reasons = fleet
                .sql()
                .await
                .texts(
                    "SELECT e.detail FROM event_log AS e WHERE e.operation_id = ? AND e.to_state = 'cancelled'",
                    crate::support::control::arguments![operation],
                )
                .await;
            assert_eq!(reasons.len(), 1);
            assert!(
                reasons[0].contains("d1") && reasons[0].contains("failed"),
                "{reasons:?}"
            );
        }
        fleet.submit(Value::Null).await;
    }
}

/// What is behind a failure only because of a stop is settled too, when it would be pending again.
#[tokio::test]
async fn a_start_settles_what_can_never_start() {
    let fleet = Fleet::of(2).await;
    let apply = fleet
        .submit(json!({"cutover_policy": "parallel", "max_copies": 1}))
        .await;
    let [o1, _] = apply.all();
    let claim = fleet.run(o1).await;
    fleet.stop(&apply).await;
    fleet.fail_for_good(&claim).await;
    assert_eq!(fleet.states(&apply).await, ["failed", "stopped"]);
    assert_eq!(fleet.apply_state(&apply).await, "stopped");
    fleet.start(&apply).await;
    assert_eq!(fleet.states(&apply).await, ["failed", "cancelled"]);
    assert_eq!(fleet.apply_state(&apply).await, "failed");
}
