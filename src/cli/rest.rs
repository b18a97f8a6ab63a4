//! What is left to do of an apply that ended before every deployment had the change, or goes on without some.

use serde::Serialize;

use super::CliError;
use super::answer::Table;
use super::connect::{Session, hex_literal};
use super::status::statements;
use crate::preflight::Change;
use crate::text::shell_quoted;

/// A failure stays in `doctor` for so long, unless a later apply of its schema follows.
const DAYS: u32 = 1;
/// How far back a submit looks for the same change.
const APPLIES: u64 = 50;
/// Seconds; for so long `alter` tells of an apply of the same change.
const LATELY: u64 = 3600;
/// A command line with more of them is for a program to write.
const FLAGS: usize = 40;

/// Of a row `o` of `operation_status`: whether its deployment has the change.
const HAS_CHANGE: &str = "o.state IN ('completed', 'revert_window')";

/// An apply, and whom it left without the change.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(super) struct Rest {
    pub apply_id: u64,
    pub operations: u64,
    pub completed: u64,
    pub error: String,
    /// Whether nothing of it goes on.
    pub is_over: bool,
    /// Those that don't have the change, in their order.
    pub deployments: Vec<String>,
}

impl Rest {
    /// What happened and how to go on, for a person.
    pub fn sentence(&self) -> String {
        let apply = self.apply_id;
        if !self.is_over {
            return format!(
                "apply {apply} goes on after a failure, {} of {} have the change: {}; see `lockkeeper why {apply}`; \
                 `lockkeeper stop {apply}` holds the others",
                self.completed, self.operations, self.error
            );
        }
        let next = if self.completed == 0 {
            "submit again".to_owned()
        } else {
            format!("submit for the rest: {}", self.flags())
        };
        format!(
            "apply {apply} ended failed after {} of {}: {}; see `lockkeeper status {apply}`, mend it, then {next}",
            self.completed, self.operations, self.error
        )
    }

    /// As `submit` takes them.
    pub fn flags(&self) -> String {
        let names: Vec<&str> = self.deployments.iter().map(String::as_str).collect();
        flags("--deployment", &names)
    }
}

/// `--flag a --flag b`; of very many only the first.
pub(super) fn flags(flag: &str, names: &[&str]) -> String {
    let shown = names.iter().take(FLAGS);
    let mut words: Vec<String> = shown
        .map(|name| format!("{flag} {}", shell_quoted(name)))
        .collect();
    if names.len() > FLAGS {
        words.push(format!("… and {} more", names.len() - FLAGS));
    }
    words.join(" ")
}

/// Applies that failed lately and that no later one of the same schema follows, and those that go on after a failure, the latest
/// first.
pub(super) async fn failed_lately(session: &mut Session) -> Result<Vec<Rest>, CliError> {
    let table = session
        .read(format!(
            "SELECT a.apply_id, a.schema_name, a.operations,
                    (SELECT COUNT(*) FROM operation_status AS o WHERE o.apply_id = a.apply_id AND {HAS_CHANGE}) AS completed,
                    a.error, a.finished_at IS NOT NULL AS is_over
               FROM apply_status AS a
              WHERE (   (a.finished_at > UTC_TIMESTAMP(6) - INTERVAL {DAYS} DAY AND a.state = 'failed')
                     OR (a.finished_at IS NULL AND a.state = 'running_degraded'
                         -- Else nothing of it goes on to the change.
                         AND EXISTS (SELECT 1
                                       FROM operation_status AS w
                                      WHERE w.apply_id = a.apply_id
                                        AND w.state IN ('pending', 'running', 'waiting_for_cutover', 'failed_retryable'))))
                AND a.failed > 0
              ORDER BY a.apply_id DESC"
        ))
        .await?;
    let mut found = Vec::new();
    for row in 0..table.rows.len() {
        if !table.is(row, "is_over") {
            found.push(rest(session, &table, row).await?);
            continue;
        }
        // One by one: joined with itself, the view would work out every apply that ever was.
        let later = session
            .read(format!(
                "SELECT a.apply_id
                   FROM apply_status AS a
                  WHERE a.apply_id > {}
                    AND a.schema_name = {}
                  LIMIT 1",
                table.text(row, "apply_id"),
                hex_literal(&table.text(row, "schema_name"))
            ))
            .await?;
        if later.rows.is_empty() {
            found.push(rest(session, &table, row).await?);
        }
    }
    Ok(found)
}

/// The latest apply of the same statements, if it is over and some of its deployments have the change and some have not.
pub(super) async fn of_same_change(
    session: &mut Session,
    change: &Change,
) -> Result<Option<Rest>, CliError> {
    let same = latest_of_same_change(session, change).await?;
    let is_half = |rest: &Rest| rest.completed > 0 && !rest.deployments.is_empty();
    Ok(same.map(|(rest, _)| rest).filter(is_half))
}

/// Said to who makes a change that was made just now: a caller that was killed had not seen the end.
pub(super) async fn made_lately(
    session: &mut Session,
    change: &Change,
) -> Result<Option<String>, CliError> {
    let same = latest_of_same_change(session, change).await?;
    let made = same.filter(|(rest, seconds)| rest.deployments.is_empty() && *seconds < LATELY);
    Ok(made.map(|(rest, seconds)| {
        let apply = rest.apply_id;
        format!("Apply {apply} has made this very change, and ended {seconds} s ago; see `lockkeeper status {apply}`. This makes it once more.")
    }))
}

/// The latest apply of the same statements, if it is over, and how many seconds ago it ended.
async fn latest_of_same_change(
    session: &mut Session,
    change: &Change,
) -> Result<Option<(Rest, u64)>, CliError> {
    let latest = session.latest_apply().await?.unwrap_or_default();
    let applies = session
        .read(format!(
            "SELECT a.apply_id, a.operations, a.completed, a.error, a.finished_at IS NOT NULL AS is_over,
                    TIMESTAMPDIFF(SECOND, a.finished_at, UTC_TIMESTAMP(6)) AS seconds
               FROM apply_status AS a
              WHERE a.apply_id    > {}
                AND a.schema_name = {}
              ORDER BY a.apply_id DESC",
            latest.saturating_sub(APPLIES),
            hex_literal(&change.schema)
        ))
        .await?;
    for row in 0..applies.rows.len() {
        let apply = applies.whole(row, "apply_id")?;
        let same = statements(session, apply).await? == change.statements;
        if !same {
            continue;
        }
        if !applies.is(row, "is_over") {
            return Ok(None);
        }
        let seconds = applies.whole(row, "seconds")?;
        return Ok(Some((rest(session, &applies, row).await?, seconds)));
    }
    Ok(None)
}

async fn rest(session: &mut Session, applies: &Table, row: usize) -> Result<Rest, CliError> {
    let apply_id = applies.whole(row, "apply_id")?;
    let left = session
        .read(format!(
            "SELECT o.deployment
               FROM operation_status AS o
              WHERE o.apply_id = {apply_id}
                AND NOT {HAS_CHANGE}
              ORDER BY o.position"
        ))
        .await?;
    Ok(Rest {
        apply_id,
        operations: applies.whole(row, "operations")?,
        completed: applies.whole(row, "completed")?,
        error: applies.text(row, "error"),
        is_over: applies.is(row, "is_over"),
        deployments: (0..left.rows.len())
            .map(|at| left.text(at, "deployment"))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_many_deployments_are_not_all_named() {
        let names: Vec<String> = (0..FLAGS + 2).map(|number| format!("c{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(
            flags("--deployment", &names[..2]),
            "--deployment c0 --deployment c1"
        );
        assert_eq!(
            flags("--deployment", &["my cell"]),
            "--deployment 'my cell'"
        );
        assert!(flags("--deployment", &names).ends_with("--deployment c39 … and 2 more"));
    }
}
