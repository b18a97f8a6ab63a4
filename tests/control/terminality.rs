//! Cases 85 to 88: what is settled stays settled, and every move is a legal one.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::catalogue::procedures;
use crate::support::control::{Fleet, arguments, refused};
use crate::support::seed;

const STATES: [&str; 13] = [
    "pending",
    "running",
    "waiting_for_cutover",
    "cutting_over",
    "revert_window",
    "reverting",
    "failed_retryable",
    "stopped",
    "cancelling",
    "completed",
    "failed",
    "cancelled",
    "reverted",
];

/// Case 85.
#[tokio::test]
async fn nothing_leaves_a_terminal_state() {
    for end in ["completed", "failed", "cancelled", "reverted"] {
        let fleet = Fleet::of(2).await;
        let apply = fleet.settled(end).await;
        let [o1] = apply.all();
        let token = fleet
            .sql()
            .await
            .texts(
                "SELECT COALESCE(o.spent_token, UUID()) FROM operation AS o",
                &[],
            )
            .await
            .remove(0);
        let before = fleet.everything_of(o1).await;
        // With its own last token, and with none that ever was.
        for token in [token.as_str(), "00000000-0000-0000-0000-000000000000"] {
            let mut session = fleet.session().await;
            for procedure in procedures(apply.id, o1, token) {
                if matches!(procedure.name, "apply_submit" | "history_purge") {
                    continue;
                }
                // Accepted, where it repeats what has taken effect, or refused: nothing changes.
                drop(session.call(procedure.name, &procedure.arguments).await);
                assert_eq!(
                    fleet.everything_of(o1).await,
                    before,
                    "{} when {end}",
                    procedure.name
                );
            }
        }
        fleet.age(o1, 86_400).await;
        fleet.nothing_is_claimable().await;
        assert_eq!(fleet.state(o1).await, end);
    }
}

/// Case 86.
#[tokio::test]
async fn the_database_refuses_every_move_that_the_transition_table_does_not_list() {
    let fleet = Fleet::of(1).await;
    let mut legal = fleet
        .sql()
        .await
        .texts(
            "SELECT CONCAT(t.from_state, ' ', t.to_state) FROM operation_transition AS t",
            &[],
        )
        .await;
    legal.sort();
    for from in STATES {
        for to in STATES.iter().filter(|to| **to != from) {
            if ["completed", "failed", "cancelled", "reverted"].contains(&from) {
                assert!(
                    !legal.contains(&format!("{from} {to}")),
                    "{from} is terminal"
                );
            }
        }
    }

    for from in [
        "pending",
        "running",
        "waiting_for_cutover",
        "cutting_over",
        "revert_window",
        "reverting",
        "failed_retryable",
        "stopped",
        "cancelling",
    ] {
        let apply = fleet
            .submit(json!({"revert_window_seconds": 600, "defer_cutover": from == "waiting_for_cutover"}))
            .await;
        let [o1] = apply.all();
        if from != "pending" {
            fleet.reach(o1, from).await;
        }
        for to in STATES {
            if to == from || legal.contains(&format!("{from} {to}")) {
                continue;
            }
            for table in ["operation_live", "operation"] {
                if table == "operation"
                    && !["completed", "failed", "cancelled", "reverted"].contains(&to)
                {
                    continue;
                }
                let forced = format!(
                    "UPDATE {table} SET state = '{to}', completed_at = UTC_TIMESTAMP(6) WHERE operation_id = {o1}"
                );
                let outcome = fleet.sql().await.run(&forced).await;
                let refusal = refused(50201, outcome);
                assert!(refusal.message.contains(from), "{refusal:?}");
            }
        }
        assert_eq!(fleet.state(o1).await, from);
        fleet.retire(&apply).await;
    }

    for end in ["completed", "failed", "cancelled", "reverted"] {
        let apply = fleet.settled(end).await;
        let [o1] = apply.all();
        for to in ["completed", "failed", "cancelled", "reverted", "NULL"] {
            let value = if to == "NULL" {
                "NULL".to_owned()
            } else {
                format!("'{to}'")
            };
            if to == end {
                continue;
            }
            let forced = format!("UPDATE operation SET state = {value} WHERE operation_id = {o1}");
            refused(50201, fleet.sql().await.run(&forced).await);
        }
        let again = format!(
            "UPDATE operation SET completed_at = UTC_TIMESTAMP(6) WHERE operation_id = {o1}"
        );
        refused(50201, fleet.sql().await.run(&again).await);
        assert_eq!(fleet.state(o1).await, end);
    }
}

/// Case 86: a REPLACE takes a row away and inserts another, which no trigger sees as an update.
#[tokio::test]
async fn nobody_replaces_an_operation() {
    for end in ["completed", "failed", "cancelled", "reverted", "running"] {
        let fleet = Fleet::of(2).await;
        let o1 = if end == "running" {
            let apply = fleet.submit(Value::Null).await;
            fleet.run(apply.operations[0]).await.operation
        } else {
            fleet.settled(end).await.operations[0]
        };
        let before = fleet.everything_of(o1).await;
        let mut sql = fleet.sql().await;
        let count = "SELECT COUNT(*) FROM operation AS o";
        let operations = sql.number(count, &[]).await;
        for table in ["operation", "operation_live"] {
            let columns = sql
                .texts(
                    "SELECT c.column_name FROM information_schema.columns AS c
                      WHERE c.table_schema = DATABASE() AND c.table_name = ? AND c.extra NOT LIKE '%GENERATED%'
                      ORDER BY c.ordinal_position",
                    arguments![table],
                )
                .await;
            // One that begins anew, as a submit stores it.
            if table == "operation_live" {
                let given = "operation_id, apply_id, position, deployment, state, is_capped, lease_ttl_seconds, move_actor, host, port, \
                             schema_name, tasks, options";
                let anew = format!(
                    "REPLACE INTO operation_live ({given}) SELECT {} FROM operation_live WHERE operation_id = {o1}",
                    given.replace("state", "'pending'")
                );
                drop(sql.run(&anew).await);
            }
            for to in STATES.iter().copied().chain(["NULL"]) {
                // By its id, and by its place in the order under a new id.
                for id in ["operation_id", "operation_id + 1000"] {
                    let values: Vec<String> = columns
                        .iter()
                        .map(|column| match column.as_str() {
                            "state" if to == "NULL" => "NULL".to_owned(),
                            "state" => format!("'{to}'"),
                            "operation_id" => id.to_owned(),
                            "completed_at" if to == "NULL" => "NULL".to_owned(),
                            "completed_at" => "UTC_TIMESTAMP(6)".to_owned(),
                            _ => column.clone(),
                        })
                        .collect();
                    let forced = format!(
                        "REPLACE INTO {table} ({}) SELECT {} FROM {table} WHERE operation_id = {o1}",
                        columns.join(", "),
                        values.join(", ")
                    );
                    drop(sql.run(&forced).await);
                }
            }
        }
        assert_eq!(sql.number(count, &[]).await, operations, "{end}");
        drop(sql);
        assert_eq!(fleet.everything_of(o1).await, before, "{end}");
    }
}

/// A live row under the id of a settled operation would bring that one back to life.
#[tokio::test]
async fn an_operation_keeps_its_id() {
    let fleet = Fleet::of(2).await;
    let settled = fleet.settled("completed").await.operations[0];
    let apply = fleet.submit(Value::Null).await;
    let running = fleet.run(apply.operations[0]).await.operation;
    let before = [
        fleet.everything_of(settled).await,
        fleet.everything_of(running).await,
    ];
    for (table, from, to) in [
        ("operation_live", running, settled),
        ("operation_live", running, 1_000_000),
        ("operation", settled, 1_000_000),
        ("operation", running, 1_000_000),
    ] {
        let forced = format!("UPDATE {table} SET operation_id = {to} WHERE operation_id = {from}");
        refused(50201, fleet.sql().await.run(&forced).await);
    }
    assert_eq!(fleet.everything_of(settled).await, before[0]);
    assert_eq!(fleet.everything_of(running).await, before[1]);
}

/// To a session without strict mode the server would make '' of it.
#[tokio::test]
async fn a_state_cannot_be_taken_away() {
    let fleet = Fleet::of(1).await;
    let [o1] = fleet.submit(Value::Null).await.all();
    let before = fleet.everything_of(o1).await;
    for statement in [
        "UPDATE operation_live SET state = NULL WHERE operation_id = ",
        "UPDATE IGNORE operation_live SET state = NULL WHERE operation_id = ",
        "UPDATE operation_live SET state = 'lost' WHERE operation_id = ",
    ] {
        let mut sql = fleet.sql().await;
        sql.run("SET SESSION sql_mode = ''")
            .await
            .expect("a setting");
        let refusal = sql.run(&format!("{statement}{o1}")).await;
        assert_eq!(refusal.unwrap_err().number, 50201, "{statement}");
    }
    assert_eq!(fleet.everything_of(o1).await, before);
}

/// A legal move by hand is logged as what it is.
#[tokio::test]
async fn a_move_by_an_administrator_is_logged_with_his_name() {
    let fleet = Fleet::of(1).await;
    let [o1] = fleet.submit(Value::Null).await.all();
    let forced = format!(
        "UPDATE operation_live SET state = 'stopped', stopped_from = 'pending', claim = NULL, claimable_at = NULL WHERE operation_id = {o1}"
    );
    fleet.sql().await.run(&forced).await.expect("a legal move");
    let log = fleet
        .sql()
        .await
        .texts("SELECT CONCAT(e.from_state, ' ', e.to_state, ' ', e.detail) FROM event_log AS e WHERE e.to_state IS NOT NULL", &[])
        .await;
    assert_eq!(log, ["pending stopped direct UPDATE"]);
}

/// Case 87.
#[tokio::test]
async fn a_driver_cannot_skip_a_step() {
    let fleet = Fleet::of(2).await;
    let calls = [
        "operation_begin_cutover",
        "operation_swapped",
        "operation_complete",
        "operation_begin_revert",
        "operation_reverted",
        "operation_stopped",
        "operation_cancelled",
        "operation_arrive",
    ];
    // What is legal, or a repetition, in each state.
    for (state, allowed) in [
        ("running", vec!["operation_arrive"]),
        ("waiting_for_cutover", vec!["operation_arrive"]),
        // Repeated: it is what the call would have done.
        (
            "cutting_over",
            vec![
                "operation_swapped",
                "operation_arrive",
                "operation_begin_cutover",
            ],
        ),
        ("revert_window", vec!["operation_swapped"]),
        (
            "reverting",
            vec!["operation_reverted", "operation_begin_revert"],
        ),
        (
            "cancelling",
            vec!["operation_cancelled", "operation_arrive"],
        ),
    ] {
        for call in calls {
            if allowed.contains(&call) {
                continue;
            }
            let defer = state == "waiting_for_cutover";
            let options = json!({"deployments": ["d1"], "revert_window_seconds": 600, "defer_cutover": defer});
            let apply = fleet.submit(options).await;
            let [o1] = apply.all();
            let claim = fleet.reach(o1, state).await;
            let before = fleet.everything_of(o1).await;
            let arguments = match call {
                "operation_swapped" | "operation_arrive" => {
                    arguments![o1, &claim.token, Value::Null].to_vec()
                }
                _ => arguments![o1, &claim.token].to_vec(),
            };
            let outcome = fleet.sql().await.call(call, &arguments).await;
            match &outcome {
                Err(refusal) if refusal.number == 50201 => {}
                other => panic!("{call} in {state}: {other:?}"),
            }
            assert_eq!(fleet.everything_of(o1).await, before, "{call} in {state}");
            fleet.retire(&apply).await;
        }
    }
}

/// Case 88.
#[tokio::test]
async fn the_event_log_is_an_unbroken_chain_of_legal_moves() {
    let fleet = Fleet::of(4).await;
    let mut random = StdRng::seed_from_u64(seed());
    let mut session = fleet.session().await;
    for round in 0..12 {
        let policy = ["rolling", "barrier", "parallel"][round % 3];
        let options = json!({
            "cutover_policy": policy,
            "on_failure": (["halt", "continue", "pause"][round / 3 % 3]),
            "revert_window_seconds": (round % 2) * 600,
            "defer_cutover": round % 5 == 4,
        });
        let apply = fleet.submit(options).await;
        let mut live = Vec::new();
        for _ in 0..40 {
            let claim = if random.random() {
                session.claim_copy("alpha").await.unwrap()
            } else {
                session.claim_cutover("alpha").await.unwrap()
            };
            live.extend(claim);
            // Whatever is refused is refused: the chain is what counts.
            match random.random_range(0..11) {
                0 => drop(fleet.try_stop(&apply).await),
                1 | 2 => drop(fleet.try_start(&apply).await),
                3 => drop(fleet.try_release_pause(&apply).await),
                4 => drop(fleet.try_revert(&apply, Value::Null).await),
                5 => drop(fleet.try_skip_revert(&apply).await),
                6 => drop(fleet.try_cutover(&apply, Value::Null).await),
                _ => {}
            }
            if live.is_empty() {
                continue;
            }
            let claim = live[random.random_range(0..live.len())].clone();
            match random.random_range(0..9) {
                0 | 1 => drop(session.arrive(&claim).await),
                2 => drop(session.swapped(&claim).await),
                3 => drop(
                    session
                        .fail(&claim, "lost", random.random_range(0..=1))
                        .await,
                ),
                4 => drop(session.report("operation_stopped", &claim).await),
                5 => drop(session.report("operation_begin_revert", &claim).await),
                6 => drop(session.report("operation_reverted", &claim).await),
                7 => drop(session.report("operation_complete", &claim).await),
                _ => drop(session.report("operation_begin_cutover", &claim).await),
            }
            fleet.check().await;
        }
        if fleet.apply_column(&apply, "finished_at").await == "NULL" {
            fleet.retire(&apply).await;
        }
    }
    fleet.check_history().await;
}

#[tokio::test]
async fn a_purge_removes_no_more_rows_than_it_was_told_but_for_its_first_apply() {
    let fleet = Fleet::of(1).await;
    for _ in 0..4 {
        fleet.settled("completed").await;
    }
    let purge = async |max_rows: i64| {
        let mut session = fleet.sql().await;
        let bounds = arguments![0u64, max_rows];
        let row = session.call_row("history_purge", bounds).await.unwrap();
        row.number("rows_removed")
    };
    let of_one = purge(1).await;
    assert!(of_one > 4, "an apply, an operation, a task and its events");
    assert_eq!(purge(2 * of_one - 1).await, of_one);
    assert_eq!(purge(2 * of_one).await, 2 * of_one);
    assert_eq!(purge(2 * of_one).await, 0);
}
