//! A rollout over three servers, by real drivers, under live writes.

mod deployment;
mod rollout_support;
mod support;
mod writers;

use deployment::Deployment;
use lockkeeper::load::{self, Before, Traffic};
use lockkeeper::server::Server;
use rollout_support::{Driver, Fleet};
use sqlx::{AssertSqlSafe, Executor as _, MySqlConnection};
use support::{PATIENCE, eventually, one};
use writers::Writers;

const ROWS: u64 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn three_deployments_are_changed_in_order_through_a_stop_a_start_and_a_change_of_drivers() {
    let mut fleet = Fleet::of(3).await;
    let (mut before, mut traffic) = (Vec::new(), Vec::new());
    for server in &fleet.servers {
        let settings = server.administrator().clone();
        let mut session = settings.connect().await.expect("a session");
        session
            .execute("CREATE DATABASE shop")
            .await
            .expect("a schema");
        session.execute("USE shop").await.expect("its use");
        session
            .execute(load::create_table())
            .await
            .expect("a table");
        load::fill(&mut session, ROWS).await.expect("rows");
        before.push(Before::take(&mut session, "shop").await.expect("a digest"));
        let writers = Traffic {
            settings: settings.with_schema("shop"),
            rows: ROWS,
            writers: 3,
            writes_per_second: 30,
            seed: support::seed(),
        };
        traffic.push(writers.start().await.expect("writers"));
    }

    let change = load::widen_orders();
    let options = serde_json::json!({"cutover_policy": "barrier", "cutover_gate": "all_parked"});
    let apply = fleet.submit("shop", &[change.statement], options).await;
    let first = fleet.start_driver("first");
    fleet
        .until("the first copy runs or is parked", apply, |states| {
            states[0] != "pending"
        })
        .await;
    fleet.command("apply_stop", apply).await;
    fleet
        .until("all have stopped", apply, |states| {
            states.iter().all(|state| *state == "stopped")
        })
        .await;
    // Who stops is not who goes on.
    first.end().await;
    let drivers = ["second", "third"].map(|name| fleet.start_driver(name));
    fleet.command("apply_start", apply).await;
    fleet
        .until("all are completed", apply, |states| {
            states.iter().all(|state| *state == "completed")
        })
        .await;
    for driver in drivers {
        driver.end().await;
    }

    let order = load::swap_order(&mut fleet.session, apply, 3)
        .await
        .expect("the event log");
    assert!(order.findings.is_empty(), "{:#?}", order.findings);
    let swapped: Vec<&str> = order
        .swaps
        .iter()
        .map(|swap| swap.deployment.as_str())
        .collect();
    assert_eq!(swapped, ["d0", "d1", "d2"]);
    for ((server, before), traffic) in fleet.servers.iter().zip(&before).zip(traffic) {
        let record = traffic.stop().await.expect("a record");
        let settings = server.administrator().clone().with_schema("shop");
        let mut session = settings.connect().await.expect("a session");
        let checked = load::check(&mut session, &change, before, &record)
            .await
            .expect("a check");
        assert!(checked.findings.is_empty(), "{:#?}", checked.findings);
        assert!(checked.writes > 0 && checked.untouched > 0);
    }
}

/// A session on a server with a table of two rows, after `more`.
async fn shop(server: &Server, more: &[&'static str]) -> MySqlConnection {
    let mut session = server.administrator().connect().await.expect("a session");
    let begin = [
        "CREATE DATABASE shop",
        "USE shop",
        "CREATE TABLE orders (id INT PRIMARY KEY, amount INT)",
        "INSERT INTO orders VALUES (1, 1), (2, 2)",
    ];
    for statement in begin.iter().chain(more) {
        session.execute(*statement).await.expect(statement);
    }
    session
}

/// A change of one table that is parked, and its cutover asked for after `meanwhile` has come in its way; then it has failed,
/// and the table is as it was.
async fn fails_at_its_cutover(setting: &str, engine: serde_json::Value, meanwhile: &str) -> String {
    let mut fleet = Fleet::of(1).await;
    fleet
        .session
        .execute(AssertSqlSafe(setting.to_owned()))
        .await
        .expect("a setting");
    let server = fleet.servers[0].administrator().clone();
    let mut session = shop(&fleet.servers[0], &[]).await;
    let change = "ALTER TABLE orders MODIFY amount BIGINT";
    let options =
        serde_json::json!({"cutover_policy": "barrier", "defer_cutover": true, "engine": engine});
    let apply = fleet.submit("shop", &[change], options).await;
    let driver = fleet.start_driver("lone");
    fleet
        .until("it waits at the barrier", apply, |states| {
            states == ["waiting_for_cutover"]
        })
        .await;
    let left = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME <> 'orders'";
    let artifacts: i64 = one(&mut session, left).await;
    assert!(artifacts > 0, "a parked copy has its shadow");

    let mut other = server
        .with_schema("shop")
        .connect()
        .await
        .expect("a session");
    other
        .execute(AssertSqlSafe(meanwhile.to_owned()))
        .await
        .expect("what comes in the way");
    sqlx::query("CALL apply_cutover(?, NULL, 'a test')")
        .bind(apply)
        .fetch_all(&mut fleet.session)
        .await
        .expect("a request");
    eventually("it fails, and its copy is gone", PATIENCE, async || {
        fleet.states(apply).await[0].0 == "failed" && one::<i64>(&mut session, left).await == 0
    })
    .await;
    driver.end().await;
    let kind: String = one(
        &mut session,
        "SELECT CONVERT(DATA_TYPE USING utf8mb4) FROM information_schema.COLUMNS \
          WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME = 'orders' AND COLUMN_NAME = 'amount'",
    )
    .await;
    assert_eq!(kind, "int");
    fleet.states(apply).await.remove(0).1.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_fails_for_good_before_its_swap_leaves_nothing_behind() {
    // The copy would lose it, so the change is refused for good.
    let trigger = "CREATE TRIGGER audit BEFORE INSERT ON orders FOR EACH ROW SET NEW.amount = 0";
    let error = fails_at_its_cutover("DO 0", serde_json::json!({}), trigger).await;
    assert!(error.contains("audit"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_failure_after_the_last_retry_leaves_nothing_behind() {
    let engine = serde_json::json!({"cutover_lock_wait_ms": 100, "cutover_give_up_seconds": 1});
    let no_retry = "CALL setting_set('retry_limit', '0')";
    let held = "START TRANSACTION; SELECT * FROM orders";
    let error = fails_at_its_cutover(no_retry, engine, held).await;
    assert!(error.contains("gave way"), "{error}");
}

/// `cancelled` would say that nothing was changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_behind_a_statement_that_was_executed_says_so() {
    let mut fleet = Fleet::of(1).await;
    let more = [
        "CREATE TABLE legacy (id INT PRIMARY KEY)",
        "START TRANSACTION",
        "SELECT * FROM orders",
    ];
    let mut session = shop(&fleet.servers[0], &more).await;
    let change = [
        "DROP TABLE legacy",
        "ALTER TABLE orders MODIFY amount BIGINT",
    ];
    let engine = serde_json::json!({"cutover_lock_wait_ms": 100, "cutover_give_up_seconds": 1});
    let apply = fleet
        .submit("shop", &change, serde_json::json!({"engine": engine}))
        .await;
    let driver = fleet.start_driver("lone");
    eventually("the swap gives way for good", PATIENCE, async || {
        fleet.states(apply).await[0].0 == "failed_retryable"
    })
    .await;
    fleet.command("apply_cancel", apply).await;
    eventually("it is over", PATIENCE, async || {
        fleet.states(apply).await[0].0 == "failed"
    })
    .await;
    driver.end().await;
    let error = fleet.states(apply).await.remove(0).1.unwrap_or_default();
    assert!(
        error.contains("in force are its statements 1;") && error.contains("drop0"),
        "{error}"
    );
    session.execute("COMMIT").await.expect("its end");
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT CAST(TABLE_NAME AS CHAR) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop' ORDER BY 1",
    )
    .fetch_all(&mut session)
    .await
    .expect("tables");
    assert!(
        tables.len() == 2 && tables[0].contains("drop0") && tables[1] == "orders",
        "{tables:?}"
    );
}

/// A swap that gives way has not failed, and nobody is to blame for a driver that is told to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_ends_while_its_swap_gives_way_spends_no_attempt() {
    let mut fleet = Fleet::of(1).await;
    let more = ["START TRANSACTION", "SELECT * FROM orders"];
    let mut session = shop(&fleet.servers[0], &more).await;
    let change = ["ALTER TABLE orders MODIFY amount BIGINT"];
    let options = serde_json::json!({"engine": {"cutover_lock_wait_ms": 100}});
    let apply = fleet.submit("shop", &change, options).await;
    let driver = fleet.start_driver("first");
    let gives_way = "SELECT CAST(COUNT(*) AS SIGNED) FROM operation_status AS o \
                      WHERE o.state = 'cutting_over' AND o.throttled_by IS NOT NULL";
    let mut control = fleet.control.connect().await;
    eventually("the swap gives way", PATIENCE, async || {
        one::<i64>(&mut control, gives_way).await == 1
    })
    .await;
    driver.end().await;
    assert_eq!(
        fleet.states(apply).await,
        [("cutting_over".to_owned(), None)]
    );
    let attempt = "SELECT CAST(o.attempt AS SIGNED) FROM operation_status AS o";
    assert_eq!(one::<i64>(&mut control, attempt).await, 0);
    session.execute("COMMIT").await.expect("its end");
    let driver = fleet.start_driver("second");
    fleet
        .until("it is done", apply, |states| states == ["completed"])
        .await;
    driver.end().await;
}

/// One large transaction takes longer than a look at whether there is anything left to catch up.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_the_barrier_is_caught_up_however_much_there_is() {
    let mut fleet = Fleet::of(2).await;
    fleet
        .session
        .execute("CALL setting_set('tend_seconds', '5')")
        .await
        .expect("a setting");
    let mut sessions = Vec::new();
    for server in &fleet.servers {
        let mut session = server.administrator().connect().await.expect("a session");
        for statement in [
            "CREATE DATABASE shop",
            "USE shop",
            "SET SESSION cte_max_recursion_depth = 100000",
            "CREATE TABLE orders (id INT PRIMARY KEY, amount INT)",
            "INSERT INTO orders WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000) SELECT i, 0 FROM n",
        ] {
            session.execute(statement).await.expect(statement);
        }
        sessions.push(session);
    }
    // The first one's swap gives way for as long as this is open.
    for statement in ["START TRANSACTION", "SELECT * FROM orders LIMIT 1"] {
        sessions[0].execute(statement).await.expect(statement);
    }
    let change = ["ALTER TABLE orders MODIFY amount BIGINT"];
    let options =
        serde_json::json!({"cutover_policy": "barrier", "engine": {"cutover_lock_wait_ms": 100}});
    let apply = fleet.submit("shop", &change, options).await;
    let driver = fleet.start_driver("lone");
    fleet
        .until("the second is parked", apply, |states| {
            states == ["cutting_over", "waiting_for_cutover"]
        })
        .await;
    let parked = &mut sessions[1];
    parked
        .execute("UPDATE orders SET amount = 1")
        .await
        .expect("a large transaction");
    let copy = "SELECT CAST(TABLE_NAME AS CHAR) FROM information_schema.TABLES \
                 WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME LIKE '%\\_new'";
    eventually("it is in the copy", PATIENCE, async || {
        let copy: String = one(parked, copy).await;
        let behind = format!("SELECT COUNT(*) FROM `{copy}` WHERE amount = 0");
        let behind: Result<i64, _> = sqlx::query_scalar(AssertSqlSafe(behind))
            .fetch_one(&mut *parked)
            .await;
        // Whoever tends it gives it another name.
        behind.unwrap_or(1) == 0
    })
    .await;
    sessions[0].execute("COMMIT").await.expect("its end");
    fleet
        .until("it is done", apply, |states| {
            states == ["completed", "completed"]
        })
        .await;
    driver.end().await;
}

/// Nothing has happened to the tables, and what is missing may come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_stays_open_where_a_right_is_missing_or_the_address_is_wrong() {
    let mut fleet = Fleet::of(2).await;
    let mut session = shop(&fleet.servers[0], &[]).await;
    shop(&fleet.servers[1], &[]).await;
    fleet
        .session
        .execute("CALL setting_set('retry_wait_limit_seconds', '1')")
        .await
        .expect("a setting");
    let change = ["ALTER TABLE orders MODIFY amount BIGINT"];
    let options = serde_json::json!({"revert_window_seconds": 3600, "deployments": ["d0"]});
    let apply = fleet.submit("shop", &change, options).await;
    let driver = fleet.start_driver("first");
    fleet
        .until("its window is open", apply, |states| {
            states == ["revert_window"]
        })
        .await;
    driver.end().await;

    let is_told = async |fleet: &Fleet, what: &str| {
        eventually(what, PATIENCE, async || {
            let (state, error) = fleet.states(apply).await.remove(0);
            assert_eq!(state, "revert_window", "{error:?}");
            error.is_some_and(|error| error.contains(what))
        })
        .await;
    };
    session
        .execute("REVOKE INSERT ON *.* FROM driver@'%'")
        .await
        .expect("a right less");
    let driver = fleet.start_driver("second");
    is_told(&fleet, "privileges are missing; run GRANT INSERT ON `shop`").await;
    let address = |server: &Server| {
        let at = server.administrator();
        format!(
            "CALL deployment_register('d0', 0, '{}', {}, NULL)",
            at.host, at.port
        )
    };
    let (right, wrong) = (address(&fleet.servers[0]), address(&fleet.servers[1]));
    sqlx::raw_sql(AssertSqlSafe(wrong))
        .execute(&mut fleet.session)
        .await
        .expect("a wrong address");
    is_told(&fleet, "is that the address of its server?").await;
    session
        .execute("GRANT INSERT ON *.* TO driver@'%'")
        .await
        .expect("the right again");
    sqlx::raw_sql(AssertSqlSafe(right))
        .execute(&mut fleet.session)
        .await
        .expect("the right address");
    fleet.command("apply_skip_revert", apply).await;
    fleet
        .until("it is done", apply, |states| states == ["completed"])
        .await;
    driver.end().await;
    assert_eq!(fleet.states(apply).await, [("completed".to_owned(), None)]);
}

/// The windows of a whole apply stay open until the last one has swapped, which has yet to find a driver with time for it.
#[tokio::test(flavor = "multi_thread")]
async fn windows_that_wait_for_each_other_leave_a_driver_room_for_the_last_copy() {
    let mut fleet = Fleet::of(3).await;
    for server in &fleet.servers {
        shop(server, &[]).await;
    }
    let change = ["ALTER TABLE orders MODIFY amount BIGINT"];
    let options = serde_json::json!({
        "cutover_policy": "barrier", "revert_window_seconds": 2, "revert_scope": "apply"
    });
    let apply = fleet.submit("shop", &change, options).await;
    // It works on two at a time.
    let driver = fleet.start_driver("lone");
    fleet
        .until("all are done", apply, |states| states == ["completed"; 3])
        .await;
    driver.end().await;
}

/// A change of one deployment that is in its revert window, as a driver keeps it.
async fn in_its_window(fleet: &mut Fleet, db: &Deployment) -> (u64, Driver) {
    let change = "ALTER TABLE orders MODIFY id BIGINT NOT NULL AUTO_INCREMENT";
    let options = serde_json::json!({"revert_window_seconds": 600});
    let apply = fleet.submit(&db.schema, &[change], options).await;
    let driver = fleet.start_driver("keeper");
    let is_open = |states: &[&str]| states == ["revert_window"];
    fleet.until("the window is open", apply, is_open).await;
    (apply, driver)
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_revert_takes_a_change_back_under_writers() {
    let mut fleet = Fleet::of(1).await;
    let mut db = Deployment::on(fleet.servers[0].administrator().clone()).await;
    writers::create(&mut db, 300).await;
    let writers = Writers::start(&db, 2).await;
    let (apply, driver) = in_its_window(&mut fleet, &db).await;
    writers.more(50).await;
    fleet
        .call(&format!("apply_revert({apply}, NULL, 'taken back')"))
        .await;
    let is_reverted = |states: &[&str]| states == ["reverted"];
    fleet.until("it is reverted", apply, is_reverted).await;
    driver.end().await;
    assert_eq!(db.column_type("orders", "id").await, "int");
    writers.check(&db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_skip_revert_ends_the_window_and_puts_the_former_table_aside() {
    let mut fleet = Fleet::of(1).await;
    let mut db = Deployment::on(fleet.servers[0].administrator().clone()).await;
    writers::create(&mut db, 100).await;
    let (apply, driver) = in_its_window(&mut fleet, &db).await;
    // People are told whether anything had to be repaired.
    let told = "SELECT CAST(checkpoint AS CHAR) FROM operation_live";
    let mut checkpoint = String::new();
    eventually("the checkpoint is told", PATIENCE, async || {
        checkpoint = one(&mut fleet.session, told).await;
        checkpoint.contains(r#""stage": "swapped""#)
    })
    .await;
    assert!(checkpoint.contains(r#""repaired": false"#), "{checkpoint}");
    fleet.command("apply_skip_revert", apply).await;
    let is_completed = |states: &[&str]| states == ["completed"];
    fleet.until("it is completed", apply, is_completed).await;
    driver.end().await;
    assert_eq!(db.column_type("orders", "id").await, "bigint");
    let mut left = db.tables().await;
    left.retain(|table| table.starts_with("_lk_") && !table.ends_with("_fence"));
    let is_aside = |table: &String| table.contains("_drop");
    assert!(left.len() == 1 && left.iter().all(is_aside), "{left:?}");
}
