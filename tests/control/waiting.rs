//! Cases 89 and 90: what may be claimed now, and what keeps the rest waiting.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::control::{Fleet, arguments};
use crate::support::seed;

/// Case 89: after each step of every test `Fleet::check` has looked that each operation that waits is in one of the two views.
/// Here: what the first of them says is what the claims do.
#[tokio::test]
async fn what_is_shown_as_claimable_is_what_the_claims_hand_out() {
    let mut random = StdRng::seed_from_u64(seed());
    for round in 0..6 {
        let fleet = Fleet::of(4).await;
        let mut applies = Vec::new();
        for (number, policy) in ["rolling", "barrier", "parallel"].iter().enumerate() {
            let mut options = json!({
                "cutover_policy": policy,
                "on_failure": (["halt", "continue", "pause"][(round + number) % 3]),
            });
            if round % 2 == 0 {
                options["max_copies"] = json!(2);
            }
            applies.push(fleet.submit(options).await);
        }
        // Any mixture of states.
        for step in 0..15 {
            let claim = if step % 3 == 2 {
                fleet.claim_cutover("alpha").await
            } else {
                fleet.claim_copy("alpha").await
            };
            let Some(claim) = claim else { continue };
            match random.random_range(0..6) {
                0 => drop(fleet.fail_for_now(&claim).await),
                1 => drop(fleet.fail_for_good(&claim).await),
                2 => fleet.age(claim.operation, 61).await,
                3 => drop(fleet.release(&claim).await),
                _ if claim.state == "running" => drop(fleet.arrive(&claim).await),
                _ => {}
            }
        }
        if round >= 3 {
            drop(fleet.try_stop(&applies[round % 3]).await);
            drop(fleet.try_cancel(&applies[(round + 1) % 3]).await);
            drop(fleet.try_start(&applies[round % 3]).await);
        }

        for claim in ["copy", "cutover"] {
            loop {
                let shown: Vec<u64> = fleet
                    .claimable()
                    .await
                    .into_iter()
                    .filter(|(_, kind)| kind == claim)
                    .map(|(operation, _)| operation)
                    .collect();
                let procedure = format!("operation_claim_{claim}");
                let given = fleet.claim(&procedure, "alpha", Value::Null).await;
                match given {
                    Some(given) => {
                        assert_eq!(
                            Some(&given.operation),
                            shown.first(),
                            "the one that waited longest"
                        );
                        // A recovery leaves the row leased, as any claim does.
                        assert!(!fleet.is_claimable(given.operation, claim).await);
                    }
                    None => {
                        assert!(
                            shown.is_empty(),
                            "round {round}: {shown:?} shown, none given"
                        );
                        break;
                    }
                }
            }
        }
    }
}

/// Case 90.
#[tokio::test]
async fn what_blocks_an_operation_is_named_in_one_sentence() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1, o2] = apply.all();
    fleet.run(o1).await;
    let blocked = fleet.blocked(o2).await.unwrap();
    assert_eq!((blocked.gate.as_str(), blocked.blocker), ("copy", Some(o1)));
    assert!(
        blocked.reason.contains("d1") && blocked.reason.contains("running"),
        "{blocked:?}"
    );
    assert_eq!(blocked.reason.matches('.').count(), 1, "{blocked:?}");
    assert_eq!(fleet.blocked(o1).await, None, "it has a driver");
}

/// Case 90: of several blockers the earliest is named; and what else shuts a gate has its own sentence.
#[tokio::test]
async fn each_reason_has_its_sentence() {
    let fleet = Fleet::of(3).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2, o3] = apply.all();
    fleet.park(o3).await;
    fleet.park(o2).await;
    assert_eq!(fleet.blocked(o3).await.unwrap().blocker, Some(o1));
    let swapping = fleet.swap(o1).await;
    assert_eq!(fleet.blocked(o3).await.unwrap().blocker, Some(o2));
    assert_eq!(swapping.position, 0);

    let window = fleet.submit(json!({"cutover_policy": "parallel", "revert_window_seconds": 600, "revert_scope": "apply"})).await;
    let [w1, w2, _] = window.all();
    fleet.park(w2).await;
    fleet.swap(w1).await;
    fleet.revert(&window).await;
    let blocked = fleet.blocked(w2).await.unwrap();
    assert!(blocked.reason.contains("revert"), "{blocked:?}");

    // A copy that runs under a stop holds the request open; nobody else is pending, parked or due.
    let stopping = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [s1, s2, _] = stopping.all();
    fleet.run(s1).await;
    fleet.stop(&stopping).await;
    assert_eq!(fleet.state(s2).await, "stopped");
    assert_eq!(
        fleet.blocked(s2).await,
        None,
        "stopped: it waits for a person, not at a gate"
    );
}

/// Why it doesn't move, whoever is waited for: a driver, an earlier one, a person, or what throttles it.
#[tokio::test]
async fn whatever_does_not_move_says_why_in_one_place() {
    let fleet = Fleet::of(2).await;
    let apply = fleet
        .submit(json!({"cutover_policy": "parallel", "defer_cutover": true}))
        .await;
    let [o1, o2] = apply.all();
    let free = "Any driver may claim its copy now.";
    assert_eq!(fleet.waiting(o1).await.as_deref(), Some(free));
    let first = fleet.run(o1).await;
    assert_eq!(fleet.waiting(o1).await, None, "at full speed");
    let progress = json!({"phase": "copy", "throttled_by": "replica lag"});
    fleet.tell(&first, progress, Value::Null).await;
    let throttled = fleet.waiting(o1).await;
    assert_eq!(throttled.as_deref(), Some("Throttled: replica lag."));
    fleet.release(&first).await;
    let released = fleet.waiting(o1).await;
    assert_eq!(released.as_deref(), Some(free), "what throttled it is over");

    let held = fleet.hold(o1).await;
    fleet.hold(o2).await;
    let progress = json!({"phase": "waiting"});
    fleet.tell(&held, progress, Value::Null).await;
    let word = "The cutover is deferred by hand; apply_cutover opens it.";
    assert_eq!(fleet.waiting(o1).await.as_deref(), Some(word));
    let turn = "The cutover waits for d1, which comes earlier and is in state waiting_for_cutover.";
    assert_eq!(fleet.waiting(o2).await.as_deref(), Some(turn));
    fleet.age(o2, 61).await;
    let stale = fleet.waiting(o2).await.expect("nobody beats for it");
    assert!(
        stale.starts_with("Its driver ") && stale.ends_with(" any driver may take it over."),
        "{stale}"
    );
    fleet.cutover(&apply).await;
    let told = fleet.waiting(o1).await.expect("its driver is told");
    assert!(
        told.starts_with("Its driver ") && told.ends_with(" s ago, is told: cutover."),
        "{told}"
    );

    let stopped = fleet.submit(Value::Null).await;
    let [s1, s2] = stopped.all();
    assert_eq!(
        fleet.waiting(s2).await,
        fleet.blocked(s2).await.map(|blocked| blocked.reason),
        "in the words of operation_blocked"
    );
    fleet.stop(&stopped).await;
    let word = "The apply is stopped or stopping; apply_start resumes it.";
    assert_eq!(fleet.waiting(s1).await.as_deref(), Some(word));
}

/// Until when a person may go back; and that clean-up is not throttled.
#[tokio::test]
async fn what_is_swapped_says_until_when_it_can_be_reverted_and_what_is_cancelled_what_its_driver_is_told()
 {
    let fleet = Fleet::of(2).await;
    let window = fleet
        .submit(json!({"revert_window_seconds": 600, "cutover_policy": "parallel"}))
        .await;
    let [w1, w2] = window.all();
    let first = fleet.run(w1).await;
    let copying = fleet.run(w2).await;
    let progress = json!({"phase": "copy", "throttled_by": "replica lag"});
    fleet.tell(&copying, progress, Value::Null).await;
    fleet.arrive(&first).await;
    let swapping = fleet.cut_over(w1).await;
    let progress =
        json!({"phase": "cutover", "throttled_by": "session 7 of root has used the table for 5 s"});
    fleet.tell(&swapping, progress, Value::Null).await;
    let gives_way = "The swap gives way: session 7 of root has used the table for 5 s.";
    assert_eq!(fleet.waiting(w1).await.as_deref(), Some(gives_way));
    fleet.swapped(&swapping).await;
    let until = fleet.waiting(w1).await.expect("it can be reverted");
    let ends = "SELECT CONCAT('It can be reverted until ', CAST(revert_until AS DATETIME), ' UTC.') \
                  FROM operation_live WHERE operation_id = ?";
    assert_eq!(
        vec![until],
        fleet.sql().await.texts(ends, arguments![w1]).await
    );
    fleet.cancel(&window).await;
    let told = fleet.waiting(w2).await.expect("its driver is told");
    assert!(told.ends_with(" s ago, is told: cancel."), "{told}");
}

/// Its driver is told to stop; a start would be refused meanwhile.
#[tokio::test]
async fn one_on_hold_that_is_to_stop_says_so() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({"defer_cutover": true})).await;
    let [operation] = apply.all();
    fleet.hold(operation).await;
    fleet.stop(&apply).await;
    let waiting = fleet.waiting(operation).await.expect("a reason");
    assert!(waiting.contains("is told: stop"), "{waiting}");
}

/// The clock of a deferral runs whatever keeps it from its turn.
#[tokio::test]
async fn a_hold_that_is_not_its_turn_says_when_it_is_given_up() {
    let fleet = Fleet::of(2).await;
    let apply = fleet
        .submit(json!({"cutover_policy": "parallel", "defer_cutover": true, "defer_timeout_seconds": 900}))
        .await;
    let [_, o2] = apply.all();
    fleet.hold(o2).await;
    let waiting = fleet.waiting(o2).await.expect("a reason");
    assert!(
        waiting.contains("waits for d1") && waiting.contains("It is given up at"),
        "{waiting}"
    );
}

#[tokio::test]
async fn one_that_is_claimed_only_to_be_stopped_says_so() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [operation] = apply.all();
    let claim = fleet.run(operation).await;
    fleet.stop(&apply).await;
    fleet.release(&claim).await;
    assert_eq!(fleet.state(operation).await, "running");
    let waiting = fleet.waiting(operation).await.expect("a reason");
    assert!(waiting.contains("is told: stop"), "{waiting}");
}
