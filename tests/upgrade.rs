//! An older installation is brought up to date under drivers at work.

mod rollout_support;
mod support;

use std::time::Instant;

use lockkeeper::install::{inspect, install};
use rollout_support::{Fleet, PATIENCE};
use sqlx::{AssertSqlSafe, Executor as _};
use support::column;

const APPLIES: usize = 6;

/// Moves that no event tells of, or that contradict the event before.
const GAPS: &str = "
    WITH m AS (SELECT e.operation_id, e.from_state, e.to_state, e.event_id,
                      LAG(e.to_state, 1, 'pending') OVER (PARTITION BY e.operation_id ORDER BY e.event_id) AS came_from,
                      LEAD(e.event_id) OVER (PARTITION BY e.operation_id ORDER BY e.event_id) AS next
                 FROM event AS e
                WHERE e.event = 'moved')
    SELECT CONCAT(m.operation_id, ': ', m.came_from, ', then ', m.from_state, ' to ', m.to_state, ', now ', o.state)
      FROM m
      JOIN operation_status AS o
        ON o.operation_id = m.operation_id
     WHERE m.came_from <> m.from_state
        OR (m.next IS NULL AND m.to_state <> o.state)";

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_under_drivers_at_work_loses_no_lease_and_no_move() {
    let mut fleet = Fleet::of(2).await;
    for server in &fleet.servers {
        let mut session = server.administrator().connect().await.expect("a session");
        session
            .execute("CREATE DATABASE shop")
            .await
            .expect("a schema");
        for table in 0..APPLIES {
            let create = format!("CREATE TABLE shop.t{table} (id INT PRIMARY KEY, amount INT)");
            session
                .execute(AssertSqlSafe(create))
                .await
                .expect("a table");
        }
    }
    for table in 0..APPLIES {
        let change = format!("ALTER TABLE t{table} MODIFY amount BIGINT");
        let options = serde_json::json!({"cutover_policy": "barrier"});
        fleet.submit("shop", &[&change], options).await;
    }
    let drivers = ["first", "second"].map(|name| fleet.start_driver(name));

    // As an older program has left it: every object is another one.
    let (start, mut upgrades) = (Instant::now(), 0);
    let mut control = fleet.control.connect().await;
    loop {
        let states = "SELECT o.state FROM operation_status AS o";
        let states: Vec<String> = column(&mut control, states).await;
        assert!(!states.iter().any(|state| state == "failed"), "{states:?}");
        if upgrades >= 3 && states.iter().all(|state| state == "completed") {
            break;
        }
        control
            .execute("UPDATE installed_object SET sha256 = REPEAT('0', 64), version = '0.0.1'")
            .await
            .expect("an older installation");
        let report = install(fleet.control.settings()).await.expect("upgraded");
        assert!(report.replaced > 50, "{}", report.replaced);
        upgrades += 1;
        assert!(
            start.elapsed() < PATIENCE,
            "{upgrades} upgrades: {states:?}"
        );
    }
    for driver in drivers {
        driver.end().await;
    }

    for what in [
        GAPS,
        "SELECT CONCAT_WS(' ', c.operation_id, c.recorded, c.declared) FROM consistency AS c",
        "SELECT CONCAT(e.operation_id, ' ', e.event, ' ', COALESCE(e.detail, '')) FROM event AS e WHERE e.event = 'recovered' OR e.to_state = 'failed_retryable'",
    ] {
        let found: Vec<String> = column(&mut control, what).await;
        assert_eq!(found, Vec::<String>::new());
    }
    let differing = inspect(&mut control, fleet.control.schema())
        .await
        .expect("inspected");
    assert_eq!(differing, []);
}

const INSTALLS: u32 = 10;

/// The number of refusals of illegal moves.
const ILLEGAL_MOVE: u16 = 50201;

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_lets_no_illegal_move_through_while_it_replaces_the_triggers() {
    let fleet = Fleet::of(0).await;
    let mut control = fleet.control.connect().await;
    for call in [
        "CALL deployment_register('eu', 0, '127.0.0.1', 3306, NULL)",
        r#"CALL apply_submit('shop', '["ALTER TABLE t ADD KEY (a)"]', NULL)"#,
    ] {
        control.execute(call).await.expect(call);
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut intruder = fleet.control.connect().await;
    let intruder = tokio::spawn(async move {
        let mut tries = 0_u32;
        while !*stopped.borrow() {
            let refused = intruder
                .execute(
                    "UPDATE operation_live
                        SET state = 'completed', completed_at = UTC_TIMESTAMP(6), claim = NULL, claimable_at = NULL",
                )
                .await
                .expect_err("pending does not become completed");
            assert_eq!(lockkeeper::load::error_number(&refused), Some(ILLEGAL_MOVE));
            tries += 1;
        }
        tries
    });
    for _ in 0..INSTALLS {
        control
            .execute("UPDATE installed_object SET sha256 = REPEAT('0', 64) WHERE kind = 'trigger'")
            .await
            .expect("older triggers");
        let report = install(fleet.control.settings()).await.expect("upgraded");
        assert_eq!(report.replaced, 4);
    }
    stop.send_replace(true);
    assert!(intruder.await.expect("the intruder") > INSTALLS);
}
