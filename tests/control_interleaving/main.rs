//! Two or three sessions in claim, stop, settle, heartbeat and recovery, driven step by step: a control session holds a row
//! lock until the calls that are to meet wait behind it; then it lets go. And a crowd, without any steps.
//!
//! `LOCKKEEPER_SOAK_ROLLOUTS` sets how many rollouts the crowd drives (default 12).

mod crowd;
mod stage;
#[path = "../support/mod.rs"]
mod support;

use stage::{Stage, call, let_go, text};

#[tokio::test]
async fn a_claim_that_comes_while_a_stop_waits_starts_before_it_or_not_at_all() {
    for hold_the_operation in [false, true] {
        let mut stage = Stage::set(1, "{}").await;
        let holder = if hold_the_operation {
            stage.hold_operation(0).await
        } else {
            stage.hold_apply().await
        };
        let apply = stage.apply;
        let stop = stage.begin(format!("CALL apply_stop({apply}, NULL)")).await;
        // Never waits: it takes the row if that is free, and passes it over if not.
        let claimed = stage
            .call("CALL operation_claim_copy('second', NULL)")
            .await;
        let started = matches!(claimed, Ok(Some(_)));
        assert_eq!(started, !hold_the_operation, "{claimed:?}");
        let_go(holder).await;
        let stopped = stop.await.expect("ended");
        let expected = if started {
            ("pending", "running")
        } else {
            ("done", "stopped")
        };
        assert_eq!(text(&stopped, "status"), expected.0);
        assert_eq!(stage.states().await, [expected.1]);
        let after = stage.call("CALL operation_claim_copy('third', NULL)").await;
        assert!(matches!(after, Ok(None)), "{after:?}");
        stage.is_consistent().await;
    }
}

#[tokio::test]
async fn siblings_that_settle_at_once_open_the_gate_together() {
    // Each way for two to settle while the third waits for both of them.
    let ways = [
        ("operation_arrive", ", NULL"),
        ("operation_fail", ", 'broken', 0"),
        ("operation_fail", ", 'broken', 1"),
    ];
    let options = r#"{"cutover_policy": "parallel", "on_failure": "continue"}"#;
    let mut stage = Stage::set(3, options).await;
    for (one, one_more) in ways {
        for (other, other_more) in ways {
            stage = stage.again(options).await;
            let tokens = [
                stage.claim("copy").await,
                stage.claim("copy").await,
                stage.claim("copy").await,
            ];
            let [first, second, third] = [0, 1, 2].map(|at| stage.operations[at]);
            stage
                .call(&format!(
                    "CALL operation_arrive({third}, '{}', NULL)",
                    tokens[2]
                ))
                .await
                .expect("parked");
            let holder = stage.hold_apply().await;
            let first = stage
                .begin(format!("CALL {one}({first}, '{}'{one_more})", tokens[0]))
                .await;
            let second = stage
                .begin(format!(
                    "CALL {other}({second}, '{}'{other_more})",
                    tokens[1]
                ))
                .await;
            let_go(holder).await;
            for settled in [first, second] {
                let answer = settled.await.expect("ended");
                assert!(answer.is_ok(), "{answer:?}");
            }
            stage.is_consistent().await;
            // Somebody can go on: nothing waits for a wake-up that nobody gives.
            assert!(
                stage
                    .count("SELECT COUNT(*) FROM operation_claimable")
                    .await
                    > 0
            );
        }
    }
}

#[tokio::test]
async fn an_arrival_and_a_stop_meet_in_either_order() {
    for stop_first in [true, false] {
        let mut stage = Stage::set(1, "{}").await;
        let token = stage.claim("copy").await;
        let (apply, operation) = (stage.apply, stage.operations[0]);
        let holder = stage.hold_apply().await;
        let calls = [
            format!("CALL apply_stop({apply}, NULL)"),
            format!("CALL operation_arrive({operation}, '{token}', NULL)"),
        ];
        let [stop, arrive] = stage.begin_both(calls, stop_first).await;
        let_go(holder).await;
        let stopped = stop.await.expect("ended");
        let arrived = arrive.await.expect("ended");
        assert_eq!(text(&stopped, "command"), "stop");
        // Which of the two the server lets in first is its choice; a swap begins before the stop, or never.
        match text(&arrived, "decision").as_str() {
            "stop" => assert_eq!(stage.states().await, ["stopped"]),
            "cut_over" => assert_eq!(stage.states().await, ["cutting_over"]),
            other => panic!("{other}"),
        }
        stage.is_consistent().await;
    }
}

/// The same for a swap that begins from a hold, once its cutover was asked for.
#[tokio::test]
async fn a_cutover_that_begins_and_a_stop_meet_in_either_order() {
    for stop_first in [true, false] {
        let mut stage = Stage::set(1, r#"{"defer_cutover": true}"#).await;
        let token = stage.claim("copy").await;
        let (apply, operation) = (stage.apply, stage.operations[0]);
        for call in [
            format!("CALL operation_arrive({operation}, '{token}', NULL)"),
            format!("CALL apply_cutover({apply}, NULL, NULL)"),
        ] {
            stage.call(&call).await.expect("on hold, and asked for");
        }
        let holder = stage.hold_apply().await;
        let calls = [
            format!("CALL apply_stop({apply}, NULL)"),
            format!("CALL operation_begin_cutover({operation}, '{token}')"),
        ];
        let [stop, begin] = stage.begin_both(calls, stop_first).await;
        let_go(holder).await;
        let stopped = stop.await.expect("ended");
        assert_eq!(text(&stopped, "command"), "stop");
        match text(&begin.await.expect("ended"), "state").as_str() {
            "50201" => {
                assert_eq!(text(&stopped, "status"), "pending");
                assert_eq!(stage.states().await, ["waiting_for_cutover"]);
                let begin = format!("CALL operation_begin_cutover({operation}, '{token}')");
                assert_eq!(stage.call(&begin).await.err(), Some(50201), "nor later");
            }
            "cutting_over" => {
                assert_eq!(text(&stopped, "status"), "done", "nothing is left to stop");
                assert_eq!(stage.states().await, ["cutting_over"]);
            }
            other => panic!("{other}"),
        }
        stage.is_consistent().await;
    }
}

/// What a driver has to obey reaches it although it took the operation over between the look at the gates and the writing down.
/// No lock is held in between that another session could hold back, so this is tried again and again.
#[tokio::test]
async fn a_directive_reaches_a_driver_that_recovers_the_operation_meanwhile() {
    let options = r#"{"cutover_policy": "parallel", "defer_cutover": true}"#;
    let mut stage = Stage::set(2, options).await;
    let mut swapping = stage.database.connect().await;
    let mut recovering = stage.database.connect().await;
    for round in 0..100 {
        let mut tokens = Vec::new();
        for at in 0..2 {
            let token = stage.claim("copy").await;
            let operation = stage.operations[at];
            let arrive = format!("CALL operation_arrive({operation}, '{token}', NULL)");
            stage.call(&arrive).await.expect("on hold");
            tokens.push(token);
        }
        let [first, second] = [stage.operations[0], stage.operations[1]];
        for call in [
            format!(
                r#"CALL apply_cutover({}, '{{"all": true}}', NULL)"#,
                stage.apply
            ),
            format!("CALL operation_begin_cutover({first}, '{}')", tokens[0]),
            format!("CALL operation_release({second}, '{}')", tokens[1]),
        ] {
            stage.call(&call).await.expect(&call);
        }
        let swapped = format!("CALL operation_swapped({first}, '{}', NULL)", tokens[0]);
        let recover = async {
            for _ in 0..round % 20 {
                call(&mut recovering, "DO 0").await.expect("a moment");
            }
            let claim = "CALL operation_claim_copy('second', NULL)";
            loop {
                let answer = call(&mut recovering, claim).await;
                if let Ok(Some(_)) = answer {
                    return text(&answer, "lease_token");
                }
            }
        };
        let (swapped, token) = tokio::join!(call(&mut swapping, &swapped), recover);
        swapped.expect("swapped");
        stage.is_consistent().await;
        let beat = format!("CALL operation_heartbeat({second}, '{token}', NULL, NULL)");
        let beat = stage.call(&beat).await;
        assert_eq!(text(&beat, "directive"), "cutover", "round {round}");
        stage = stage.again(options).await;
    }
}

/// Two windows side by side, of which the second goes back now; with the tokens.
async fn going_back() -> (Stage, Vec<String>) {
    let options =
        r#"{"cutover_policy": "parallel", "revert_window_seconds": 600, "revert_scope": "apply"}"#;
    let mut stage = Stage::set(2, options).await;
    let mut tokens = Vec::new();
    for at in 0..2 {
        let token = stage.claim("copy").await;
        let operation = stage.operations[at];
        stage
            .call(&format!(
                "CALL operation_arrive({operation}, '{token}', NULL)"
            ))
            .await
            .expect("parked");
    }
    for at in 0..2 {
        let token = stage.claim("cutover").await;
        let operation = stage.operations[at];
        stage
            .call(&format!(
                "CALL operation_swapped({operation}, '{token}', NULL)"
            ))
            .await
            .expect("swapped");
        tokens.push(token);
    }
    let apply = stage.apply;
    stage
        .call(&format!("CALL apply_revert({apply}, NULL, NULL)"))
        .await
        .expect("asked");
    stage
        .call(&report(
            "operation_begin_revert",
            &stage.operations,
            &tokens,
        ))
        .await
        .expect("begun");
    (stage, tokens)
}

/// A call of the driver that holds the second operation.
fn report(procedure: &str, operations: &[u64], tokens: &[String]) -> String {
    format!("CALL {procedure}({}, '{}')", operations[1], tokens[1])
}

/// A report holds its own row, and then writes an earlier sibling's; a beat for both has the earlier one first.
#[tokio::test]
async fn a_beat_for_all_leases_of_a_driver_and_a_report_of_one_do_not_deadlock() {
    let (mut stage, tokens) = going_back().await;
    let operations = stage.operations.clone();

    // Nobody can log a move: the report stops when it has its own row, before it gets to its siblings.
    let holder = stage
        .hold("SELECT event_id FROM event WHERE event_id > 1000000000")
        .await;
    let reverted = report("operation_reverted", &operations, &tokens);
    let reverted = stage.begin(reverted).await;
    let beat = |at: usize| {
        format!(
            r#"{{"operation_id": {}, "lease_token": "{}"}}"#,
            operations[at], tokens[at]
        )
    };
    let beats = format!(
        "CALL driver_heartbeat('first', '[{}, {}]')",
        beat(0),
        beat(1)
    );
    let beats = stage.begin(beats).await;
    let_go(holder).await;
    let reverted = reverted.await.expect("ended");
    assert_eq!(text(&reverted, "state"), "reverted");
    let beats = beats.await.expect("ended");
    assert!(matches!(beats, Ok(Some(_))), "{beats:?}");
    stage.is_consistent().await;
}

/// So has a change of the lease's length, which is for all operations there are.
#[tokio::test]
async fn a_change_of_the_lease_and_a_report_do_not_deadlock() {
    let (mut stage, tokens) = going_back().await;
    let reverted = report("operation_reverted", &stage.operations, &tokens);
    let holder = stage
        .hold("SELECT event_id FROM event WHERE event_id > 1000000000")
        .await;
    let reverted = stage.begin(reverted).await;
    let change = "CALL setting_set('lease_ttl_seconds', 120)".to_owned();
    let change = stage.begin(change).await;
    let_go(holder).await;
    assert_eq!(text(&reverted.await.expect("ended"), "state"), "reverted");
    let change = change.await.expect("ended");
    assert!(matches!(change, Ok(Some(_))), "{change:?}");
    let former = "SELECT COUNT(*) FROM operation_live WHERE lease_ttl_seconds <> 120";
    assert_eq!(stage.count(former).await, 0);
    stage.is_consistent().await;
}

/// A submit reads the lease's length before it stores its operations.
#[tokio::test]
async fn a_change_of_the_lease_reaches_a_submit_that_is_under_way() {
    let mut stage = Stage::set(1, "{}").await;
    // Nobody can store another operation.
    let holder = stage
        .hold("SELECT operation_id FROM operation_live WHERE operation_id > 1000000000")
        .await;
    let submit = "CALL apply_submit('shop', 'ALTER TABLE customers ADD COLUMN c INT', NULL)";
    let submit = stage.begin(submit.to_owned()).await;
    let change = "CALL setting_set('lease_ttl_seconds', 120)".to_owned();
    let change = stage.begin(change).await;
    let_go(holder).await;
    for call in [submit, change] {
        let answer = call.await.expect("ended");
        assert!(matches!(answer, Ok(Some(_))), "{answer:?}");
    }
    let former = "SELECT COUNT(*) FROM operation_live WHERE lease_ttl_seconds <> 120";
    assert_eq!(stage.count(former).await, 0);
}

#[tokio::test]
async fn a_recovery_and_a_late_heartbeat_leave_one_owner() {
    for beat_first in [true, false] {
        let mut stage = Stage::set(1, "{}").await;
        let token = stage.claim("copy").await;
        let operation = stage.operations[0];
        stage
            .call(&format!("CALL operation_age({operation}, 61)"))
            .await
            .expect("older");
        let beat = format!("CALL operation_heartbeat({operation}, '{token}', NULL, NULL)");
        let holder = stage.hold_operation(0).await;
        // The heartbeat waits for the row; a claim passes it over and says "nothing".
        let beating = if beat_first {
            Some(stage.begin(beat.clone()).await)
        } else {
            None
        };
        let passed = stage
            .call("CALL operation_claim_copy('second', NULL)")
            .await;
        assert!(matches!(passed, Ok(None)), "{passed:?}");
        let_go(holder).await;
        if let Some(beating) = beating {
            assert_eq!(text(&beating.await.expect("ended"), "state"), "running");
            let claimed = stage
                .call("CALL operation_claim_copy('second', NULL)")
                .await;
            assert!(
                matches!(claimed, Ok(None)),
                "the lease lives again: {claimed:?}"
            );
        } else {
            let claimed = stage
                .call("CALL operation_claim_copy('second', NULL)")
                .await;
            assert_eq!(text(&claimed, "previous_state"), "running");
            assert_eq!(stage.call(&beat).await.err(), Some(50101));
        }
        assert_eq!(stage.count("SELECT COUNT(*) FROM lease_status").await, 1);
        stage.is_consistent().await;
    }
}

#[tokio::test]
async fn claimers_that_wait_for_the_last_slot_do_not_exceed_the_cap() {
    let mut stage = Stage::set(5, r#"{"cutover_policy": "parallel", "max_copies": 2}"#).await;
    let holder = stage.hold_apply().await;
    let mut claims = Vec::new();
    for number in 0..4 {
        claims.push(
            stage
                .begin(format!("CALL operation_claim_copy('w{number}', NULL)"))
                .await,
        );
    }
    let_go(holder).await;
    let mut started = 0;
    for claim in claims {
        started += i32::from(matches!(claim.await.expect("ended"), Ok(Some(_))));
    }
    assert_eq!(started, 2);
    assert_eq!(
        stage
            .count("SELECT COUNT(*) FROM operation_status WHERE state = 'running'")
            .await,
        2
    );
    stage.is_consistent().await;
}

#[tokio::test]
async fn a_start_and_a_cancel_meet_a_claim_without_a_deadlock() {
    for command in ["apply_cancel", "apply_stop", "apply_start"] {
        let mut stage = Stage::set(3, r#"{"cutover_policy": "parallel"}"#).await;
        let claim = r#"CALL operation_claim_copy('first', '{"deployments": ["d2"]}')"#;
        let token = text(&stage.call(claim).await, "lease_token");
        let (apply, last) = (stage.apply, stage.operations[2]);
        stage
            .call(&format!("CALL apply_stop({apply}, NULL)"))
            .await
            .expect("asked");
        stage
            .call(&format!("CALL operation_stopped({last}, '{token}')"))
            .await
            .expect("stopped");
        if command != "apply_start" {
            stage
                .call(&format!("CALL apply_start({apply}, NULL)"))
                .await
                .expect("started");
        }
        let holder = stage.hold_operation(1).await;
        let asked = stage.begin(format!("CALL {command}({apply}, NULL)")).await;
        // The command holds the apply's row by now, and waits before it comes to the last operation: the claim of that one,
        // which needs the apply's row, waits its turn behind it. Before a start there is nothing to claim.
        let claim = "CALL operation_claim_copy('second', NULL)".to_owned();
        let claiming = match command {
            "apply_start" => stage.begin_or_end(claim).await,
            _ => stage.begin(claim).await,
        };
        let_go(holder).await;
        let asked = asked.await.expect("ended");
        assert!(asked.is_ok(), "{command}: {asked:?}");
        assert!(claiming.await.expect("ended").is_ok());
        stage.is_consistent().await;
    }
}

/// A row that is passed over stays locked in the index by which a claim came to it, and these two come by different ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_with_a_scope_and_one_without_meet_without_a_deadlock() {
    let options = r#"{"cutover_policy": "parallel"}"#;
    let mut stage = Stage::set(2, options).await;
    let (mut rounds, mut met) = (0, 0);
    // A claim looks for a quarter of a second; on a busy machine it may be over before the other one is there.
    while met < 25 && rounds < 100 {
        rounds += 1;
        let [first, second] = [0, 1].map(|at| stage.operations[at]);
        let holder = stage
            .hold(&format!(
                "SELECT operation_id FROM operation_live WHERE operation_id IN ({first}, {second})"
            ))
            .await;
        let mut claims = Vec::new();
        for scope in ["NULL", r#"'{"deployments": ["d0", "d1"]}'"#] {
            let claim = format!("CALL operation_claim_copy('one', {scope})");
            claims.push(stage.begin_to_look(claim).await);
        }
        let_go(holder).await;
        let mut claimed = Vec::new();
        for claim in claims {
            claimed.push(text(&claim.await.expect("ended"), "deployment"));
        }
        met += i32::from(!claimed.contains(&"nothing".to_owned()));
        claimed.retain(|deployment| deployment != "nothing");
        claimed.sort();
        let claimed: Vec<&str> = claimed.iter().map(String::as_str).collect();
        let allowed = [&[][..], &["d0"], &["d1"], &["d0", "d1"]];
        assert!(allowed.contains(&claimed.as_slice()), "{claimed:?}");
        stage.is_consistent().await;
        stage = stage.again(options).await;
    }
    assert!(met > 0, "in none of {rounds} rounds they met");
}

#[tokio::test]
async fn a_lease_begins_and_is_renewed_when_its_call_is_through_not_when_it_began_to_wait() {
    let options = r#"{"cutover_policy": "parallel", "max_copies": 2}"#;
    let mut stage = Stage::set(2, options).await;
    let now = "SELECT CAST(UNIX_TIMESTAMP(UTC_TIMESTAMP(6)) * 1000000 AS SIGNED)";
    let younger =
        "SELECT COUNT(*) FROM lease_status WHERE UNIX_TIMESTAMP(heartbeat_at) * 1000000 >=";

    let holder = stage.hold_apply().await;
    let claim = "CALL operation_claim_copy('first', NULL)".to_owned();
    let claim = stage.begin(claim).await;
    let free = stage.count(now).await;
    let_go(holder).await;
    let token = text(&claim.await.expect("ended"), "lease_token");
    assert_eq!(stage.count(&format!("{younger} {free}")).await, 1);

    let holder = stage.hold_operation(0).await;
    let operation = stage.operations[0];
    let beat = format!("CALL operation_heartbeat({operation}, '{token}', NULL, NULL)");
    let beat = stage.begin(beat).await;
    let free = stage.count(now).await;
    let_go(holder).await;
    assert!(beat.await.expect("ended").is_ok());
    assert_eq!(stage.count(&format!("{younger} {free}")).await, 1);
}

/// Of a statement that is killed no handler runs, and the transaction stays open: whoever commits it then keeps nothing.
#[tokio::test]
async fn a_command_that_is_killed_half_way_has_written_nothing() {
    let mut stage = Stage::set(3, r#"{"cutover_policy": "parallel"}"#).await;
    let (apply, second) = (stage.apply, stage.operations[1]);
    let trace = "SELECT (SELECT COUNT(*) FROM event) + (SELECT COUNT(*) FROM control_request) + (SELECT COUNT(*) FROM apply) \
                      + (SELECT COUNT(*) FROM deployment WHERE host = 'elsewhere')";
    let before = stage.count(trace).await;
    for (lock, call) in [
        (
            format!("SELECT operation_id FROM operation WHERE operation_id = {second}"),
            format!("CALL apply_cancel({apply}, NULL)"),
        ),
        (
            "SELECT apply_id FROM table_hold WHERE deployment = 'd3' AND schema_name = 'shop' AND table_name = 'parts'".to_owned(),
            "CALL apply_submit('shop', 'ALTER TABLE parts ADD COLUMN c INT', '{\"name\": \"parts\"}')".to_owned(),
        ),
        (
            format!("SELECT operation_id FROM operation_live WHERE operation_id = {second}"),
            "CALL deployment_register('d1', 1, 'elsewhere', 3306, '{\"zone\": \"b\"}')".to_owned(),
        ),
    ] {
        let holder = stage.hold(&lock).await;
        stage.kill_and_commit(&call).await;
        let_go(holder).await;
        assert_eq!(stage.states().await, ["pending"; 3], "{call}");
        assert_eq!(stage.count(trace).await, before, "{call}");
        stage.is_consistent().await;
    }
    let submitted = stage
        .call("CALL apply_submit('shop', 'ALTER TABLE parts ADD COLUMN c INT', '{\"name\": \"parts\"}')")
        .await;
    assert!(submitted.is_ok(), "{submitted:?}");
    let cancelled = stage
        .call(&format!("CALL apply_cancel({apply}, NULL)"))
        .await;
    assert_eq!(text(&cancelled, "status"), "done");
    assert_eq!(stage.states().await, ["cancelled"; 3]);
}

/// The same of a claim that tells its siblings.
#[tokio::test]
async fn a_claim_that_is_killed_half_way_has_taken_nothing() {
    let options = r#"{"cutover_policy": "parallel", "max_copies": 1}"#;
    let mut stage = Stage::set(2, options).await;
    let holder = stage.hold_operation(1).await;
    stage
        .kill_and_commit("CALL operation_claim_copy('first', NULL)")
        .await;
    let_go(holder).await;
    assert_eq!(stage.states().await, ["pending"; 2]);
    stage.is_consistent().await;
    let claim = "CALL operation_claim_copy('second', NULL)";
    assert_ne!(text(&stage.call(claim).await, "lease_token"), "nothing");
    assert_eq!(text(&stage.call(claim).await, "lease_token"), "nothing");
    assert_eq!(stage.states().await, ["running", "pending"]);
    stage.is_consistent().await;
}

/// The same of a driver's report, which settles siblings.
#[tokio::test]
async fn a_report_that_is_killed_half_way_has_moved_nothing() {
    let mut stage = Stage::set(3, r#"{"on_failure": "halt"}"#).await;
    let token = stage.claim("copy").await;
    let [first, _, third] = [0, 1, 2].map(|at| stage.operations[at]);
    let fail = format!("CALL operation_fail({first}, '{token}', 'broken', 0)");

    let lock = format!("SELECT operation_id FROM operation WHERE operation_id = {third}");
    let holder = stage.hold(&lock).await;
    stage.kill_and_commit(&fail).await;
    let_go(holder).await;
    assert_eq!(stage.states().await, ["running", "pending", "pending"]);
    stage.is_consistent().await;

    assert_eq!(text(&stage.call(&fail).await, "state"), "failed");
    assert_eq!(stage.states().await, ["failed", "cancelled", "cancelled"]);
}
