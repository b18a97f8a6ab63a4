//! Cases 34 to 39: taking over from a driver that is gone.

use serde_json::{Value, json};

use crate::support::control::{Argument, Fleet, arguments};
use crate::together::at_once;

/// Case 34.
#[tokio::test]
async fn a_copy_whose_driver_is_gone_is_taken_over_as_it_is() {
    let fleet = Fleet::of(1).await;
    let [o1] = fleet.submit(Value::Null).await.all();
    let first = fleet.claim_copy("alpha").await.unwrap();
    let started_at = fleet.column(o1, "started_at").await;
    fleet.age(o1, 61).await;

    let second = fleet.claim_copy("beta").await.expect("o1");

    assert_eq!(second.moved(), ("running", "running"));
    assert_ne!(second.token, first.token);
    assert!(second.epoch > first.epoch);
    assert_eq!(fleet.column(o1, "started_at").await, started_at);
    assert_eq!(fleet.column(o1, "driver").await, "beta");
    assert_eq!(
        fleet.column(o1, "attempt").await,
        "0",
        "a crash spends no attempt"
    );
    assert!(fleet.claim_copy("gamma").await.is_none());
}

/// Case 35.
#[tokio::test]
async fn a_lease_is_alive_until_its_time_is_over() {
    let fleet = Fleet::of(1).await;
    // Long enough for a slow machine to look in the last tenth.
    fleet
        .call("setting_set", arguments!["lease_ttl_seconds", 600u64])
        .await;
    let [o1] = fleet.submit(Value::Null).await.all();
    let claim = fleet.claim_copy("alpha").await.unwrap();
    fleet.age(o1, 550).await;
    fleet.nothing_is_claimable().await;
    // A heartbeat gives it all of its time again.
    fleet.beat(&claim).await;
    fleet.age(o1, 550).await;
    fleet.nothing_is_claimable().await;
    fleet.age(o1, 51).await;
    assert_eq!(fleet.claim_copy("beta").await.unwrap().operation, o1);
}

/// An expired lease that nobody took is still its owner's.
#[tokio::test]
async fn a_heartbeat_that_comes_late_but_before_a_claim_keeps_the_lease() {
    let fleet = Fleet::of(1).await;
    let [o1] = fleet.submit(Value::Null).await.all();
    let claim = fleet.claim_copy("alpha").await.unwrap();
    fleet.age(o1, 300).await;
    assert!(fleet.is_claimable(o1, "copy").await);
    // A claim with another scope sees that the lease ran out, and takes nothing.
    let other = fleet
        .claim("operation_claim_cutover", "beta", Value::Null)
        .await;
    assert!(other.is_none());
    fleet.beat(&claim).await;
    fleet.nothing_is_claimable().await;
    assert_eq!(fleet.arrive(&claim).await, "cut_over");
}

/// Case 36.
#[tokio::test]
async fn what_swaps_is_recovered_by_the_cutover_claim_alone() {
    let fleet = Fleet::of(1).await;
    for state in ["cutting_over", "revert_window", "reverting"] {
        let [o1] = fleet
            .submit(json!({"revert_window_seconds": 6000}))
            .await
            .all();
        let dead = fleet.reach(o1, state).await;
        fleet.nothing_is_claimable().await;
        fleet.age(dead.operation, 61).await;

        assert_eq!(
            fleet.claimable().await,
            [(dead.operation, "cutover".to_owned())]
        );
        assert!(fleet.claim_copy("beta").await.is_none(), "{state}");
        let claim = fleet.claim_cutover("beta").await.expect(state);
        assert_eq!(claim.operation, dead.operation);
        assert_eq!(claim.moved(), (state, state));
        assert!(claim.epoch > dead.epoch);
        fleet.nothing_is_claimable().await;
    }
}

/// Case 37.
#[tokio::test]
async fn max_copies_never_stands_in_the_way_of_a_recovery() {
    let fleet = Fleet::of(3).await;
    let options = json!({"cutover_policy": "parallel", "max_copies": 2});
    let [o1, o2, o3] = fleet.submit(options).await.all();
    fleet.run(o1).await;
    fleet.run(o2).await;
    fleet.age(o2, 61).await;
    // However long the third has been waiting.
    fleet.age(o3, 600).await;

    assert_eq!(fleet.claim_copy("beta").await.unwrap().operation, o2);
    assert!(fleet.claim_copy("beta").await.is_none());
    assert_eq!(fleet.state(o3).await, "pending");
}

/// Case 38.
#[tokio::test]
async fn a_clean_up_whose_driver_is_gone_is_taken_over_by_the_copy_claim() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1] = apply.all();
    let dead = fleet.claim_copy("alpha").await.unwrap();
    fleet.cancel(&apply).await;
    assert_eq!(fleet.directive(&dead).await, "cancel");
    fleet.age(o1, 61).await;

    assert!(fleet.claim_cutover("beta").await.is_none());
    let claim = fleet.claim_copy("beta").await.expect("o1");
    assert_eq!(claim.moved(), ("cancelling", "cancelling"));
    assert_eq!(
        fleet.report("operation_cancelled", &claim).await,
        "cancelled"
    );
}

/// Case 39.
#[tokio::test]
async fn the_checkpoint_is_handed_on() {
    let fleet = Fleet::of(1).await;
    let [o1] = fleet.submit(Value::Null).await.all();
    let claim = fleet.claim_copy("alpha").await.unwrap();
    let checkpoint = json!({"watermark": [1, "a\"b\\c"], "position": "binlog.000007:4711"});
    fleet.tell(&claim, Value::Null, checkpoint.clone()).await;
    // NULL leaves it as it is.
    fleet.beat(&claim).await;
    fleet.age(o1, 61).await;

    let next = fleet.claim_copy("beta").await.unwrap();
    assert_eq!(next.checkpoint, checkpoint);
    // A failure that is retried keeps it too.
    fleet.fail_for_now(&next).await;
    let next = fleet.claim_copy("gamma").await.unwrap();
    assert_eq!(next.checkpoint, checkpoint);
}

/// A JSON null is no checkpoint, no more than NULL is.
#[tokio::test]
async fn an_arrival_without_a_checkpoint_leaves_the_one_that_is_stored() {
    for none in [Argument::Null, Argument::from("null")] {
        let fleet = Fleet::of(2).await;
        let apply = fleet.submit(json!({"cutover_policy": "barrier"})).await;
        let claim = fleet.run(apply.operations[0]).await;
        let checkpoint = json!({"watermark": 4711});
        fleet.tell(&claim, Value::Null, checkpoint.clone()).await;
        fleet
            .call(
                "operation_arrive",
                &[claim.operation.into(), claim.token.as_str().into(), none],
            )
            .await;
        let swap = fleet.claim_cutover("beta").await.expect("parked");
        assert_eq!(swap.checkpoint, checkpoint);
    }
}

/// A lease that ran out and was seen to: what moves meanwhile is offered in its new state, at once.
#[tokio::test]
async fn a_stale_copy_that_is_cancelled_is_offered_for_its_clean_up_at_once() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1] = apply.all();
    fleet.claim_copy("alpha").await.unwrap();
    fleet.age(o1, 61).await;
    // This claim sees that the lease ran out, and takes nothing.
    assert!(fleet.claim_cutover("beta").await.is_none());
    fleet.cancel(&apply).await;
    assert!(fleet.is_claimable(o1, "copy").await);
    let claim = fleet.claim_copy("beta").await.expect("as it is shown");
    assert_eq!(claim.moved(), ("cancelling", "cancelling"));
}

/// As when a driver with many leases is killed: every claim sweeps a few, and all are found.
#[tokio::test]
async fn operations_whose_leases_ran_out_together_are_handed_out_once_each() {
    let fleet = Fleet::of(12).await;
    let mut all = Vec::new();
    for number in 0..5 {
        // Some of the leases are the cutover claim's to recover.
        let apply = fleet
            .submit(json!({"cutover_policy": if number == 0 { "rolling" } else { "parallel" }}))
            .await;
        all.push(apply);
    }
    let mut stale = Vec::new();
    while let Some(claim) = fleet.claim_copy("gone").await {
        stale.push(claim);
    }
    let swapping = stale.iter().find(|claim| claim.apply == all[0].id);
    let swapping = swapping.expect("the first of the rolling apply").clone();
    assert_eq!(fleet.arrive(&swapping).await, "cut_over");
    for claim in &stale {
        fleet.age(claim.operation, 61).await;
    }

    // The cutover claim passes all that are not its own.
    let taken = fleet.claim_cutover("beta").await.expect("the swap");
    assert_eq!(taken.operation, swapping.operation);
    let mut taken: Vec<u64> = at_once(&fleet, 8, async |session, number| {
        let mut taken = Vec::new();
        while let Some(claim) = session
            .claim_copy(&format!("driver-{number}"))
            .await
            .expect("no error")
        {
            taken.push(claim.operation);
        }
        taken
    })
    .await
    .into_iter()
    .flatten()
    .collect();
    while let Some(claim) = fleet.claim_copy("last").await {
        taken.push(claim.operation);
    }
    taken.push(swapping.operation);
    taken.sort_unstable();
    let mut expected: Vec<u64> = stale.iter().map(|claim| claim.operation).collect();
    expected.sort_unstable();
    assert_eq!(taken, expected);
}
