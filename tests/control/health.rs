//! SPEC.md section 9: what is wrong, and what to do about it.

use serde_json::{Value, json};

use crate::support::control::{Fleet, arguments};

/// SPEC.md section 9: empty when all is well; else what is wrong, and what to do.
#[tokio::test]
async fn health_says_what_is_wrong_and_nothing_when_all_is_well() {
    let fleet = Fleet::of(2).await;
    let problems =
        "SELECT CONCAT_WS(' | ', h.severity, h.subject, h.problem, h.remedy) FROM health AS h";
    assert!(fleet.sql().await.texts(problems, &[]).await.is_empty());
    let apply = fleet.submit(json!({"on_failure": "pause"})).await;
    let [o1, _] = apply.all();
    let claim = fleet.claim_copy("alpha").await.unwrap();
    assert!(fleet.sql().await.texts(problems, &[]).await.is_empty());

    fleet.age(o1, 61).await;
    let found = fleet.sql().await.texts(problems, &[]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("alpha") && found[0].contains("operation_release_lease"),
        "{found:?}"
    );
    fleet.beat(&claim).await;
    assert!(fleet.sql().await.texts(problems, &[]).await.is_empty());

    fleet.fail_for_good(&claim).await;
    let found = fleet.sql().await.texts(problems, &[]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("paused") && found[0].contains("apply_release"),
        "{found:?}"
    );
    fleet.release_pause(&apply).await;
    assert!(fleet.sql().await.texts(problems, &[]).await.is_empty());
}

/// Its lease is kept alive and nothing has failed.
#[tokio::test]
async fn health_tells_of_a_deployment_that_does_not_answer_its_driver() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({})).await;
    let claim = fleet.run(apply.operations[0]).await;
    let problems = "SELECT CONCAT_WS(' | ', h.severity, h.problem, h.remedy) FROM health AS h";
    for (reason, is_told) in [
        ("replica lag of 12 s", false),
        (
            "the deployment does not answer the binlog stream (silent for 10s), which is opened again and again",
            true,
        ),
    ] {
        let progress = json!({"phase": "copy", "throttled_by": reason});
        fleet.tell(&claim, progress, Value::Null).await;
        let found = fleet.sql().await.texts(problems, &[]).await;
        assert_eq!(found.len(), usize::from(is_told), "{found:?}");
        assert!(
            found
                .iter()
                .all(|line| line.contains(reason) && line.contains("doctor --deployment 'd1'"))
        );
    }
}

/// Each failure of it takes minutes, and the one after the tenth is the last.
#[tokio::test]
async fn health_tells_of_a_swap_that_gives_way_for_long() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({})).await;
    let [operation] = apply.all();
    let claim = fleet.run(operation).await;
    fleet.arrive(&claim).await;
    let reason = "session 7 of app@web1 has used the table for 400 s";
    let progress = json!({"phase": "cutover", "throttled_by": reason});
    fleet.tell(&claim, progress, Value::Null).await;
    let problems = "SELECT CONCAT_WS(' | ', h.severity, h.problem, h.remedy) FROM health AS h";
    let found = async || fleet.sql().await.texts(problems, &[]).await;
    assert_eq!(found().await, [] as [String; 0], "that is usual");
    // No call makes an event older.
    let age = "UPDATE event SET occurred_at = occurred_at - INTERVAL 1 HOUR WHERE to_state = 'cutting_over'";
    fleet.sql().await.run(age).await.unwrap();
    let found = found().await;
    assert!(
        found.len() == 1
            && found[0].starts_with("warning | its swap gives way")
            && found[0].contains(reason),
        "{found:?}"
    );
}

/// What waits while drivers live that may take it waits for them, not for somebody to start one.
#[tokio::test]
async fn health_tells_a_queue_from_a_deployment_that_no_driver_serves() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2] = apply.all();
    for operation in [o1, o2] {
        fleet.age(operation, 181).await;
    }
    let problems = "SELECT CONCAT_WS(' | ', h.severity, h.subject, h.problem) FROM health AS h ORDER BY h.subject";
    for (scope, severities) in [
        (None, ["warning", "warning"]),
        (Some(json!({"deployments": ["d2"]})), ["warning", "notice"]),
        (
            Some(json!({"labels": {"parity": "odd"}})),
            ["notice", "notice"],
        ),
    ] {
        if let Some(scope) = scope {
            let name = scope.to_string();
            fleet
                .call("driver_register", arguments![name, "1.0", 1u64, scope])
                .await;
        }
        let found = fleet.sql().await.texts(problems, &[]).await;
        assert_eq!(found.len(), 2, "{found:?}");
        for (problem, severity) in found.iter().zip(severities) {
            assert!(problem.starts_with(severity), "{found:?}");
            let nobody = problem.contains("no driver takes it");
            assert_eq!(nobody, severity == "warning", "{found:?}");
        }
    }
}

/// It is asked every few seconds by those who watch: requests of applies that have settled are none of its business.
#[tokio::test]
async fn health_reads_no_more_where_there_is_much_history() {
    let fleet = Fleet::of(1).await;
    let mut session = fleet.session().await;
    let mut reads = Vec::new();
    for requests in [1, 200] {
        let apply = fleet.submit(Value::Null).await;
        for _ in 0..requests {
            let throttle = arguments![apply.id, 3u64, "peak hour"];
            session.command("apply_throttle", throttle).await.unwrap();
        }
        fleet.retire(&apply).await;
        let unsettled = fleet.submit(Value::Null).await;
        session.run("FLUSH STATUS").await.unwrap();
        session.text_rows("SELECT h.problem FROM health AS h").await;
        let (seeks, rows) = session.reads().await;
        reads.push(seeks + rows);
        fleet.retire(&unsettled).await;
    }
    // The second time there are two more applies.
    assert!(reads[1] < reads[0] + 100, "{reads:?}");
}

#[tokio::test]
async fn a_cancel_that_no_driver_carries_out_is_a_problem() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [operation] = apply.all();
    fleet.run(operation).await;
    fleet.cancel(&apply).await;
    let problems = "SELECT CONCAT_WS(' | ', h.severity, h.problem) FROM health AS h";
    let found = async || fleet.sql().await.texts(problems, &[]).await;
    assert_eq!(found().await, [] as [String; 0], "its driver is told");

    // It dies.
    fleet.age(operation, 61).await;
    let lost = found().await;
    assert!(
        lost.len() == 1 && lost[0].starts_with("warning | its driver "),
        "{lost:?}"
    );
    // Or it was told to end.
    let claim = fleet.claim_copy("beta").await.expect("it is taken over");
    fleet.release(&claim).await;
    let waiting = fleet.waiting(operation).await;
    let free = "Any driver may claim its clean-up now.";
    assert_eq!(waiting.as_deref(), Some(free));
    fleet.age(operation, 181).await;
    let left = found().await;
    let said = "warning | it has been claimable for its clean-up for ";
    assert!(left.len() == 1 && left[0].starts_with(said), "{left:?}");
}

/// One of all waits until the last has swapped; one for an operation has nothing to wait for but its driver.
#[tokio::test]
async fn a_cutover_that_its_driver_does_not_carry_out_is_a_problem() {
    for all in [false, true] {
        let fleet = Fleet::of(2).await;
        let options = json!({"cutover_policy": "parallel", "defer_cutover": true});
        let apply = fleet.submit(options).await;
        let claim = fleet.hold(apply.operations[0]).await;
        let cutover = fleet.try_cutover(&apply, json!({"all": all})).await;
        cutover.expect("nothing is in its way");
        let problems = "SELECT CONCAT_WS(' | ', h.severity, h.problem) FROM health AS h
                         WHERE h.problem LIKE 'cutover%'";
        let found = async || fleet.sql().await.texts(problems, &[]).await;
        assert_eq!(found().await, [] as [String; 0], "its driver is told");
        // No call makes a request older.
        let age = "UPDATE control_request SET requested_at = requested_at - INTERVAL 1 HOUR";
        fleet.sql().await.run(age).await.unwrap();
        fleet.beat(&claim).await;
        assert_eq!(found().await, [] as [String; 0], "on hold just now");
        fleet.age(claim.operation, 181).await;
        fleet.beat(&claim).await;
        let late = found().await;
        assert_eq!(late.len(), usize::from(!all), "{late:?}");
        assert!(
            late.iter()
                .all(|line| line.starts_with("warning | cutover has been pending for ")),
            "{late:?}"
        );
        fleet.report("operation_begin_cutover", &claim).await;
        assert_eq!(found().await, [] as [String; 0], "it is carried out");
    }
}

/// Its server may purge what the copy still has to read.
#[tokio::test]
async fn a_parked_operation_that_nobody_catches_up_is_a_problem() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2] = apply.all();
    let copy = fleet.run(o1).await;
    fleet.park(o2).await;
    let problems = "SELECT CONCAT_WS(' | ', h.severity, h.subject, h.problem) FROM health AS h";
    let found = async || fleet.sql().await.texts(problems, &[]).await;
    assert_eq!(found().await, [] as [String; 0]);
    fleet.age(o2, 241).await;
    let late = found().await;
    let said = format!(
        "warning | operation {o2} on d2 | it is parked, and no driver has caught it up for "
    );
    assert!(late.len() == 1 && late[0].starts_with(&said), "{late:?}");
    let register = arguments!["alpha", "1.0", 1u64, Value::Null];
    fleet.call("driver_register", register).await;
    let late = found().await;
    let busy = "s; drivers that may do it are at other work: 1";
    assert!(
        late.len() == 1 && late[0].starts_with("notice | ") && late[0].ends_with(busy),
        "{late:?}"
    );

    fleet
        .call("operation_tend", arguments!["alpha", Value::Null])
        .await;
    assert_eq!(found().await, [] as [String; 0], "somebody does");
    fleet.age(o2, 241).await;
    assert_eq!(fleet.arrive(&copy).await, "parked");
    fleet.swap(o1).await;
    assert_eq!(found().await, [] as [String; 0], "its swap will");
}

/// Its start is pending as long as the other copies, and nobody has to do anything.
#[tokio::test]
async fn a_start_that_waits_for_a_slot_is_no_problem() {
    let fleet = Fleet::of(2).await;
    let options = json!({"cutover_policy": "parallel", "max_copies": 1});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    let first = fleet.run(o1).await;
    fleet.fail_for_now(&first).await;
    let second = fleet.run(o2).await;
    fleet.stop(&apply).await;
    fleet.report("operation_stopped", &second).await;
    let start = fleet.start(&apply).await;
    let claim = fleet.claim_copy("alpha").await.expect("one of them");
    fleet.beat(&claim).await;
    assert_eq!(fleet.request_status(&start).await, "pending");
    // No call makes a request older.
    let age = "UPDATE control_request SET requested_at = requested_at - INTERVAL 1 HOUR WHERE command = 'start'";
    fleet.sql().await.run(age).await.unwrap();
    let problems = "SELECT CONCAT_WS(' | ', h.severity, h.problem) FROM health AS h";
    let found = fleet.sql().await.texts(problems, &[]).await;
    assert_eq!(found, [] as [String; 0]);
}

/// Not copies alone are tried again.
#[tokio::test]
async fn a_clean_up_that_fails_again_and_again_is_a_problem_too() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let [operation] = apply.all();
    let mut claim = fleet.run(operation).await;
    fleet.cancel(&apply).await;
    for _ in 0..2 {
        assert_eq!(fleet.fail_for_now(&claim).await, "cancelling");
        claim = fleet.claim_copy("alpha").await.expect("due at once");
    }
    fleet.fail_for_now(&claim).await;
    // An hour further off, or a slow machine might let the time come while the test looks.
    fleet.age(operation, -3600).await;
    let waiting = fleet.waiting(operation).await;
    assert_eq!(waiting.as_deref(), Some("The next attempt is not due yet."));
    let problems = "SELECT CONCAT_WS(' | ', h.problem, h.remedy) FROM health AS h";
    let found = fleet.sql().await.texts(problems, &[]).await;
    assert!(
        found.len() == 1 && found[0].starts_with("failed 3 times: "),
        "{found:?}"
    );
    assert!(
        !found[0].contains("apply_start"),
        "a cancel beats it: {found:?}"
    );
}

/// A revert that is asked for meanwhile would have to wait as long as the window's next attempt.
#[tokio::test]
async fn a_start_makes_the_next_attempt_of_a_window_due_and_health_says_so() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(json!({"revert_window_seconds": 86400})).await;
    let [operation] = apply.all();
    let mut claim = fleet.swap(operation).await;
    for _ in 0..2 {
        assert_eq!(fleet.fail_for_now(&claim).await, "revert_window");
        claim = fleet.claim_cutover("alpha").await.expect("due at once");
    }
    fleet.fail_for_now(&claim).await;
    // An hour further off, as above.
    fleet.age(operation, -3600).await;
    fleet.revert(&apply).await;
    let waiting = fleet.waiting(operation).await;
    let said = "The next attempt is not due yet; apply_start makes it due now.";
    assert_eq!(waiting.as_deref(), Some(said));
    let remedies = "SELECT h.remedy FROM health AS h";
    let found = fleet.sql().await.texts(remedies, &[]).await;
    let call = format!("or now after CALL apply_start({}, 'why')", apply.id);
    assert!(found.len() == 1 && found[0].contains(&call), "{found:?}");

    assert!(fleet.claim_cutover("beta").await.is_none());
    fleet.start(&apply).await;
    let claim = fleet.claim_cutover("beta").await.expect("due now");
    assert_eq!(fleet.directive(&claim).await, "revert");
}

/// Its driver beats, so that the apply counts as moving; but no swap comes without a person.
#[tokio::test]
async fn health_names_who_is_on_hold_behind_a_failure() {
    for (on_failure, remedy) in [("halt", "apply_cancel"), ("pause", "apply_release")] {
        let fleet = Fleet::of(2).await;
        let options =
            json!({"cutover_policy": "parallel", "defer_cutover": true, "on_failure": on_failure});
        let [o1, o2] = fleet.submit(options).await.all();
        fleet.hold(o2).await;
        let problems = "SELECT CONCAT_WS(' | ', h.problem, h.remedy) FROM health AS h";
        assert!(fleet.sql().await.texts(problems, &[]).await.is_empty());
        fleet.fail_operation(o1).await;
        let found = fleet.sql().await.texts(problems, &[]).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("it waits behind d1, which is in state failed")
                && found[0].contains(remedy),
            "{found:?}"
        );
    }
}

/// The window's driver beats, too, and under this scope for as long as no swap comes.
#[tokio::test]
async fn health_names_who_waits_behind_a_failure_beside_an_open_window() {
    let fleet = Fleet::of(4).await;
    let apply = fleet
        .submit(json!({"cutover_policy": "barrier", "on_failure": "pause", "revert_window_seconds": 600, "revert_scope": "apply"}))
        .await;
    let [o1, o2, _, _] = apply.all();
    fleet.park(o1).await;
    fleet.swap(o1).await;
    fleet.fail_operation(o2).await;
    assert_eq!(fleet.apply_state(&apply).await, "running_degraded");
    let problems = "SELECT CONCAT_WS(' | ', h.subject, h.problem, h.remedy) FROM health AS h";
    let found = fleet.sql().await.texts(problems, &[]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("on d3 | it waits behind d2, which is in state failed")
            && found[0].contains("apply_release"),
        "{found:?}"
    );
    fleet.release_pause(&apply).await;
    assert!(fleet.sql().await.texts(problems, &[]).await.is_empty());
}

/// Whoever looks at one apply alone asks for its lines.
#[tokio::test]
async fn every_line_of_health_has_the_apply_that_it_is_about() {
    let fleet = Fleet::of(2).await;
    let parallel = |more: Value| {
        let mut options = json!({"cutover_policy": "parallel"});
        let more = more.as_object().cloned().unwrap_or_default();
        options.as_object_mut().unwrap().extend(more);
        options
    };
    let halted = fleet.submit(parallel(Value::Null)).await;
    let [h1, h2] = halted.all();
    fleet.park(h2).await;
    fleet.fail_operation(h1).await;
    let on_hold = fleet.submit(parallel(json!({"defer_cutover": true}))).await;
    let [f1, f2] = on_hold.all();
    fleet.hold(f2).await;
    fleet.fail_operation(f1).await;
    let retried = fleet.submit(Value::Null).await;
    let [r1, _] = retried.all();
    for _ in 0..3 {
        let claim = fleet.run(r1).await;
        fleet.fail_for_now(&claim).await;
    }
    let stopping = fleet.submit(Value::Null).await;
    fleet.run(stopping.operations[0]).await;
    fleet.stop(&stopping).await;
    let silent = fleet.submit(Value::Null).await;
    fleet.run(silent.operations[0]).await;
    fleet.age(silent.operations[0], 61).await;
    let unclaimed = fleet.submit(Value::Null).await;
    fleet.age(unclaimed.operations[0], 181).await;
    let broken = fleet.submit(Value::Null).await;
    // What no call can bring about: a request of an hour ago, and a stored answer that is not the declared one.
    for write in [
        "UPDATE control_request SET requested_at = requested_at - INTERVAL 1 HOUR WHERE command = 'stop'".to_owned(),
        format!("UPDATE operation_live SET directive = 'stop' WHERE operation_id = {}", broken.operations[0]),
    ] {
        fleet.sql().await.run(&write).await.unwrap();
    }

    for (problem, apply) in [
        ("it is halted%", &halted),
        ("it waits behind%", &on_hold),
        ("failed 3 times%", &retried),
        ("stop has been pending%", &stopping),
        ("its driver%", &silent),
        ("it has been claimable%", &unclaimed),
        ("stored: %", &broken),
    ] {
        let applies = "SELECT CAST(h.apply_id AS CHAR) FROM health AS h WHERE h.problem LIKE ?";
        let found = fleet.sql().await.texts(applies, arguments![problem]).await;
        assert_eq!(found, [apply.id.to_string()], "{problem}");
    }
}
