//! `events`: the event log.

use super::answer::Table;
use super::connect::Session;
use super::{CliError, Global, output};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only those of one apply: its id or its name
    apply: Option<String>,
    /// How many of the latest to show
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<(), CliError> {
    let mut session = Session::open(global).await?;
    let only = match &args.apply {
        Some(apply) => format!(
            "WHERE e.apply_id = {}",
            session.existing_apply(apply).await?
        ),
        None => String::new(),
    };
    let table = session
        .read(format!(
            "SELECT e.event_id, e.occurred_at, e.apply_id, e.operation_id, e.deployment, e.actor, e.event,
                    e.from_state, e.to_state, e.lease_epoch, e.detail
               FROM (SELECT e.event_id, e.occurred_at, e.apply_id, e.operation_id, e.deployment, e.actor, e.event,
                            e.from_state, e.to_state, e.lease_epoch, e.detail
                       FROM event_log AS e
                       {only}
                      ORDER BY e.event_id DESC
                      LIMIT {}) AS e
              ORDER BY e.event_id",
            args.limit
        ))
        .await?;
    if global.json {
        output::json(&table.json());
    } else if table.rows.is_empty() {
        output::line("Nothing has happened yet.");
    } else {
        for row in 0..table.rows.len() {
            output::fold("", "    ", &sentence(&table, row));
        }
    }
    Ok(())
}

/// A line as in a log: when, where, what, by whom, why.
fn sentence(events: &Table, row: usize) -> String {
    let get = |column| output::without_fraction(events.text(row, column));
    let mut line = format!("{}  apply {}", get("occurred_at"), get("apply_id"));
    let parts = [
        ("  ", get("deployment")),
        ("  ", get("event")),
        (": ", get("from_state")),
        (" to ", get("to_state")),
        ("  by ", get("actor")),
        (": ", output::detail(get("detail"))),
    ];
    for (before, part) in parts {
        if !part.is_empty() {
            line.push_str(before);
            line.push_str(&part);
        }
    }
    line
}
