//! Many drivers and operators at once, without any steps.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::Row as _;
use sqlx::mysql::{MySqlConnection, MySqlRow};
use tokio::task::JoinSet;

use crate::stage::{call, text};
use crate::support::{TestDatabase, eventually, one, seed};

/// A driver that works well, dies now and then, and is told what to do by every answer.
async fn drive(
    database: &TestDatabase,
    name: String,
    mut random: StdRng,
    done: &tokio::sync::watch::Receiver<bool>,
) {
    let mut session = database.connect().await;
    let mut idle = tokio::time::interval(Duration::from_millis(5));
    while !*done.borrow() {
        idle.tick().await;
        for kind in ["cutover", "copy"] {
            let claim = format!("CALL operation_claim_{kind}('{name}', NULL)");
            if let Ok(Some(row)) = call(&mut session, &claim).await {
                work(&mut session, &row, &mut random).await;
            }
        }
    }
}

/// One lease, to its end.
async fn work(session: &mut MySqlConnection, row: &MySqlRow, random: &mut StdRng) {
    let operation: u64 = row.get("operation_id");
    let token: String = row.get("lease_token");
    let mut state: String = row.get("state");
    for _ in 0..20 {
        let beat = format!("CALL operation_heartbeat({operation}, '{token}', NULL, NULL)");
        let answer = call(session, &beat).await;
        if answer.is_err() {
            return;
        }
        let directive = text(&answer, "directive");
        let next = match (state.as_str(), directive.as_str()) {
            (_, "stop") => format!("operation_stopped({operation}, '{token}')"),
            ("cancelling", _) | (_, "cancel") => {
                format!("operation_cancelled({operation}, '{token}')")
            }
            ("running", _) if random.random_ratio(1, 12) => {
                format!("operation_fail({operation}, '{token}', 'unlucky', 1)")
            }
            ("running" | "waiting_for_cutover", _) if random.random_ratio(1, 12) => {
                format!("operation_release({operation}, '{token}')")
            }
            ("running", _) => format!("operation_arrive({operation}, '{token}', NULL)"),
            ("waiting_for_cutover", "cutover") => {
                format!("operation_begin_cutover({operation}, '{token}')")
            }
            ("cutting_over", _) => format!("operation_swapped({operation}, '{token}', NULL)"),
            ("waiting_for_cutover", _) => continue,
            (other, directive) => panic!("{other} {directive}"),
        };
        match call(session, &format!("CALL {next}")).await {
            Ok(Some(row)) => {
                let Ok(now) = row.try_get::<String, _>("state") else {
                    return;
                };
                let decision = row.try_get::<String, _>("decision").unwrap_or_default();
                if decision == "parked"
                    || !matches!(
                        now.as_str(),
                        "running" | "waiting_for_cutover" | "cutting_over" | "cancelling"
                    )
                {
                    return;
                }
                state = now;
            }
            // Somebody asked for something else meanwhile; the next heartbeat says what.
            Ok(None) | Err(50201) => {
                let known =
                    format!("SELECT state FROM operation_status WHERE operation_id = {operation}");
                state = one(session, &known).await;
            }
            Err(_) => return,
        }
    }
    // It has waited long enough, and dies: its lease runs out.
    let _ = call(session, &format!("CALL operation_age({operation}, 61)")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_drivers_and_operators_brings_every_rollout_to_its_end() {
    let rollouts: u32 = std::env::var("LOCKKEEPER_SOAK_ROLLOUTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(12);
    let database = Arc::new(TestDatabase::fresh().await);
    database.register_deployments(5).await;
    let mut session = database.connect().await;
    let mut applies: Vec<u64> = Vec::new();
    for number in 0..rollouts {
        let policy = ["rolling", "barrier", "parallel"][number as usize % 3];
        let cap = if number % 2 == 0 {
            r#", "max_copies": 2"#
        } else {
            ""
        };
        let submit = format!(
            "CALL apply_submit('shop', 'ALTER TABLE t{number} ADD COLUMN c INT',
                               '{{\"cutover_policy\": \"{policy}\", \"on_failure\": \"continue\"{cap}}}')"
        );
        let row = call(&mut session, &submit)
            .await
            .expect("accepted")
            .expect("a row");
        applies.push(row.get("apply_id"));
    }

    let (finish, done) = tokio::sync::watch::channel(false);
    let mut seeds = StdRng::seed_from_u64(seed());
    let mut crowd = JoinSet::new();
    for number in 0..8 {
        let (database, done) = (Arc::clone(&database), done.clone());
        let random = StdRng::from_rng(&mut seeds);
        let name = format!("driver-{number}");
        crowd.spawn(async move { drive(&database, name, random, &done).await });
    }
    for _ in 0..2 {
        let (database, applies) = (Arc::clone(&database), applies.clone());
        let mut random = StdRng::from_rng(&mut seeds);
        crowd.spawn(async move {
            let mut session = database.connect().await;
            for _ in 0..60 {
                let apply = applies[random.random_range(0..applies.len())];
                let command = ["stop", "start", "start", "throttle"][random.random_range(0..4)];
                let level = if command == "throttle" { ", 3" } else { "" };
                let _ = call(
                    &mut session,
                    &format!("CALL apply_{command}({apply}{level}, 'crowd')"),
                )
                .await;
                tokio::task::yield_now().await;
            }
        });
    }
    // Deployments that move while their operations are settled.
    let (moving, moved) = (Arc::clone(&database), done.clone());
    crowd.spawn(async move {
        let mut session = moving.connect().await;
        let settings = moving.settings().clone();
        let (host, port) = (settings.host, settings.port);
        let mut turn = tokio::time::interval(Duration::from_millis(20));
        for number in 0_u32.. {
            if *moved.borrow() {
                break;
            }
            turn.tick().await;
            let (at, moved) = (number % 5, number / 5);
            let register =
                format!("CALL deployment_register('d{at}', {at}, '{host}{moved}', {port}, NULL)");
            call(&mut session, &register).await.expect("registered");
        }
    });
    let watcher = tokio::sync::Mutex::new(session);
    eventually("all rollouts end", Duration::from_secs(600), || async {
        let mut session = watcher.lock().await;
        for apply in &applies {
            let _ = call(&mut session, &format!("CALL apply_start({apply}, 'go on')")).await;
        }
        let capped: i64 = one(
            &mut session,
            "SELECT COUNT(*) FROM (SELECT l.apply_id FROM operation_live AS l JOIN apply AS a ON a.apply_id = l.apply_id
                                    WHERE l.state = 'running' AND a.max_copies IS NOT NULL
                                    GROUP BY l.apply_id, a.max_copies HAVING COUNT(*) > a.max_copies) AS over_the_cap",
        )
        .await;
        assert_eq!(capped, 0, "never more copies than max_copies");
        let open = "SELECT COUNT(*) FROM apply_status WHERE finished_at IS NULL";
        one::<i64>(&mut session, open).await == 0
    })
    .await;
    finish.send(true).expect("somebody listens");
    while let Some(ended) = crowd.join_next().await {
        ended.expect("nobody saw an error");
    }

    let mut session = watcher.into_inner();
    let disordered: i64 = one(
        &mut session,
        "SELECT COUNT(*)
           FROM event_log AS later
           JOIN operation_status AS o ON o.operation_id = later.operation_id
           JOIN operation_status AS before_it ON before_it.apply_id = o.apply_id AND before_it.position < o.position
           JOIN event_log AS earlier ON earlier.operation_id = before_it.operation_id AND earlier.to_state = 'completed'
          WHERE later.to_state = 'cutting_over' AND earlier.event_id > later.event_id",
    )
    .await;
    assert_eq!(disordered, 0, "swaps go in order");
    let wrong: i64 = one(&mut session, "SELECT COUNT(*) FROM consistency").await;
    assert_eq!(wrong, 0);
}
