//! Cases 40 to 48 and 51: what a DBA stops and starts again.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::control::{Apply, Claim, Fleet, Session, arguments, refused};
use crate::support::seed;
use crate::together::at_once;

/// Case 40.
#[tokio::test]
async fn a_stop_stops_at_once_what_has_no_driver_and_tells_the_driver_that_copies() {
    let fleet = Fleet::of(5).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o0, o1, o2, o3, o4] = apply.all();
    fleet.swap(o0).await;
    let copying = fleet.run(o1).await;
    fleet.park(o2).await;

    let stop = fleet.stop(&apply).await;

    let states = ["completed", "running", "stopped", "stopped", "stopped"];
    assert_eq!(fleet.states(&apply).await, states);
    for operation in [o2, o3, o4] {
        assert_eq!(fleet.column(operation, "completed_at").await, "NULL");
    }
    assert_eq!(
        (stop.command.as_str(), stop.status.as_str()),
        ("stop", "pending")
    );
    assert_eq!(fleet.directive(&copying).await, "stop");
    assert_eq!(fleet.state(o1).await, "running", "until its driver says so");
    assert_ne!(fleet.apply_state(&apply).await, "stopped");

    assert_eq!(fleet.report("operation_stopped", &copying).await, "stopped");
    assert_eq!(fleet.request_status(&stop).await, "done");
    assert_eq!(fleet.apply_state(&apply).await, "stopped");
    assert_eq!(fleet.column(o1, "completed_at").await, "NULL");
    fleet.nothing_is_claimable().await;
}

/// Case 41.
#[tokio::test]
async fn a_stop_of_what_nobody_holds_is_done_in_the_same_call() {
    for reached in ["pending", "waiting_for_cutover", "failed_retryable"] {
        let fleet = Fleet::of(2).await;
        let apply = fleet.submit(json!({"cutover_policy": "barrier"})).await;
        let [o1, _] = apply.all();
        if reached != "pending" {
            fleet.reach(o1, reached).await;
        }
        let stop = fleet.stop(&apply).await;
        assert_eq!(stop.status, "done", "{reached}");
        assert_eq!(fleet.states(&apply).await, ["stopped", "stopped"]);
        assert_eq!(fleet.apply_state(&apply).await, "stopped");
        fleet.nothing_is_claimable().await;
    }
}

#[tokio::test]
async fn a_stop_lets_a_swap_finish_and_a_window_stay_open() {
    let fleet = Fleet::of(2).await;
    let options = json!({"cutover_policy": "barrier", "revert_window_seconds": 600});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    fleet.park(o1).await;
    fleet.park(o2).await;
    let swap = fleet.cut_over(o1).await;

    let stop = fleet.stop(&apply).await;
    assert_eq!(fleet.states(&apply).await, ["cutting_over", "stopped"]);
    assert_eq!(fleet.directive(&swap).await, "none", "it finishes");
    assert_eq!(fleet.swapped(&swap).await, "revert_window");
    assert_eq!(fleet.request_status(&stop).await, "done");
    assert_eq!(fleet.directive(&swap).await, "none");
    fleet.age(o1, 601).await;
    assert_eq!(fleet.report("operation_complete", &swap).await, "completed");
    assert_eq!(fleet.apply_state(&apply).await, "stopped");
    fleet.nothing_is_claimable().await;
}

/// A request for one swap that is under way when a stop or a cancel comes is carried out with it, or moot if the swap fails.
#[tokio::test]
async fn a_request_whose_swap_is_under_way_ends_with_the_swap() {
    for (beats, swaps, outcome) in [
        ("apply_stop", true, "done"),
        ("apply_cancel", true, "done"),
        ("apply_stop", false, "moot"),
    ] {
        let fleet = Fleet::of(1).await;
        let apply = fleet.submit(json!({"defer_cutover": true})).await;
        let claim = fleet.hold(apply.operations[0]).await;
        let cutover = fleet.cutover(&apply).await;
        fleet.report("operation_begin_cutover", &claim).await;
        let beaten = fleet.command(beats, arguments![apply.id, "enough"]).await;
        beaten.expect("a swap under way finishes");
        assert_eq!(fleet.request_status(&cutover).await, "pending", "{beats}");
        match swaps {
            true => drop(fleet.swapped(&claim).await),
            false => drop(fleet.fail_for_now(&claim).await),
        }
        assert_eq!(fleet.request_status(&cutover).await, outcome, "{beats}");
    }
}

/// A request for all swaps asks for more than the one under way, and is beaten.
#[tokio::test]
async fn a_request_for_all_swaps_is_beaten_while_one_of_them_is_under_way() {
    for beats in ["apply_stop", "apply_cancel"] {
        let fleet = Fleet::of(2).await;
        let apply = fleet.submit(json!({"defer_cutover": true})).await;
        let claim = fleet.hold(apply.operations[0]).await;
        let all = fleet.try_cutover(&apply, json!({"all": true})).await;
        let all = all.expect("nothing is in its way");
        fleet.report("operation_begin_cutover", &claim).await;
        let beaten = fleet.command(beats, arguments![apply.id, "enough"]).await;
        beaten.expect("a swap under way finishes");
        assert_eq!(fleet.request_status(&all).await, "moot", "{beats}");
    }
}

/// Nobody expects it to go on by itself after the start.
#[tokio::test]
async fn a_stop_says_that_it_has_ended_a_cutover() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({"defer_cutover": true})).await;
    let ended = "the cutover that was pending has ended with it, ask again after the start";
    for asks in [false, true] {
        let claim = fleet.hold(apply.operations[0]).await;
        if asks {
            fleet.cutover(&apply).await;
        }
        for _ in 0..2 {
            let stop = fleet.stop(&apply).await;
            assert_eq!(stop.message.contains(ended), asks, "{stop:?}");
        }
        fleet.report("operation_stopped", &claim).await;
        fleet.start(&apply).await;
    }
}

/// What waits for its retry under a stop does not start again by itself, nor does a swap that did not happen.
#[tokio::test]
async fn a_failure_under_a_stop_starts_nothing_again() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1] = apply.all();
    let claim = fleet.run(o1).await;
    let stop = fleet.stop(&apply).await;
    assert_eq!(fleet.fail_for_now(&claim).await, "stopped");
    assert_eq!(fleet.request_status(&stop).await, "done");
    fleet.nothing_is_claimable().await;

    fleet.start(&apply).await;
    let claim = fleet.cut_over_again(o1).await;
    fleet.stop(&apply).await;
    assert_eq!(fleet.state(o1).await, "cutting_over");
    assert_eq!(fleet.fail_for_now(&claim).await, "stopped");
    fleet.nothing_is_claimable().await;
    fleet.start(&apply).await;
    assert_eq!(
        fleet.claim_copy("beta").await.unwrap().moved(),
        ("stopped", "running")
    );
}

/// Runs a stop against whatever drivers do, the one with an operation on `hold` too; answers how many moves to running or
/// cutting_over came after it. None can have begun earlier and be logged later: a stop is logged under the locks of its
/// operations.
async fn starts_after_a_stop(
    fleet: &Fleet,
    apply: &Apply,
    hold: Option<Claim>,
    random: &mut StdRng,
) -> i64 {
    // Nobody is always first.
    let delays: [u32; 4] = std::array::from_fn(|_| random.random_range(0..3));
    at_once(fleet, 4, async |session, number| {
        for _ in 0..delays[number] {
            session.number("SELECT 1", &[]).await;
        }
        match (number, &hold) {
            (0, _) => {
                let stop = session
                    .command("apply_stop", arguments![apply.id, Value::Null])
                    .await;
                // The others may have been so fast that nothing is left.
                if let Err(refusal) = stop {
                    assert_eq!(refusal.number, 50501, "{refusal:?}");
                }
            }
            (1, Some(claim)) => match session.report("operation_begin_cutover", claim).await {
                Ok(_) => drop(session.swapped(claim).await.expect("its own swap")),
                Err(refusal) => assert_eq!(refusal.number, 50201, "{refusal:?}"),
            },
            _ => race(session, number).await,
        }
    })
    .await;
    fleet
        .sql()
        .await
        .number(
            "SELECT COUNT(*)
               FROM event_log AS e
               JOIN event_log AS stop
                 ON stop.apply_id = e.apply_id
                AND stop.event    = 'requested'
                AND stop.detail   = 'stop'
                AND stop.event_id < e.event_id
              WHERE e.apply_id = ?
                AND e.to_state IN ('running', 'cutting_over')",
            arguments![apply.id],
        )
        .await
}

/// A driver that claims, arrives and swaps as fast as it can, a few times.
async fn race(session: &mut Session, number: usize) {
    let driver = format!("driver-{number}");
    for _ in 0..3 {
        let claim = match session.claim_cutover(&driver).await.expect("no error") {
            Some(claim) => Some(claim),
            None => session.claim_copy(&driver).await.expect("no error"),
        };
        let Some(claim) = claim else { continue };
        let mut swaps = claim.state == "cutting_over";
        if claim.state == "running" {
            match session
                .arrive(&claim)
                .await
                .expect("its own lease")
                .as_str()
            {
                "cut_over" => swaps = true,
                "hold" => {
                    swaps = session
                        .report("operation_begin_cutover", &claim)
                        .await
                        .is_ok();
                }
                _ => {}
            }
        }
        if swaps {
            session.swapped(&claim).await.expect("its own swap");
        }
    }
}

/// Case 42.
#[tokio::test]
async fn once_a_stop_has_returned_no_copy_and_no_swap_starts() {
    let fleet = Fleet::of(3).await;
    let mut random = StdRng::seed_from_u64(seed());
    for round in 0..48 {
        let policy = ["rolling", "barrier", "parallel"][round % 3];
        let mut options = json!({"cutover_policy": policy, "defer_cutover": round % 4 == 3});
        if round % 2 == 1 {
            options["max_copies"] = json!(2);
        }
        let apply = fleet.submit(options).await;
        if policy != "rolling" && round % 4 == 0 {
            fleet.park(apply.operations[0]).await;
        }
        let mut hold = None;
        if round % 4 == 3 {
            let claim = fleet.hold(apply.operations[0]).await;
            fleet.cutover(&apply).await;
            assert_eq!(fleet.directive(&claim).await, "cutover");
            hold = Some(claim);
        }
        let starts = starts_after_a_stop(&fleet, &apply, hold, &mut random).await;
        assert_eq!(starts, 0, "round {round}: {policy}");
        fleet.check().await;
        fleet.retire(&apply).await;
    }
    let stops = fleet
        .sql()
        .await
        .number(
            "SELECT COUNT(*) FROM control_request_log AS r WHERE r.command = 'stop'",
            &[],
        )
        .await;
    assert!(stops > 24, "only {stops} stops of 48 had anything to stop");
    fleet.check_history().await;
}

/// Case 43.
#[tokio::test]
async fn no_swap_begins_under_a_stop() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let claim = fleet.run(apply.operations[0]).await;
    let stop = fleet.stop(&apply).await;
    assert_eq!(fleet.arrive(&claim).await, "stop");
    assert_eq!(fleet.state(claim.operation).await, "stopped");
    assert!(!fleet.has_lease(claim.operation).await);
    assert_eq!(fleet.arrive(&claim).await, "stop", "asked again");
    assert_eq!(fleet.request_status(&stop).await, "done");
    fleet.cancel(&apply).await;

    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({"defer_cutover": true})).await;
    let claim = fleet.hold(apply.operations[0]).await;
    let cutover = fleet.cutover(&apply).await;
    fleet.stop(&apply).await;
    let begin = arguments![claim.operation, &claim.token];
    let refusal = fleet.refuses(50201, "operation_begin_cutover", begin).await;
    assert!(refusal.message.contains("stop"), "{refusal:?}");
    assert_eq!(fleet.directive(&claim).await, "stop");
    assert_eq!(fleet.report("operation_stopped", &claim).await, "stopped");
    assert_eq!(fleet.request_status(&cutover).await, "moot");
}

/// Case 44.
#[tokio::test]
async fn a_start_gives_each_operation_back_what_it_was() {
    let fleet = Fleet::of(4).await;
    let apply = fleet.submit(json!({"cutover_policy": "barrier"})).await;
    let [first, o2, o1, o3] = apply.all();
    fleet.park(first).await;
    fleet.park(o2).await;
    let copying = fleet.run(o1).await;
    fleet.stop(&apply).await;
    fleet.report("operation_stopped", &copying).await;

    let start = fleet.start(&apply).await;

    assert_eq!(start.status, "pending");
    assert_eq!(fleet.state(o2).await, "waiting_for_cutover");
    assert!(!fleet.has_lease(o2).await);
    assert_eq!(fleet.blocked(o2).await.unwrap().blocker, Some(first));
    assert_eq!(fleet.state(o3).await, "pending");
    assert_eq!(fleet.blocked(o3).await.unwrap().gate, "copy");
    assert!(fleet.is_claimable(o1, "copy").await);
    let claim = fleet.claim_copy("beta").await.unwrap();
    assert_eq!(claim.operation, o1);
    assert_eq!(claim.moved(), ("stopped", "running"));
    assert_eq!(fleet.request_status(&start).await, "done");
    assert_eq!(fleet.claim_cutover("beta").await.unwrap().operation, first);
}

/// Case 44, "ungated": the order holds the swap of what had begun, not its copy.
#[tokio::test]
async fn the_order_does_not_hold_the_restart_of_a_copy() {
    let fleet = Fleet::of(3).await;
    let apply = fleet.submit(json!({"cutover_policy": "barrier"})).await;
    let [o1, o2, o3] = apply.all();
    fleet.park(o1).await;
    let copying = fleet.run(o2).await;
    // Its swap does not happen: it has to copy again, and behind it no copy may begin.
    let swap = fleet.cut_over(o1).await;
    fleet.stop(&apply).await;
    assert_eq!(fleet.fail_for_now(&swap).await, "stopped");
    fleet.report("operation_stopped", &copying).await;

    fleet.start(&apply).await;

    let claim = fleet.run(o2).await;
    assert_eq!(claim.moved(), ("stopped", "running"));
    assert_eq!(fleet.arrive(&claim).await, "parked");
    for (operation, gate) in [(o2, "cutover"), (o3, "copy")] {
        let blocked = fleet.blocked(operation).await.expect("behind o1");
        assert_eq!((blocked.gate.as_str(), blocked.blocker), (gate, Some(o1)));
    }
    let claim = fleet.run(o1).await;
    assert_eq!(claim.moved(), ("stopped", "running"));
}

/// Case 44: nor does `all_parked`, which holds the first swap until what was stopped has copied too.
#[tokio::test]
async fn all_parked_holds_no_restart_of_a_copy_and_waits_for_it() {
    let fleet = Fleet::of(3).await;
    let options = json!({"cutover_policy": "parallel", "cutover_gate": "all_parked"});
    let apply = fleet.submit(options).await;
    let [o1, o2, o3] = apply.all();
    fleet.park(o1).await;
    fleet.reach(o2, "stopped").await;
    assert_eq!(fleet.states(&apply).await, ["stopped"; 3]);

    fleet.start(&apply).await;

    assert_eq!(fleet.state(o1).await, "waiting_for_cutover");
    for copying in [o2, o3] {
        assert!(fleet.claim_cutover("beta").await.is_none());
        let blocked = fleet.blocked(o1).await.expect("a copy is to come");
        assert_eq!(blocked.blocker, Some(copying));
        fleet.park(copying).await;
    }
    assert_eq!(fleet.claim_cutover("beta").await.unwrap().operation, o1);
}

/// Case 44: what was stopped on hold copies on, ungated.
#[tokio::test]
async fn what_was_stopped_on_hold_is_claimable_at_once_after_a_start() {
    let fleet = Fleet::of(2).await;
    let options = json!({"cutover_policy": "rolling", "defer_cutover": true});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    let claim = fleet.hold(o1).await;
    fleet.stop(&apply).await;
    fleet.report("operation_stopped", &claim).await;

    fleet.start(&apply).await;
    let claim = fleet.claim_copy("beta").await.unwrap();
    assert_eq!(
        (claim.operation, claim.moved()),
        (o1, ("stopped", "running"))
    );
    assert_eq!(fleet.arrive(&claim).await, "hold");
    assert_eq!(fleet.state(o2).await, "pending");
}

/// Case 44 with nothing that ever started.
#[tokio::test]
async fn a_start_that_nothing_waits_for_is_done_in_the_same_call() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1, o2] = apply.all();
    fleet.stop(&apply).await;
    let start = fleet.start(&apply).await;
    assert_eq!(start.status, "done");
    assert_eq!(fleet.states(&apply).await, ["pending", "pending"]);
    assert!(fleet.is_claimable(o1, "copy").await);
    assert_eq!(fleet.blocked(o2).await.unwrap().blocker, Some(o1));
}

/// Case 45.
#[tokio::test]
async fn a_failed_earlier_sibling_does_not_hold_back_what_was_stopped_while_copying() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2] = apply.all();
    let first = fleet.run(o1).await;
    let second = fleet.run(o2).await;
    fleet.stop(&apply).await;
    fleet.report("operation_stopped", &second).await;
    fleet.fail_for_good(&first).await;
    assert_eq!(fleet.states(&apply).await, ["failed", "stopped"]);

    fleet.start(&apply).await;
    let claim = fleet.claim_copy("beta").await.expect("o2");
    assert_eq!(
        (claim.operation, claim.moved()),
        (o2, ("stopped", "running"))
    );
}

/// Case 46.
#[tokio::test]
async fn a_start_of_what_is_not_stopped_is_refused_and_opens_no_gate() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1, o2] = apply.all();
    fleet.run(o1).await;
    refused(50501, fleet.try_start(&apply).await);
    assert!(fleet.claim_copy("beta").await.is_none());
    assert_eq!(fleet.blocked(o2).await.unwrap().blocker, Some(o1));
}

/// Case 69: a stop that stopped nothing leaves nothing to start, but for a swap under way that may fail under it.
#[tokio::test]
async fn a_start_after_a_stop_that_stopped_nothing_is_refused_once_the_swap_is_over() {
    for asked_in_time in [true, false] {
        let fleet = Fleet::of(1).await;
        let apply = fleet.submit(json!({"revert_window_seconds": 600})).await;
        let claim = fleet.cut_over(apply.operations[0]).await;
        assert_eq!(fleet.stop(&apply).await.status, "done");
        if asked_in_time {
            assert_eq!(fleet.start(&apply).await.status, "done");
            assert_eq!(fleet.fail_for_now(&claim).await, "failed_retryable");
        } else {
            fleet.swapped(&claim).await;
            let before = fleet.trace().await;
            refused(50501, fleet.try_start(&apply).await);
            assert_eq!(fleet.trace().await, before, "nothing recorded");
        }
    }
}

/// Case 47.
#[tokio::test]
async fn nothing_waits_for_a_lease_to_run_out() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let claim = fleet.run(apply.operations[0]).await;
    fleet.stop(&apply).await;
    fleet.beat(&claim).await;
    fleet.report("operation_stopped", &claim).await;
    fleet.start(&apply).await;
    let claim = fleet.claim_copy("beta").await.expect("at once");
    assert_eq!(claim.moved(), ("stopped", "running"));

    fleet.beat(&claim).await;
    let cancel = fleet.cancel(&apply).await;
    assert_eq!(cancel.status, "pending");
    assert_eq!(fleet.state(claim.operation).await, "cancelling");
    assert_eq!(fleet.directive(&claim).await, "cancel");
    assert_eq!(
        fleet.report("operation_cancelled", &claim).await,
        "cancelled"
    );
    assert_eq!(fleet.request_status(&cancel).await, "done");
}

/// Case 48.
#[tokio::test]
async fn a_start_is_refused_while_a_stop_is_pending() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(Value::Null).await;
    let claim = fleet.run(apply.operations[0]).await;
    fleet.stop(&apply).await;
    let refusal = refused(50501, fleet.try_start(&apply).await);
    assert!(refusal.message.contains("stop"), "{refusal:?}");
    fleet.report("operation_stopped", &claim).await;
    fleet.start(&apply).await;
}

/// SPEC.md section 6: a stop makes a pending start moot.
/// The driver was there when the stop was asked for first, and is known to be gone now.
#[tokio::test]
async fn a_stop_that_is_asked_for_again_stops_what_has_lost_its_driver_since() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [operation] = apply.all();
    fleet.run(operation).await;
    assert_eq!(fleet.stop(&apply).await.status, "pending");
    fleet
        .call(
            "operation_release_lease",
            arguments![operation, "it is gone"],
        )
        .await;
    assert_eq!(fleet.states(&apply).await, ["running"]);
    let again = fleet.stop(&apply).await;
    assert_eq!(fleet.states(&apply).await, ["stopped"]);
    assert_eq!(fleet.request_status(&again).await, "done");
}

#[tokio::test]
async fn a_stop_makes_a_pending_start_moot() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    fleet.reach(apply.operations[0], "stopped").await;
    let start = fleet.start(&apply).await;
    assert_eq!(start.status, "pending");
    let stop = fleet.stop(&apply).await;
    assert_eq!(stop.status, "done");
    assert_eq!(fleet.request_status(&start).await, "moot");
    assert_eq!(fleet.apply_state(&apply).await, "stopped");
    fleet.nothing_is_claimable().await;
}

/// Case 51.
#[tokio::test]
async fn a_start_makes_a_retry_due_now() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1] = apply.all();
    for _ in 0..5 {
        let claim = fleet.claim_copy("alpha").await.expect("due");
        fleet.fail_for_now(&claim).await;
        fleet.age(o1, 121).await;
    }
    let claim = fleet.claim_copy("alpha").await.expect("due");
    fleet.fail_for_now(&claim).await;
    assert!(fleet.claim_copy("alpha").await.is_none(), "due in a while");
    let blocked = fleet.blocked(o1).await.unwrap();
    assert_eq!(blocked.blocker, None);

    let start = fleet.start(&apply).await;
    assert_eq!(start.status, "done");
    let claim = fleet.claim_copy("alpha").await.expect("due now");
    assert_eq!(claim.moved(), ("failed_retryable", "running"));
}
