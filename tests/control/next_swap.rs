//! Whose swap is under way or comes next, as `apply_status` says it.

use serde_json::{Value, json};

use crate::support::control::{Apply, Fleet};

async fn next(fleet: &Fleet, apply: &Apply) -> String {
    fleet.apply_column(apply, "next_swap").await
}

#[tokio::test]
async fn the_next_swap_goes_from_one_to_the_next_and_is_nobodys_in_the_end() {
    for policy in ["rolling", "barrier", "parallel"] {
        let fleet = Fleet::of(2).await;
        let options = json!({"cutover_policy": policy, "revert_window_seconds": 600});
        let apply = fleet.submit(options).await;
        let [o1, o2] = apply.all();
        assert_eq!(next(&fleet, &apply).await, "d1", "nothing has begun");
        if policy == "parallel" {
            fleet.park(o2).await;
            assert_eq!(next(&fleet, &apply).await, "d1", "d2 is only first there");
        }
        let first = fleet.cut_over(o1).await;
        assert_eq!(next(&fleet, &apply).await, "d1", "it swaps");
        fleet.swapped(&first).await;
        assert_eq!(next(&fleet, &apply).await, "d2", "a window is open");
        fleet.skip_revert(&apply).await;
        fleet.report("operation_complete", &first).await;
        assert_eq!(next(&fleet, &apply).await, "d2");
        fleet.swap(o2).await;
        assert_eq!(next(&fleet, &apply).await, "NULL", "all have swapped");
    }
}

/// And what it says is whom a request for one swap is bound to.
#[tokio::test]
async fn who_is_next_under_a_deferral_is_whom_a_cutover_is_bound_to() {
    let fleet = Fleet::of(2).await;
    let options = json!({"cutover_policy": "parallel", "defer_cutover": true});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    let second = fleet.hold(o2).await;
    let first = fleet.hold(o1).await;
    for (name, claim) in [("d1", first), ("d2", second)] {
        assert_eq!(next(&fleet, &apply).await, name);
        let bound = fleet.cutover(&apply).await.operation;
        assert_eq!(bound, Some(claim.operation));
        fleet.report("operation_begin_cutover", &claim).await;
        fleet.swapped(&claim).await;
    }
    assert_eq!(next(&fleet, &apply).await, "NULL");
}

#[tokio::test]
async fn what_is_stopped_or_tried_again_keeps_its_turn() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "parallel"})).await;
    let [o1, o2] = apply.all();
    fleet.park(o2).await;
    let claim = fleet.run(o1).await;
    fleet.fail_for_now(&claim).await;
    assert_eq!(next(&fleet, &apply).await, "d1");
    fleet.stop(&apply).await;
    assert_eq!(fleet.states(&apply).await, ["stopped", "stopped"]);
    assert_eq!(next(&fleet, &apply).await, "d1");
    fleet.cancel(&apply).await;
    assert_eq!(fleet.states(&apply).await, ["cancelling", "cancelling"]);
    assert_eq!(next(&fleet, &apply).await, "NULL", "none comes any more");
}

/// Behind a failure no swap comes under `halt`; one may come after a release; and under `continue` it comes by itself.
#[tokio::test]
async fn behind_a_failure_the_next_swap_is_as_on_failure_has_it() {
    for (on_failure, follows) in [("halt", "NULL"), ("pause", "d2"), ("continue", "d2")] {
        let fleet = Fleet::of(2).await;
        let options = json!({"cutover_policy": "parallel", "on_failure": on_failure});
        let apply = fleet.submit(options).await;
        let [o1, o2] = apply.all();
        fleet.park(o2).await;
        fleet.fail_operation(o1).await;
        assert_eq!(
            fleet.states(&apply).await,
            ["failed", "waiting_for_cutover"]
        );
        assert_eq!(next(&fleet, &apply).await, follows, "{on_failure}");
        if on_failure == "pause" {
            fleet.release_pause(&apply).await;
            assert_eq!(next(&fleet, &apply).await, "d2", "released");
        }
    }
}

/// What was halted is halted by a swap back as well.
#[tokio::test]
async fn behind_what_was_reverted_no_swap_comes() {
    let fleet = Fleet::of(2).await;
    let options = json!({"cutover_policy": "barrier", "revert_window_seconds": 600});
    let apply = fleet.submit(options).await;
    let [o1, o2] = apply.all();
    fleet.park(o1).await;
    fleet.park(o2).await;
    let window = fleet.swap(o1).await;
    fleet.go_back(&apply, &window).await;
    assert_eq!(fleet.apply_state(&apply).await, "halted");
    assert_eq!(next(&fleet, &apply).await, "NULL");
}

/// Screens ask for what goes on every second: a deployment more costs the same, however many there are.
#[tokio::test]
async fn what_goes_on_is_read_in_proportion_to_its_deployments() {
    let mut reads = Vec::new();
    for deployments in [10, 40] {
        let fleet = Fleet::of(deployments).await;
        let settled = fleet.submit(json!({"deployments": ["d1"]})).await;
        fleet.retire(&settled).await;
        fleet.submit(Value::Null).await;
        let mut session = fleet.session().await;
        // Which table is read first hangs on the statistics, and those of a schema that other tests have used may say anything.
        let tables =
            "ANALYZE TABLE apply, operation, operation_live, task, control_request, gate_rule";
        session.text_rows(tables).await;
        session.run("FLUSH STATUS").await.unwrap();
        let query =
            "SELECT a.state, a.next_swap FROM apply_status AS a WHERE a.finished_at IS NULL";
        assert_eq!(session.text_rows(query).await.len(), 1);
        let (seeks, rows) = session.reads().await;
        reads.push(seeks + rows);
    }
    // The optimizer has more than one way to read it, some half as long as others; one that reads all siblings for each
    // deployment is sixteen times as long.
    let (few, many) = (reads[0], reads[1]);
    assert!(many < 8 * few, "four times as many deployments: {reads:?}");
}
