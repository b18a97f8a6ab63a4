//! Cases 78 to 84: what an apply is, worked out from its operations.

use serde_json::{Value, json};

use crate::support::control::{Apply, Fleet};

/// Case 78.
#[tokio::test]
async fn an_apply_is_completed_when_all_of_it_is() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1, o2] = apply.all();
    assert_eq!(fleet.apply_state(&apply).await, "pending");
    fleet.swap(o1).await;
    assert_eq!(fleet.apply_column(&apply, "finished_at").await, "NULL");
    let last = fleet.swap(o2).await;
    assert_eq!(fleet.apply_state(&apply).await, "completed");
    let finished_at = fleet.apply_column(&apply, "finished_at").await;
    assert_ne!(finished_at, "NULL");
    assert_eq!(fleet.apply_column(&apply, "completed").await, "2");
    let percent = fleet.apply_column(&apply, "percent").await;
    assert_eq!(percent.parse::<f64>(), Ok(100.0));
    fleet.swapped(&last).await;
    assert_eq!(
        fleet.apply_column(&apply, "finished_at").await,
        finished_at,
        "set once"
    );
}

/// Case 79.
#[tokio::test]
async fn the_least_advanced_of_those_that_move_gives_the_state() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "barrier"})).await;
    let [o1, o2] = apply.all();
    fleet.park(o1).await;
    let copying = fleet.run(o2).await;
    assert_eq!(fleet.apply_state(&apply).await, "running");
    fleet.arrive(&copying).await;
    assert_eq!(fleet.apply_state(&apply).await, "waiting_for_cutover");

    let fleet = Fleet::of(2).await;
    let apply = fleet.parked("barrier").await;
    let [o1, _] = apply.all();
    let swap = fleet.cut_over(o1).await;
    assert_eq!(
        fleet.apply_state(&apply).await,
        "cutting_over",
        "o2 is behind a shut gate and does not move"
    );
    fleet.swapped(&swap).await;
    assert_eq!(
        fleet.states(&apply).await,
        ["completed", "waiting_for_cutover"]
    );
    assert_eq!(fleet.apply_state(&apply).await, "waiting_for_cutover");
}

#[tokio::test]
async fn each_way_to_move_has_its_state() {
    // Rolling, two deployments, a window: one state after the other.
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"revert_window_seconds": 600})).await;
    let [o1, o2] = apply.all();
    assert_eq!(fleet.apply_state(&apply).await, "pending");
    let claim = fleet.run(o1).await;
    assert_eq!(fleet.apply_state(&apply).await, "running");
    fleet.fail_for_now(&claim).await;
    assert_eq!(fleet.apply_state(&apply).await, "failed_retryable");
    let claim = fleet.run(o1).await;
    fleet.arrive(&claim).await;
    assert_eq!(fleet.apply_state(&apply).await, "cutting_over");
    fleet.swapped(&claim).await;
    assert_eq!(fleet.apply_state(&apply).await, "revert_window");
    fleet.skip_revert(&apply).await;
    fleet.report("operation_complete", &claim).await;
    // Something has started: no longer pending as a whole.
    assert_eq!(fleet.states(&apply).await, ["completed", "pending"]);
    assert_eq!(fleet.apply_state(&apply).await, "running");
    let claim = fleet.swap(o2).await;
    fleet.revert(&apply).await;
    assert_eq!(fleet.apply_state(&apply).await, "revert_window");
    fleet.report("operation_begin_revert", &claim).await;
    assert_eq!(fleet.apply_state(&apply).await, "reverting");
    fleet.report("operation_reverted", &claim).await;
    assert_eq!(fleet.apply_state(&apply).await, "reverted");
}

/// A retry that is due in two minutes moves, though no claim takes it now.
#[tokio::test]
async fn what_is_due_later_moves() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1] = apply.all();
    for _ in 0..4 {
        let claim = fleet.claim_copy("alpha").await.unwrap();
        fleet.fail_for_now(&claim).await;
        assert_eq!(fleet.apply_state(&apply).await, "failed_retryable");
        fleet.age(o1, 120).await;
    }
}

#[tokio::test]
async fn what_waits_for_a_person_says_so() {
    let fleet = Fleet::of(2).await;
    let apply = fleet
        .submit(json!({"cutover_policy": "parallel", "defer_cutover": true}))
        .await;
    let [o1, o2] = apply.all();
    let first = fleet.hold(o1).await;
    let second = fleet.hold(o2).await;
    assert_eq!(fleet.apply_state(&apply).await, "waiting_for_cutover");
    fleet.stop(&apply).await;
    fleet.report("operation_stopped", &first).await;
    fleet.report("operation_stopped", &second).await;
    assert_eq!(fleet.apply_state(&apply).await, "stopped");
    fleet.start(&apply).await;
    assert_eq!(fleet.apply_state(&apply).await, "running");
}

/// Case 80.
#[tokio::test]
async fn under_continue_an_apply_runs_degraded_and_is_failed_in_the_end() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"on_failure": "continue"})).await;
    let [o1, o2] = apply.all();
    fleet.fail_operation(o1).await;
    assert_eq!(fleet.states(&apply).await, ["failed", "pending"]);
    assert_eq!(fleet.apply_state(&apply).await, "running_degraded");
    fleet.swap(o2).await;
    assert_eq!(fleet.apply_state(&apply).await, "failed");
    assert_eq!(fleet.apply_column(&apply, "failed").await, "1");
    assert_eq!(fleet.apply_column(&apply, "completed").await, "1");
}

/// Case 81.
#[tokio::test]
async fn under_halt_an_apply_runs_degraded_until_the_rest_has_settled_or_parked() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2] = apply.all();
    let copying = fleet.run(o2).await;
    fleet.fail_operation(o1).await;
    assert_eq!(fleet.apply_state(&apply).await, "running_degraded");
    assert_eq!(fleet.arrive(&copying).await, "parked");
    assert_eq!(fleet.apply_state(&apply).await, "halted");

    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2] = apply.all();
    let copying = fleet.run(o2).await;
    fleet.fail_operation(o1).await;
    fleet.fail_for_good(&copying).await;
    assert_eq!(fleet.apply_state(&apply).await, "failed");
}

/// Case 82.
#[tokio::test]
async fn the_error_is_that_of_the_first_failed_operation_in_order() {
    let fleet = Fleet::of(3).await;
    let options = json!({"cutover_policy": "parallel", "on_failure": "continue"});
    let apply = fleet.submit(options).await;
    let [o1, o2, o3] = apply.all();
    fleet.swap(o1).await;
    let second = fleet.run(o2).await;
    let third = fleet.run(o3).await;
    // The later one fails first.
    for (claim, message) in [(&third, "y"), (&second, "x")] {
        let outcome = fleet.sql().await.fail(claim, message, 0).await;
        assert_eq!(outcome.unwrap(), "failed");
    }
    assert_eq!(fleet.apply_state(&apply).await, "failed");
    assert_eq!(fleet.apply_column(&apply, "error").await, "d2: x");
}

/// Case 83.
#[tokio::test]
async fn a_released_pause_runs_degraded_and_is_failed_when_all_have_settled() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"on_failure": "pause"})).await;
    let [o1, o2] = apply.all();
    fleet.fail_operation(o1).await;
    assert_eq!(fleet.apply_state(&apply).await, "paused");
    fleet.release_pause(&apply).await;
    assert_eq!(fleet.apply_state(&apply).await, "running_degraded");
    fleet.swap(o2).await;
    assert_eq!(fleet.apply_state(&apply).await, "failed");
}

/// SPEC.md section 7, the settled: failed before cancelled before reverted.
#[tokio::test]
async fn of_the_settled_the_worst_gives_the_state() {
    let fleet = Fleet::of(3).await;
    let options = json!({"cutover_policy": "parallel", "revert_window_seconds": 600, "on_failure": "continue"});
    let apply = fleet.submit(options).await;
    let [o1, _, _] = apply.all();
    let window = fleet.swap(o1).await;
    fleet.go_back(&apply, &window).await;
    assert_eq!(
        fleet.states(&apply).await,
        ["reverted", "cancelled", "cancelled"]
    );
    assert_eq!(fleet.apply_state(&apply).await, "cancelled");

    let options = json!({"cutover_policy": "parallel", "max_copies": 1});
    let apply = fleet.submit(options).await;
    fleet.fail_operation(apply.operations[0]).await;
    assert_eq!(
        fleet.states(&apply).await,
        ["failed", "cancelled", "cancelled"]
    );
    assert_eq!(fleet.apply_state(&apply).await, "failed");
}

/// Case 84: all of the above was read without a driver; here with leases that are long stale.
#[tokio::test]
async fn no_driver_is_needed_for_a_state_to_be_right() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "barrier"})).await;
    let [o1, o2] = apply.all();
    fleet.park(o1).await;
    fleet.run(o2).await;
    fleet.age(o2, 86_400).await;
    assert_eq!(
        fleet.apply_state(&apply).await,
        "running",
        "claimable, by recovery"
    );
    let stop = fleet.stop(&apply).await;
    assert_eq!(stop.status, "pending");
    let claim = fleet
        .claim_copy("beta")
        .await
        .expect("somebody carries out the stop");
    assert_eq!(fleet.directive(&claim).await, "stop");
    fleet.report("operation_stopped", &claim).await;
    assert_eq!(fleet.apply_state(&apply).await, "stopped");
}

/// What is on hold has a lease and goes nowhere; what is due later will go by itself.
#[tokio::test]
async fn moving_counts_what_goes_on_by_itself() {
    let fleet = Fleet::of(2).await;
    let moving = async |apply: &Apply| fleet.apply_column(apply, "moving").await;
    let options = json!({"cutover_policy": "parallel", "defer_cutover": true});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    assert_eq!(moving(&apply).await, "2", "both can be claimed");
    let second = fleet.run(o2).await;
    fleet.fail_for_now(&second).await;
    let first = fleet.hold(o1).await;
    assert_eq!(moving(&apply).await, "1", "a retry");
    let second = fleet.run(o2).await;
    fleet.arrive(&second).await;
    assert_eq!(moving(&apply).await, "0", "both are on hold");
    fleet.cutover(&apply).await;
    assert_eq!(moving(&apply).await, "1", "the first has its turn");
    fleet.report("operation_begin_cutover", &first).await;
    fleet.swapped(&first).await;
    assert_eq!(moving(&apply).await, "0", "the request was for one");
    fleet.stop(&apply).await;
    fleet.report("operation_stopped", &second).await;
    assert_eq!(moving(&apply).await, "0");
    fleet.cancel(&apply).await;
    assert_eq!(moving(&apply).await, "1", "its artifacts are to go");
    fleet.retire(&apply).await;
    assert_eq!(moving(&apply).await, "0");
}
