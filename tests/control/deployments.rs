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
