//! Not how fast, but how often a promise is broken: never.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::Row as _;
use sqlx::mysql::MySqlConnection;
use tokio::task::JoinSet;

use super::measure::Times;
use super::{Amounts, Bench, BenchError, data};
use crate::bench::report::Figure;

const CLAIM: &str = "CALL operation_claim_copy('driver-1', NULL)";

/// A claim and a stop of the same apply at the same moment: once the stop has returned, nothing may start.
pub(super) async fn stop_against_claim(
    bench: &Bench,
    amounts: &Amounts,
    note: &mut impl FnMut(Figure),
) -> Result<(), BenchError> {
    let mut claimer = bench.connect().await?;
    let mut operator = bench.connect().await?;
    while Times::default().call(&mut claimer, CLAIM).await?.is_some() {}
    // Twice as many as races: a claim that comes too late takes the next one.
    data::queue(&mut operator, amounts.races * 2).await?;
    let applies: Vec<(u64, u64)> = sqlx::query_as(
        "SELECT l.apply_id, l.operation_id FROM operation_live AS l WHERE l.claim = 'copy' ORDER BY l.claimable_at",
    )
    .fetch_all(&mut operator)
    .await?;
    let (mut late, mut errors, mut won) = (0_u32, 0_u32, 0_u32);
    let mut taken = HashSet::new();
    let mut races = 0;
    for (apply, operation) in applies {
        if taken.contains(&operation) || races == amounts.races {
            continue;
        }
        races += 1;
        // Either may come first, and at any moment of the other.
        let [stop_after, claim_after] =
            std::array::from_fn(|_| Duration::from_micros(rand::random_range(0..4000)));
        let stop = async {
            tokio::time::sleep(stop_after).await;
            let answer = sqlx::query("CALL apply_stop(?, 'race')")
                .bind(apply)
                .fetch_all(&mut operator)
                .await;
            let state = state(&mut operator, operation).await?;
            Ok::<_, sqlx::Error>((answer.is_err(), state))
        };
        let claim = async {
            tokio::time::sleep(claim_after).await;
            Times::default().call(&mut claimer, CLAIM).await
        };
        let (stopped, claimed) = tokio::join!(stop, claim);
        let (refused, at_the_answer) = stopped?;
        errors += u32::from(refused) + u32::from(claimed.is_err());
        taken.extend(claimed.ok().flatten());
        won += u32::from(at_the_answer == "running");
        let afterwards = state(&mut operator, operation).await?;
        late += u32::from(at_the_answer != "running" && afterwards == "running");
    }
    note(Figure::new(
        0,
        format!("races that the claim won, of {races}"),
        won.into(),
        "",
    ));
    note(Figure::new(0, "starts after an acknowledged stop", late.into(), "").at_most(0.0));
    note(
        Figure::new(
            0,
            "errors that a caller saw in these races",
            errors.into(),
            "",
        )
        .at_most(0.0),
    );
    Ok(())
}

async fn state(session: &mut MySqlConnection, operation: u64) -> Result<String, sqlx::Error> {
    sqlx::query("SELECT CAST(l.state AS CHAR) FROM operation_live AS l WHERE l.operation_id = ?")
        .bind(operation)
        .fetch_one(session)
        .await?
        .try_get(0)
}

/// Sixteen claimers at once, with more free operations than claimers all the time.
pub(super) async fn nobody_goes_away_empty(
    bench: &Bench,
    amounts: &Amounts,
    note: &mut impl FnMut(Figure),
) -> Result<(), BenchError> {
    const CLAIMERS: u32 = 16;
    data::queue(
        &mut bench.connect().await?,
        amounts.tries + u64::from(CLAIMERS),
    )
    .await?;
    let each = amounts.tries / u64::from(CLAIMERS);
    let mut tasks = JoinSet::new();
    for mut session in bench.sessions(CLAIMERS).await? {
        tasks.spawn(async move {
            let (mut empty, mut errors) = (0_u32, 0_u32);
            for _ in 0..each {
                match Times::default().call(&mut session, CLAIM).await {
                    Ok(Some(_)) => {}
                    Ok(None) => empty += 1,
                    Err(_) => errors += 1,
                }
            }
            (empty, errors)
        });
    }
    let (mut empty, mut errors) = (0, 0);
    while let Some(ended) = tasks.join_next().await {
        let (some, more) = ended?;
        empty += some;
        errors += more;
    }
    let tries = each * u64::from(CLAIMERS);
    note(
        Figure::new(
            0,
            format!("claims of {tries} that got nothing, some being free"),
            empty.into(),
            "",
        )
        .at_most(0.0),
    );
    note(Figure::new(0, "errors that a claimer saw", errors.into(), "").at_most(0.0));
    Ok(())
}
