//! Cases 58 to 66: who holds what.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::catalogue::{Kind, procedures};
use crate::support::control::{Claim, Fleet, Session, arguments, refused};
use crate::support::seed;

/// The states in which a driver holds an operation.
const LEASED: [&str; 6] = [
    "running",
    "waiting_for_cutover",
    "cutting_over",
    "revert_window",
    "reverting",
    "cancelling",
];

/// What each call of a driver that takes a lease is refused with, if it is.
async fn driver_calls(session: &mut Session, claim: &Claim) -> Vec<(&'static str, Option<u16>)> {
    let mut numbers = Vec::new();
    for procedure in procedures(claim.apply, claim.operation, &claim.token) {
        // A lost lease is no error to two of them.
        if procedure.kinds.contains(&Kind::Token)
            && !matches!(procedure.name, "operation_release" | "operation_tended")
        {
            let outcome = session.call(procedure.name, &procedure.arguments).await;
            numbers.push((procedure.name, outcome.err().map(|refusal| refusal.number)));
        }
    }
    assert_eq!(numbers.len(), 10);
    numbers
}

/// Case 58.
#[tokio::test]
async fn a_driver_that_lost_its_lease_is_refused_everywhere_and_changes_nothing() {
    for state in LEASED {
        let fleet = Fleet::of(1).await;
        let options = json!({
            "revert_window_seconds": 6000,
            "defer_cutover": state == "waiting_for_cutover",
        });
        let [o1] = fleet.submit(options).await.all();
        let dead = fleet.reach(o1, state).await;
        fleet.age(o1, 61).await;
        let alive = match fleet.claim_copy("beta").await {
            Some(claim) => claim,
            None => fleet.claim_cutover("beta").await.expect("stale"),
        };

        let before = fleet.everything_of(o1).await;
        let mut session = fleet.session().await;
        for (procedure, refused) in driver_calls(&mut session, &dead).await {
            assert_eq!(refused, Some(50101), "{procedure} in {state}");
        }
        assert!(!fleet.release(&dead).await, "released 0, no error");
        let beats = json!([{"operation_id": o1, "lease_token": dead.token, "checkpoint": {"forged": true}}]);
        let rows = session
            .call("driver_heartbeat", arguments!["alpha", beats])
            .await
            .expect("a lost lease is no error here");
        assert_eq!((rows.len(), rows[0].number("held")), (1, 0));
        assert_eq!(fleet.everything_of(o1).await, before, "{state}");
        // The new owner has lost nothing.
        fleet.beat(&alive).await;
    }
}

/// Case 59.
#[tokio::test]
async fn a_siblings_token_an_empty_one_and_none_are_worth_nothing() {
    let fleet = Fleet::of(2).await;
    let [o1, o2] = fleet
        .submit(json!({"cutover_policy": "parallel"}))
        .await
        .all();
    let first = fleet.run(o1).await;
    let second = fleet.run(o2).await;
    let before = (fleet.everything_of(o1).await, fleet.everything_of(o2).await);

    let mut session = fleet.session().await;
    for (token, number) in [
        (first.token.as_str(), 50101),
        ("", 50001),
        ("x", 50101),
        (&second.token.to_uppercase(), 50101),
        (&format!("{} ", second.token), 50101),
        (&format!("{}x", second.token), 50101),
        (&"t".repeat(100_000), 50101),
    ] {
        let forged = second.with_token(token);
        for (procedure, refused) in driver_calls(&mut session, &forged).await {
            assert_eq!(refused, Some(number), "{procedure} with token {token:.40}");
        }
    }
    for procedure in [
        "operation_stopped",
        "operation_release",
        "operation_begin_cutover",
    ] {
        let outcome = session.call(procedure, arguments![o2, Value::Null]).await;
        refused(50001, outcome);
    }
    let outcome = session
        .call(
            "operation_heartbeat",
            arguments![o2, Value::Null, Value::Null, Value::Null],
        )
        .await;
    refused(50001, outcome);
    for claim in ["operation_claim_copy", "operation_claim_cutover"] {
        for driver in [Some(""), Some("   "), None] {
            let outcome = session.call(claim, arguments![driver, Value::Null]).await;
            refused(50001, outcome);
        }
    }
    assert_eq!(
        (fleet.everything_of(o1).await, fleet.everything_of(o2).await),
        before
    );
    // An operation that there is not.
    let nowhere = Claim {
        operation: 4_000_000_000,
        ..second.clone()
    };
    for (procedure, refused) in driver_calls(&mut session, &nowhere).await {
        assert_eq!(refused, Some(50002), "{procedure}");
    }
}

/// Case 60.
#[tokio::test]
async fn a_released_operation_keeps_its_state_and_is_claimable_at_once() {
    for state in LEASED {
        let fleet = Fleet::of(1).await;
        let options = json!({
            "revert_window_seconds": 600,
            "defer_cutover": state == "waiting_for_cutover",
        });
        let [o1] = fleet.submit(options).await.all();
        let claim = fleet.reach(o1, state).await;

        assert!(fleet.release(&claim).await);
        assert_eq!(fleet.state(o1).await, state);
        assert!(!fleet.has_lease(o1).await);
        assert!(fleet.release(&claim).await, "asked again");
        let next = match fleet.claim_copy("beta").await {
            Some(claim) => claim,
            None => fleet.claim_cutover("beta").await.expect("at once"),
        };
        assert_eq!(next.moved(), (state, state));
        assert_eq!(next.attempt, 0);

        assert!(!fleet.release(&claim).await, "an old token");
        fleet.beat(&next).await;
        fleet.nothing_is_claimable().await;
    }
}

/// Case 61.
#[tokio::test]
async fn a_call_that_has_taken_effect_succeeds_again_and_moves_nothing() {
    // Which call, and what comes before it.
    for call in [
        "arrive",
        "swapped",
        "swapped to a window",
        "stopped",
        "cancelled",
        "fail",
        "fail for now",
        "complete",
        "begin_revert",
        "reverted",
        "begin_cutover",
    ] {
        let fleet = Fleet::of(2).await;
        let window = matches!(
            call,
            "swapped to a window" | "complete" | "begin_revert" | "reverted"
        );
        let options = json!({
            "cutover_policy": if call == "arrive" { "barrier" } else { "rolling" },
            "revert_window_seconds": u64::from(window) * 600,
            "defer_cutover": call == "begin_cutover",
        });
        let apply = fleet.submit(options).await;
        let o1 = apply.operations[0];
        let before = match call {
            "begin_cutover" => "waiting_for_cutover",
            "swapped" | "swapped to a window" => "cutting_over",
            "complete" | "begin_revert" => "revert_window",
            "reverted" => "reverting",
            "cancelled" => "cancelling",
            _ => "running",
        };
        let claim = fleet.reach(o1, before).await;
        match call {
            "stopped" => drop(fleet.stop(&apply).await),
            "complete" => fleet.age(o1, 601).await,
            "begin_revert" => drop(fleet.revert(&apply).await),
            "begin_cutover" => drop(fleet.cutover(&apply).await),
            _ => {}
        }
        let act = async || match call {
            "arrive" => fleet.arrive(&claim).await,
            "swapped" | "swapped to a window" => fleet.swapped(&claim).await,
            "fail" => fleet.fail_for_good(&claim).await,
            "fail for now" => fleet.fail_for_now(&claim).await,
            other => fleet.report(&format!("operation_{other}"), &claim).await,
        };
        let first = act().await;
        let before = fleet.everything_of(o1).await;

        assert_eq!(act().await, first, "{call}");
        assert_eq!(fleet.everything_of(o1).await, before, "{call}");
    }
}

/// Case 62.
#[tokio::test]
async fn a_dba_can_take_a_lease_away() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1] = apply.all();
    fleet
        .refuses(50501, "operation_release_lease", arguments![o1, "gone"])
        .await;
    let claim = fleet.claim_copy("alpha").await.unwrap();

    fleet
        .call("operation_release_lease", arguments![o1, "host burnt down"])
        .await;

    assert_eq!(fleet.state(o1).await, "running");
    let mut session = fleet.session().await;
    refused(
        50101,
        session.heartbeat(&claim, Value::Null, Value::Null).await,
    );
    assert!(!fleet.release(&claim).await, "its driver has none to give");
    assert!(fleet.is_claimable(o1, "copy").await);
    let next = fleet.claim_copy("beta").await.unwrap();
    assert!(next.epoch > claim.epoch);
    refused(
        50101,
        session.heartbeat(&claim, Value::Null, Value::Null).await,
    );
    let nowhere = arguments![4_000_000_000u64, "x"];
    fleet
        .refuses(50002, "operation_release_lease", nowhere)
        .await;
    let log = fleet
        .sql()
        .await
        .texts(
            "SELECT e.detail FROM event_log AS e WHERE e.detail LIKE '%host burnt down%'",
            &[],
        )
        .await;
    assert_eq!(log.len(), 1, "{log:?}");
}

#[tokio::test]
async fn whoever_takes_over_from_a_driver_that_is_gone_carries_out_the_stop() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1] = apply.all();
    fleet.claim_copy("alpha").await.unwrap();
    let stop = fleet.stop(&apply).await;
    fleet
        .call("operation_release_lease", arguments![o1, "gone"])
        .await;
    assert_eq!(fleet.state(o1).await, "running");
    assert_eq!(fleet.request_status(&stop).await, "pending");
    let taken_over = fleet.claim_copy("beta").await.unwrap();
    assert_eq!(taken_over.operation, o1);
    assert_eq!(taken_over.state, "running");
    assert_eq!(
        fleet.report("operation_stopped", &taken_over).await,
        "stopped"
    );
    assert_eq!(fleet.request_status(&stop).await, "done");
    fleet.nothing_is_claimable().await;
}

/// Case 63.
#[tokio::test]
async fn no_token_comes_twice_and_epochs_only_grow() {
    let fleet = Fleet::of(3).await;
    let mut random = StdRng::seed_from_u64(seed());
    let mut tokens = BTreeSet::new();
    let mut epochs: BTreeMap<u64, i64> = BTreeMap::new();
    for _ in 0..4 {
        let options = json!({"cutover_policy": "parallel", "revert_window_seconds": 6000});
        fleet.submit(options).await;
    }
    let mut live: Vec<Claim> = Vec::new();
    for step in 0..300 {
        let claim = match step % 2 {
            0 => fleet.claim_copy("alpha").await,
            _ => fleet.claim_cutover("beta").await,
        };
        if let Some(claim) = claim {
            assert!(tokens.insert(claim.token.clone()), "a token came twice");
            let epoch = epochs.insert(claim.operation, claim.epoch);
            assert!(epoch.unwrap_or(0) < claim.epoch);
            live.retain(|old| old.operation != claim.operation);
            live.push(claim);
        }
        if live.is_empty() {
            continue;
        }
        let claim = live[random.random_range(0..live.len())].clone();
        let mut session = fleet.sql().await;
        match random.random_range(0..5) {
            0 => drop(session.arrive(&claim).await),
            1 => drop(session.swapped(&claim).await),
            2 => drop(session.release(&claim).await),
            3 => drop(session.fail(&claim, "lost", 1).await),
            _ => {
                drop(session);
                fleet.age(claim.operation, 61).await;
            }
        }
    }
    assert!(tokens.len() > 20, "{}", tokens.len());
    fleet.check().await;
    fleet.check_history().await;
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
