//! Cases 92 and 93: many at the same moment.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::control::{Claim, Fleet, Session, arguments, refused};
use crate::support::seed;
use crate::together::at_once;

/// For a crowd on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Case 92.
#[tokio::test]
async fn siblings_that_settle_at_the_same_moment_open_every_gate_and_end_every_request() {
    let fleet = Fleet::of(5).await;
    for round in 0..8 {
        // Four copies that arrive, fail, or both, at the same moment; behind them the swaps.
        let options = json!({"cutover_policy": "parallel", "cutover_gate": "all_parked", "on_failure": "continue"});
        let apply = fleet.submit(options).await;
        let claims = claims_of(&fleet, &apply.operations).await;
        at_once(&fleet, 5, async |session, number| {
            if (number + round) % 3 == 0 {
                session
                    .fail(&claims[number], "lost", 0)
                    .await
                    .expect("its own lease");
            } else {
                session
                    .arrive(&claims[number])
                    .await
                    .expect("its own lease");
            }
        })
        .await;
        fleet.check().await;
        for operation in &apply.operations {
            if fleet.state(*operation).await == "waiting_for_cutover" {
                assert!(
                    fleet.is_claimable(*operation, "cutover").await,
                    "its turn, with no call in between"
                );
                fleet.swap(*operation).await;
            }
        }
        assert_eq!(fleet.apply_state(&apply).await, "failed");

        // A stop that all carry out at the same moment, or arrive, or fail under.
        let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
        let claims = claims_of(&fleet, &apply.operations).await;
        let stop = fleet.stop(&apply).await;
        assert_eq!(stop.status, "pending");
        at_once(&fleet, 5, async |session, number| {
            match (number + round) % 3 {
                0 => drop(
                    session
                        .arrive(&claims[number])
                        .await
                        .expect("its own lease"),
                ),
                1 => drop(
                    session
                        .fail(&claims[number], "lost", 1)
                        .await
                        .expect("its own lease"),
                ),
                _ => drop(
                    session
                        .report("operation_stopped", &claims[number])
                        .await
                        .expect("its own lease"),
                ),
            }
        })
        .await;
        fleet.check().await;
        assert_eq!(fleet.request_status(&stop).await, "done");
        assert_eq!(fleet.apply_state(&apply).await, "stopped");

        // A start that all are claimed for at the same moment.
        let start = fleet.start(&apply).await;
        let claims = at_once(&fleet, 5, async |session, _| {
            session
                .claim_copy("alpha")
                .await
                .expect("no error")
                .expect("one each")
        })
        .await;
        assert_eq!(fleet.request_status(&start).await, "done");
        fleet.check().await;

        // A cancel that all carry out at the same moment.
        let cancel = fleet.cancel(&apply).await;
        assert_eq!(cancel.status, "pending");
        at_once(&fleet, 5, async |session, number| {
            session
                .report("operation_cancelled", &claims[number])
                .await
                .expect("its own lease")
        })
        .await;
        fleet.check().await;
        assert_eq!(fleet.request_status(&cancel).await, "done");
        assert_eq!(fleet.apply_state(&apply).await, "cancelled");
    }
    fleet.check_history().await;
}

async fn claims_of(fleet: &Fleet, operations: &[u64]) -> Vec<Claim> {
    let mut claims = Vec::new();
    for operation in operations {
        claims.push(fleet.run(*operation).await);
    }
    claims
}

/// A driver that works until all applies have ended, dies or fails at times, and takes over from others.
async fn drive(
    session: &mut Session,
    number: usize,
    unfinished: &AtomicUsize,
    random: &mut StdRng,
) {
    let driver = format!("driver-{number}");
    while unfinished.load(Ordering::SeqCst) > 0 {
        let claim = match session.claim_cutover(&driver).await.expect("no error") {
            Some(claim) => Some(claim),
            None => session.claim_copy(&driver).await.expect("no error"),
        };
        let Some(claim) = claim else {
            tokio::task::yield_now().await;
            continue;
        };
        if random.random_ratio(1, 12) {
            // It dies: nobody beats for it any more.
            session
                .call("operation_age", arguments![claim.operation, 1000u64])
                .await
                .expect("older");
            continue;
        }
        work(session, &claim, random).await;
    }
}

/// Carries one claim as far as it goes. A lease may be lost to a DBA or to another driver at any time: that is the only error.
async fn work(session: &mut Session, claim: &Claim, random: &mut StdRng) {
    macro_rules! own {
        ($call:expr) => {
            match $call {
                Ok(answer) => answer,
                // Lost; or a command has come between: the next beat says so.
                Err(refusal) if refusal.number == 50101 || refusal.number == 50201 => return,
                Err(refusal) => panic!("{claim:?}: {refusal:?}"),
            }
        };
    }
    for _ in 0..200 {
        let beat = own!(
            session
                .heartbeat(claim, json!({"rows_copied": 1}), json!({"w": 1}))
                .await
        );
        match (beat.state.as_str(), beat.directive.as_str()) {
            ("cancelling", _) => {
                own!(session.report("operation_cancelled", claim).await);
                return;
            }
            ("running" | "waiting_for_cutover", "stop") => {
                own!(session.report("operation_stopped", claim).await);
                return;
            }
            ("running", _) => {
                if random.random_ratio(1, 10) {
                    let is_transient = i64::from(random.random_ratio(2, 3));
                    own!(session.fail(claim, "lost", is_transient).await);
                    return;
                }
                if random.random_ratio(1, 15) {
                    own!(session.release(claim).await);
                    return;
                }
                if matches!(
                    own!(session.arrive(claim).await).as_str(),
                    "parked" | "stop"
                ) {
                    return;
                }
            }
            ("waiting_for_cutover", "cutover") => {
                own!(session.report("operation_begin_cutover", claim).await);
            }
            ("waiting_for_cutover", _) => tokio::task::yield_now().await,
            ("cutting_over", _) => {
                if random.random_ratio(1, 12) {
                    own!(session.fail(claim, "did not happen", 1).await);
                    return;
                }
                if own!(session.swapped(claim).await) == "completed" {
                    return;
                }
            }
            ("revert_window", "revert") => {
                own!(session.report("operation_begin_revert", claim).await);
            }
            ("revert_window", _) => {
                session
                    .call("operation_age", arguments![claim.operation, 10u64])
                    .await
                    .expect("older");
                if session.report("operation_complete", claim).await.is_ok() {
                    return;
                }
            }
            ("reverting", _) => {
                own!(session.report("operation_reverted", claim).await);
                return;
            }
            other => panic!("{other:?}"),
        }
    }
    own!(session.release(claim).await);
}

/// A DBA who commands this and that, and cancels what a failure has halted for good; whatever is refused, is refused with a
/// number of ours.
async fn command(
    session: &mut Session,
    applies: &[u64],
    unfinished: &AtomicUsize,
    random: &mut StdRng,
) {
    while unfinished.load(Ordering::SeqCst) > 0 {
        let apply = applies[random.random_range(0..applies.len())];
        let state = session
            .texts(
                "SELECT a.state FROM apply_status AS a WHERE a.apply_id = ?",
                arguments![apply],
            )
            .await
            .remove(0);
        let (procedure, arguments) = match random.random_range(0..40) {
            _ if state == "halted" => ("apply_cancel", arguments![apply, "halted"].to_vec()),
            0 => ("apply_stop", arguments![apply, "why"].to_vec()),
            1 => ("apply_cancel", arguments![apply, "why"].to_vec()),
            2..=12 => ("apply_start", arguments![apply, "why"].to_vec()),
            13..=16 => ("apply_release", arguments![apply, "why"].to_vec()),
            17 => (
                "apply_revert",
                arguments![apply, Value::Null, "why"].to_vec(),
            ),
            18..=20 => ("apply_skip_revert", arguments![apply, "why"].to_vec()),
            21..=30 => (
                "apply_cutover",
                arguments![apply, Value::Null, "why"].to_vec(),
            ),
            _ => (
                "apply_throttle",
                arguments![apply, random.random_range(0..=10u64), "why"].to_vec(),
            ),
        };
        if let Err(refusal) = session.call(procedure, &arguments).await {
            assert_eq!(refusal.number, 50501, "{procedure}: {refusal:?}");
        }
        let left = session
            .number(
                "SELECT COUNT(*) FROM apply_status AS a WHERE a.finished_at IS NULL",
                &[],
            )
            .await;
        unfinished.store(usize::try_from(left).unwrap(), Ordering::SeqCst);
    }
}

/// Case 93.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_drivers_and_dbas_sees_no_deadlock_and_every_rollout_ends() {
    let fleet = Fleet::of(6).await;
    let mut applies = Vec::new();
    for number in 0..15 {
        let mut options = json!({
            "cutover_policy": (["rolling", "barrier", "parallel"][number % 3]),
            "on_failure": (["halt", "continue", "pause"][number / 3 % 3]),
            "defer_cutover": number % 4 == 3,
            "revert_window_seconds": (number % 2) * 20,
        });
        if number % 5 == 2 {
            options["max_copies"] = json!(2);
        }
        if number % 3 == 2 && number % 2 == 0 {
            options["cutover_gate"] = json!("all_parked");
        }
        applies.push(fleet.submit(options).await);
    }
    let ids: Vec<u64> = applies.iter().map(|apply| apply.id).collect();
    let unfinished = AtomicUsize::new(ids.len());

    // Ten drivers and two DBAs. A deadlock or a time-out would be a number that nobody here lets pass.
    let seed = seed();
    let crowd = at_once(&fleet, 12, async |session, number| {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        if number < 10 {
            drive(session, number, &unfinished, &mut random).await;
        } else {
            command(session, &ids, &unfinished, &mut random).await;
        }
    });
    let all_ended = tokio::time::timeout(PATIENCE, crowd).await.is_ok();
    let states = fleet
        .sql()
        .await
        .texts(
            "SELECT CONCAT_WS(' ', o.apply_id, a.state, o.position, o.state, o.driver, o.error)
               FROM operation_status AS o JOIN apply_status AS a ON a.apply_id = o.apply_id
              WHERE a.finished_at IS NULL ORDER BY o.operation_id",
            &[],
        )
        .await;
    assert!(all_ended && states.is_empty(), "{states:#?}");

    fleet.check().await;
    fleet.check_history().await;
    let mut sql = fleet.sql().await;
    // Swaps in order: none began before every earlier one had ended, other than by a failure that was let pass.
    let disorder = sql
        .texts(
            "SELECT CONCAT_WS(' ', e.apply_id, o.position, 'before', p.position)
               FROM event_log AS e
               JOIN operation_status AS o ON o.operation_id = e.operation_id
               JOIN operation_status AS p ON p.apply_id = o.apply_id AND p.position < o.position
              WHERE e.to_state = 'cutting_over'
                AND NOT EXISTS (SELECT 1 FROM event_log AS d
                                 WHERE d.operation_id = p.operation_id AND d.event_id < e.event_id
                                   AND d.to_state IN ('completed', 'failed'))",
            &[],
        )
        .await;
    assert!(disorder.is_empty(), "{disorder:?}");
}

/// A call that was interrupted keeps its locks for as long as nobody ends its session: that is one apply's trouble.
#[tokio::test]
async fn an_apply_whose_row_is_held_does_not_keep_claimers_from_others() {
    let fleet = Fleet::of(3).await;
    let capped = json!({"cutover_policy": "parallel", "max_copies": 2});
    let held = fleet.submit(capped).await;
    let other = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let mut holder = fleet.session().await;
    holder.run("START TRANSACTION").await.unwrap();
    let lock = "SELECT a.apply_id FROM apply AS a WHERE a.apply_id = ? FOR UPDATE";
    holder.rows(lock, arguments![held.id]).await;
    let mut claimer = fleet.session().await;
    let patience = "SET SESSION innodb_lock_wait_timeout = 1";
    claimer.run(patience).await.unwrap();
    // One of the others is held, too.
    let [busy, second, third] = other.all();
    let mut other_holder = fleet.session().await;
    other_holder.run("START TRANSACTION").await.unwrap();
    let row = "SELECT l.operation_id FROM operation_live AS l WHERE l.operation_id = ? FOR UPDATE";
    other_holder.rows(row, arguments![busy]).await;
    for expected in [second, third] {
        let claim = claimer.claim_copy("eager").await.expect("no wait");
        assert_eq!(claim.map(|claim| claim.operation), Some(expected));
    }
    // All that is left is held.
    assert!(
        claimer.claim_copy("eager").await.is_err(),
        "it waits, and not for ever"
    );
    other_holder.run("ROLLBACK").await.unwrap();
    let claim = claimer.claim_copy("eager").await.expect("no wait");
    assert_eq!(claim.map(|claim| claim.operation), Some(busy));
    // Nor from another that has a limit of its own, nor those who serve some deployments only.
    let scopes = [Value::Null, json!({"deployments": ["d1", "d2"]})];
    for scope in scopes {
        let capped = json!({"cutover_policy": "parallel", "max_copies": 1});
        let [expected, _, _] = fleet.submit(capped).await.all();
        let claim = claimer.claim("operation_claim_copy", "eager", scope).await;
        let claim = claim.expect("no wait");
        assert_eq!(claim.map(|claim| claim.operation), Some(expected));
    }
    holder.run("ROLLBACK").await.unwrap();
    let claim = claimer.claim_copy("eager").await.expect("a claim");
    let [first, _, _] = held.all();
    assert_eq!(claim.map(|claim| claim.operation), Some(first));
}

/// So it is where the call had begun a swap; also while somebody keeps an old snapshot open, for which the server keeps what was.
#[tokio::test]
async fn a_swap_that_is_never_committed_keeps_nobody_from_another_apply() {
    let fleet = Fleet::of(7).await;
    let mut reader = fleet.session().await;
    let snapshot = "START TRANSACTION WITH CONSISTENT SNAPSHOT";
    reader.run(snapshot).await.unwrap();
    let mut parked = Vec::new();
    for deployments in [
        json!(["d1", "d2"]),
        json!(["d3", "d4", "d5"]),
        json!(["d6", "d7"]),
    ] {
        let options = json!({"cutover_policy": "parallel", "deployments": deployments});
        let apply = fleet.submit(options).await;
        for operation in &apply.operations {
            fleet.park(*operation).await;
        }
        parked.extend(apply.operations);
    }
    let [earlier, _, swapped, held, second, later, _] = parked[..] else {
        panic!("{parked:?}");
    };
    fleet.swap(swapped).await;

    let mut holder = fleet.session().await;
    let as_our_calls = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
    holder.run(as_our_calls).await.unwrap();
    holder.run("START TRANSACTION").await.unwrap();
    let begin = |operation: u64| {
        format!(
            "UPDATE operation_live SET state = 'cutting_over', claim = NULL, claimable_at = NULL WHERE operation_id = {operation}"
        )
    };
    holder.run(&begin(held)).await.unwrap();
    let mut claimer = fleet.session().await;
    let patience = "SET SESSION innodb_lock_wait_timeout = 1";
    claimer.run(patience).await.unwrap();
    for expected in [earlier, later] {
        let claim = claimer.claim_cutover("eager").await.expect("no wait");
        let claim = claim.expect("its turn has come");
        assert_eq!(claim.operation, expected);
        claimer.swapped(&claim).await.expect("no wait");
    }

    holder.run("COMMIT").await.unwrap();
    assert_eq!(fleet.state(held).await, "cutting_over");
    // One swap of an apply at a time, whoever begins another.
    let begin = begin(second);
    refused(1062, holder.run(&begin).await);
    let ignoring = begin.replace("UPDATE", "UPDATE IGNORE");
    refused(1062, holder.run(&ignoring).await);
}

/// A claim that gets nothing passes rows that others hold, and comes to rows that others wait for, behind them in the index.
#[tokio::test]
async fn a_claimer_that_finds_nothing_hides_nothing_from_others() {
    let fleet = Fleet::of(2).await;
    let mut holder = fleet.session().await;
    let hold = "SELECT l.operation_id FROM operation_live AS l WHERE l.operation_id = ? FOR UPDATE";
    let (copy, cutover) = ("operation_claim_copy", "operation_claim_cutover");

    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [held, _] = apply.all();
    holder.run("START TRANSACTION").await.unwrap();
    holder.rows(hold, arguments![held]).await;
    let on = |deployment: &str| json!({"deployments": [deployment]});
    passed_over(&fleet, (copy, on("d1")), (copy, on("d2"))).await;
    holder.run("ROLLBACK").await.unwrap();
    fleet.retire(&apply).await;

    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [parked, held] = apply.all();
    fleet.park(parked).await;
    holder.run("START TRANSACTION").await.unwrap();
    holder.rows(hold, arguments![held]).await;
    passed_over(&fleet, (copy, Value::Null), (cutover, Value::Null)).await;
    holder.run("ROLLBACK").await.unwrap();
}

/// While three ask for what is held, a fourth always gets what is free, and gives it back.
async fn passed_over(fleet: &Fleet, held: (&str, Value), free: (&str, Value)) {
    let is_over = AtomicBool::new(false);
    at_once(fleet, 4, async |session, number| {
        if number > 0 {
            while !is_over.load(Ordering::Relaxed) {
                let claim = session.claim(held.0, "unlucky", held.1.clone()).await;
                assert!(claim.expect("a claim").is_none(), "somebody holds it");
            }
            return;
        }
        for times in 0..400 {
            let claim = session.claim(free.0, "lucky", free.1.clone()).await;
            let Some(claim) = claim.expect("a claim") else {
                is_over.store(true, Ordering::Relaxed);
                panic!("{free:?} got nothing after {times} times");
            };
            session.release(&claim).await.expect("its own lease");
        }
        is_over.store(true, Ordering::Relaxed);
    })
    .await;
}

/// Who finds leases that ran out makes them claimable, also those that are not for him; and holds them meanwhile.
#[tokio::test]
async fn leases_that_ran_out_are_found_by_all_who_ask_at_the_same_moment() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    for operation in &apply.operations {
        fleet.run(*operation).await;
    }
    let ask: [(&str, Value); 3] = [
        ("operation_claim_copy", json!({"deployments": ["d1"]})),
        ("operation_claim_copy", json!({"deployments": ["d2"]})),
        ("operation_claim_cutover", Value::Null),
    ];
    for round in 0..60 {
        for operation in &apply.operations {
            fleet.age(*operation, 61).await;
        }
        let claims = at_once(&fleet, 3, async |session, number| {
            let (procedure, scope) = ask[number].clone();
            session.claim(procedure, "eager", scope).await
        })
        .await;
        let found: Vec<bool> = claims
            .iter()
            .map(|claim| claim.as_ref().expect("a claim").is_some())
            .collect();
        assert_eq!(found, [true, true, false], "round {round}");
    }
}

/// A driver that comes too late is refused, and in nobody's way.
#[tokio::test]
async fn a_lost_token_hides_nothing_from_a_claim() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [o1] = apply.all();
    let lost = fleet.run(o1).await;
    fleet.age(o1, 61).await;
    let claim = fleet.claim_copy("next").await.expect("recovered");
    fleet.release(&claim).await;
    let is_over = AtomicBool::new(false);
    at_once(&fleet, 3, async |session, number| {
        if number > 0 {
            while !is_over.load(Ordering::Relaxed) {
                let beat = session.heartbeat(&lost, Value::Null, Value::Null).await;
                beat.expect_err("it is lost");
                session.release(&lost).await.expect("an answer");
                session.arrive(&lost).await.expect_err("it is lost");
            }
            return;
        }
        for times in 0..200 {
            let claim = session.claim_copy("next").await.expect("a claim");
            let Some(claim) = claim else {
                is_over.store(true, Ordering::Relaxed);
                panic!("nothing after {times} times");
            };
            session.release(&claim).await.expect("its own lease");
        }
        is_over.store(true, Ordering::Relaxed);
    })
    .await;
}
