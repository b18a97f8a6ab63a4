//! How far an apply is, as the views say it, and as a moving bar shows it.

use std::io::Write;
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressDrawTarget, ProgressStyle};
use sqlx::mysql::MySqlRow;
use sqlx::{MySqlConnection, Row as _};

use crate::text::{amount, duration};

/// One deployment's operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operation {
    pub deployment: String,
    pub state: String,
    pub phase: Option<String>,
    pub percent: f64,
    pub rows_copied: Option<u64>,
    pub rows_total: Option<u64>,
    pub rows_per_second: Option<f64>,
    pub seconds_left: Option<f64>,
    pub throttled_by: Option<String>,
    /// Who holds its lease.
    pub driver: Option<String>,
    /// The lease has run out and nobody has taken it yet.
    pub is_stale: bool,
    /// Why no claim may take it now.
    pub blocked: Option<String>,
    pub error: Option<String>,
}

pub(crate) async fn operations(
    control: &mut MySqlConnection,
    apply_id: u64,
) -> Result<Vec<Operation>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT o.deployment, o.state, o.phase, CAST(o.percent AS DOUBLE) AS percent, o.rows_copied, o.rows_total,
                CAST(o.rows_per_second AS DOUBLE) AS rows_per_second, CAST(o.seconds_left AS DOUBLE) AS seconds_left,
                o.throttled_by, l.driver, COALESCE(l.stale, 0) AS stale, b.reason, o.error
           FROM operation_status       AS o
           LEFT JOIN lease_status      AS l
             ON l.operation_id = o.operation_id
           LEFT JOIN operation_blocked AS b
             ON b.operation_id = o.operation_id
          WHERE o.apply_id = ?
          ORDER BY o.position",
    )
    .bind(apply_id)
    .fetch_all(control)
    .await?;
    rows.iter().map(read).collect()
}

fn read(row: &MySqlRow) -> Result<Operation, sqlx::Error> {
    Ok(Operation {
        deployment: row.try_get("deployment")?,
        state: row.try_get("state")?,
        phase: row.try_get("phase")?,
        percent: row.try_get::<Option<f64>, _>("percent")?.unwrap_or(0.0),
        rows_copied: row.try_get("rows_copied")?,
        rows_total: row.try_get("rows_total")?,
        rows_per_second: row.try_get("rows_per_second")?,
        seconds_left: row.try_get("seconds_left")?,
        throttled_by: row.try_get("throttled_by")?,
        driver: row.try_get("driver")?,
        is_stale: row.try_get::<i64, _>("stale")? == 1,
        blocked: row.try_get("reason")?,
        error: row.try_get("error")?,
    })
}

/// The apply's state, and its error if it has one.
pub(crate) async fn apply(
    control: &mut MySqlConnection,
    apply_id: u64,
) -> Result<(String, Option<String>, bool), sqlx::Error> {
    let row = sqlx::query(
        "SELECT a.state, a.error, a.finished_at IS NOT NULL AS is_finished FROM apply_status AS a WHERE a.apply_id = ?",
    )
    .bind(apply_id)
    .fetch_one(control)
    .await?;
    Ok((
        row.try_get("state")?,
        row.try_get("error")?,
        row.try_get::<i64, _>("is_finished")? == 1,
    ))
}

/// Bars are narrow where the words need the room.
pub(crate) fn style() -> ProgressStyle {
    let columns = crossterm::terminal::size().map_or(80, |(columns, _)| columns);
    let width = if columns >= 130 { 40 } else { 14 };
    let template = format!("{{prefix:8}} {{bar:{width}.cyan/blue}} {{percent:>3}}% {{wide_msg}}");
    ProgressStyle::with_template(&template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// Whether the words name who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    Driver,
    Nobody,
}

/// One operation in words, the most telling ones first.
pub(crate) fn in_words(operation: &Operation, names: Names) -> String {
    let mut words = vec![operation.state.replace('_', " ")];
    if let Some(phase) = &operation.phase
        && operation.driver.is_some()
    {
        words = vec![phase.replace('_', " ")];
    }
    if operation.is_stale {
        words.push("its driver is silent".to_owned());
    }
    let is_copying = operation.phase.as_deref() == Some("copy") && operation.driver.is_some();
    if let (Some(copied), Some(total)) = (operation.rows_copied, operation.rows_total)
        && is_copying
    {
        words.push(format!(
            "{}/{} rows",
            amount(copied as f64),
            amount(total as f64)
        ));
        if let Some(rate) = operation.rows_per_second.filter(|rate| *rate > 0.0) {
            words.push(format!("{}/s", amount(rate)));
        }
        if let Some(left) = operation.seconds_left {
            words.push(format!("{} left", duration(left)));
        }
    }
    if names == Names::Driver {
        words.extend(operation.driver.clone());
    }
    if operation.driver.is_some() {
        words.extend(operation.throttled_by.clone());
    } else {
        words.extend(operation.blocked.clone());
        words.extend(operation.error.clone());
    }
    words.join("  ")
}

/// The bars of a command on its terminal. None are drawn where standard output is no terminal.
pub(crate) fn bars() -> &'static MultiProgress {
    static BARS: LazyLock<MultiProgress> =
        LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stdout()));
    &BARS
}

/// Standard error, written above the bars: a line of the log would tear them.
pub(crate) struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        bars().suspend(|| std::io::stderr().write(text))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
