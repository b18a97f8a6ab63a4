//! The order of an apply's swaps, as its event log tells it.

use sqlx::mysql::MySqlRow;
use sqlx::{MySqlConnection, Row as _};

use super::LoadError;

/// One operation's swap, from the grant of its turn to its end.
#[derive(Debug, Clone)]
pub struct Swap {
    pub position: u32,
    pub deployment: String,
    pub driver: String,
    first_event: u64,
    last_event: u64,
    /// Microseconds since 1970 by the control server's clock.
    pub began_micros: u64,
    pub ended_micros: u64,
    /// `hh:mm:ss.mmm`, UTC.
    pub ended_at: String,
    /// What the driver said of it: how long the tables were locked, in how many attempts.
    pub locked_milliseconds: Option<f64>,
    pub attempts: Option<u64>,
}

/// All swaps in the order in which they ended.
#[derive(Debug, Clone, Default)]
pub struct SwapOrder {
    pub swaps: Vec<Swap>,
    /// Empty: strictly in order, and never two at a time.
    pub findings: Vec<String>,
}

/// Reads what happened and judges it. `operations`: how many swaps there must have been.
pub async fn swap_order(
    control: &mut MySqlConnection,
    apply_id: u64,
    operations: usize,
) -> Result<SwapOrder, LoadError> {
    let rows = sqlx::query(
        "SELECT e.event_id, e.deployment, e.actor, e.from_state, e.to_state, e.detail, o.position,
                CAST(UNIX_TIMESTAMP(e.occurred_at) * 1000000 AS UNSIGNED) AS micros,
                LEFT(CAST(TIME(e.occurred_at) AS CHAR), 12) AS at_time
           FROM event_log        AS e
           JOIN operation_status AS o
             ON o.operation_id = e.operation_id
          WHERE e.apply_id = ?
            AND (e.from_state = 'cutting_over' OR e.to_state = 'cutting_over')
          ORDER BY e.event_id",
    )
    .bind(apply_id)
    .fetch_all(control)
    .await
    .map_err(LoadError::at("the event log"))?;
    let mut order = SwapOrder::default();
    let mut open: Option<Swap> = None;
    for row in &rows {
        step(row, &mut open, &mut order).map_err(LoadError::at("the event log"))?;
    }
    if let Some(open) = open {
        order
            .findings
            .push(format!("the swap of {} never ended", open.deployment));
    }
    judge(&mut order, operations);
    Ok(order)
}

fn step(row: &MySqlRow, open: &mut Option<Swap>, order: &mut SwapOrder) -> Result<(), sqlx::Error> {
    let to_state: String = row.try_get("to_state")?;
    let deployment: String = row.try_get("deployment")?;
    let event: u64 = row.try_get("event_id")?;
    let micros: u64 = row.try_get("micros")?;
    if to_state == "cutting_over" {
        if let Some(other) = open {
            order.findings.push(format!(
                "{deployment} began its swap during that of {}",
                other.deployment
            ));
        }
        *open = Some(Swap {
            position: row.try_get("position")?,
            deployment,
            driver: row.try_get("actor")?,
            first_event: event,
            last_event: event,
            began_micros: micros,
            ended_micros: micros,
            ended_at: String::new(),
            locked_milliseconds: None,
            attempts: None,
        });
        return Ok(());
    }
    let Some(mut swap) = open.take_if(|swap| swap.deployment == deployment) else {
        order
            .findings
            .push(format!("{deployment} ended a swap that it had not begun"));
        return Ok(());
    };
    // A swap that is known not to have happened starts again at the gate.
    if to_state == "completed" || to_state == "revert_window" {
        let detail: Option<String> = row.try_get("detail")?;
        let detail: serde_json::Value = detail
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        swap.last_event = event;
        swap.ended_micros = micros;
        swap.ended_at = row.try_get("at_time")?;
        swap.driver = row.try_get("actor")?;
        swap.locked_milliseconds = detail["locked_milliseconds"].as_f64();
        swap.attempts = detail["attempts"].as_u64();
        order.swaps.push(swap);
    }
    Ok(())
}

fn judge(order: &mut SwapOrder, operations: usize) {
    if order.swaps.len() != operations {
        order.findings.push(format!(
            "{} swaps took place, {operations} were asked for",
            order.swaps.len()
        ));
    }
    for pair in order.swaps.windows(2) {
        let [earlier, later] = pair else { continue };
        if later.position <= earlier.position {
            order.findings.push(format!(
                "{} (position {}) was swapped after {} (position {})",
                later.deployment, later.position, earlier.deployment, earlier.position
            ));
        }
        if later.first_event < earlier.last_event {
            order.findings.push(format!(
                "the swaps of {} and {} overlap",
                earlier.deployment, later.deployment
            ));
        }
    }
}
