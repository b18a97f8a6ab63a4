//! Case 71: what goes back, and what is kept.

use serde_json::{Value, json};

use crate::support::control::{Answer, Apply, Claim, Fleet, arguments, refused};

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
async fn a_revert_of_some_takes_the_last_ones_only() {
    let fleet = Fleet::of(4).await;
    let options = json!({"cutover_policy": "barrier", "revert_window_seconds": 600, "revert_scope": "apply",
                         "deployments": ["d1", "d2", "d3"]});
    let apply = fleet.submit(options).await;
    let [o1, o2, o3] = apply.all();
    for operation in [o1, o2] {
        fleet.swap(operation).await;
    }
    let elsewhere = json!({"deployments": ["d4"]});
    refused(50501, fleet.try_revert(&apply, elsewhere).await);
    refused(
        50501,
        fleet
            .try_revert(&apply, json!({"deployments": ["d3"]}))
            .await,
    );
    // As everywhere: what there is not is not found.
    let nowhere = json!({"deployments": ["nowhere", "d3"]});
    let refusal = refused(50002, fleet.try_revert(&apply, nowhere).await);
    assert!(refusal.message.contains("\"nowhere\""), "{refusal:?}");
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
    let asked = fleet
        .try_revert(&apply, json!({"deployments": ["d3"]}))
        .await
        .unwrap();
    let again = fleet
        .try_revert(&apply, json!({"deployments": ["d3"]}))
        .await
        .unwrap();
    assert_eq!(again.request, asked.request);
    // For more than that: whoever was answered with the pending one would wait for what does not come.
    for more in [json!({"deployments": ["d2", "d3"]}), json!(null)] {
        let refusal = refused(50501, fleet.try_revert(&apply, more).await);
        assert!(refusal.message.contains("is pending"), "{refusal:?}");
    }
    assert_eq!(fleet.directive(&last).await, "revert");
    fleet.report("operation_begin_revert", &last).await;
    fleet.report("operation_reverted", &last).await;
    assert_eq!(
        fleet.states(&apply).await,
        ["revert_window", "revert_window", "reverted"]
    );
}

/// Two windows side by side, of two swaps; with the claims.
async fn two_windows(fleet: &Fleet) -> (Apply, [Claim; 2]) {
    let options = json!({"cutover_policy": "parallel", "revert_window_seconds": 600, "revert_scope": "apply"});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    let first = fleet.swap(o1).await;
    let second = fleet.swap(o2).await;
    (apply, [first, second])
}

#[tokio::test]
async fn a_skip_that_is_asked_for_again_ends_the_window_that_has_opened_since() {
    let fleet = Fleet::of(2).await;
    let options = json!({"cutover_policy": "parallel", "revert_window_seconds": 600, "revert_scope": "apply"});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    let first = fleet.swap(o1).await;
    let second = fleet.cut_over(o2).await;
    let skip = fleet.skip_revert(&apply).await;
    assert_eq!(fleet.swapped(&second).await, "revert_window");
    assert_eq!(fleet.directive(&second).await, "none");

    let again = fleet.skip_revert(&apply).await;

    assert_eq!(again.request, skip.request);
    for claim in [&first, &second] {
        assert_eq!(fleet.directive(claim).await, "skip_revert");
        assert_eq!(fleet.report("operation_complete", claim).await, "completed");
    }
    assert_eq!(fleet.request_status(&skip).await, "done");
}

async fn outcome(fleet: &Fleet, request: &Answer) -> String {
    let query = "SELECT r.outcome FROM control_request_log AS r WHERE r.request_id = ?";
    let mut outcomes = fleet
        .sql()
        .await
        .texts(query, arguments![request.request])
        .await;
    outcomes.remove(0)
}

/// What an earlier request has carried back is no success of this one.
#[tokio::test]
async fn a_revert_whose_swap_back_fails_for_good_is_refused_with_the_drivers_words() {
    let fleet = Fleet::of(2).await;
    let (apply, [first, second]) = two_windows(&fleet).await;
    let some = json!({"deployments": ["d2"]});
    let done = fleet.try_revert(&apply, some).await.unwrap();
    fleet.report("operation_begin_revert", &second).await;
    fleet.report("operation_reverted", &second).await;
    assert_eq!(fleet.request_status(&done).await, "done");

    let next = fleet.revert(&apply).await;
    fleet.report("operation_begin_revert", &first).await;
    assert_eq!(fleet.fail_for_good(&first).await, "failed");

    assert_eq!(fleet.request_status(&next).await, "refused");
    let outcome = outcome(&fleet, &next).await;
    assert!(outcome.contains("duplicate key"), "{outcome}");
}

/// What swapped earlier does not go back before what swapped later: it keeps its window until somebody asks again.
#[tokio::test]
async fn a_swap_back_that_fails_for_good_leaves_the_earlier_windows_open() {
    let fleet = Fleet::of(2).await;
    let (apply, [first, second]) = two_windows(&fleet).await;
    let both = fleet.revert(&apply).await;
    fleet.report("operation_begin_revert", &second).await;
    assert_eq!(fleet.fail_for_good(&second).await, "failed");
    assert_eq!(fleet.request_status(&both).await, "refused");
    assert_eq!(fleet.directive(&first).await, "none");

    let again = fleet.revert(&apply).await;
    assert_eq!(fleet.directive(&first).await, "revert");
    fleet.report("operation_begin_revert", &first).await;
    fleet.report("operation_reverted", &first).await;
    assert_eq!(fleet.request_status(&again).await, "done");
}
