//! Case 6: which deployments there are.

use serde_json::{Value, json};

use crate::support::control::{Fleet, arguments};

/// Case 6.
#[tokio::test]
async fn a_deployment_in_use_cannot_be_removed() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"deployments": ["d1"]})).await;

    let refusal = fleet
        .refuses(50501, "deployment_remove", arguments!["d1"])
        .await;
    assert!(
        refusal.message.contains(&format!("apply {}", apply.id)),
        "{refusal:?}"
    );
    fleet.call("deployment_remove", arguments!["d2"]).await;

    fleet.cancel(&apply).await;
    fleet.call("deployment_remove", arguments!["d1"]).await;
    fleet
        .refuses(50002, "deployment_remove", arguments!["d1"])
        .await;
    // Its history stays.
    assert_eq!(fleet.states(&apply).await, ["cancelled"]);
}

/// Nobody can clean up on a server that is gone, and its apply would hold its tables everywhere.
#[tokio::test]
async fn a_clean_up_that_fails_again_and_again_is_given_up_with_its_deployment() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({})).await;
    let operation = apply.operations[0];
    let mut claim = fleet.run(operation).await;
    fleet.cancel(&apply).await;
    for attempt in 1..=3 {
        fleet
            .refuses(50501, "deployment_remove", arguments!["d1"])
            .await;
        assert_eq!(fleet.states(&apply).await, ["cancelling"], "{attempt}");
        assert_eq!(fleet.fail_for_now(&claim).await, "cancelling");
        if attempt < 3 {
            fleet.age(operation, 600).await;
            claim = fleet.claim_copy("driver").await.expect("the clean-up");
        }
    }
    fleet.call("deployment_remove", arguments!["d1"]).await;
    assert_eq!(fleet.states(&apply).await, ["failed"]);
    assert_eq!(fleet.apply_state(&apply).await, "failed");
}

/// It would open gates: what a call that is refused must not do.
#[tokio::test]
async fn a_removal_that_is_refused_gives_no_clean_up_up() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [first, second] = apply.all();
    let mut claim = fleet.run(first).await;
    let other = fleet.run(second).await;
    fleet.cancel(&apply).await;
    for _ in 0..2 {
        fleet.fail_for_now(&claim).await;
        fleet.age(first, 600).await;
        claim = fleet.claim_copy("driver").await.expect("the clean-up");
    }
    fleet.fail_for_now(&claim).await;
    fleet
        .refuses(50501, "deployment_remove", arguments!["d1"])
        .await;
    assert_eq!(fleet.states(&apply).await, ["cancelling", "cancelling"]);
    fleet.report("operation_cancelled", &other).await;
    fleet.call("deployment_remove", arguments!["d1"]).await;
    assert_eq!(fleet.states(&apply).await, ["failed", "cancelled"]);
}

#[tokio::test]
async fn a_position_is_held_by_one_deployment() {
    let fleet = Fleet::of(2).await;
    for other in ["d3", "d1"] {
        let register = arguments![other, 1u64, "h", 1u64, Value::Null];
        fleet.refuses(50504, "deployment_register", register).await;
    }
    fleet
        .call(
            "deployment_register",
            arguments!["d2", 1u64, "moved.example", 3307u64, Value::Null],
        )
        .await;
    let apply = fleet.submit(json!({"deployments": ["d2"]})).await;
    let claim = fleet.claim_copy("alpha").await.unwrap();
    assert_eq!(
        (claim.apply, claim.host.as_str()),
        (apply.id, "moved.example")
    );
}
