//! Case 70: a cutover that a DBA asks for.

use serde_json::{Value, json};

use crate::support::control::{Fleet, arguments, refused};

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
    let early = arguments![o2, &second.token];
    let refusal = fleet.refuses(50201, "operation_begin_cutover", early).await;
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
    fleet.go_back(&apply, &claim).await;

    let before = fleet.trace().await;
    for options in [json!({"all": true}), Value::Null] {
        refused(50501, fleet.try_cutover(&apply, options).await);
    }
    assert_eq!(fleet.trace().await, before);
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

/// Case 70: also where a stop has beaten the request for all that let the swap begin.
#[tokio::test]
async fn a_cutover_of_what_is_cutting_over_adds_no_request_after_a_stop_and_a_start() {
    for count in [1, 2] {
        let fleet = Fleet::of(count).await;
        let apply = fleet.submit(json!({"defer_cutover": true})).await;
        let claim = fleet.hold(apply.operations[0]).await;
        let all = fleet.try_cutover(&apply, json!({"all": true})).await;
        let all = all.expect("nothing is in its way");
        fleet.report("operation_begin_cutover", &claim).await;
        fleet.stop(&apply).await;
        fleet.start(&apply).await;

        let requests = fleet.trace().await;
        let again = fleet.cutover(&apply).await;
        assert_eq!(again.request, all.request);
        assert!(
            again
                .message
                .contains("the swap that it let begin is under way"),
            "{again:?}"
        );
        if count == 1 {
            let again = fleet.try_cutover(&apply, json!({"all": true})).await;
            assert_eq!(again.expect("nothing else is ahead").request, all.request);
        }
        assert_eq!(fleet.trace().await, requests, "success, no new request");
        assert_eq!(fleet.swapped(&claim).await, "completed");
    }
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

/// Nor does a request for all keep the deferral open of what never swaps, once it has come to its end.
#[tokio::test]
async fn a_deferral_times_out_again_after_a_cutover_of_all_that_is_moot() {
    let fleet = Fleet::of(2).await;
    let options =
        json!({"cutover_policy": "parallel", "defer_cutover": true, "defer_timeout_seconds": 900});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    let first = fleet.hold(o1).await;
    let second = fleet.hold(o2).await;
    let all = fleet.try_cutover(&apply, json!({"all": true})).await;
    let all = all.expect("two swaps are left");
    fleet.age(o2, 901).await;
    assert_eq!(fleet.directive(&second).await, "none", "asked for");
    fleet.report("operation_begin_cutover", &first).await;
    assert_eq!(fleet.fail_for_good(&first).await, "failed");
    assert_eq!(fleet.request_status(&all).await, "moot");
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

/// What had swapped before is not the doing of a request for all of the rest.
#[tokio::test]
async fn a_cutover_of_all_that_swapped_nothing_is_moot_whatever_swapped_before() {
    for (swaps, status) in [(false, "moot"), (true, "done")] {
        let fleet = Fleet::of(3).await;
        let options = json!({"cutover_policy": "parallel", "defer_cutover": true});
        let apply = fleet.submit(options).await;
        let mut claims = Vec::new();
        for operation in apply.all::<3>() {
            claims.push(fleet.hold(operation).await);
        }
        fleet.cutover(&apply).await;
        fleet.report("operation_begin_cutover", &claims[0]).await;
        fleet.swapped(&claims[0]).await;

        let all = fleet.try_cutover(&apply, json!({"all": true})).await;
        let all = all.expect("two swaps are left");
        if swaps {
            fleet.report("operation_begin_cutover", &claims[1]).await;
            fleet.swapped(&claims[1]).await;
        }
        assert_eq!(fleet.request_status(&all).await, "pending");
        fleet.fail_for_good(&claims[1 + usize::from(swaps)]).await;
        assert_eq!(fleet.request_status(&all).await, status);
    }
}

/// SPEC.md section 3: the time-out cancels it. Whoever asks after that, and before its driver has carried it out, is told so.
#[tokio::test]
async fn a_cutover_comes_too_late_for_a_hold_that_has_timed_out() {
    for options in [Value::Null, json!({"all": true})] {
        let fleet = Fleet::of(1).await;
        let deferred = json!({"defer_cutover": true, "defer_timeout_seconds": 900});
        let apply = fleet.submit(deferred).await;
        let claim = fleet.hold(apply.operations[0]).await;
        fleet.age(claim.operation, 901).await;
        let before = fleet.trace().await;

        let refusal = refused(50501, fleet.try_cutover(&apply, options).await);

        let names = [claim.operation.to_string(), "900 s".to_owned()];
        assert!(
            names.iter().all(|name| refusal.message.contains(name)),
            "{refusal:?}"
        );
        assert_eq!(fleet.trace().await, before, "nothing recorded");
        assert_eq!(fleet.directive(&claim).await, "cancel");
        fleet.report("operation_cancelled", &claim).await;
        assert_eq!(fleet.apply_state(&apply).await, "cancelled");
    }
}

/// A copy that another one keeps from its slot, or from the first swap, has not lost its turn to that one.
#[tokio::test]
async fn a_cutover_out_of_turn_names_the_one_that_has_the_turn_and_not_what_is_in_its_way() {
    let fleet = Fleet::of(2).await;
    let limited = json!({"cutover_policy": "parallel", "defer_cutover": true, "max_copies": 1});
    let apply = fleet.submit(limited).await;
    let [o1, o2] = apply.all();
    let claim = fleet.run(o1).await;
    fleet.fail_for_now(&claim).await;
    fleet.run(o2).await;
    let refusal = refused(50501, fleet.try_cutover(&apply, Value::Null).await);
    let turn = format!("operation {o1} on d1 has the turn and is failed_retryable");
    assert!(refusal.message.contains(&turn), "{refusal:?}");
    fleet.cancel(&apply).await;

    let fleet = Fleet::of(2).await;
    let parked =
        json!({"cutover_policy": "barrier", "defer_cutover": true, "cutover_gate": "all_parked"});
    let apply = fleet.submit(parked).await;
    let [o1, _] = apply.all();
    fleet.hold(o1).await;
    let refusal = refused(50501, fleet.try_cutover(&apply, Value::Null).await);
    let turn = format!(
        "operation {o1} on d1 has the turn and is waiting_for_cutover; ask when all have parked"
    );
    assert!(refusal.message.contains(&turn), "{refusal:?}");
}

/// Case 70: asking again is no new request, whatever else was asked for since.
#[tokio::test]
async fn a_cutover_is_asked_for_again_though_a_stop_is_pending() {
    let fleet = Fleet::of(2).await;
    let options = json!({"cutover_policy": "parallel", "defer_cutover": true});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    let first = fleet.hold(o1).await;
    fleet.run(o2).await;
    let request = fleet.cutover(&apply).await;
    fleet.report("operation_begin_cutover", &first).await;
    assert_eq!(fleet.stop(&apply).await.status, "pending");
    assert_eq!(fleet.cutover(&apply).await.request, request.request);
}

/// A driver beats for all of its leases: one row that somebody holds is no reason to keep the others waiting.
#[tokio::test]
async fn a_hold_that_has_timed_out_while_its_apply_is_held_keeps_no_beat_waiting() {
    let fleet = Fleet::of(1).await;
    let deferred = json!({"defer_cutover": true, "defer_timeout_seconds": 900});
    let apply = fleet.submit(deferred).await;
    let claim = fleet.hold(apply.operations[0]).await;
    fleet.age(claim.operation, 901).await;
    let mut holder = fleet.session().await;
    for held in ["apply", "driver"] {
        let lock = format!("BEGIN; SELECT * FROM {held} FOR UPDATE");
        holder.run(&lock).await.expect("somebody's lock");
        let mut driver = fleet.session().await;
        driver
            .run("SET innodb_lock_wait_timeout = 1")
            .await
            .expect("a setting");
        let beat = driver
            .heartbeat(&claim, Value::Null, Value::Null)
            .await
            .expect("no wait for the lock");
        let told = if held == "apply" { "none" } else { "cancel" };
        assert_eq!(beat.directive, told, "{held}");
        holder.run("ROLLBACK").await.expect("let go");
    }
}

/// A later one that has timed out is no reason to refuse the swap of the one that has the turn.
#[tokio::test]
async fn a_cutover_of_one_is_bound_though_a_later_hold_has_timed_out() {
    let fleet = Fleet::of(2).await;
    let deferred =
        json!({"cutover_policy": "parallel", "defer_cutover": true, "defer_timeout_seconds": 900});
    let apply = fleet.submit(deferred).await;
    let [o1, o2] = apply.all();
    fleet.hold(o1).await;
    let late = fleet.hold(o2).await;
    fleet.age(o2, 901).await;
    let all = fleet.try_cutover(&apply, json!({"all": true})).await;
    let refusal = refused(50501, all);
    assert!(refusal.message.contains(&o2.to_string()), "{refusal:?}");
    assert_eq!(fleet.cutover(&apply).await.operation, Some(o1));
    assert_eq!(fleet.directive(&late).await, "cancel");
}
