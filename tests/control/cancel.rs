//! Cases 49 and 50: what a DBA cancels.

use serde_json::{Value, json};

use crate::support::control::{Fleet, refused};

/// Case 49.
#[tokio::test]
async fn a_cancel_removes_what_has_not_swapped_and_says_what_stays() {
    let fleet = Fleet::of(4).await;
    let options = json!({
        "cutover_policy": "parallel",
        "revert_window_seconds": 600,
        "max_copies": 1,
    });
    let statement = "ALTER TABLE orders ADD COLUMN c INT";
    let apply = fleet.try_submit(statement, options).await.unwrap();
    let [o0, o1, o2, o3] = apply.all();
    let window = fleet.swap(o0).await;
    fleet.park(o1).await;
    let copying = fleet.run(o2).await;

    let cancel = fleet.cancel(&apply).await;

    let states = ["revert_window", "cancelling", "cancelling", "cancelled"];
    assert_eq!(fleet.states(&apply).await, states);
    assert_eq!(cancel.status, "pending");
    assert!(cancel.message.contains("swapped"), "{cancel:?}");
    assert_eq!(fleet.claimable().await, [(o1, "copy".to_owned())]);
    assert_eq!(fleet.directive(&copying).await, "cancel");
    assert_eq!(fleet.directive(&window).await, "none");
    assert!(
        fleet.claim_cutover("beta").await.is_none(),
        "no swap starts"
    );

    let cleaning = fleet.claim_copy("beta").await.unwrap();
    assert_eq!(
        (cleaning.operation, cleaning.moved()),
        (o1, ("cancelling", "cancelling"))
    );
    assert_eq!(
        fleet.report("operation_cancelled", &cleaning).await,
        "cancelled"
    );
    assert_eq!(fleet.request_status(&cancel).await, "pending");
    let again = fleet
        .try_submit(statement, json!({"deployments": ["d3"]}))
        .await;
    refused(50502, again);
    assert_eq!(
        fleet.report("operation_cancelled", &copying).await,
        "cancelled"
    );
    assert_eq!(fleet.request_status(&cancel).await, "done");
    // The window is open still: the tables are held until it is over.
    let again = fleet
        .try_submit(statement, json!({"deployments": ["d1"]}))
        .await;
    refused(50502, again);
    fleet.age(o0, 601).await;
    fleet.report("operation_complete", &window).await;
    assert_eq!(
        fleet.states(&apply).await,
        ["completed", "cancelled", "cancelled", "cancelled"]
    );
    assert_eq!(fleet.apply_state(&apply).await, "cancelled");
    fleet
        .try_submit(statement, Value::Null)
        .await
        .expect("free");
    assert_eq!(fleet.state(o3).await, "cancelled");
}

#[tokio::test]
async fn a_cancel_lets_a_swap_finish() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.parked("barrier").await;
    let [o1, o2] = apply.all();
    let swap = fleet.cut_over(o1).await;
    let cancel = fleet.cancel(&apply).await;
    assert_eq!(fleet.states(&apply).await, ["cutting_over", "cancelling"]);
    assert_eq!(fleet.directive(&swap).await, "none");
    assert_eq!(fleet.swapped(&swap).await, "completed");
    assert_eq!(fleet.request_status(&cancel).await, "pending");
    let cleaning = fleet.claim_copy("beta").await.unwrap();
    assert_eq!(cleaning.operation, o2);
    fleet.report("operation_cancelled", &cleaning).await;
    assert_eq!(fleet.request_status(&cancel).await, "done");
    assert_eq!(fleet.apply_state(&apply).await, "cancelled");
}

/// A swap that did not happen under a cancel has artifacts left.
#[tokio::test]
async fn a_swap_that_fails_under_a_cancel_is_cleaned_up() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let swap = fleet.cut_over(apply.operations[0]).await;
    let cancel = fleet.cancel(&apply).await;
    assert_eq!(cancel.status, "pending");
    assert_eq!(fleet.fail_for_now(&swap).await, "cancelling");
    let cleaning = fleet.claim_copy("beta").await.unwrap();
    assert_eq!(
        fleet.report("operation_cancelled", &cleaning).await,
        "cancelled"
    );
    assert_eq!(fleet.request_status(&cancel).await, "done");
}

/// Case 50.
#[tokio::test]
async fn a_stopped_apply_can_be_cancelled() {
    let fleet = Fleet::of(3).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2, _] = apply.all();
    fleet.park(o1).await;
    let copying = fleet.run(o2).await;
    fleet.stop(&apply).await;
    fleet.report("operation_stopped", &copying).await;
    assert_eq!(fleet.apply_state(&apply).await, "stopped");

    let cancel = fleet.cancel(&apply).await;
    assert_eq!(
        fleet.states(&apply).await,
        ["cancelling", "cancelling", "cancelled"]
    );
    for _ in 0..2 {
        let claim = fleet.claim_copy("beta").await.unwrap();
        assert_eq!(claim.moved(), ("cancelling", "cancelling"));
        fleet.report("operation_cancelled", &claim).await;
    }
    assert_eq!(fleet.apply_state(&apply).await, "cancelled");
    assert_eq!(fleet.request_status(&cancel).await, "done");
}

/// Cancel beats start, and a stop that is pending.
#[tokio::test]
async fn a_cancel_makes_what_is_pending_moot() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let claim = fleet.run(apply.operations[0]).await;
    let stop = fleet.stop(&apply).await;
    fleet.cancel(&apply).await;
    assert_eq!(fleet.request_status(&stop).await, "moot");
    assert_eq!(fleet.directive(&claim).await, "cancel");
    refused(50501, fleet.try_start(&apply).await);
    refused(50501, fleet.try_stop(&apply).await);

    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    fleet.reach(apply.operations[0], "stopped").await;
    let start = fleet.start(&apply).await;
    fleet.cancel(&apply).await;
    assert_eq!(fleet.request_status(&start).await, "moot");
    assert_eq!(fleet.claim_copy("beta").await.unwrap().state, "cancelling");
}

/// A deferral that timed out had its clean-up before, and that one failed.
#[tokio::test]
async fn a_cancel_is_done_whatever_clean_up_has_failed_before_it() {
    let fleet = Fleet::of(2).await;
    let options = json!({"cutover_policy": "parallel", "defer_cutover": true, "defer_timeout_seconds": 900, "max_copies": 1,
                         "on_failure": "continue"});
    let apply = fleet.submit(options).await;
    let [o1, _] = apply.all();
    let held = fleet.hold(o1).await;
    fleet.age(o1, 901).await;
    fleet.beat(&held).await;
    assert_eq!(fleet.state(o1).await, "cancelling");
    fleet.fail_for_good(&held).await;
    let answer = fleet.cancel(&apply).await;
    assert_eq!(fleet.states(&apply).await, ["failed", "cancelled"]);
    assert_eq!(fleet.request_status(&answer).await, "done");
}
