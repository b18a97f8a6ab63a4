//! Cases 7 to 19: who may start its copy.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::control::{Fleet, Session, arguments};
use crate::together::at_once;

/// Case 7.
#[tokio::test]
async fn a_lone_pending_operation_is_claimed_with_all_that_its_driver_needs() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({"engine": {"threads": 2}})).await;
    let [o1] = apply.all();

    let claim = fleet.claim_copy("alpha").await.expect("o1");

    assert_eq!(claim.operation, o1);
    assert_eq!(claim.moved(), ("pending", "running"));
    assert_eq!((claim.apply, claim.position), (apply.id, 0));
    assert_eq!(claim.deployment, "d1");
    assert_eq!((claim.host.as_str(), claim.port), ("db1.example", 3301));
    assert_eq!(claim.schema_name, "shop");
    assert_eq!((claim.lease_ttl_seconds, claim.attempt), (60, 0));
    assert!(claim.token.len() == 36 && claim.epoch > 0);
    assert!(claim.checkpoint.is_null());
    assert_eq!(claim.options["engine"]["threads"], 2);
    assert_eq!(claim.tasks[0]["position"], 0);
    assert_eq!(
        claim.tasks[0]["statement"],
        "ALTER TABLE t0 ADD COLUMN c INT"
    );
    assert_eq!(claim.tasks[0]["state"], "running");
    assert_ne!(fleet.column(o1, "started_at").await, "NULL");
    assert_eq!(fleet.column(o1, "completed_at").await, "NULL");
    assert_eq!(fleet.column(o1, "driver").await, "alpha");
    fleet.nothing_is_claimable().await;
}

/// Case 8.
#[tokio::test]
async fn rolling_copies_one_after_the_other() {
    let fleet = Fleet::of(3).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1, o2, o3] = apply.all();

    let claim = fleet.run(o1).await;
    assert!(fleet.claim_copy("alpha").await.is_none());

    assert_eq!(fleet.arrive(&claim).await, "cut_over");
    assert!(fleet.claim_copy("alpha").await.is_none());
    assert_eq!(fleet.swapped(&claim).await, "completed");
    assert_eq!(fleet.claim_copy("alpha").await.unwrap().operation, o2);
    assert!(fleet.claim_copy("alpha").await.is_none());
    assert_eq!(fleet.blocked(o3).await.unwrap().blocker, Some(o2));
}

/// Case 9.
#[tokio::test]
async fn rolling_is_not_relaxed_at_the_barrier() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"defer_cutover": true})).await;
    let [o1, o2] = apply.all();

    fleet.hold(o1).await;

    assert_eq!(fleet.state(o1).await, "waiting_for_cutover");
    assert!(fleet.claim_copy("alpha").await.is_none());
    assert_eq!(fleet.blocked(o2).await.unwrap().blocker, Some(o1));
}

/// Case 10.
#[tokio::test]
async fn the_barrier_lets_the_next_copy_start_once_the_earlier_one_got_there() {
    for reached in [
        "waiting_for_cutover",
        "cutting_over",
        "revert_window",
        "completed",
    ] {
        let fleet = Fleet::of(2).await;
        let window = u64::from(reached == "revert_window") * 600;
        let options = json!({"cutover_policy": "barrier", "revert_window_seconds": window});
        let [o1, o2] = fleet.submit(options).await.all();

        fleet.reach(o1, reached).await;

        let claim = fleet.claim_copy("alpha").await.expect(reached);
        assert_eq!(claim.operation, o2, "while o1 is {reached}");
    }
}

/// Case 11.
#[tokio::test]
async fn the_barrier_holds_the_next_copy_while_the_earlier_one_has_not_got_there() {
    for reached in [
        "running",
        "failed_retryable",
        "stopped",
        "cancelling",
        "failed",
    ] {
        let fleet = Fleet::of(2).await;
        let apply = fleet
            .submit(json!({
                "cutover_policy": "barrier",
                "defer_cutover": reached == "cancelling",
                "defer_timeout_seconds": 100,
            }))
            .await;
        let [o1, o2] = apply.all();

        if reached == "cancelling" {
            // Not by a cancel, which would end o2 as well.
            let claim = fleet.hold(o1).await;
            fleet.age(o1, 101).await;
            assert_eq!(fleet.directive(&claim).await, "cancel");
        } else {
            fleet.reach(o1, reached).await;
        }
        if reached == "stopped" {
            // A start gives o2 its way back to pending; nobody has taken o1 up again.
            fleet.start(&apply).await;
        }

        assert_eq!(fleet.state(o1).await, reached);
        let claim = fleet.claim_copy_on("d2").await;
        assert!(claim.is_none(), "while o1 is {reached}: {claim:?}");
        // What failed for good under halt leaves nothing to wait for.
        let waits = if reached == "failed" {
            "cancelled"
        } else {
            "pending"
        };
        assert_eq!(fleet.state(o2).await, waits, "while o1 is {reached}");
    }
}

/// Case 12.
#[tokio::test]
async fn max_copies_gives_a_slot_to_the_next_as_soon_as_one_is_free() {
    let fleet = Fleet::of(3).await;
    let options = json!({"cutover_policy": "parallel", "max_copies": 2});
    let [o1, o2, o3] = fleet.submit(options).await.all();
    assert_eq!(
        fleet.claimable().await.len(),
        3,
        "while a slot is free all are claimable"
    );

    let first = fleet.claim_copy("alpha").await.unwrap();
    assert_eq!(first.operation, o1);
    assert_eq!(fleet.claim_copy("alpha").await.unwrap().operation, o2);
    assert!(fleet.claim_copy("alpha").await.is_none());
    let blocked = fleet.blocked(o3).await.unwrap();
    assert_eq!((blocked.gate.as_str(), blocked.blocker), ("copy", Some(o1)));

    assert_eq!(fleet.arrive(&first).await, "parked");
    assert!(fleet.is_claimable(o3, "copy").await);
    assert_eq!(fleet.claim_copy("alpha").await.unwrap().operation, o3);
}

/// The most operations of one apply that were ever running at the same time: its moves are serialised.
async fn most_that_ran_at_once(session: &mut Session, apply: u64) -> i64 {
    session
        .number(
            "SELECT CAST(MAX(r.running) AS SIGNED)
               FROM (SELECT SUM((e.to_state = 'running') - (e.from_state = 'running')) OVER (ORDER BY e.event_id) AS running
                       FROM event_log AS e
                      WHERE e.apply_id = ?
                        AND e.to_state IS NOT NULL) AS r",
            arguments![apply],
        )
        .await
}

/// Case 13.
#[tokio::test]
async fn max_copies_is_hard_whoever_asks_at_once() {
    for policy in ["rolling", "barrier", "parallel"] {
        let fleet = Fleet::of(10).await;
        let options = json!({"cutover_policy": policy, "max_copies": 2});
        let apply = fleet.submit(options).await;

        let claims = at_once(&fleet, 16, async |session, number| {
            session.claim_copy(&format!("driver-{number}")).await
        })
        .await;
        let taken = claims
            .into_iter()
            .filter_map(|claim| claim.expect("a claim is never refused"))
            .count();
        assert_eq!(taken, if policy == "parallel" { 2 } else { 1 }, "{policy}");

        // The rest of the rollout, by eight drivers; those two leases go stale and are recovered.
        for operation in &apply.operations {
            fleet.age(*operation, 61).await;
        }
        at_once(&fleet, 8, async |session, number| {
            let driver = format!("driver-{number}");
            let mut idle = 0;
            while idle < 20 {
                let claim = match session.claim_cutover(&driver).await.unwrap() {
                    Some(claim) => Some(claim),
                    None => session.claim_copy(&driver).await.unwrap(),
                };
                let Some(claim) = claim else {
                    idle += 1;
                    tokio::task::yield_now().await;
                    continue;
                };
                idle = 0;
                if claim.state == "cutting_over"
                    || session.arrive(&claim).await.unwrap() != "parked"
                {
                    session.swapped(&claim).await.unwrap();
                }
            }
        })
        .await;
        let most = most_that_ran_at_once(&mut *fleet.sql().await, apply.id).await;
        assert!((1..=2).contains(&most), "{policy}: {most} at once");
        assert_eq!(fleet.apply_state(&apply).await, "completed");
        fleet.check_history().await;
    }
}

/// Case 14.
#[tokio::test]
async fn a_blocked_apply_does_not_starve_another() {
    let fleet = Fleet::of(2).await;
    let blocked = fleet.submit(Value::Null).await;
    fleet.run(blocked.operations[0]).await;
    let other = fleet.submit(Value::Null).await;

    let claim = fleet.claim_copy("alpha").await.unwrap();

    assert_eq!(claim.operation, other.operations[0]);
}

/// Case 15.
#[tokio::test]
async fn of_eight_claims_at_once_one_receives_the_only_operation() {
    let fleet = Fleet::of(1).await;
    for _ in 0..10 {
        let [o1] = fleet.submit(Value::Null).await.all();
        let claims = at_once(&fleet, 8, async |session, _| {
            session.claim_copy("alpha").await.expect("no error")
        })
        .await;
        let taken: Vec<_> = claims.into_iter().flatten().collect();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].operation, o1);
    }
}

/// Case 16.
#[tokio::test]
async fn two_claims_at_the_same_moment_both_receive_one_of_two() {
    let fleet = Fleet::of(2).await;
    for round in 0..20 {
        if round % 2 == 0 {
            fleet.submit(json!({"cutover_policy": "parallel"})).await;
        } else {
            fleet.submit(json!({"deployments": ["d1"]})).await;
            fleet.submit(json!({"deployments": ["d1"]})).await;
        }
        let claims = at_once(&fleet, 2, async |session, _| {
            session.claim_copy("alpha").await.expect("no error")
        })
        .await;
        let mut taken: Vec<u64> = claims.into_iter().flatten().map(|c| c.operation).collect();
        taken.dedup();
        assert_eq!(taken.len(), 2, "round {round}");
    }
}

/// Case 17.
#[tokio::test]
async fn two_hundred_operations_go_to_sixteen_claimers_once_each_and_nobody_comes_away_empty() {
    let fleet = Fleet::of(20).await;
    for _ in 0..10 {
        fleet.submit(json!({"cutover_policy": "parallel"})).await;
    }
    // Sixteen times twelve is fewer than there are: somewhere one is always free.
    let claims = at_once(&fleet, 16, async |session, number| {
        let mut taken = Vec::new();
        for _ in 0..12 {
            let claim = session.claim_copy(&format!("driver-{number}")).await;
            taken.push(claim.expect("no error").expect("a free one").operation);
        }
        taken
    })
    .await;
    let mut taken: Vec<u64> = claims.into_iter().flatten().collect();
    while let Some(claim) = fleet.claim_copy("last").await {
        taken.push(claim.operation);
    }
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), 200, "each once");
}

/// Case 18.
#[tokio::test]
async fn what_is_settled_or_stopped_is_never_handed_out_however_old() {
    for end in ["completed", "failed", "cancelled", "reverted", "stopped"] {
        let fleet = Fleet::of(1).await;
        let window = u64::from(end == "reverted") * 600;
        let options = json!({"revert_window_seconds": window});
        let [o1] = fleet.submit(options).await.all();
        fleet.reach(o1, end).await;
        fleet.age(o1, 86_400).await;
        fleet.nothing_is_claimable().await;
    }
}

/// What one poll costs by the session's handler counters: seeks into an index, and rows read on from there.
async fn reads_of_a_poll(session: &mut Session, claim: &str, scope: &Value) -> (i64, i64) {
    // The first poll of a kind may fill caches.
    for _ in 0..2 {
        session.run("FLUSH STATUS").await.unwrap();
        let polled = session.claim(claim, "poller", scope.clone()).await.unwrap();
        assert!(polled.is_none(), "an empty poll");
    }
    session.reads().await
}

/// Case 19.
#[tokio::test]
async fn an_empty_poll_reads_no_more_where_much_is_finished_blocked_and_foreign() {
    let fleet = Fleet::of(8).await;
    let scopes = [
        Value::Null,
        json!({"deployments": ["d1", "d2"]}),
        json!({"labels": {"cell": "c1"}}),
    ];
    let mut session = fleet.session().await;
    let mut empty: Vec<(i64, i64)> = Vec::new();
    for scope in &scopes {
        for claim in ["operation_claim_copy", "operation_claim_cutover"] {
            empty.push(reads_of_a_poll(&mut session, claim, scope).await);
        }
    }

    for _ in 0..5 {
        let finished = fleet
            .submit(json!({"deployments": ["d1", "d2", "d3", "d4"]}))
            .await;
        for operation in &finished.operations {
            fleet.swap(*operation).await;
        }
        let blocked = fleet.submit(Value::Null).await;
        fleet.run(blocked.operations[0]).await;
        let stopped = fleet.submit(json!({"cutover_policy": "parallel"})).await;
        fleet.stop(&stopped).await;
    }
    let mut crowded = Vec::new();
    for (number, scope) in scopes.iter().enumerate() {
        if number == 1 {
            // From here on there is work, for others.
            for _ in 0..5 {
                fleet
                    .submit(json!({"deployments": ["d7", "d8"], "cutover_policy": "parallel"}))
                    .await;
            }
            assert_eq!(fleet.claimable().await.len(), 10);
        }
        for claim in ["operation_claim_copy", "operation_claim_cutover"] {
            crowded.push(reads_of_a_poll(&mut session, claim, scope).await);
        }
    }
    for (crowded, empty) in crowded.iter().zip(&empty) {
        assert!(crowded.0 <= empty.0, "{crowded:?} instead of {empty:?}");
        assert_eq!(crowded.1, 0, "no row is read");
    }
}

/// An apply with many claimable operations is not a wall before a later one: the oldest is first, whosever it is.
#[tokio::test]
async fn the_oldest_claimable_operation_goes_first() {
    let fleet = Arc::new(Fleet::of(3).await);
    let many = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let lone = fleet.submit(json!({"deployments": ["d1"]})).await;
    fleet.age(lone.operations[0], 5).await;

    let first = fleet.claim_copy("alpha").await.unwrap();
    assert_eq!(first.operation, lone.operations[0]);
    for operation in many.all::<3>() {
        assert_eq!(
            fleet.claim_copy("alpha").await.unwrap().operation,
            operation
        );
    }
}

/// A claim is one seek and one move; each check that it calls a procedure for costs as much as a statement.
#[tokio::test]
async fn a_claim_takes_the_short_way() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let mut session = fleet.session().await;
    let called = "SELECT CONCAT(p.OBJECT_NAME, ' ', p.COUNT_STAR)
                    FROM performance_schema.events_statements_summary_by_program AS p
                   WHERE p.OBJECT_SCHEMA = DATABASE()
                     AND p.OBJECT_TYPE = 'PROCEDURE'
                     AND p.COUNT_STAR > 0
                   ORDER BY p.OBJECT_NAME";
    let before = session.texts(called, &[]).await;
    let claim = session.claim_copy("db7-4711").await.unwrap();
    assert_eq!(claim.expect("claimable").operation, apply.operations[0]);
    let after = session.texts(called, &[]).await;
    let names = |counts: &[String]| {
        let names = counts.iter().filter_map(|count| count.split_once(' '));
        names.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let changed: Vec<String> = after
        .into_iter()
        .filter(|one| !before.contains(one))
        .collect();
    assert_eq!(
        names(&changed),
        ["_claim_take", "_operation_claim", "operation_claim_copy"],
        "{changed:?}"
    );
}
