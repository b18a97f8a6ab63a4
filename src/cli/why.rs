//! Why doesn't it move? The sentences of `operation_blocked`, and for what no gate holds: what it waits for instead.

use super::connect::Session;
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
    for row in 0..table.rows.len() {
        let get = |column| table.text(row, column);
        let state = get("state");
        let sentence = if !get("reason").is_empty() {
            get("reason")
        } else if get("stale") == "1" {
            format!(
                "its driver {} was last heard of {} s ago; any driver may take it over",
                get("driver"),
                get("heartbeat_age_seconds")
            )
        } else if state == "waiting_for_cutover" && get("apply_state") == state {
            // The apply's own state says that a person is waited for.
            format!(
                "caught up; `lockkeeper cutover {}` lets it swap",
                args.apply
            )
        } else if !get("driver").is_empty() {
            match get("throttled_by") {
                by if by.is_empty() => format!("{} works on it ({})", get("driver"), get("phase")),
                by => format!("{} works on it; throttled: {by}", get("driver")),
            }
        } else if !get("claim").is_empty() {
            format!(
                "nothing holds it: a driver may claim its {} now",
                get("claim")
            )
        } else {
            match get("error") {
                error if error.is_empty() => "nothing to wait for".to_owned(),
                error => error,
            }
        };
        output::fold(
            "",
            "    ",
            &format!("{} ({state}): {sentence}", get("deployment")),
        );
    }
    Ok(())
}
