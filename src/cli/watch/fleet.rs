//! What the screen shows, read from views in one snapshot.

use serde::Serialize;

use super::super::answer::Table;
use super::super::connect::Session;
use super::super::{CliError, output};
use crate::progress::Operation;

/// Settled applies stay on the screen for so long.
const SETTLED_SHOWN_MINUTES: u32 = 10;
const APPLIES: usize = 20;
const EVENTS: usize = 50;
const HEALTH: usize = 10;

#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Fleet {
    /// The server's clock, UTC.
    pub now: String,
    pub drivers_alive: u64,
    pub applies: Vec<Apply>,
    /// The gravest of them.
    pub health: Vec<Health>,
    pub health_total: usize,
    /// The latest first.
    pub events: Vec<Event>,
    /// The latest apply that is over, where nothing goes on.
    pub last: Option<Last>,
}

#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Last {
    pub apply_id: u64,
    pub name: String,
    pub state: String,
    pub finished_at: String,
    pub operations: u64,
    pub completed: u64,
    pub error: String,
}

#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Apply {
    pub apply_id: u64,
    pub name: String,
    pub schema: String,
    pub state: String,
    pub cutover_policy: String,
    pub percent: f64,
    pub seconds_left: Option<f64>,
    pub completed: u64,
    pub throttle_level: u64,
    /// The deployment whose swap is under way or comes next; nobody, where none can come.
    pub next_swap: Option<String>,
    pub operations: Vec<Operation>,
}

#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Health {
    pub severity: String,
    pub sentence: String,
}

#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Event {
    /// Hours, minutes, seconds.
    pub at: String,
    pub sentence: String,
}

impl Apply {
    /// Who has arrived at the barrier and not swapped.
    pub fn at_barrier(&self) -> Vec<&str> {
        self.operations
            .iter()
            .filter(|one| one.state == "waiting_for_cutover")
            .map(|one| one.deployment.as_str())
            .collect()
    }
}

/// Everything at one moment; one apply, or all that are not settled and those that have just been.
pub(super) async fn read(session: &mut Session, only: Option<u64>) -> Result<Fleet, CliError> {
    for statement in [
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION READ ONLY",
    ] {
        session.read(statement.to_owned()).await?;
    }
    let fleet = read_parts(session, only).await;
    session.read("COMMIT".to_owned()).await?;
    fleet
}

async fn read_parts(session: &mut Session, only: Option<u64>) -> Result<Fleet, CliError> {
    let which = match only {
        Some(apply) => format!("a.apply_id = {apply}"),
        None => format!(
            "a.finished_at IS NULL OR a.finished_at > UTC_TIMESTAMP(6) - INTERVAL {SETTLED_SHOWN_MINUTES} MINUTE"
        ),
    };
    let applies = session
        .read(format!(
            "SELECT a.apply_id, a.apply_name, a.schema_name, a.state, a.cutover_policy, a.percent, a.seconds_left,
                    a.completed, a.throttle_level, a.next_swap
               FROM apply_status AS a
              WHERE {which}
              ORDER BY a.apply_id DESC
              LIMIT {APPLIES}"
        ))
        .await?;
    let mut fleet = Fleet {
        applies: (0..applies.rows.len())
            .map(|row| apply(&applies, row))
            .collect(),
        ..Fleet::default()
    };
    for apply in &mut fleet.applies {
        apply.operations = session.operations(apply.apply_id).await?;
    }
    // The driver's row of a lease is its latest heartbeat; one that holds nothing was seen when it last asked.
    let head = session
        .read(
            "SELECT UTC_TIMESTAMP() AS now, COUNT(*) AS drivers
               FROM driver_status AS d
              WHERE d.is_alive"
                .to_owned(),
        )
        .await?;
    fleet.now = head.first_text("now");
    fleet.drivers_alive = number(&head, 0, "drivers").unwrap_or_default() as u64;
    if fleet.applies.is_empty() {
        fleet.last = last(session).await?;
    }
    let of_it = only.map_or(String::new(), |apply| format!("WHERE h.apply_id = {apply}"));
    let health = session
        .read(format!(
            "SELECT h.severity, h.subject, h.problem, h.remedy
               FROM health AS h
               {of_it}
              ORDER BY FIELD(h.severity, 'error', 'warning', 'notice'), h.subject, h.problem"
        ))
        .await?;
    fleet.health_total = health.rows.len();
    fleet.health = (0..health.rows.len())
        .take(HEALTH)
        .map(|row| Health {
            severity: health.text(row, "severity"),
            sentence: format!(
                "{}: {}; {}",
                health.text(row, "subject"),
                health.text(row, "problem"),
                health.text(row, "remedy")
            ),
        })
        .collect();
    fleet.events = events(session, only).await?;
    Ok(fleet)
}

/// Ids grow: where none is open, the highest is the latest.
async fn last(session: &mut Session) -> Result<Option<Last>, CliError> {
    let Some(latest) = session.latest_apply().await? else {
        return Ok(None);
    };
    let table = session
        .read(format!(
            "SELECT a.apply_id, a.apply_name, a.state, a.finished_at, a.operations, a.completed, a.error
               FROM apply_status AS a
              WHERE a.apply_id = {latest}"
        ))
        .await?;
    let whole = |column| number(&table, 0, column).unwrap_or_default() as u64;
    Ok((!table.rows.is_empty()).then(|| Last {
        apply_id: whole("apply_id"),
        name: table.first_text("apply_name"),
        state: table.first_text("state"),
        finished_at: output::without_fraction(table.first_text("finished_at")),
        operations: whole("operations"),
        completed: whole("completed"),
        error: table.first_text("error"),
    }))
}

async fn events(session: &mut Session, only: Option<u64>) -> Result<Vec<Event>, CliError> {
    let which = only.map_or(String::new(), |apply| format!("WHERE e.apply_id = {apply}"));
    let table = session
        .read(format!(
            "SELECT e.occurred_at, e.apply_id, e.deployment, e.event, e.from_state, e.to_state, e.detail
               FROM event_log AS e
               {which}
              ORDER BY e.event_id DESC
              LIMIT {EVENTS}"
        ))
        .await?;
    Ok((0..table.rows.len())
        .map(|row| event(&table, row))
        .collect())
}

fn apply(table: &Table, row: usize) -> Apply {
    Apply {
        apply_id: number(table, row, "apply_id").unwrap_or_default() as u64,
        name: table.text(row, "apply_name"),
        schema: table.text(row, "schema_name"),
        state: table.text(row, "state"),
        cutover_policy: table.text(row, "cutover_policy"),
        percent: number(table, row, "percent").unwrap_or_default(),
        seconds_left: number(table, row, "seconds_left"),
        completed: number(table, row, "completed").unwrap_or_default() as u64,
        throttle_level: number(table, row, "throttle_level").unwrap_or_default() as u64,
        next_swap: Some(table.text(row, "next_swap")).filter(|name| !name.is_empty()),
        operations: Vec::new(),
    }
}

fn event(table: &Table, row: usize) -> Event {
    let get = |column| table.text(row, column);
    let at = output::without_fraction(get("occurred_at"));
    let mut sentence = format!("apply {}", get("apply_id"));
    let (from, to) = (get("from_state"), get("to_state"));
    let what = if to.is_empty() {
        get("event")
    } else if from.is_empty() {
        to
    } else {
        format!("{from} → {to}")
    };
    for part in [get("deployment"), what, output::detail(get("detail"))] {
        if !part.is_empty() {
            sentence.push_str("  ");
            sentence.push_str(&part);
        }
    }
    Event {
        at: at.get(11..).unwrap_or(&at).to_owned(),
        sentence,
    }
}

/// A number, however the server types it.
fn number(table: &Table, row: usize, column: &str) -> Option<f64> {
    table.text(row, column).parse().ok()
}
