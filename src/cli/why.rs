//! Why doesn't it move? A sentence for each deployment; see [`super::waits`].

use super::connect::Session;
use super::waits::{AT_BARRIER, Around, Seen, sentence};
use super::{CliError, Global, output};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The apply: its id or its name
    apply: String,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<(), CliError> {
    let mut session = Session::open(global).await?;
    let apply = session.apply_id(&args.apply).await?;
    let table = session
        .read(format!(
            "SELECT o.operation_id, o.deployment, o.state, b.gate, b.blocker_operation_id, b.reason,
                    c.claim, l.driver, COALESCE(l.stale, 0) AS stale, l.heartbeat_age_seconds, o.phase, o.throttled_by,
                    o.error, a.state AS apply_state
               FROM operation_status         AS o
               JOIN apply_status             AS a ON a.apply_id = o.apply_id
               LEFT JOIN operation_blocked   AS b ON b.operation_id = o.operation_id
               LEFT JOIN operation_claimable AS c ON c.operation_id = o.operation_id
               LEFT JOIN lease_status        AS l ON l.operation_id = o.operation_id
              WHERE o.apply_id = {apply}
              ORDER BY o.position, o.operation_id"
        ))
        .await?;
    if table.rows.is_empty() {
        return Err(CliError::failed(format!(
            "there is no apply {apply}; `lockkeeper status` lists them"
        )));
    }
    if global.json {
        output::json(&table.json());
        return Ok(());
    }
    let first_at_barrier = (0..table.rows.len())
        .find(|row| table.text(*row, "state") == AT_BARRIER)
        .map(|row| table.text(row, "deployment"));
    for row in 0..table.rows.len() {
        let get = |column| table.text(row, column);
        let (deployment, state) = (get("deployment"), get("state"));
        let seen = Seen {
            state: &state,
            blocked_reason: &get("reason"),
            is_stale: get("stale") == "1",
            driver: &get("driver"),
            heartbeat_age_seconds: &get("heartbeat_age_seconds"),
            claim: &get("claim"),
            throttled_by: &get("throttled_by"),
        };
        let around = Around {
            apply: &args.apply,
            state: &get("apply_state"),
            first_at_barrier: first_at_barrier.as_deref().unwrap_or_default(),
        };
        let sentence = sentence(&deployment, &seen, &around).unwrap_or_else(|| {
            match (seen.driver, get("phase"), get("error")) {
                ("", _, error) if error.is_empty() => "it is settled".to_owned(),
                ("", _, error) => error,
                (driver, phase, _) => format!("{driver} works on it ({phase})"),
            }
        });
        output::fold("", "    ", &format!("{deployment} ({state}): {sentence}"));
    }
    Ok(())
}
