//! Why doesn't it move? A sentence for each deployment, as `operation_waiting` has it.

use super::connect::{Session, no_apply};
use super::status::phase;
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
            "SELECT o.operation_id, o.deployment, o.state, o.phase, o.percent_verified, l.driver, w.reason AS waiting,
                    b.gate, b.blocker_operation_id, o.attempt,
                    IF(o.next_attempt_at > UTC_TIMESTAMP(6), o.next_attempt_at, NULL) AS next_attempt_at, o.error, e.detail AS settled_because
               FROM operation_status       AS o
               LEFT JOIN operation_waiting AS w ON w.operation_id = o.operation_id
               LEFT JOIN operation_blocked AS b ON b.operation_id = o.operation_id
               LEFT JOIN lease_status      AS l ON l.operation_id = o.operation_id
               -- How it was given up; that its artifacts are gone is told by a later event.
               LEFT JOIN event_log         AS e ON e.operation_id = o.operation_id
                                               AND e.from_state  <> 'cancelling'
                                               AND (   (o.state = 'cancelled' AND e.to_state IN ('cancelling', 'cancelled'))
                                                    OR (o.state = 'reverted'  AND e.to_state = 'reverting'))
              WHERE o.apply_id = {apply}
              ORDER BY o.position, o.operation_id"
        ))
        .await?;
    if table.rows.is_empty() {
        return Err(no_apply(apply));
    }
    if global.json {
        output::json(&table.json());
        return Ok(());
    }
    for row in 0..table.rows.len() {
        let get = |column| table.text(row, column);
        let texts = [
            get("waiting"),
            get("driver"),
            phase(&table, row),
            get("error"),
        ];
        let because = get("settled_because");
        let sentence = match texts.each_ref().map(String::as_str) {
            ["", "", _, ""] if !because.is_empty() => format!("It is settled: {because}."),
            ["", "", _, ""] => "It is settled.".to_owned(),
            ["", "", _, error] => error.to_owned(),
            ["", driver, "", _] => format!("{driver} works on it."),
            ["", driver, phase, _] => format!("{driver} works on it ({phase})."),
            [waiting, .., ""] => waiting.to_owned(),
            [waiting, .., error] => {
                let (attempt, next) = (get("attempt"), get("next_attempt_at"));
                let next = match next.split_once('.') {
                    Some((next, _)) => format!(" It is tried again at {next} UTC."),
                    None => String::new(),
                };
                format!("{waiting}{next} Attempt {attempt} failed: {error}")
            }
        };
        let (deployment, state) = (get("deployment"), get("state"));
        output::fold("", "    ", &format!("{deployment} ({state}): {sentence}"));
    }
    Ok(())
}
