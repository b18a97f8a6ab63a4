//! Cases 27 to 33: at the barrier.

use serde_json::json;

use crate::support::control::Fleet;

/// Case 27.
#[tokio::test]
async fn whether_an_operation_parks_holds_or_swaps_is_worked_out_when_it_arrives() {
    for deployments in [1, 3] {
        for policy in ["rolling", "barrier", "parallel"] {
            for defer in [false, true] {
                let fleet = Fleet::of(deployments).await;
                let options = json!({"cutover_policy": policy, "defer_cutover": defer});
                let apply = fleet.submit(options).await;
                let claim = fleet.run(apply.operations[0]).await;

                let decision = fleet.arrive(&claim).await;

                let expected = if defer {
                    "hold"
                } else if deployments > 1 && policy != "rolling" {
                    "parked"
                } else {
                    "cut_over"
                };
                assert_eq!(decision, expected, "{deployments} {policy} {defer}");
            }
        }
    }
}

/// Case 28.
#[tokio::test]
async fn parking_frees_the_driver_and_changes_nothing_of_the_apply() {
    let fleet = Fleet::of(2).await;
    let options = json!({"cutover_policy": "barrier", "engine": {"threads": 2}});
    let [o1, o2] = fleet.submit(options).await.all();
    let before = fleet.run(o1).await;
    assert_eq!(fleet.arrive(&before).await, "parked");

    assert_eq!(fleet.state(o1).await, "waiting_for_cutover");
    assert_eq!(fleet.column(o1, "completed_at").await, "NULL");
    assert_eq!(fleet.column(o1, "driver").await, "NULL");
    assert!(!fleet.has_lease(o1).await);
    // Asked again by the same token: the same answer.
    assert_eq!(fleet.arrive(&before).await, "parked");

    fleet.park(o2).await;
    let after = fleet.claim_cutover("alpha").await.unwrap();
    assert_eq!(after.options, before.options);
    assert!(after.epoch > before.epoch);
}

/// Case 29.
#[tokio::test]
async fn a_parked_operation_is_never_taken_by_the_copy_claim() {
    for policy in ["barrier", "parallel"] {
        let fleet = Fleet::of(2).await;
        let [o1, o2] = fleet.submit(json!({"cutover_policy": policy})).await.all();
        fleet.park(o1).await;
        fleet.age(o1, 600).await;

        assert!(fleet.claim_copy_on("d1").await.is_none());
        assert_eq!(fleet.claim_copy("alpha").await.unwrap().operation, o2);
        fleet.age(o1, 86_400).await;
        assert!(fleet.claim_copy("alpha").await.is_none());
    }
}

/// Case 30.
#[tokio::test]
async fn an_operation_on_hold_keeps_its_lease_and_is_told_nothing_until_a_cutover_is_asked() {
    for policy in ["rolling", "barrier", "parallel"] {
        let fleet = Fleet::of(2).await;
        let options = json!({"cutover_policy": policy, "defer_cutover": true});
        let apply = fleet.submit(options).await;
        let claim = fleet.hold(apply.operations[0]).await;

        for _ in 0..3 {
            fleet.age(claim.operation, 30).await;
            assert_eq!(fleet.directive(&claim).await, "none");
        }
        assert!(fleet.has_lease(claim.operation).await);
        assert!(fleet.claim_copy_on("d1").await.is_none());
        assert!(fleet.claim_cutover_on("d1").await.is_none());
        assert_eq!(fleet.arrive(&claim).await, "hold", "asked again");

        fleet.cutover(&apply).await;
        assert_eq!(fleet.directive(&claim).await, "cutover");
    }
}

/// Case 31.
#[tokio::test]
async fn an_operation_on_hold_whose_driver_dies_is_recovered_by_the_copy_claim() {
    for deployments in [1, 2] {
        for policy in ["rolling", "barrier", "parallel"] {
            let fleet = Fleet::of(deployments).await;
            let options = json!({"cutover_policy": policy, "defer_cutover": true});
            let apply = fleet.submit(options).await;
            let o1 = apply.operations[0];
            let dead = fleet.hold(o1).await;
            fleet.age(o1, 61).await;

            assert!(fleet.claim_cutover_on("d1").await.is_none());
            let claim = fleet.claim_copy_on("d1").await.expect("o1");
            assert_eq!(claim.operation, o1);
            assert_eq!(
                claim.moved(),
                ("waiting_for_cutover", "waiting_for_cutover")
            );
            assert_ne!(claim.token, dead.token);

            assert_eq!(fleet.directive(&claim).await, "none");
            fleet.cutover(&apply).await;
            assert_eq!(fleet.directive(&claim).await, "cutover");
            let state = fleet.report("operation_begin_cutover", &claim).await;
            assert_eq!(state, "cutting_over");
            assert_eq!(fleet.swapped(&claim).await, "completed");
        }
    }
}

/// Case 32.
#[tokio::test]
async fn what_is_on_hold_takes_no_slot_of_max_copies() {
    let fleet = Fleet::of(3).await;
    let options = json!({"cutover_policy": "parallel", "defer_cutover": true, "max_copies": 2});
    let apply = fleet.submit(options).await;
    let first = fleet.claim_copy("alpha").await.unwrap();
    let second = fleet.claim_copy("alpha").await.unwrap();
    assert!(fleet.claim_copy("alpha").await.is_none());
    assert_eq!(fleet.arrive(&first).await, "hold");
    let third = fleet.claim_copy("alpha").await.expect("a slot is free");
    assert_eq!(fleet.arrive(&second).await, "hold");
    assert_eq!(fleet.arrive(&third).await, "hold");
    assert_eq!(fleet.states(&apply).await, ["waiting_for_cutover"; 3]);
}

/// Case 33.
#[tokio::test]
async fn a_lone_operation_copies_and_swaps_under_one_claim() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({"cutover_policy": "barrier"})).await;
    let claim = fleet.claim_copy("alpha").await.unwrap();
    assert_eq!(fleet.arrive(&claim).await, "cut_over");
    assert_eq!(fleet.state(claim.operation).await, "cutting_over");
    assert_eq!(fleet.swapped(&claim).await, "completed");

    let moves = fleet
        .sql()
        .await
        .texts("SELECT e.to_state FROM event_log AS e WHERE e.to_state IS NOT NULL ORDER BY e.event_id", &[])
        .await;
    assert_eq!(
        moves,
        ["running", "cutting_over", "completed"],
        "never parked"
    );
    assert_eq!(fleet.apply_state(&apply).await, "completed");
}

/// SPEC.md section 3: until `defer_timeout_seconds`, if set, cancels it.
#[tokio::test]
async fn a_deferral_that_nobody_ends_is_cancelled_after_its_time_out() {
    let fleet = Fleet::of(1).await;
    let options = json!({"defer_cutover": true, "defer_timeout_seconds": 900});
    let apply = fleet.submit(options).await;
    let [o1] = apply.all();
    let claim = fleet.hold(o1).await;
    fleet.age(o1, 840).await;
    assert_eq!(fleet.directive(&claim).await, "none");

    fleet.age(o1, 61).await;
    let beat = fleet.beat(&claim).await;
    assert_eq!(
        (beat.state.as_str(), beat.directive.as_str()),
        ("cancelling", "cancel")
    );
    assert_eq!(
        fleet.report("operation_cancelled", &claim).await,
        "cancelled"
    );
    assert_eq!(fleet.apply_state(&apply).await, "cancelled");
}

#[tokio::test]
async fn the_time_out_of_a_deferral_does_not_start_anew_with_another_driver() {
    let fleet = Fleet::of(1).await;
    let options = json!({"defer_cutover": true, "defer_timeout_seconds": 900});
    let [o1] = fleet.submit(options).await.all();
    fleet.hold(o1).await;
    fleet.age(o1, 840).await;
    let claim = fleet.claim_copy("beta").await.expect("stale");
    fleet.age(o1, 61).await;
    assert_eq!(fleet.directive(&claim).await, "cancel");
}

#[tokio::test]
async fn a_cutover_that_was_asked_for_is_not_timed_out() {
    let fleet = Fleet::of(1).await;
    let options = json!({"defer_cutover": true, "defer_timeout_seconds": 900});
    let apply = fleet.submit(options).await;
    let [o1] = apply.all();
    let claim = fleet.hold(o1).await;
    fleet.cutover(&apply).await;
    fleet.age(o1, 901).await;
    assert_eq!(fleet.directive(&claim).await, "cutover");

    let apply = fleet
        .submit(json!({"defer_cutover": true, "defer_timeout_seconds": 900}))
        .await;
    let [o1] = apply.all();
    let claim = fleet.hold(o1).await;
    let all = fleet
        .try_cutover(&apply, json!({"all": true}))
        .await
        .expect("cutover of all");
    assert_eq!(all.operation, None);
    fleet.age(o1, 901).await;
    assert_eq!(fleet.directive(&claim).await, "cutover");
}

/// What a stop keeps is not thrown away because time passes.
#[tokio::test]
async fn a_deferral_does_not_time_out_while_a_stop_is_pending() {
    let fleet = Fleet::of(1).await;
    let options = json!({"defer_cutover": true, "defer_timeout_seconds": 900});
    let apply = fleet.submit(options).await;
    let [o1] = apply.all();
    let claim = fleet.hold(o1).await;
    fleet.stop(&apply).await;
    fleet.age(o1, 901).await;
    assert_eq!(fleet.directive(&claim).await, "stop");
    assert_eq!(fleet.report("operation_stopped", &claim).await, "stopped");
}
