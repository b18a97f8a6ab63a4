//! Cases 64 to 66: which drivers there are, and how they keep their leases alive.

use serde_json::{Value, json};

use crate::support::control::{Fleet, arguments};

/// What became claimable at one moment goes by its number, however the scope lists its deployments.
#[tokio::test]
async fn a_scope_is_no_order() {
    let fleet = Fleet::of(4).await;
    fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let scope = json!({"deployments": ["d3", "d4", "d1", "d2"]});
    let mut order = Vec::new();
    while let Some(claim) = fleet
        .claim("operation_claim_copy", "local", scope.clone())
        .await
    {
        order.push(claim.deployment);
    }
    assert_eq!(order, ["d1", "d2", "d3", "d4"]);
}

/// Case 64.
#[tokio::test]
async fn a_driver_with_a_scope_is_given_nothing_else() {
    let fleet = Fleet::of(6).await;
    for _ in 0..4 {
        fleet.submit(json!({"cutover_policy": "parallel"})).await;
    }
    for (scope, allowed) in [
        (json!({"deployments": ["d2"]}), vec!["d2"]),
        (json!({"deployments": ["d5", "d1"]}), vec!["d1", "d5"]),
        (
            json!({"labels": {"parity": "even"}}),
            vec!["d2", "d4", "d6"],
        ),
        (
            json!({"labels": {"parity": "odd", "cell": "c3"}}),
            vec!["d3"],
        ),
        (json!({"labels": {"parity": "odd", "cell": "c2"}}), vec![]),
        (json!({"labels": {"planet": "mars"}}), vec![]),
        (json!({"deployments": ["nowhere"]}), vec![]),
        (json!({"deployments": ["nowhere", "nowhere"]}), vec![]),
    ] {
        let mut count = 0;
        while let Some(claim) = fleet
            .claim("operation_claim_copy", "local", scope.clone())
            .await
        {
            assert!(
                allowed.contains(&claim.deployment.as_str()),
                "{scope}: {claim:?}"
            );
            fleet.arrive(&claim).await;
            count += 1;
        }
        assert_eq!(count > 0, !allowed.is_empty(), "{scope}");
        while let Some(claim) = fleet
            .claim("operation_claim_cutover", "local", scope.clone())
            .await
        {
            assert!(
                allowed.contains(&claim.deployment.as_str()),
                "{scope}: {claim:?}"
            );
            fleet.swapped(&claim).await;
        }
    }
    // Labels that change hold for the next claim.
    fleet
        .call(
            "deployment_register",
            arguments![
                "d6",
                5u64,
                "db6.example",
                3306u64,
                json!({"planet": "mars"})
            ],
        )
        .await;
    fleet.submit(json!({"deployments": ["d6"]})).await;
    let mars = json!({"labels": {"planet": "mars"}});
    let claim = fleet.claim("operation_claim_copy", "local", mars).await;
    assert_eq!(claim.expect("d6").deployment, "d6");

    let mut session = fleet.session().await;
    for bad in [
        json!({}),
        json!([]),
        json!("d1"),
        json!({"deployments": []}),
        json!({"deployments": [1]}),
        json!({"deployments": "d1"}),
        json!({"labels": {}}),
        json!({"labels": {"parity": 1}}),
        json!({"labels": ["even"]}),
        json!({"deployments": ["d1"], "labels": {"parity": "odd"}}),
        json!({"regions": ["eu"]}),
        json!({"Deployments": ["d1"]}),
        json!({"DEPLOYMENTS": ["d1"]}),
        json!({"Labels": {"parity": "odd"}}),
    ] {
        for claim in ["operation_claim_copy", "operation_claim_cutover"] {
            let outcome = session.claim(claim, "local", bad.clone()).await;
            match &outcome {
                Err(refusal) if refusal.number == 50001 => {}
                other => panic!("{bad}: {other:?}"),
            }
        }
        let register = arguments!["local", "1.0", 1u64, bad.clone()];
        fleet.refuses(50001, "driver_register", register).await;
    }
}

/// Case 64: the next swap goes to whose labels it has, and to nobody else.
#[tokio::test]
async fn a_swap_goes_to_the_driver_whose_labels_its_deployment_has() {
    let fleet = Fleet::of(4).await;
    let apply = fleet.parked("parallel").await;
    for (number, operation) in apply.all::<4>().into_iter().enumerate() {
        let parities = ["odd", "even"];
        let [own, other] = [parities[number % 2], parities[(number + 1) % 2]];
        let cell = format!("c{}", number + 1);
        for (labels, is_its_own) in [
            (json!({"parity": other}), false),
            (json!({"parity": other, "cell": cell}), false),
            (json!({"parity": own, "cell": "c9"}), false),
            (json!({"parity": own}), true),
            (json!({"parity": own, "cell": cell}), true),
        ] {
            let scope = json!({"labels": labels});
            let claim = fleet.claim("operation_claim_cutover", "local", scope).await;
            let claimed = claim.as_ref().map(|claim| claim.operation);
            assert_eq!(claimed, is_its_own.then_some(operation), "{labels}");
            if let Some(claim) = claim {
                // The next way of naming it is for its recovery.
                assert!(fleet.release(&claim).await);
            }
        }
        fleet.swap(operation).await;
    }
    assert_eq!(fleet.apply_state(&apply).await, "completed");
}

/// Case 65.
#[tokio::test]
async fn a_driver_of_an_api_version_that_is_not_served_is_turned_away() {
    let fleet = Fleet::of(1).await;
    let mut session = fleet.session().await;
    for version in [Some(0i64), Some(2), Some(-1), Some(i64::MAX), None] {
        let version = version.map_or(json!(null), |version| json!(version));
        let register = arguments!["alpha", "1.0", version, Value::Null];
        fleet.refuses(50401, "driver_register", register).await;
    }
    let drivers = session
        .number("SELECT COUNT(*) FROM driver_status", &[])
        .await;
    assert_eq!(drivers, 0);
    let row = session
        .call_row(
            "driver_register",
            arguments!["alpha", "1.0", 1u64, json!({"deployments": ["d1"]})],
        )
        .await
        .expect("served");
    assert_eq!(row.number("api_version"), 1);
    assert_eq!(row.number("lease_ttl_seconds"), 60);
    assert_eq!(row.number("heartbeat_seconds"), 10);
    assert!(row.number("poll_seconds") > 0);
    let status = session
        .rows("SELECT d.* FROM driver_status AS d", &[])
        .await
        .remove(0);
    assert_eq!(status.text("driver"), "alpha");
    assert_eq!(status.text("version"), "1.0");
    assert_eq!(status.number("operations"), 0);
    assert_eq!(status.json("scope"), json!({"deployments": ["d1"]}));
}

/// SQL-API.md: a row for each beat, in the order of the array; a lost lease is `held` 0.
#[tokio::test]
async fn one_heartbeat_serves_all_leases_of_a_driver() {
    let fleet = Fleet::of(4).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2, o3, o4] = apply.all();
    let mut claims = Vec::new();
    for operation in [o1, o2, o3] {
        claims.push(fleet.run(operation).await);
    }
    fleet.age(o2, 61).await;
    let stolen = fleet.claim_copy("beta").await.unwrap();
    assert_eq!(stolen.operation, o2);
    for operation in [o1, o3] {
        fleet.age(operation, 31).await;
    }
    let beats = json!([
        {"operation_id": o3, "lease_token": claims[2].token, "progress": {"rows_copied": 3, "rows_total": 4}},
        {"operation_id": o2, "lease_token": claims[1].token, "checkpoint": {"forged": 1}},
        {"operation_id": o1, "lease_token": claims[0].token, "progress": null, "checkpoint": {"w": 1}},
        {"operation_id": o4, "lease_token": "no such token"},
        {"operation_id": 4_000_000_000u64, "lease_token": "no such operation"},
        {"operation_id": o2, "lease_token": format!("{}{}", stolen.token, "x")},
        {"operation_id": o2, "lease_token": "x".repeat(100_000)},
        {"operation_id": o1, "lease_token": claims[0].token},
    ]);
    let rows = fleet
        .sql()
        .await
        .call("driver_heartbeat", arguments!["local", beats])
        .await
        .unwrap();
    let answers: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.id("operation_id"),
                row.number("held"),
                row.maybe_text("directive"),
            )
        })
        .collect();
    let none = Some("none".to_owned());
    assert_eq!(
        answers,
        [
            (o3, 1, none.clone()),
            (o2, 0, None),
            (o1, 1, none.clone()),
            (o4, 0, None),
            (4_000_000_000, 0, None),
            (o2, 0, None),
            (o2, 0, None),
            (o1, 1, none),
        ]
    );
    assert_eq!(rows[0].maybe_text("state").as_deref(), Some("running"));
    assert_eq!(rows[1].maybe_number("throttle_level"), None);
    assert_eq!(fleet.column(o3, "rows_copied").await, "3");
    // Renewed.
    for operation in [o1, o3] {
        fleet.age(operation, 31).await;
    }
    assert_eq!(fleet.claimable().await, [(o4, "copy".to_owned())]);
    assert_eq!(fleet.column(o2, "rows_copied").await, "NULL");
    let empty = fleet
        .sql()
        .await
        .call("driver_heartbeat", arguments!["local", json!([])])
        .await
        .unwrap();
    assert!(empty.is_empty());
}

#[tokio::test]
async fn a_shorter_lease_holds_from_the_next_heartbeat_on() {
    let fleet = Fleet::of(1).await;
    let [o1] = fleet.submit(Value::Null).await.all();
    let claim = fleet.claim_copy("alpha").await.unwrap();
    fleet
        .call("setting_set", arguments!["lease_ttl_seconds", 10u64])
        .await;
    fleet.beat(&claim).await;
    fleet.age(o1, 11).await;
    let next = fleet.claim_copy("beta").await.expect("stale");
    assert_eq!((next.operation, next.lease_ttl_seconds), (o1, 10));
}
