//! Cases 20 to 26: whose turn it is to swap.

use serde_json::{Value, json};

use crate::support::control::{Fleet, arguments, refused};
use crate::together::at_once;

/// Case 20.
#[tokio::test]
async fn the_first_parked_operation_is_offered_to_the_cutover_claim() {
    let fleet = Fleet::of(2).await;
    let [o1, _] = fleet.parked("barrier").await.all();
    let started_at = fleet.column(o1, "started_at").await;

    let claim = fleet.claim_cutover("alpha").await.expect("o1");

    assert_eq!(claim.operation, o1);
    assert_eq!(claim.moved(), ("waiting_for_cutover", "cutting_over"));
    assert_eq!(fleet.column(o1, "started_at").await, started_at);
    assert_eq!(fleet.column(o1, "driver").await, "alpha");
}

/// Case 21.
#[tokio::test]
async fn a_swap_under_way_holds_the_next_one() {
    let fleet = Fleet::of(2).await;
    let [o1, o2] = fleet.parked("barrier").await.all();
    fleet.claim_cutover("alpha").await.expect("o1");

    assert!(fleet.claim_cutover("beta").await.is_none());
    let blocked = fleet.blocked(o2).await.unwrap();
    assert_eq!(
        (blocked.gate.as_str(), blocked.blocker),
        ("cutover", Some(o1))
    );
}

/// Case 22.
#[tokio::test]
async fn the_turn_is_handed_on_by_the_call_that_completes_a_swap() {
    for policy in ["barrier", "parallel"] {
        for window in [0, 600] {
            let fleet = Fleet::of(3).await;
            let options = json!({"cutover_policy": policy, "revert_window_seconds": window});
            let apply = fleet.submit(options).await;
            let [o1, o2, o3] = apply.all();
            // Parallel copies may arrive in any order.
            let arrivals = if policy == "parallel" {
                [o3, o1, o2]
            } else {
                [o1, o2, o3]
            };
            for operation in arrivals {
                fleet.park(operation).await;
            }
            for operation in [o1, o2, o3] {
                assert_eq!(fleet.claimable().await, [(operation, "cutover".to_owned())]);
                let claim = fleet.claim_cutover("alpha").await.unwrap();
                assert_eq!(claim.operation, operation);
                if fleet.swapped(&claim).await == "revert_window" {
                    assert!(
                        fleet.claimable().await.is_empty(),
                        "an open window holds the next swap"
                    );
                    fleet.age(operation, 601).await;
                    assert_eq!(
                        fleet.report("operation_complete", &claim).await,
                        "completed"
                    );
                }
            }
            assert_eq!(fleet.apply_state(&apply).await, "completed");
        }
    }
}

/// Case 23.
#[tokio::test]
async fn an_earlier_copy_holds_a_parked_operation() {
    let fleet = Fleet::of(2).await;
    let [o1, o2] = fleet
        .submit(json!({"cutover_policy": "parallel"}))
        .await
        .all();
    fleet.run(o1).await;
    fleet.park(o2).await;
    assert!(fleet.claim_cutover("alpha").await.is_none());
    assert_eq!(fleet.blocked(o2).await.unwrap().blocker, Some(o1));

    // Under barrier o1 copies again after its swap is known not to have happened.
    let fleet = Fleet::of(2).await;
    let [o1, _] = fleet.parked("barrier").await.all();
    let claim = fleet.claim_cutover("alpha").await.unwrap();
    assert_eq!(fleet.fail_for_now(&claim).await, "failed_retryable");
    assert!(fleet.claim_cutover("alpha").await.is_none());
    assert_eq!(fleet.claim_copy("alpha").await.unwrap().operation, o1);
    assert!(fleet.claim_cutover("alpha").await.is_none());
}

/// Case 24.
#[tokio::test]
async fn all_parked_holds_the_first_swap_until_nobody_copies() {
    // A failure holds nobody before it, whatever it is to those behind it.
    for (last, on_failure) in [
        ("parks", "halt"),
        ("fails", "halt"),
        ("fails", "continue"),
        ("fails", "pause"),
    ] {
        let fleet = Fleet::of(3).await;
        let options = json!({"cutover_policy": "parallel", "cutover_gate": "all_parked", "on_failure": on_failure});
        let [o1, o2, o3] = fleet.submit(options).await.all();
        fleet.park(o1).await;
        fleet.park(o2).await;
        let copying = fleet.run(o3).await;

        assert!(fleet.claim_cutover("alpha").await.is_none());
        let blocked = fleet.blocked(o1).await.unwrap();
        assert_eq!(
            (blocked.gate.as_str(), blocked.blocker),
            ("cutover", Some(o3))
        );

        if last == "parks" {
            assert_eq!(fleet.arrive(&copying).await, "parked");
        } else {
            fleet.fail_for_good(&copying).await;
        }
        fleet.swap(o1).await;
        fleet.swap(o2).await;
        if last == "parks" {
            fleet.swap(o3).await;
        }
        fleet.nothing_is_claimable().await;
    }
}

/// Case 24, "from then on plain order": what holds the first swap no longer holds the second.
#[tokio::test]
async fn all_parked_holds_no_later_swap() {
    let fleet = Fleet::of(3).await;
    let options = json!({"cutover_policy": "barrier", "cutover_gate": "all_parked"});
    let [o1, o2, o3] = fleet.submit(options).await.all();
    for operation in [o1, o2, o3] {
        assert!(fleet.claim_cutover("alpha").await.is_none());
        fleet.park(operation).await;
    }
    fleet.swap(o1).await;
    let claim = fleet.cut_over(o2).await;
    // Its swap did not happen: it copies again, and o3 waits for it by order alone.
    fleet.fail_for_now(&claim).await;
    assert_eq!(fleet.blocked(o3).await.unwrap().blocker, Some(o2));
    let claim = fleet.run(o2).await;
    assert_eq!(fleet.arrive(&claim).await, "parked");
    fleet.swap(o2).await;
    fleet.swap(o3).await;
}

/// Case 25.
#[tokio::test]
async fn of_eight_cutover_claims_at_once_one_receives_the_first_and_nobody_the_second() {
    let fleet = Fleet::of(2).await;
    for _ in 0..5 {
        let [o1, _] = fleet.parked("barrier").await.all();
        let claims = at_once(&fleet, 8, async |session, _| {
            session.claim_cutover("alpha").await.expect("no error")
        })
        .await;
        let taken: Vec<u64> = claims
            .into_iter()
            .flatten()
            .map(|claim| claim.operation)
            .collect();
        assert_eq!(taken, [o1]);
    }
}

/// Case 26.
#[tokio::test]
async fn what_is_held_at_the_barrier_is_no_business_of_the_cutover_claim() {
    for (deployments, policy) in [(1, "rolling"), (1, "barrier"), (2, "rolling")] {
        let fleet = Fleet::of(deployments).await;
        let options = json!({"cutover_policy": policy, "defer_cutover": true});
        let apply = fleet.submit(options).await;
        let o1 = apply.operations[0];
        let claim = fleet.hold(o1).await;
        assert!(fleet.claim_cutover("alpha").await.is_none());
        fleet.age(o1, 61).await;
        assert!(fleet.claim_cutover("alpha").await.is_none(), "stale or not");
        fleet.cutover(&apply).await;
        assert!(
            fleet.claim_cutover("alpha").await.is_none(),
            "asked for or not"
        );
        assert_eq!(fleet.directive(&claim).await, "cutover");
    }
}

/// Two swaps of one apply at a time violate a unique key: not even an administrator makes them.
#[tokio::test]
async fn the_database_itself_refuses_a_second_swap_at_the_same_time() {
    let fleet = Fleet::of(2).await;
    let [o1, o2] = fleet.parked("barrier").await.all();
    fleet.cut_over(o1).await;
    let forced = format!(
        "UPDATE operation_live SET state = 'cutting_over', tend_at = NULL, tend_token = NULL WHERE operation_id = {o2}"
    );
    let outcome = fleet.sql().await.run(&forced).await;
    refused(1062, outcome);
}

/// With `revert_scope` apply, windows stay open side by side and hold nothing.
#[tokio::test]
async fn windows_of_a_whole_apply_hold_neither_the_next_copy_nor_the_next_swap() {
    for policy in ["rolling", "barrier"] {
        let fleet = Fleet::of(3).await;
        let options = json!({
            "cutover_policy": policy,
            "revert_window_seconds": 600,
            "revert_scope": "apply",
        });
        let apply = fleet.submit(options).await;
        let [o1, o2, o3] = apply.all();
        let mut claims = Vec::new();
        for operation in [o1, o2, o3] {
            claims.push(fleet.swap(operation).await);
            assert_eq!(fleet.state(operation).await, "revert_window");
        }
        // They end together, with the last swap's.
        fleet.age(o1, 601).await;
        fleet.age(o3, 540).await;
        let early = arguments![o1, &claims[0].token];
        fleet.refuses(50201, "operation_complete", early).await;
        fleet.age(o3, 61).await;
        for last_first in [2, 0] {
            assert_eq!(
                fleet
                    .report("operation_complete", &claims[last_first])
                    .await,
                "completed"
            );
        }
        assert_eq!(
            fleet.report("operation_complete", &claims[1]).await,
            "completed"
        );
    }
}

#[tokio::test]
async fn a_window_of_a_whole_apply_stays_open_while_another_swap_may_come() {
    let fleet = Fleet::of(2).await;
    let options =
        json!({"cutover_policy": "rolling", "revert_window_seconds": 600, "revert_scope": "apply"});
    let [o1, o2] = fleet.submit(options).await.all();
    let first = fleet.swap(o1).await;
    fleet.age(o1, 601).await;
    let early = arguments![o1, &first.token];
    fleet.refuses(50201, "operation_complete", early).await;
    fleet.fail_operation(o2).await;
    assert_eq!(
        fleet.report("operation_complete", &first).await,
        "completed"
    );
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
