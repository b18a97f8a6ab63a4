//! Cases 1 to 5: asking for a change.

use serde_json::{Value, json};

use crate::support::control::{Fleet, arguments, refused};
use crate::together::at_once;

/// Case 1.
#[tokio::test]
async fn a_submit_makes_an_operation_for_each_deployment_and_a_task_for_each_statement() {
    let fleet = Fleet::of(3).await;
    let statements = json!([
        "ALTER TABLE orders ADD KEY (created_at)",
        "CREATE TABLE notes (id INT PRIMARY KEY)",
        "DROP TABLE junk",
    ]);
    let apply = fleet
        .try_submit(
            &statements.to_string(),
            json!({
                "name": "spring",
                "deployments": ["d3", "d1", "d2"],
                "cutover_policy": "barrier",
                "on_failure": "continue",
            }),
        )
        .await
        .expect("accepted");

    let mut sql = fleet.sql().await;
    let order = sql
        .texts(
            "SELECT CONCAT(s.position, ' ', s.deployment, ' ', s.state) FROM operation_status AS s
              WHERE s.apply_id = ? ORDER BY s.position",
            arguments![apply.id],
        )
        .await;
    assert_eq!(order, ["0 d3 pending", "1 d1 pending", "2 d2 pending"]);
    for operation in &apply.operations {
        let tasks = sql
            .texts(
                "SELECT CONCAT(t.position, ' ', t.table_name, ' ', t.state, ' ', t.statement) FROM task_status AS t
                  WHERE t.operation_id = ? ORDER BY t.position",
                arguments![*operation],
            )
            .await;
        assert_eq!(
            tasks,
            [
                "0 orders pending ALTER TABLE orders ADD KEY (created_at)",
                "1 notes pending CREATE TABLE notes (id INT PRIMARY KEY)",
                "2 junk pending DROP TABLE junk",
            ]
        );
    }
    let status = sql
        .rows("SELECT a.* FROM apply_status AS a", &[])
        .await
        .remove(0);
    assert_eq!(status.text("apply_name"), "spring");
    assert_eq!(status.text("schema_name"), "shop");
    assert_eq!(status.text("state"), "pending");
    assert_eq!(status.text("cutover_policy"), "barrier");
    assert_eq!(status.text("on_failure"), "continue");
    assert_eq!(status.number("operations"), 3);
    assert_eq!(
        (status.number("completed"), status.number("failed")),
        (0, 0)
    );
    assert!(status.text("submitted_by").contains('@'));
}

#[tokio::test]
async fn without_a_list_all_deployments_are_taken_in_the_order_of_their_positions() {
    let fleet = Fleet::of(2).await;
    fleet
        .call(
            "deployment_register",
            arguments!["first", 7u64, "h", 1u64, Value::Null],
        )
        .await;
    // d1 goes last.
    fleet
        .call(
            "deployment_register",
            arguments!["d1", 9u64, "db1.example", 3301u64, Value::Null],
        )
        .await;
    let apply = fleet.submit(Value::Null).await;
    let mut order = Vec::new();
    for operation in &apply.operations {
        order.push(fleet.column(*operation, "deployment").await);
    }
    assert_eq!(order, ["d2", "first", "d1"]);
}

/// Case 2.
#[tokio::test]
async fn the_same_request_under_a_name_is_the_same_apply_and_another_one_is_refused() {
    let fleet = Fleet::of(2).await;
    let statement = "ALTER TABLE orders ADD COLUMN c INT";
    let options = json!({"name": "spring", "cutover_policy": "barrier", "note": "for the sale"});
    let first = fleet.try_submit(statement, options.clone()).await.unwrap();

    let again = fleet.try_submit(statement, options.clone()).await.unwrap();
    assert_eq!(again.id, first.id);
    let at_once = at_once(&fleet, 8, async |session, _| {
        session
            .call_row(
                "apply_submit",
                arguments!["shop", statement, options.clone()],
            )
            .await
            .expect("the same apply")
            .id("apply_id")
    })
    .await;
    assert_eq!(at_once, [first.id; 8]);

    let with = |key: &str, value: Value| {
        let mut different = options.clone();
        different[key] = value;
        different
    };
    for settled in [false, true] {
        for (schema, statements, options) in [
            ("shop", statement, with("cutover_policy", json!("parallel"))),
            ("shop", statement, with("deployments", json!(["d1"]))),
            ("shop", statement, with("note", Value::Null)),
            ("shop", "DROP TABLE junk", options.clone()),
            ("stock", statement, options.clone()),
        ] {
            let before = fleet.trace().await;
            let submit = arguments![schema, statements, options];
            fleet.refuses(50503, "apply_submit", submit).await;
            assert_eq!(fleet.trace().await, before, "no trace");
        }
        if !settled {
            fleet.cancel(&first).await;
        }
        // Settled, it is still the same request.
        let again = fleet.try_submit(statement, options.clone()).await.unwrap();
        assert_eq!(again.id, first.id);
    }
}

#[tokio::test]
async fn eight_first_submits_of_one_name_make_one_apply() {
    let fleet = Fleet::of(2).await;
    let ids = at_once(&fleet, 8, async |session, _| {
        session
            .call_row(
                "apply_submit",
                arguments!["shop", "DROP TABLE junk", json!({"name": "clean"})],
            )
            .await
            .expect("one apply")
            .id("apply_id")
    })
    .await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let applies = fleet
        .sql()
        .await
        .number("SELECT COUNT(*) FROM apply_status", &[])
        .await;
    assert_eq!(applies, 1);
}

/// Case 3.
#[tokio::test]
async fn a_refused_option_is_named_with_its_value_and_the_rule() {
    let fleet = Fleet::of(1).await;
    for (options, message) in [
        (
            json!({"max_copies": 0}),
            "option at #/max_copies is 0; the rule is minimum 1",
        ),
        (
            json!({"on_failure": "ignore"}),
            r#"option at #/on_failure is "ignore"; the rule is enum ["halt", "continue", "pause"]"#,
        ),
        (
            json!({"deployments": ["d0", ""]}),
            r#"option at #/deployments/1 is ""; the rule is minLength 1"#,
        ),
        (
            json!({"colour": "red"}),
            "option at #/colour is not known; known are name, note, engine, ",
        ),
    ] {
        let refused = fleet
            .try_submit("ALTER TABLE orders ADD c INT", options)
            .await
            .expect_err("a rule is broken");
        assert!(
            refused.message.starts_with(message),
            "{} / {message}",
            refused.message
        );
    }
}

#[tokio::test]
async fn a_bad_submit_is_refused_with_its_own_number_and_leaves_nothing() {
    let fleet = Fleet::of(2).await;
    let good = "ALTER TABLE orders ADD COLUMN c INT";
    let before = fleet.trace().await;
    let named = |mut options: Value| {
        options["name"] = json!("spring");
        options
    };
    for (number, statements, options) in [
        (
            50001,
            "ALTER TABLE orders ADD c INT; DROP TABLE orders",
            named(json!({})),
        ),
        (50001, good, named(json!({"colour": "red"}))),
        (
            50002,
            good,
            named(json!({"deployments": ["d1", "nowhere"]})),
        ),
        (50001, good, named(json!({"deployments": []}))),
        (50001, good, named(json!({"deployments": ["d1", "d1"]}))),
        (50001, good, named(json!({"deployments": ["d1", 2]}))),
        (50001, good, named(json!({"deployments": "d1"}))),
        (50001, good, named(json!({"cutover_policy": "both"}))),
        (50001, good, named(json!({"cutover_policy": "Rolling"}))),
        (50001, good, named(json!({"cutover_policy": 1}))),
        (50001, good, named(json!({"cutover_gate": "all_parked"}))),
        (
            50001,
            good,
            named(json!({"cutover_gate": "all_parked", "cutover_policy": "rolling"})),
        ),
        (50001, good, named(json!({"on_failure": "ignore"}))),
        (50001, good, named(json!({"max_copies": 0}))),
        (50001, good, named(json!({"max_copies": -1}))),
        (50001, good, named(json!({"max_copies": 1.5}))),
        (50001, good, named(json!({"max_copies": "2"}))),
        (50001, good, named(json!({"max_copies": 4_294_967_296_u64}))),
        (50001, good, named(json!({"defer_cutover": "yes"}))),
        (50001, good, named(json!({"defer_cutover": 1}))),
        (50001, good, named(json!({"defer_timeout_seconds": 0}))),
        (50001, good, named(json!({"defer_timeout_seconds": -5}))),
        (50001, good, named(json!({"revert_window_seconds": -1}))),
        (50001, good, named(json!({"revert_window_seconds": 1e300}))),
        (50001, good, named(json!({"revert_scope": "fleet"}))),
        (50001, good, named(json!({"engine": []}))),
        (50001, good, named(json!({"note": 7}))),
        (50001, good, named(json!({"note": "n".repeat(1 << 20)}))),
        (50001, good, named(json!({"n".repeat(60_000): 1}))),
        (50001, good, json!({"name": ""})),
        (50001, good, json!({"name": 5})),
        (50001, good, json!({"name": "n".repeat(65)})),
        (50001, good, json!([])),
        (50001, good, json!("spring")),
        (50001, good, json!(7)),
        (50001, "", named(json!({}))),
        (50001, "  \n ", named(json!({}))),
        (50001, "-- nothing", named(json!({}))),
        (50001, ";", named(json!({}))),
        (50001, "[]", named(json!({}))),
        (50001, "[\"\"]", named(json!({}))),
        (50001, "[7]", named(json!({}))),
        (50001, "[null]", named(json!({}))),
        (50001, "{\"a\": 1}", named(json!({}))),
        (50001, "SELECT 1", named(json!({}))),
        (50001, "DELETE FROM orders", named(json!({}))),
        (50001, "UPDATE orders SET a = 1", named(json!({}))),
        (50001, "ALTER TABLE", named(json!({}))),
        (50001, "ALTER USER root IDENTIFIED BY ''", named(json!({}))),
        (50001, "DROP DATABASE shop", named(json!({}))),
        (50001, "GRANT ALL ON *.* TO x", named(json!({}))),
        (
            50001,
            "ALTER TABLE other.orders ADD c INT",
            named(json!({})),
        ),
        (
            50001,
            "[\"ALTER TABLE orders ADD c INT\", \"SELECT 1\"]",
            named(json!({})),
        ),
        (
            50001,
            "[\"ALTER TABLE orders ADD c INT\", \"ALTER TABLE orders ADD d INT\"]",
            named(json!({})),
        ),
    ] {
        let outcome = fleet.try_submit(statements, options.clone()).await;
        match &outcome {
            Err(refusal) if refusal.number == number => {}
            other => panic!("{statements} {options}: expected {number}, found {other:?}"),
        }
        assert_eq!(fleet.trace().await, before, "{statements} {options}");
    }
    for schema_name in [Value::Null, json!(""), json!("s".repeat(65))] {
        let submit = arguments![schema_name.as_str(), good, json!({"name": "spring"})];
        fleet.refuses(50001, "apply_submit", submit).await;
    }
    assert_eq!(fleet.trace().await, before);

    // The name is still free.
    let options = json!({"name": "spring"});
    fleet.try_submit(good, options).await.expect("accepted");
}

#[tokio::test]
async fn quotes_need_no_space_and_comments_stand_anywhere() {
    let fleet = Fleet::of(1).await;
    for (statement, table) in [
        ("ALTER TABLE`orders`ADD c INT", "orders"),
        ("ALTER TABLE `a``b`ADD COLUMN c INT", "a`b"),
        ("ALTER TABLE`shop`.`orders`ADD c INT", "orders"),
        (
            "ALTER -- why\n TABLE orders# who\n ADD c INT -- end",
            "orders",
        ),
        ("--\nALTER/* now */TABLE orders ADD c INT", "orders"),
        ("CREATE INDEX`i`ON`orders`(a)", "orders"),
        ("ALTER TABLE/**/h1/**/ADD c INT", "h1"),
        ("ALTER TABLE /**/ h1 /* ADD */ ADD c INT", "h1"),
        ("CREATE INDEX i /* ON h2 */ ON h1(a)", "h1"),
        ("CREATE UNIQUE INDEX i USING BTREE ON h1 (a)", "h1"),
        ("CREATE INDEX `i`USING HASH/* ON h2 */ON`h1`(a)", "h1"),
        ("DROP INDEX i ON h1 ALGORITHM = INPLACE", "h1"),
        ("CREATE TABLE IF NOT EXISTS`notes`(id INT)", "notes"),
        ("DROP TABLE IF EXISTS`junk`", "junk"),
    ] {
        let apply = fleet
            .try_submit(statement, Value::Null)
            .await
            .unwrap_or_else(|refusal| panic!("{statement}: {refusal:?}"));
        let named = "SELECT t.table_name FROM task_status AS t ORDER BY t.task_id DESC LIMIT 1";
        assert_eq!(fleet.sql().await.texts(named, &[]).await, [table]);
        fleet.cancel(&apply).await;
    }
    for statement in [
        "ALTER TABLEorders ADD c INT",
        "CREATE TABLE my-notes (id INT)",
    ] {
        refused(50001, fleet.try_submit(statement, Value::Null).await);
    }
}

#[tokio::test]
async fn nothing_can_be_submitted_where_no_deployment_is_registered() {
    let fleet = Fleet::of(0).await;
    refused(
        50002,
        fleet.try_submit("DROP TABLE junk", Value::Null).await,
    );
}

#[tokio::test]
async fn null_for_an_option_means_its_default() {
    let fleet = Fleet::of(2).await;
    let apply = fleet
        .submit(json!({"name": null, "deployments": null, "cutover_policy": null, "max_copies": null, "engine": null}))
        .await;
    assert_eq!(apply.operations.len(), 2);
    assert_eq!(
        fleet.apply_column(&apply, "cutover_policy").await,
        "rolling"
    );
    let claim = fleet.claim_copy("alpha").await.unwrap();
    assert_eq!(claim.options["cutover_policy"], "rolling");
    assert_eq!(claim.options["engine"], json!({}));
}

/// Case 4.
#[tokio::test]
async fn a_table_is_held_on_its_deployment_until_the_apply_has_settled() {
    let change = "ALTER TABLE orders ADD COLUMN c INT";
    let other_change = "DROP TABLE orders";
    for state in [
        "pending",
        "running",
        "stopped",
        "halted",
        "paused",
        "cancelling",
    ] {
        let fleet = Fleet::of(3).await;
        let options = json!({
            "deployments": ["d1", "d2"],
            "cutover_policy": "parallel",
            "on_failure": if state == "paused" { "pause" } else { "halt" },
        });
        let x = fleet.try_submit(change, options).await.unwrap();
        let [o1, o2] = x.all();
        match state {
            "running" => drop(fleet.run(o1).await),
            "stopped" => drop(fleet.stop(&x).await),
            "halted" | "paused" => {
                fleet.park(o2).await;
                fleet.fail_operation(o1).await;
            }
            "cancelling" => {
                fleet.park(o2).await;
                fleet.cancel(&x).await;
            }
            _ => {}
        }
        assert_eq!(fleet.apply_state(&x).await, state);

        let and_another = json!({"deployments": ["d3", "d2"]});
        let refusal = refused(50502, fleet.try_submit(other_change, and_another).await);
        assert!(
            refusal.message.contains(&format!("apply {}", x.id)),
            "{refusal:?}"
        );
        for spelled in [
            "ALTER TABLE `orders` ADD d INT",
            "ALTER TABLE shop.ORDERS ADD d INT",
            "CREATE INDEX i ON orders (a)",
        ] {
            let options = json!({"deployments": ["d2"]});
            refused(50502, fleet.try_submit(spelled, options).await);
        }
        let elsewhere = json!({"deployments": ["d3"]});
        fleet
            .try_submit(other_change, elsewhere)
            .await
            .expect("other deployments");
        let other_table = json!({"deployments": ["d2"]});
        fleet
            .try_submit("DROP TABLE other", other_table)
            .await
            .expect("another table");
        let other_schema = fleet
            .sql()
            .await
            .call(
                "apply_submit",
                arguments!["stock", other_change, json!({"deployments": ["d2"]})],
            )
            .await;
        other_schema.expect("another schema");

        if state != "cancelling" {
            fleet.cancel(&x).await;
        }
        for operation in [o1, o2] {
            fleet.age(operation, 61).await;
        }
        while let Some(claim) = fleet.claim_copy("cleaner").await {
            if claim.apply == x.id {
                fleet.report("operation_cancelled", &claim).await;
            }
        }
        assert_ne!(
            fleet.apply_column(&x, "finished_at").await,
            "NULL",
            "{state}"
        );
        let on_both = json!({"deployments": ["d1", "d2"]});
        fleet
            .try_submit(other_change, on_both)
            .await
            .expect("free again");
    }
}

/// Case 4: however X ends, it holds its tables on all of its deployments until its last operation has settled.
#[tokio::test]
async fn a_table_is_free_once_the_apply_has_ended_in_any_way() {
    let change = "ALTER TABLE orders ADD COLUMN c INT";
    for end in ["completed", "failed", "reverted"] {
        let fleet = Fleet::of(2).await;
        let options = json!({
            "cutover_policy": "parallel",
            "on_failure": "continue",
            "revert_window_seconds": if end == "reverted" { 600 } else { 0 },
            "revert_scope": "apply",
        });
        let x = fleet.try_submit(change, options).await.unwrap();
        let is_held = async || {
            for deployment in ["d1", "d2"] {
                let options = json!({"deployments": [deployment]});
                refused(50502, fleet.try_submit(change, options).await);
            }
        };
        let [o1, o2] = x.all();
        if end == "reverted" {
            let [first, second] = [fleet.swap(o1).await, fleet.swap(o2).await];
            is_held().await;
            fleet.go_back(&x, &second).await;
            is_held().await;
            fleet.report("operation_begin_revert", &first).await;
            is_held().await;
            fleet.report("operation_reverted", &first).await;
        } else {
            fleet.reach(o1, end).await;
            is_held().await;
            fleet.reach(o2, end).await;
        }
        assert_eq!(fleet.apply_state(&x).await, end);
        fleet.try_submit(change, Value::Null).await.expect("free");
    }
}

/// Case 5.
#[tokio::test]
async fn of_two_submits_for_one_table_at_once_one_is_accepted() {
    let fleet = Fleet::of(2).await;
    for round in 0..20 {
        let outcomes = at_once(&fleet, 2, async |session, number| {
            let statement = format!("ALTER TABLE t{round} ADD COLUMN c{number} INT");
            session
                .call("apply_submit", arguments!["shop", statement, Value::Null])
                .await
        })
        .await;
        let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(accepted, 1, "round {round}: {outcomes:?}");
        for outcome in outcomes {
            if outcome.is_err() {
                refused(50502, outcome);
            }
        }
    }
}

/// The text of a JSON null is a name as good as any, and a note as good as any.
#[tokio::test]
async fn null_is_a_name_and_a_null_is_none() {
    let fleet = Fleet::of(1).await;
    let submit = |options| arguments!["shop", "ALTER TABLE orders ADD c INT", options].to_vec();
    let mut applies = Vec::new();
    for _ in 0..2 {
        let arguments = submit(json!({"name": "null", "note": "null"}));
        let row = fleet
            .sql()
            .await
            .call_row("apply_submit", &arguments)
            .await
            .expect("the same request again");
        assert_eq!(row.text("apply_name"), "null");
        applies.push(row.id("apply_id"));
    }
    assert_eq!(applies[0], applies[1]);
    fleet
        .call("apply_cancel", arguments![applies[0], Value::Null])
        .await;

    let arguments = submit(json!({"name": null, "note": null}));
    fleet.call("apply_submit", &arguments).await;
    let shown = fleet
        .sql()
        .await
        .texts(
            "SELECT CONCAT_WS(' ', a.apply_name, a.note) FROM apply_status AS a ORDER BY a.apply_id",
            &[],
        )
        .await;
    assert_eq!(shown, ["null null", &format!("apply-{}", applies[0] + 1)]);
}
