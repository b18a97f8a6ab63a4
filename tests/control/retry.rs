//! Cases 74 to 77: failures that pass, and those that don't.

use serde_json::{Value, json};

use crate::support::control::{Fleet, arguments};

/// Case 74.
#[tokio::test]
async fn a_transient_failure_waits_and_a_permanent_one_settles() {
    let fleet = Fleet::of(1).await;
    let [o1] = fleet.submit(Value::Null).await.all();
    let claim = fleet.run(o1).await;
    assert_eq!(fleet.fail_for_now(&claim).await, "failed_retryable");
    assert_eq!(fleet.column(o1, "completed_at").await, "NULL");
    assert_eq!(fleet.column(o1, "error").await, "connection lost");
    assert_eq!(fleet.column(o1, "attempt").await, "1");
    assert!(!fleet.has_lease(o1).await);

    let claim = fleet.run(o1).await;
    assert_eq!(fleet.fail_for_good(&claim).await, "failed");
    assert_ne!(fleet.column(o1, "completed_at").await, "NULL");
    assert_eq!(fleet.column(o1, "error").await, "duplicate key");
}

/// How long the next attempt was put off by the last failure, in whole seconds.
async fn wait_seconds(fleet: &Fleet, operation: u64) -> i64 {
    fleet
        .sql()
        .await
        .number(
            "SELECT CAST(ROUND(TIMESTAMPDIFF(MICROSECOND, MAX(e.occurred_at), MAX(s.next_attempt_at)) / 1000000) AS SIGNED)
               FROM operation_status AS s
               JOIN event_log        AS e
                 ON e.operation_id = s.operation_id
                AND e.to_state     = 'failed_retryable'
              WHERE s.operation_id = ?",
            arguments![operation],
        )
        .await
}

/// Case 75.
#[tokio::test]
async fn two_retries_at_once_then_growing_waits_and_an_end_after_the_tenth() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1] = apply.all();
    let mut waits = Vec::new();
    for failure in 1..=10 {
        let claim = fleet.claim_copy("alpha").await.expect("due");
        assert_eq!(claim.attempt, failure - 1);
        assert_eq!(
            fleet.fail_for_now(&claim).await,
            "failed_retryable",
            "failure {failure}"
        );
        let wait = wait_seconds(&fleet, o1).await.max(0);
        waits.push(wait);
        if wait > 0 {
            // An hour further off, or a slow machine might let the time come while the test looks.
            fleet.age(o1, -3600).await;
            let early = fleet.claim_copy("alpha").await;
            assert!(
                early.is_none(),
                "failure {failure}, due in {wait} s: {early:?}"
            );
            let blocked = fleet.blocked(o1).await.expect("with a reason");
            assert_eq!(blocked.blocker, None);
            fleet.age(o1, 3600).await;
            fleet.age(o1, wait + 1).await;
        }
        assert!(fleet.is_claimable(o1, "copy").await, "due after {wait} s");
    }
    assert_eq!(waits[..2], [0, 0]);
    assert!(waits[2] > 0 && waits[2..].is_sorted(), "{waits:?}");
    assert_eq!(waits[9], 120);
    let claim = fleet.claim_copy("alpha").await.expect("the tenth retry");
    assert_eq!(fleet.fail_for_now(&claim).await, "failed");
    assert_eq!(fleet.apply_state(&apply).await, "failed");
    assert_eq!(
        fleet.apply_column(&apply, "error").await,
        "d1: connection lost"
    );
}

/// A stop spares no failure: the one after the tenth retry is the last.
#[tokio::test]
async fn the_failure_after_the_tenth_retry_settles_under_a_stop_too() {
    for swaps in [false, true] {
        let fleet = Fleet::of(1).await;
        let apply = fleet.submit(Value::Null).await;
        let [o1] = apply.all();
        for _ in 1..=10 {
            let claim = fleet.run(o1).await;
            assert_eq!(fleet.fail_for_now(&claim).await, "failed_retryable");
            fleet.age(o1, 121).await;
        }
        let claim = fleet.run(o1).await;
        if swaps {
            assert_eq!(fleet.arrive(&claim).await, "cut_over");
        }
        fleet.stop(&apply).await;
        assert_eq!(fleet.fail_for_now(&claim).await, "failed");
        assert_eq!(fleet.apply_state(&apply).await, "failed");
    }
}

/// Case 76.
#[tokio::test]
async fn a_retry_goes_to_one_claim() {
    let fleet = Fleet::of(1).await;
    let [o1] = fleet.submit(Value::Null).await.all();
    let claim = fleet.run(o1).await;
    fleet.fail_for_now(&claim).await;
    let retry = fleet.claim_copy("alpha").await.unwrap();
    assert_eq!(retry.moved(), ("failed_retryable", "running"));
    assert_eq!(retry.attempt, 1);
    assert!(fleet.claim_copy("beta").await.is_none());
}

/// Case 77.
#[tokio::test]
async fn a_clean_shutdown_spends_no_attempt() {
    let fleet = Fleet::of(1).await;
    let [o1] = fleet.submit(Value::Null).await.all();
    for _ in 0..15 {
        let claim = fleet.claim_copy("alpha").await.expect("at once");
        assert_eq!(claim.attempt, 0);
        assert!(fleet.release(&claim).await);
    }
    for _ in 0..15 {
        let claim = fleet.claim_copy("alpha").await.expect("nor does a crash");
        assert_eq!(claim.attempt, 0);
        fleet.age(o1, 61).await;
    }
}

/// SPEC.md section 8: a swap that is known not to have happened starts again from its checkpoint, at the gate.
#[tokio::test]
async fn a_swap_that_did_not_happen_starts_again_from_its_checkpoint() {
    let fleet = Fleet::of(2).await;
    let [o1, o2] = fleet
        .submit(json!({"cutover_policy": "barrier"}))
        .await
        .all();
    let claim = fleet.run(o1).await;
    let arrive = fleet
        .sql()
        .await
        .call(
            "operation_arrive",
            arguments![o1, &claim.token, json!({"w": 9})],
        )
        .await;
    arrive.expect("arrived");
    fleet.park(o2).await;
    let swap = fleet.claim_cutover("alpha").await.unwrap();
    assert_eq!(swap.checkpoint, json!({"w": 9}));
    assert_eq!(fleet.fail_for_now(&swap).await, "failed_retryable");
    let retry = fleet.claim_copy("beta").await.unwrap();
    assert_eq!(retry.moved(), ("failed_retryable", "running"));
    assert_eq!(retry.checkpoint, json!({"w": 9}));
    assert_eq!(fleet.arrive(&retry).await, "parked");
    assert_eq!(fleet.claim_cutover("alpha").await.unwrap().operation, o1);
}

/// The budget is a setting.
#[tokio::test]
async fn a_retry_limit_of_none_fails_at_once() {
    let fleet = Fleet::of(1).await;
    fleet
        .call("setting_set", arguments!["retry_limit", 0u64])
        .await;
    let [o1] = fleet.submit(Value::Null).await.all();
    let claim = fleet.run(o1).await;
    assert_eq!(fleet.fail_for_now(&claim).await, "failed");
    for (name, value) in [
        (Some("retry_limit"), Some("-1")),
        (Some("retry_limit"), Some("x")),
        (Some("lease_ttl_seconds"), Some("4")),
        (Some("lease_ttl_seconds"), Some("3601")),
        (Some("no such"), Some("1")),
        (Some(""), Some("1")),
        (None, Some("1")),
        (Some("retry_limit"), None),
    ] {
        fleet
            .refuses(50001, "setting_set", arguments![name, value])
            .await;
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

/// A start that is pending already makes a later retry due as well.
#[tokio::test]
async fn a_start_that_is_asked_for_again_makes_a_new_retry_due() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2] = apply.all();
    let claims = [fleet.run(o1).await, fleet.run(o2).await];
    fleet.stop(&apply).await;
    for claim in &claims {
        fleet.report("operation_stopped", claim).await;
    }
    let first = fleet.start(&apply).await;
    assert_eq!(first.status, "pending", "nobody has resumed the first yet");
    for _ in 0..5 {
        let claim = fleet.run(o2).await;
        fleet.fail_for_now(&claim).await;
        fleet.start(&apply).await;
    }
    assert_eq!(fleet.blocked(o2).await, None, "due now");
    let again = fleet.start(&apply).await;
    assert_eq!(again.request, first.request, "one request");
}
