//! Where two rules meet: what is asked for and can never come, clocks that are not the server's, bounds, and who waits for whom.

use serde_json::{Value, json};

use crate::catalogue::procedures;
use crate::support::control::{Answer, Apply, Claim, Fleet, arguments, refused};

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

/// SPEC.md section 2: times are the server's own. With `SET timestamp` a session has a clock of its own, by which a live lease
/// would have run out long ago, and a claim would begin with one that has.
#[tokio::test]
async fn a_session_with_a_clock_of_its_own_is_refused_by_every_procedure() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"deployments": ["d1"]})).await;
    let claim = fleet.run(apply.operations[0]).await;
    let before = (
        fleet.trace().await,
        fleet.everything_of(claim.operation).await,
    );
    let mut session = fleet.session().await;
    for offset in ["+ 3600", "- 3600", "+ 30"] {
        for procedure in procedures(claim.apply, claim.operation, &claim.token) {
            session
                .run(&format!(
                    "SET SESSION timestamp = UNIX_TIMESTAMP(SYSDATE(6)) {offset}"
                ))
                .await
                .unwrap();
            let outcome = session.call(procedure.name, &procedure.arguments).await;
            let refusal = refused(50001, outcome);
            assert!(
                refusal.message.contains("timestamp of this session is 20")
                    && refusal
                        .message
                        .ends_with("SET timestamp = DEFAULT and call again"),
                "{}: {refusal:?}",
                procedure.name
            );
        }
    }
    let after = (
        fleet.trace().await,
        fleet.everything_of(claim.operation).await,
    );
    assert_eq!(after, before);

    session
        .run("SET SESSION timestamp = DEFAULT")
        .await
        .unwrap();
    let beat = session.heartbeat(&claim, Value::Null, Value::Null).await;
    assert_eq!(beat.unwrap().state, "running");
    let nothing = session.claim_copy("beta").await.unwrap();
    assert!(nothing.is_none(), "{nothing:?}");
}

/// A deployment's name may have 64 characters, and the refusal that names the blocker is longer than other refusals.
#[tokio::test]
async fn a_blocker_with_the_longest_name_is_named_in_the_refusal() {
    let fleet = Fleet::of(1).await;
    let longest = "ö".repeat(64);
    let place = arguments![&longest, 9u64, "db9.example", 3309u64, Value::Null];
    fleet.call("deployment_register", place).await;
    let options = json!({"deployments": [longest, "d1"], "cutover_policy": "parallel", "defer_cutover": true});
    let [o1, o2] = fleet.submit(options).await.all();
    fleet.hold(o1).await;
    let claim = fleet.hold(o2).await;
    let early = fleet
        .sql()
        .await
        .report("operation_begin_cutover", &claim)
        .await;
    let refusal = refused(50201, early);
    assert!(refusal.message.contains(&"ö".repeat(50)), "{refusal:?}");
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

/// A retry that is not due yet waits for its time and for nobody, though the slot is taken too.
#[tokio::test]
async fn a_retry_that_is_not_due_yet_names_no_blocker_though_no_slot_is_free() {
    let fleet = Fleet::of(2).await;
    let options = json!({"cutover_policy": "parallel", "max_copies": 1});
    let [o1, o2] = fleet.submit(options).await.all();
    for failure in 1..=8 {
        let claim = fleet.run(o1).await;
        assert_eq!(fleet.fail_for_now(&claim).await, "failed_retryable");
        if failure < 8 {
            fleet.age(o1, 121).await;
        }
    }
    let due_alone = fleet.blocked(o1).await.expect("due in two minutes");
    fleet.run(o2).await;

    let blocked = fleet.blocked(o1).await.expect("due in two minutes");
    assert_eq!(blocked.blocker, None);
    assert!(blocked.reason.contains("not due"), "{}", blocked.reason);
    assert_eq!(blocked, due_alone);
    assert_eq!(fleet.waiting(o1).await, Some(blocked.reason));

    fleet.age(o1, 121).await;
    let blocked = fleet.blocked(o1).await.expect("no slot is free");
    assert_eq!(blocked.blocker, Some(o2));
    assert!(blocked.reason.contains("max_copies"), "{}", blocked.reason);
    assert_eq!(fleet.claim_copy("beta").await.map(|c| c.operation), None);
}

/// Case 41: nothing is leased, so the stop is done in the same call, also where a driver has left its work in the middle.
#[tokio::test]
async fn a_stop_stops_at_once_what_a_driver_gave_back_or_a_dba_took_away() {
    for (reached, taken) in [
        ("running", false),
        ("running", true),
        ("hold", false),
        ("hold", true),
    ] {
        let fleet = Fleet::of(2).await;
        let options = json!({"cutover_policy": "parallel", "defer_cutover": reached == "hold"});
        let apply = fleet.submit(options).await;
        let [o1, o2] = apply.all();
        let claim = match reached {
            "hold" => fleet.hold(o1).await,
            _ => fleet.run(o1).await,
        };
        if taken {
            let gone = arguments![o1, "gone"];
            fleet.call("operation_release_lease", gone).await;
        } else {
            assert!(fleet.release(&claim).await);
        }

        let stop = fleet.stop(&apply).await;

        let said = format!("{reached}, taken away: {taken}");
        assert_eq!(stop.status, "done", "{said}");
        assert_eq!(fleet.states(&apply).await, ["stopped", "stopped"], "{said}");
        assert_eq!(fleet.column(o1, "completed_at").await, "NULL");
        fleet.nothing_is_claimable().await;
        fleet.check_history().await;

        // As after a stop that its driver has obeyed: it copies on, ungated.
        let start = fleet.start(&apply).await;
        assert_eq!(start.status, "pending", "{said}");
        assert_eq!(fleet.state(o2).await, "pending");
        let again = fleet.run(o1).await;
        assert_eq!(again.moved(), ("stopped", "running"), "{said}");
        assert_eq!(fleet.request_status(&start).await, "done");
    }
}

/// A lease that ran out may still be somebody's: that one hears of the stop, or who takes over from it.
#[tokio::test]
async fn a_stop_leaves_a_lease_that_ran_out_to_its_driver_or_the_next_one() {
    for reached in ["running", "hold"] {
        let fleet = Fleet::of(1).await;
        let apply = fleet
            .submit(json!({"defer_cutover": reached == "hold"}))
            .await;
        let [o1] = apply.all();
        let claim = match reached {
            "hold" => fleet.hold(o1).await,
            _ => fleet.run(o1).await,
        };
        fleet.age(o1, 61).await;
        let stop = fleet.stop(&apply).await;
        assert_eq!(stop.status, "pending", "{reached}");
        assert_eq!(fleet.directive(&claim).await, "stop", "{reached}");
        assert_eq!(fleet.report("operation_stopped", &claim).await, "stopped");
        assert_eq!(fleet.request_status(&stop).await, "done");
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

#[tokio::test]
async fn a_purge_removes_no_more_rows_than_it_was_told_but_for_its_first_apply() {
    let fleet = Fleet::of(1).await;
    for _ in 0..4 {
        fleet.settled("completed").await;
    }
    let purge = async |max_rows: i64| {
        let mut session = fleet.sql().await;
        let bounds = arguments![0u64, max_rows];
        let row = session.call_row("history_purge", bounds).await.unwrap();
        row.number("rows_removed")
    };
    let of_one = purge(1).await;
    assert!(of_one > 4, "an apply, an operation, a task and its events");
    assert_eq!(purge(2 * of_one - 1).await, of_one);
    assert_eq!(purge(2 * of_one).await, 2 * of_one);
    assert_eq!(purge(2 * of_one).await, 0);
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
