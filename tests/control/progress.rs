//! Case 91: how far it is.

use serde_json::{Value, json};

use crate::catalogue::VIEWS;
use crate::support::control::{Fleet, arguments};

/// Case 91.
#[tokio::test]
async fn progress_shows_and_a_heartbeat_without_any_leaves_it() {
    let fleet = Fleet::of(1).await;
    let apply = fleet
        .try_submit(
            "[\"ALTER TABLE a ADD c INT\", \"ALTER TABLE b ADD c INT\"]",
            Value::Null,
        )
        .await
        .unwrap();
    let [o1] = apply.all();
    let claim = fleet.claim_copy("alpha").await.unwrap();
    let (a, b) = (
        claim.tasks[0]["task_id"].clone(),
        claim.tasks[1]["task_id"].clone(),
    );
    let progress = json!({
        "phase": "copy",
        "rows_copied": 250,
        "rows_total": 1000,
        "rows_per_second": 50.5,
        "seconds_left": 15,
        "binlog_lag_seconds": 0.5,
        "throttled_by": "replica lag",
        "tasks": [
            {"task_id": a, "phase": "verify", "rows_copied": 100, "rows_total": 200},
            {"task_id": b, "rows_copied": 150, "rows_total": 800},
        ],
    });
    fleet.tell(&claim, progress, Value::Null).await;
    for _ in 0..2 {
        let row = fleet
            .sql()
            .await
            .rows("SELECT s.* FROM operation_status AS s", &[])
            .await
            .remove(0);
        assert_eq!(row.text("phase"), "copy");
        assert_eq!(
            (row.number("rows_copied"), row.number("rows_total")),
            (250, 1000)
        );
        assert_eq!(fleet.column(o1, "percent").await.parse::<f64>(), Ok(25.0));
        assert_eq!(
            fleet.column(o1, "rows_per_second").await.parse::<f64>(),
            Ok(50.5)
        );
        assert_eq!(
            fleet.column(o1, "seconds_left").await.parse::<f64>(),
            Ok(15.0)
        );
        assert_eq!(fleet.column(o1, "throttled_by").await, "replica lag");
        let tasks = fleet
            .sql()
            .await
            .texts(
                "SELECT CONCAT_WS(' ', t.table_name, t.state, t.phase, t.percent + 0, t.rows_copied, t.rows_total)
                   FROM task_status AS t ORDER BY t.position",
                &[],
            )
            .await;
        assert_eq!(
            tasks,
            ["a running verify 50 100 200", "b running copy 18.8 150 800"]
        );
        assert_eq!(
            fleet.apply_column(&apply, "percent").await.parse::<f64>(),
            Ok(25.0)
        );
        assert_eq!(
            fleet
                .apply_column(&apply, "seconds_left")
                .await
                .parse::<f64>(),
            Ok(15.0)
        );
        // NULL leaves it.
        fleet.beat(&claim).await;
    }
    let bare = json!({"phase": "catch-up", "rows_copied": 1000, "rows_total": 1000, "throttled_by": null, "seconds_left": null});
    fleet.tell(&claim, bare, Value::Null).await;
    assert_eq!(fleet.column(o1, "throttled_by").await, "NULL");
    assert_eq!(fleet.column(o1, "seconds_left").await, "NULL");
    assert_eq!(fleet.column(o1, "percent").await.parse::<f64>(), Ok(100.0));
    fleet.arrive(&claim).await;
    fleet.swapped(&claim).await;
    assert_eq!(fleet.column(o1, "percent").await.parse::<f64>(), Ok(100.0));
    assert_eq!(fleet.column(o1, "driver").await, "alpha");
}

/// Whoever tends a parked operation reports as a driver with a lease does.
#[tokio::test]
async fn a_null_in_what_is_reported_of_a_parked_operation_is_nothing() {
    let fleet = Fleet::of(2).await;
    let options = json!({"cutover_policy": "barrier", "cutover_gate": "all_parked"});
    let apply = fleet.submit(options).await;
    let [o1, _] = apply.all();
    fleet.park(o1).await;
    fleet.age(o1, 61).await;
    let tend = fleet.claim("operation_tend", "alpha", Value::Null).await;
    let tend = tend.expect("it waits to be tended");
    let progress =
        json!({"phase": null, "rows_copied": null, "rows_total": 8, "rows_per_second": null});
    fleet
        .call(
            "operation_tended",
            arguments![o1, &tend.token, progress, 0u64],
        )
        .await;
    for column in ["phase", "rows_copied", "rows_per_second"] {
        assert_eq!(fleet.column(o1, column).await, "NULL", "{column}");
    }
    assert_eq!(fleet.column(o1, "rows_total").await, "8");
}

/// It is about to swap: whoever tended it would only stand in the way.
#[tokio::test]
async fn what_a_cutover_claim_may_take_is_not_tended() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.parked("barrier").await;
    let [o1, o2] = apply.all();
    assert!(fleet.is_claimable(o1, "cutover").await);
    for operation in [o1, o2] {
        fleet.age(operation, 61).await;
    }
    let tend = fleet.claim("operation_tend", "alpha", Value::Null).await;
    assert_eq!(tend.map(|tend| tend.operation), Some(o2));
    let tend = fleet.claim("operation_tend", "alpha", Value::Null).await;
    assert!(tend.is_none());
}

#[tokio::test]
async fn hostile_progress_is_refused_and_leaves_what_was_there() {
    let fleet = Fleet::of(1).await;
    let [o1] = fleet.submit(Value::Null).await.all();
    let claim = fleet.claim_copy("alpha").await.unwrap();
    let good = json!({"rows_copied": 5, "rows_total": 10});
    fleet.tell(&claim, good, json!({"w": 5})).await;
    for bad in [
        json!([]),
        json!("copy"),
        json!({"rows_copied": "5"}),
        json!({"rows_copied": -1}),
        json!({"rows_copied": 1.5}),
        json!({"rows_copied": 1e30}),
        json!({"rows_verified": "5"}),
        json!({"phase": 7}),
        json!({"phase": "x".repeat(65)}),
        json!({"seconds_left": "soon"}),
        json!({"tasks": {}}),
        json!({"tasks": [{"rows_copied": 1}]}),
        json!({"tasks": [{"task_id": "x"}]}),
        json!({"colour": "red"}),
    ] {
        let beat = arguments![o1, &claim.token, bad.clone(), Value::Null];
        fleet.refuses(50001, "operation_heartbeat", beat).await;
        let beats = json!([{"operation_id": o1, "lease_token": claim.token, "progress": bad}]);
        let beats = arguments!["alpha", beats];
        fleet.refuses(50001, "driver_heartbeat", beats).await;
        for view in VIEWS {
            let query = format!("SELECT v.* FROM {view} AS v");
            fleet.sql().await.rows(&query, &[]).await;
        }
    }
    assert_eq!(fleet.column(o1, "rows_copied").await, "5");
    let huge = json!({"w": "x".repeat(1_048_576)});
    let beat = arguments![o1, &claim.token, Value::Null, huge];
    fleet.refuses(50001, "operation_heartbeat", beat).await;
    fleet.age(o1, 61).await;
    assert_eq!(
        fleet.claim_copy("beta").await.unwrap().checkpoint,
        json!({"w": 5})
    );
}

/// A statement's own rows count, however little of the whole they are.
#[tokio::test]
async fn a_small_table_beside_a_large_one_has_its_own_percentage() {
    let fleet = Fleet::of(1).await;
    fleet
        .try_submit(
            "[\"ALTER TABLE a ADD c INT\", \"ALTER TABLE b ADD c INT\"]",
            Value::Null,
        )
        .await
        .unwrap();
    let claim = fleet.claim_copy("alpha").await.unwrap();
    let task = claim.tasks[0]["task_id"].clone();
    for (copied, total) in [(4, 1_000_004), (999_999, 1_000_000)] {
        let progress = json!({
            "rows_copied": copied,
            "rows_total": total,
            "tasks": [{"task_id": task, "rows_copied": 2, "rows_total": 4}],
        });
        fleet.tell(&claim, progress, Value::Null).await;
        let percent =
            "SELECT CONCAT(t.percent + 0) FROM task_status AS t ORDER BY t.position LIMIT 1";
        assert_eq!(fleet.sql().await.texts(percent, &[]).await, ["50"]);
    }
}

/// A view that one driver's report could break would be broken for everybody.
#[tokio::test]
async fn what_a_driver_reports_of_its_tasks_breaks_no_view() {
    let fleet = Fleet::of(1).await;
    let apply = fleet.submit(Value::Null).await;
    let claim = fleet.run(apply.operations[0]).await;
    let task = claim.tasks[0]["task_id"].clone();
    let own = |rows: Value| json!({"task_id": task, "rows_copied": rows, "rows_total": 4});
    let huge = arguments![
        claim.operation,
        &claim.token,
        json!({"tasks": [own(json!(184_467_440_737_095_517_u64))]}),
        Value::Null
    ];
    fleet.refuses(50001, "operation_heartbeat", huge).await;
    for (tasks, percent) in [
        (json!([own(json!(1_000_000_000_000_000_u64))]), "100"),
        (json!([own(json!(1)), own(json!(3))]), "75"),
    ] {
        fleet
            .tell(
                &claim,
                json!({"rows_copied": 1, "rows_total": 4, "tasks": tasks}),
                Value::Null,
            )
            .await;
        let seen = "SELECT CONCAT(t.percent + 0) FROM task_status AS t";
        assert_eq!(fleet.sql().await.texts(seen, &[]).await, [percent]);
    }
}

/// A large table is compared for minutes, with its copy at 100 per cent.
#[tokio::test]
async fn a_verification_says_how_far_it_is_while_the_copy_stays_whole() {
    let fleet = Fleet::of(2).await;
    let apply = fleet.submit(json!({"cutover_policy": "barrier"})).await;
    let [o1, _] = apply.all();
    let claim = fleet.run(o1).await;
    let copied = json!({"phase": "catch_up", "rows_copied": 800, "rows_total": 800});
    fleet.tell(&claim, copied, Value::Null).await;
    assert_eq!(fleet.column(o1, "percent_verified").await, "NULL");
    // Rows that came meanwhile are compared too.
    for (rows, percent) in [(0, 0.0), (500, 62.5), (900, 100.0)] {
        let progress = json!({"phase": "verify", "rows_copied": 800, "rows_total": 800, "rows_verified": rows});
        fleet.tell(&claim, progress, Value::Null).await;
        let verified = fleet.column(o1, "percent_verified").await;
        assert_eq!(verified.parse::<f64>(), Ok(percent));
        assert_eq!(fleet.column(o1, "percent").await.parse::<f64>(), Ok(100.0));
    }
    fleet.arrive(&claim).await;
    assert_eq!(fleet.column(o1, "percent_verified").await, "NULL", "parked");
}
