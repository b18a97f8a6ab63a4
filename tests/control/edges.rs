//! Where two rules meet: what is asked for and can never come, clocks that are not the server's, bounds, and who waits for whom.

use serde_json::{Value, json};

use crate::support::control::{Fleet, arguments, refused};

/// SPEC.md section 6: a request ends. The swap that it was bound to never comes behind one that was swapped back.
#[tokio::test]
async fn a_cutover_whose_swap_can_never_come_is_moot_in_the_call_that_made_it_so() {
    let fleet = Fleet::of(2).await;
    let options = json!({
        "cutover_policy": "parallel",
        "defer_cutover": true,
        "defer_timeout_seconds": 60,
        "revert_window_seconds": 600,
        "revert_scope": "apply",
    });
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    let first = fleet.hold(o1).await;
    let second = fleet.hold(o2).await;
    fleet.cutover(&apply).await;
    fleet.report("operation_begin_cutover", &first).await;
    fleet.swapped(&first).await;
    let bound = fleet.cutover(&apply).await;
    assert_eq!(bound.operation, Some(o2));
    let revert = fleet.revert(&apply).await;
    fleet.report("operation_begin_revert", &first).await;
    assert_eq!(fleet.request_status(&bound).await, "pending", "not yet");

    fleet.report("operation_reverted", &first).await;

    assert_eq!(fleet.request_status(&revert).await, "done");
    assert_eq!(fleet.request_status(&bound).await, "moot");
    refused(50501, fleet.try_cutover(&apply, Value::Null).await);
    // The time-out of the deferral counts again.
    fleet.age(o2, 61).await;
    assert_eq!(fleet.directive(&second).await, "cancel");
}

/// A failure under `pause` blocks until its release, not for good: the request goes on.
#[tokio::test]
async fn a_cutover_behind_a_failure_that_can_be_released_stays_pending() {
    let fleet = Fleet::of(2).await;
    let options = json!({
        "cutover_policy": "parallel",
        "defer_cutover": true,
        "on_failure": "pause",
        "revert_window_seconds": 600,
        "revert_scope": "apply",
    });
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    let first = fleet.hold(o1).await;
    let second = fleet.hold(o2).await;
    fleet.cutover(&apply).await;
    fleet.report("operation_begin_cutover", &first).await;
    fleet.swapped(&first).await;
    let bound = fleet.cutover(&apply).await;
    fleet.revert(&apply).await;
    fleet.report("operation_begin_revert", &first).await;
    assert_eq!(fleet.fail_for_good(&first).await, "failed");
    assert_eq!(fleet.request_status(&bound).await, "pending");
    fleet.release_pause(&apply).await;
    assert_eq!(fleet.directive(&second).await, "cutover");
}
