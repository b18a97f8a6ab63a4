//! An older installation is brought up to date under drivers at work.

mod rollout_support;
mod support;

use std::collections::BTreeMap;
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

/// Sends statements in turn, with one pending operation there, while all objects of a kind are replaced again and again; how
/// often each came to which error. 0 is none.
async fn during_upgrades(kind: &str, statements: Vec<&'static str>) -> BTreeMap<u16, u32> {
    let fleet = Fleet::of(0).await;
    let mut control = fleet.control.connect().await;
    for call in [
        "CALL deployment_register('eu', 0, '127.0.0.1', 3306, NULL)",
        r#"CALL apply_submit('shop', '["ALTER TABLE t ADD KEY (a)"]', NULL)"#,
    ] {
        control.execute(call).await.expect(call);
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut sender = fleet.control.connect().await;
    let sender = tokio::spawn(async move {
        let mut outcomes = BTreeMap::new();
        while !*stopped.borrow() {
            for statement in &statements {
                let outcome = sender.execute(*statement).await;
                let number = outcome.err().map_or(0, |error| {
                    lockkeeper::server_error::number(&error).expect("an answer of the server")
                });
                *outcomes.entry(number).or_default() += 1;
            }
        }
        outcomes
    });
    let older =
        format!("UPDATE installed_object SET sha256 = REPEAT('0', 64) WHERE kind = '{kind}'");
    for _ in 0..INSTALLS {
        control
            .execute(AssertSqlSafe(older.clone()))
            .await
            .expect("older objects");
        let report = install(fleet.control.settings()).await.expect("upgraded");
        assert!(report.replaced >= 4, "{}", report.replaced);
    }
    stop.send_replace(true);
    sender.await.expect("who sends")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_lets_no_illegal_move_through_while_it_replaces_the_triggers() {
    let illegal = "UPDATE operation_live
                      SET state = 'completed', completed_at = UTC_TIMESTAMP(6), claim = NULL, claimable_at = NULL";
    let outcomes = during_upgrades("trigger", vec![illegal]).await;
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), [&ILLEGAL_MOVE]);
    assert!(outcomes[&ILLEGAL_MOVE] > INSTALLS);
}

/// The number of a call of what is not there, after which drivers ask again.
const NO_SUCH_ROUTINE: u16 = 1305;

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_refuses_no_legal_move_while_it_replaces_the_functions() {
    let there = "UPDATE operation_live
                    SET state = 'stopped', stopped_from = 'pending', claim = NULL, claimable_at = NULL
                  WHERE state = 'pending'";
    let back =
        "UPDATE operation_live SET state = 'pending', stopped_from = NULL WHERE state = 'stopped'";
    let mut outcomes = during_upgrades("function", vec![there, back]).await;
    outcomes.remove(&NO_SUCH_ROUTINE);
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), [&0]);
    assert!(outcomes[&0] > INSTALLS);
}

/// A reader leaves a transaction open that has used a view and its functions. The upgrade waits for its end, and nobody waits for the
/// upgrade for long.
#[tokio::test(flavor = "multi_thread")]
async fn moves_go_on_while_an_upgrade_waits_for_a_readers_transaction() {
    let fleet = Fleet::of(0).await;
    let mut control = fleet.control.connect().await;
    for call in [
        "CALL deployment_register('eu', 0, '127.0.0.1', 3306, NULL)",
        r#"CALL apply_submit('shop', '["ALTER TABLE t ADD KEY (a)"]', '{"name": "t"}')"#,
        "UPDATE installed_object SET sha256 = REPEAT('0', 64) WHERE object_name = '_recovery_claim'",
    ] {
        control.execute(call).await.expect(call);
    }
    let mut reader = fleet.control.connect().await;
    for statement in ["BEGIN", "SELECT * FROM operation_claimable"] {
        reader.execute(statement).await.expect(statement);
    }
    let settings = fleet.control.settings().clone();
    let upgrade = tokio::spawn(async move { install(&settings).await });
    let waits = "SELECT COUNT(*) FROM performance_schema.processlist AS p
                  WHERE p.STATE LIKE 'Waiting for stored%' AND p.INFO LIKE 'DROP FUNCTION%_recovery_claim%'";
    support::eventually("the upgrade waits", PATIENCE, async || {
        support::one::<i64>(&mut control, waits).await == 1
    })
    .await;
    let moved = async {
        for _ in 0..3 {
            for command in ["apply_stop", "apply_start"] {
                let call = format!(
                    "CALL {command}((SELECT MAX(a.apply_id) FROM apply_status AS a), 'why')"
                );
                control
                    .execute(AssertSqlSafe(call))
                    .await
                    .expect("no error reaches a caller");
            }
        }
    };
    tokio::time::timeout(PATIENCE, moved)
        .await
        .expect("it goes on");
    assert!(!upgrade.is_finished(), "the reader still reads");
    reader.execute("COMMIT").await.expect("its end");
    let report = upgrade.await.expect("no panic").expect("upgraded");
    assert_eq!(report.replaced, 1);
}
