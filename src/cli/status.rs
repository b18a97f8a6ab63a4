//! `status`: all applies, or one with its operations.

use std::io::IsTerminal as _;

use serde_json::Value;

use super::answer::Table;
use super::connect::{Session, no_apply};
use super::{CliError, Global, output};
use crate::progress;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One apply with its deployments: its id or its name [default: all applies]
    apply: Option<String>,
    /// How many of the latest applies to show
    #[arg(long, short = 'n', default_value_t = 20, conflicts_with = "apply", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

const APPLY_COLUMNS: &str = "a.apply_id, a.apply_name, a.schema_name, a.state, a.cutover_policy, a.on_failure,
                    a.operations, a.completed, a.failed, a.percent, a.seconds_left, a.error, a.submitted_by,
                    a.submitted_at, a.finished_at, a.defer_cutover, a.revert_window_seconds, a.throttle_level, a.note,
                    a.next_swap";

const APPLIES: [(&str, &str); 8] = [
    ("apply_id", "apply"),
    ("apply_name", "name"),
    ("schema_name", "schema"),
    ("state", "state"),
    ("completed", "done"),
    ("operations", "of"),
    ("percent", "%"),
    ("error", "error"),
];

const OPERATIONS: [(&str, &str); 8] = [
    ("position", "#"),
    ("deployment", "deployment"),
    ("state", "state"),
    ("phase", "phase"),
    ("percent", "%"),
    ("rows_per_second", "rows/s"),
    ("seconds_left", "left s"),
    ("driver", "driver"),
];

/// So many characters of a statement are enough to know it again; `--json` has all of it.
const STATEMENT: usize = 500;

pub(super) async fn run(global: &Global, args: Args) -> Result<(), CliError> {
    let mut session = Session::open(global).await?;
    match &args.apply {
        None => all(global, &mut session, args.limit).await,
        Some(apply) => {
            let apply = session.apply_id(apply).await?;
            one(global, &mut session, apply).await
        }
    }
}

/// What went wrong and what is waited for, in the order of the deployments.
fn remarks(operations: &Table) -> Vec<String> {
    let mut remarks = Vec::new();
    for row in 0..operations.rows.len() {
        let get = |column| operations.text(row, column);
        // A change that is done, and of which something is to be said, has not failed.
        let label = match get("state").as_str() {
            "completed" => "",
            _ => "error: ",
        };
        for (label, text) in [(label, get("error")), ("", get("waiting"))] {
            if !text.is_empty() {
                remarks.push(format!("{}: {label}{text}", get("deployment")));
            }
        }
    }
    remarks
}

/// What the driver is at.
pub(super) fn phase(operations: &Table, row: usize) -> String {
    let verified = operations.text(row, "percent_verified");
    progress::phase(&operations.text(row, "phase"), verified.parse().ok())
}

/// On a terminal an error has the width below the table.
fn columns() -> &'static [(&'static str, &'static str)] {
    if std::io::stdout().is_terminal() {
        &APPLIES[..APPLIES.len() - 1]
    } else {
        &APPLIES
    }
}

async fn all(global: &Global, session: &mut Session, limit: u32) -> Result<(), CliError> {
    let table = session
        .read(format!(
            "SELECT {APPLY_COLUMNS}
               FROM apply_status AS a
              ORDER BY a.apply_id DESC
              LIMIT {limit}"
        ))
        .await?;
    let empty = "No apply yet; `lockkeeper submit` asks for a change.";
    output::rows(global, &table, columns(), empty);
    if !global.json && std::io::stdout().is_terminal() {
        for row in 0..table.rows.len() {
            let error = table.text(row, "error");
            if !error.is_empty() {
                let apply = table.text(row, "apply_id");
                output::fold("", "    ", &format!("apply {apply}: {error}"));
            }
        }
    }
    Ok(())
}

/// What an apply does, the same on each of its deployments.
pub(super) async fn statements(session: &mut Session, apply: u64) -> Result<Vec<String>, CliError> {
    let table = session
        .read(format!(
            "SELECT t.statement
               FROM task_status AS t
              WHERE t.operation_id = (SELECT MIN(o.operation_id) FROM operation_status AS o WHERE o.apply_id = {apply})
              ORDER BY t.position"
        ))
        .await?;
    let rows = 0..table.rows.len();
    Ok(rows.map(|row| table.text(row, "statement")).collect())
}

/// An apply and its operations.
async fn read(session: &mut Session, apply: u64) -> Result<(Table, Table), CliError> {
    let head = session
        .read(format!(
            "SELECT {APPLY_COLUMNS} FROM apply_status AS a WHERE a.apply_id = {apply}"
        ))
        .await?;
    if head.rows.is_empty() {
        return Err(no_apply(apply));
    }
    let operations = session
        .read(format!(
            "SELECT o.operation_id, o.apply_id, o.position, o.deployment, o.state, o.phase, o.percent, o.rows_copied,
                    o.rows_total, o.rows_per_second, o.seconds_left, o.throttled_by, o.driver, o.attempt,
                    o.next_attempt_at, o.error, o.started_at, o.completed_at, o.percent_verified, b.gate AS blocked_at,
                    b.blocker_operation_id, b.reason AS blocked_reason, c.claim, COALESCE(l.stale, 0) AS stale,
                    l.heartbeat_age_seconds, w.reason AS waiting
               FROM operation_status         AS o
               LEFT JOIN operation_blocked   AS b ON b.operation_id = o.operation_id
               LEFT JOIN operation_claimable AS c ON c.operation_id = o.operation_id
               LEFT JOIN lease_status        AS l ON l.operation_id = o.operation_id
               LEFT JOIN operation_waiting   AS w ON w.operation_id = o.operation_id
              WHERE o.apply_id = {apply}
              ORDER BY o.position, o.operation_id"
        ))
        .await?;
    Ok((head, operations))
}

/// What `status APPLY --json` shows.
pub(super) async fn object(session: &mut Session, apply: u64) -> Result<Value, CliError> {
    let (head, operations) = read(session, apply).await?;
    let mut value = head.first_json();
    value["deployments"] = operations.json();
    value["statements"] = statements(session, apply).await?.into();
    Ok(value)
}

async fn one(global: &Global, session: &mut Session, apply: u64) -> Result<(), CliError> {
    if global.json {
        output::json(&object(session, apply).await?);
    } else {
        let (head, mut operations) = read(session, apply).await?;
        for row in 0..operations.rows.len() {
            let phase = phase(&operations, row);
            operations.show(row, "phase", phase);
        }
        output::write(&output::grid(&head, columns()));
        for statement in statements(session, apply).await? {
            // As one line of words, however it was written.
            let words: Vec<&str> = statement.split_whitespace().collect();
            let words: String = words.join(" ").chars().take(STATEMENT).collect();
            output::fold("", "    ", &words);
        }
        let note = head.first_text("note");
        if !note.is_empty() {
            output::fold("", "    ", &format!("note: {note}"));
        }
        output::line("");
        output::write(&output::grid(&operations, &OPERATIONS));
        // Sentences: below the table, where they have the whole width.
        for remark in remarks(&operations) {
            output::fold("", "    ", &remark);
        }
    }
    Ok(())
}
