//! How it ended, what stays behind, and what to do next.

use std::fmt::Write as _;

use super::super::connect::Session;
use super::super::{CliError, output, status};
use super::follow::{Job, looks_on};
use crate::config::{ConnectionSettings, Secret, Tls, TlsMode};
use crate::engine::names::{Artifact, ArtifactKind, moment};
use crate::engine::state::artifact;
use crate::engine::syntax::quote;
use crate::install::role_name;
use crate::text::shell_quoted;

/// Says it on standard output. `was_alone`: no other `alter` worked on it when this one began.
///
/// # Errors
///
/// Whatever is not completed, with its reason and the next step.
pub(super) async fn tell(
    job: &Job<'_>,
    session: &mut Session,
    was_alone: bool,
) -> Result<(), CliError> {
    let object = status::object(session, job.apply).await?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let (state, is_settled) = (text(&object["state"]), !object["finished_at"].is_null());
    let left = left_behind(job, session, &object).await;
    if job.global.json {
        let mut object = object.clone();
        object["left_behind"] = left.iter().map(|one| one.artifact.quoted()).collect();
        output::json(&object);
    }
    let left = listed(&left, &state, session.schema());
    let apply = job.apply;
    if !is_settled {
        if !was_alone && looks_on(session, apply).await? {
            return Err(CliError::interrupted(format!(
                "apply {apply} goes on: another `lockkeeper alter` works on it, and this one has only looked on"
            )));
        }
        let waiting = text(&object["deployments"][0]["waiting"]);
        let ours = common_flags(job);
        // What has swapped can't be cancelled, only reverted.
        let (stands, command, hold) = match state.as_str() {
            "revert_window" => (
                format!("the change is in force, and its revert window goes on. {waiting}"),
                "revert",
                String::new(),
            ),
            _ => (
                format!(
                    "apply {apply} is interrupted in state {state}, at {} %; any driver of this server takes it up again, the next \
                     `lockkeeper alter` among them.",
                    object["percent"]
                ),
                "cancel",
                format!("To hold it back:  lockkeeper stop {apply}{ours}\n"),
            ),
        };
        let theirs = deployment_flags(job, session.settings()).await;
        let next = format!(
            "{stands}\n{left}To resume it:  {}\n{hold}To {command} it:  lockkeeper {command} {apply}{ours} && lockkeeper drive \
             --until-idle --deployment {}{theirs}{ours}",
            again(job),
            shell_quoted(job.deployment)
        );
        return Err(CliError::interrupted(next));
    }
    if state == "completed" {
        if !job.global.json {
            let swap = swap(session, apply).await?;
            output::fold("", "", &format!("Apply {apply} is completed.{swap}"));
            let remark = text(&object["deployments"][0]["error"]);
            if !remark.is_empty() {
                output::fold("", "", &format!("Note: {remark}"));
            }
            output::write(&left);
        }
        return Ok(());
    }
    let reason = reason(session, apply, &text(&object["error"])).await?;
    let next = match state.as_str() {
        "failed" if is_swapped(session, apply).await? => {
            "The change stays: it had swapped, and the way back failed. To undo it, submit the opposite change."
        }
        "failed" => "Mend that and run the same command again: it begins anew.",
        "reverted" => "The former table is in its place again, with every write since.",
        _ => "The table is as it was; the same command begins anew.",
    };
    Err(CliError::failed(format!(
        "apply {apply} is {state}: {reason}\n{left}{next}"
    )))
}

/// How long the swap held writers up, and the whole took.
async fn swap(session: &mut Session, apply: u64) -> Result<String, CliError> {
    let table = session
        .read(format!(
            "SELECT TIMESTAMPDIFF(SECOND, a.submitted_at, a.finished_at) AS seconds, e.detail
               FROM apply_status   AS a
               LEFT JOIN event_log AS e
                 ON e.apply_id   = a.apply_id
                AND e.from_state = 'cutting_over'
                AND e.to_state  IN ('revert_window', 'completed')
              WHERE a.apply_id = {apply}
              ORDER BY e.event_id
              LIMIT 1"
        ))
        .await?;
    let locked = serde_json::from_str::<serde_json::Value>(&table.first_text("detail"))
        .ok()
        .and_then(|detail| detail["locked_milliseconds"].as_f64());
    let locked = locked.map_or_else(String::new, |milliseconds| {
        format!(" Writes were locked out for {milliseconds:.0} ms.")
    });
    Ok(format!(
        " It took {} s.{locked}",
        table.first_text("seconds")
    ))
}

async fn is_swapped(session: &mut Session, apply: u64) -> Result<bool, CliError> {
    let swaps = session
        .read(format!(
            "SELECT COUNT(*) AS swaps
               FROM event_log AS e
              WHERE e.apply_id = {apply}
                AND e.to_state = 'revert_window'"
        ))
        .await?;
    Ok(swaps.first_text("swaps") != "0")
}

/// Why it did not complete, in the words of the views.
async fn reason(session: &mut Session, apply: u64, error: &str) -> Result<String, CliError> {
    if !error.is_empty() {
        return Ok(error.to_owned());
    }
    let table = session
        .read(format!(
            "SELECT r.command, r.requested_by, r.reason, r.outcome
               FROM control_request_log AS r
              WHERE r.apply_id = {apply}
                AND r.command IN ('cancel', 'revert')
              ORDER BY r.request_id DESC
              LIMIT 1"
        ))
        .await?;
    if !table.rows.is_empty() {
        let mut reason = format!(
            "{} by {}",
            table.first_text("command"),
            table.first_text("requested_by")
        );
        for column in ["reason", "outcome"] {
            match table.first_text(column) {
                text if text.is_empty() => {}
                text => {
                    let _ = write!(reason, "; {text}");
                }
            }
        }
        return Ok(reason);
    }
    let table = session
        .read(format!(
            "SELECT e.detail
               FROM event_log AS e
              WHERE e.apply_id = {apply}
                AND e.to_state IS NOT NULL
              ORDER BY e.event_id DESC
              LIMIT 1"
        ))
        .await?;
    Ok(table.first_text("detail"))
}

/// A table of ours that stays.
struct Left {
    artifact: Artifact,
    /// From when on (`yyyymmddhhmmss`, UTC) it may go, where that is known.
    due: Option<String>,
}

/// What this apply has on the server. Nothing is said where it can't be asked.
async fn left_behind(
    job: &Job<'_>,
    session: &mut Session,
    object: &serde_json::Value,
) -> Vec<Left> {
    let Ok(table) = session
        .read("SELECT d.installation FROM deployment_status AS d LIMIT 1".to_owned())
        .await
    else {
        return Vec::new();
    };
    let installation = table.first_text("installation");
    let operations: Vec<u64> = object["deployments"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|operation| operation["operation_id"].as_u64())
        .collect();
    let control = session.settings();
    let Ok(settings) = job
        .access
        .to(job.deployment, &control.host, control.port)
        .await
    else {
        return Vec::new();
    };
    let Ok(mut connection) = settings.connect().await else {
        return Vec::new();
    };
    let mut left = Vec::new();
    for artifact in artifact::list(&mut connection).await.unwrap_or_default() {
        if artifact.installation != installation || !operations.contains(&artifact.operation_id) {
            continue;
        }
        let due = match &artifact.kind {
            ArtifactKind::Holding { due, .. } => Some(due.clone()),
            ArtifactKind::Fence => artifact::fence_due(&mut connection, &artifact)
                .await
                .unwrap_or_default(),
            ArtifactKind::Working { .. } => None,
        };
        left.push(Left { artifact, due });
    }
    left
}

fn listed(left: &[Left], state: &str, schema: &str) -> String {
    if left.is_empty() {
        return String::new();
    }
    let put_aside = match state {
        "reverted" => "the changed table",
        _ => "the former table",
    };
    let mut text = "What stays on the server:\n".to_owned();
    for Left { artifact, due } in left {
        let what = match &artifact.kind {
            ArtifactKind::Fence => "the fence, one row that keeps late drivers off",
            ArtifactKind::Holding { .. } => put_aside,
            ArtifactKind::Working { rest, .. } if rest.ends_with("_new") => "the shadow table",
            ArtifactKind::Working { rest, .. } if rest.ends_with("_old") => "the former table",
            ArtifactKind::Working { .. } => "the checkpoint",
        };
        let _ = write!(text, "  {}: {what}", artifact.quoted());
        if let Some(due) = due {
            let _ = write!(
                text,
                "; from {} UTC on the next apply here drops it, or you do",
                moment(due)
            );
        }
        text.push('\n');
    }
    let roles = ["reader", "operator", "driver"].map(|role| role_name(schema, role));
    let _ = writeln!(
        text,
        "  {}: the control schema, and its roles {}; the next change uses them too",
        quote(schema),
        roles.join(", ")
    );
    text
}

/// The command that this process was started with; never a password.
fn again(job: &Job<'_>) -> String {
    let mut line = "lockkeeper".to_owned();
    let mut arguments = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        let shown = if argument == "--url" {
            arguments.next();
            format!("--url {}", masked(job))
        } else if argument.starts_with("--url=") {
            format!("--url={}", masked(job))
        } else {
            shell_quoted(&argument)
        };
        let _ = write!(line, " {shown}");
    }
    line
}

/// The address, where the command line named it: other commands need it too.
fn common_flags(job: &Job<'_>) -> String {
    let mut flags = String::new();
    if job.global.url.is_some() {
        let _ = write!(flags, " --url {}", masked(job));
    }
    if let Some(path) = &job.global.config {
        let _ = write!(
            flags,
            " --config {}",
            shell_quoted(&path.display().to_string())
        );
    }
    flags
}

fn masked(job: &Job<'_>) -> String {
    let shown = |mut settings: ConnectionSettings| {
        settings.credentials.password = Secret::new("PASSWORD");
        shell_quoted(settings.url().expose())
    };
    job.global
        .settings()
        .map_or_else(|_| "URL".to_owned(), shown)
}

/// `drive` goes to a deployment as the configuration says, and not, as `alter` does, the way that the address names.
async fn deployment_flags(job: &Job<'_>, control: &ConnectionSettings) -> String {
    let Ok(way) = job
        .access
        .to(job.deployment, &control.host, control.port)
        .await
    else {
        return String::new();
    };
    tls_flags(&way.tls)
}

fn tls_flags(tls: &Tls) -> String {
    let mut flags = String::new();
    if tls.mode != TlsMode::default() {
        let _ = write!(flags, " --deployment-ssl-mode {}", tls.mode);
    }
    if let Some(authority) = &tls.authority {
        let path = authority.display().to_string();
        let _ = write!(flags, " --deployment-ssl-ca {}", shell_quoted(&path));
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::{Tls, TlsMode, tls_flags};

    #[test]
    fn a_driver_is_told_how_the_way_to_the_server_is_protected() {
        assert_eq!(tls_flags(&Tls::default()), "");
        let checked = Tls::new(
            Some(TlsMode::VerifyIdentity),
            Some("/etc/our ca.pem".into()),
        );
        assert_eq!(
            tls_flags(&checked.expect("a pair")),
            " --deployment-ssl-mode VERIFY_IDENTITY --deployment-ssl-ca '/etc/our ca.pem'"
        );
    }
}
