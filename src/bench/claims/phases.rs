//! The measurements of `bench claims`, one function each.

use std::time::{Duration, Instant};

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use tokio::task::JoinSet;

use super::measure::{Counters, Times};
use super::{Amounts, BREATH, Bench, BenchError, data};
use crate::bench::report::{Figure, median};

const CLAIM: &str = "CALL operation_claim_copy('driver-1', NULL)";
const FLOOR: &str = "CALL floor_update(?)";
const MOVE: &str = "CALL move_by_key(?)";
const EMPTY: &str = "CALL empty_call()";

/// One claimer: the claim, the floor and the plain form in turns, each claimed operation put back before the next turn.
pub(super) async fn latency(
    bench: &Bench,
    amounts: &Amounts,
    note: &mut impl FnMut(Figure),
) -> Result<(), BenchError> {
    let mut session = bench.connect().await?;
    let mut helper = bench.connect().await?;
    helper.execute("SET sql_log_bin = 0").await?;
    let (mut floor, mut claim, mut moved, mut plain) = <(Times, Times, Times, Times)>::default();
    for number in 0..amounts.samples {
        let row = u64::from(number) % 50_000;
        floor.call_with(&mut session, FLOOR, row).await?;
        if let Some(id) = claim.call(&mut session, CLAIM).await? {
            restore(&mut helper, id).await?;
            moved.call_with(&mut session, MOVE, id).await?;
            restore(&mut helper, id).await?;
        }
        // The plain form may take seconds each time.
        if plain.total_seconds() < 10.0 {
            let id = plain.call(&mut session, "CALL plain_claim()").await?;
            sqlx::query("UPDATE plain_operation SET state = 'pending', created_at = NOW(6) WHERE operation_id = ?")
                .bind(id)
                .execute(&mut helper)
                .await?;
        }
    }
    note(bench.figure("floor, 1 session", floor.median(), "ms"));
    note(bench.figure("claim, 1 claimer", claim.median(), "ms"));
    let figure = bench.figure("claim / floor", claim.median() / floor.median(), "");
    note(figure.at_most(1.3));
    // What is left of the claim's price when nothing has to be looked for.
    let by_key = moved.median() / floor.median();
    note(bench.figure("the same move by key / floor", by_key, ""));
    note(bench.figure("plain form", plain.median(), "ms"));
    let faster = bench.figure("plain form / claim", plain.median() / claim.median(), "");
    note(if bench.size >= 100_000 {
        faster.at_least(100.0)
    } else {
        faster
    });

    Counters::count_locks(&mut helper, true).await?;
    let (mut rows, mut locks) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let before = Counters::read(&mut helper).await?;
        let claimed = Times::default().call(&mut session, CLAIM).await?;
        let spent = Counters::read(&mut helper).await?.since(before);
        rows.push(spent.rows_read as f64);
        locks.push(spent.lock_requests as f64);
        if let Some(id) = claimed {
            restore(&mut helper, id).await?;
        }
    }
    Counters::count_locks(&mut helper, false).await?;
    let figure = bench.figure("rows read by a claim", median(rows), "rows");
    note(figure.at_most(3.0));
    let figure = bench.figure("lock requests of a claim", median(locks), "");
    note(figure.at_most(25.0));
    Ok(())
}

async fn restore(helper: &mut MySqlConnection, id: u64) -> Result<(), sqlx::Error> {
    sqlx::query("CALL bench_restore(?)")
        .bind(id)
        .execute(helper)
        .await
        .map(|_| ())
}

/// Polls that find nothing, in an index full of what is not for them.
pub(super) async fn empty_polls(
    bench: &Bench,
    amounts: &Amounts,
    note: &mut impl FnMut(Figure),
) -> Result<(), BenchError> {
    let mut session = bench.connect().await?;
    let mut helper = bench.connect().await?;
    let polls = [
        (
            "empty poll",
            "CALL operation_claim_cutover('driver-1', NULL)",
        ),
        (
            "empty poll, scope of a name",
            r#"CALL operation_claim_copy('driver-1', '{"deployments": ["elsewhere"]}')"#,
        ),
        (
            "empty poll, scope of a label",
            r#"CALL operation_claim_cutover('driver-1', '{"labels": {"region": "r1"}}')"#,
        ),
    ];
    for (what, poll) in polls {
        let (mut nothing, mut times) = (Times::default(), Times::default());
        for _ in 0..amounts.samples {
            nothing.call(&mut session, EMPTY).await?;
            times.call(&mut session, poll).await?;
        }
        let before = Counters::read(&mut helper).await?;
        for _ in 0..100 {
            Times::default().call(&mut session, poll).await?;
        }
        let spent = Counters::read(&mut helper).await?.since(before);
        note(bench.figure(what, times.median(), "ms"));
        let figure = bench.figure(
            format!("{what} / empty CALL"),
            times.median() / nothing.median(),
            "",
        );
        note(figure.at_most(3.0));
        let figure = bench.figure(
            format!("{what}: rows read"),
            spent.rows_read as f64 / 100.0,
            "rows",
        );
        note(figure.at_most(0.0));
    }
    Ok(())
}

/// Claims a second of several sessions, against the floor's commits of as many, in turns.
pub(super) async fn rates(
    bench: &Bench,
    amounts: &Amounts,
    note: &mut impl FnMut(Figure),
) -> Result<(), BenchError> {
    for &claimers in &amounts.claimers {
        let (mut floor, mut claims) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            floor.push(rate(bench, amounts, claimers, false).await?);
            data::queue(&mut bench.connect().await?, amounts.burst).await?;
            tokio::time::sleep(BREATH).await;
            claims.push(rate(bench, amounts, claimers, true).await?);
        }
        let (floor, claims) = (median(floor), median(claims));
        note(bench.figure(format!("floor, {claimers} sessions"), floor, "/s"));
        note(bench.figure(format!("claims, {claimers} claimers"), claims, "/s"));
        let share = bench.figure(
            format!("claims / floor, {claimers} claimers"),
            claims / floor,
            "",
        );
        note(match claimers {
            ..8 => share,
            8..32 => share.at_least(0.65),
            32.. => share.at_least(0.60),
        });
    }
    Ok(())
}

async fn rate(
    bench: &Bench,
    amounts: &Amounts,
    claimers: u32,
    claims: bool,
) -> Result<f64, BenchError> {
    let each = amounts.burst / u64::from(claimers);
    let mut tasks = JoinSet::new();
    let sessions = bench.sessions(claimers).await?;
    let start = Instant::now();
    for (number, mut session) in sessions.into_iter().enumerate() {
        tasks.spawn(async move {
            for turn in 0..each {
                if claims {
                    Times::default().call(&mut session, CLAIM).await?;
                } else {
                    let id = (number as u64 * each + turn) % 50_000;
                    Times::default().call_with(&mut session, FLOOR, id).await?;
                }
            }
            Ok::<_, sqlx::Error>(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok((each * u64::from(claimers)) as f64 / start.elapsed().as_secs_f64())
}

/// Eight drivers that keep many leases alive, each with one call for all of its own.
pub(super) async fn heartbeats(
    bench: &Bench,
    amounts: &Amounts,
    note: &mut impl FnMut(Figure),
) -> Result<(), BenchError> {
    let mut session = bench.connect().await?;
    data::queue(&mut session, amounts.leases).await?;
    session.execute("SET SESSION sql_log_bin = 1").await?;
    let lease = format!(
        "UPDATE operation_live AS l
            SET l.state = 'running', l.claim = NULL, l.claimable_at = NULL, l.started_at = UTC_TIMESTAMP(6),
                l.lease_driver = CONCAT('driver-', l.operation_id MOD 8), l.lease_token = UUID(), l.lease_epoch = 1,
                l.lease_heartbeat_at = UTC_TIMESTAMP(6), l.lease_expires_at = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR,
                l.lease_check_at = UTC_TIMESTAMP(6) + INTERVAL 1 HOUR
          WHERE l.claim = 'copy' AND l.lease_token IS NULL
          ORDER BY l.operation_id DESC
          LIMIT {}",
        amounts.leases
    );
    session.execute(AssertSqlSafe(lease)).await?;
    let mut beats = Vec::new();
    for driver in 0..8 {
        let row = sqlx::query(
            "SELECT CAST(COALESCE(JSON_ARRAYAGG(JSON_OBJECT('operation_id', l.operation_id, 'lease_token', l.lease_token,
                        'progress', JSON_OBJECT('phase', 'copy', 'rows_copied', 1, 'rows_total', 2))), '[]') AS CHAR)
               FROM operation_live AS l
              WHERE l.lease_driver = CONCAT('driver-', ?) AND l.operation_id MOD 8 = ?",
        )
        .bind(driver)
        .bind(driver)
        .fetch_one(&mut session)
        .await?;
        beats.push(row.try_get::<String, _>(0)?);
    }
    let mut helper = bench.connect().await?;
    let before = Counters::read(&mut helper).await?;
    let mut times = Times::default();
    for (driver, beats) in beats.iter().enumerate() {
        let start = Instant::now();
        sqlx::query("CALL driver_heartbeat(?, ?)")
            .bind(format!("driver-{driver}"))
            .bind(beats)
            .fetch_all(&mut session)
            .await?;
        times.push(start.elapsed());
    }
    let spent = Counters::read(&mut helper).await?.since(before);
    note(Figure::new(
        0,
        format!("one beat for {} leases", amounts.leases / 8),
        times.median(),
        "ms",
    ));
    // A driver beats at a sixth of the 60 s that a lease lasts.
    let commits = spent.transactions as f64 / 10.0;
    let figure = bench.figure(
        format!("commits to keep {} leases alive", amounts.leases),
        commits,
        "/s",
    );
    note(figure.at_most(10.0));
    Ok(())
}

/// Empty polls while somebody keeps a snapshot open, and claims go on meanwhile.
pub(super) async fn polls_past_a_snapshot(
    bench: &Bench,
    amounts: &Amounts,
    note: &mut impl FnMut(Figure),
) -> Result<(), BenchError> {
    let mut session = bench.connect().await?;
    // Nothing claimable is left but what comes now: a poll that finds something is no empty one.
    while Times::default().call(&mut session, CLAIM).await?.is_some() {}
    let mut reader = bench.connect().await?;
    reader
        .execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        .await?;
    reader.execute("SELECT COUNT(*) FROM setting").await?;

    let start = Instant::now();
    let mut moved = 0_u32;
    let mut interval = tokio::time::interval(Duration::from_millis(100));
    while start.elapsed() < Duration::from_secs(amounts.snapshot_seconds) {
        data::queue(&mut bench.connect().await?, 1).await?;
        Times::default().call(&mut session, CLAIM).await?;
        moved += 1;
        interval.tick().await;
    }
    let (mut nothing, mut times) = (Times::default(), Times::default());
    for _ in 0..amounts.samples {
        nothing.call(&mut session, EMPTY).await?;
        times.call(&mut session, CLAIM).await?;
    }
    reader.execute("ROLLBACK").await?;
    note(bench.figure(
        format!("empty poll past a snapshot, {moved} claims ago"),
        times.median(),
        "ms",
    ));
    let ratio = times.median() / nothing.median();
    let figure = bench.figure("empty poll past a snapshot / empty CALL", ratio, "");
    note(figure.at_most(10.0));
    Ok(())
}
