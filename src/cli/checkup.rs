//! `doctor --deployment`: the state of deployments, from here.

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::json;

use super::access::AccessFlags;
use super::answer::Table;
use super::connect::Session;
use super::registration::{self, Remark};
use super::{CliError, Global, output, plan};
use crate::engine::names::Artifact;
use crate::preflight::{self, Finding, Severity, Whose};
use crate::text::{folded, width_of};

pub(super) struct Asked<'a> {
    /// Empty: all.
    pub deployments: &'a [String],
    pub schemas: &'a [String],
    pub access: &'a AccessFlags,
}

/// What is said of one deployment.
#[derive(Debug, Serialize)]
struct Found {
    deployment: String,
    findings: Vec<Finding>,
    /// Then the findings are of its registration alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreachable: Option<String>,
}

impl Found {
    fn is_well(&self) -> bool {
        let is_well = |one: &Finding| matches!(one.severity, Severity::Good | Severity::Note);
        self.unreachable.is_none() && self.findings.iter().all(is_well)
    }
}

pub(super) async fn run(
    global: &Global,
    session: &mut Session,
    asked: Asked<'_>,
) -> Result<(), CliError> {
    let all = look(global, session, &asked).await?;
    if global.json {
        output::json(&json!(all));
    } else {
        let width = width_of(&std::io::stdout());
        for found in &all {
            output::write(&text(found, width));
        }
    }
    if all.iter().all(Found::is_well) {
        Ok(())
    } else {
        Err(CliError::failed("something is wrong; see above"))
    }
}

/// Names that only the configuration has first, then the deployments in their order, each once.
async fn look(
    global: &Global,
    session: &mut Session,
    asked: &Asked<'_>,
) -> Result<Vec<Found>, CliError> {
    let places = plan::places(session, asked.deployments).await?;
    let access = plan::access(global, session, asked.access)?;
    let known = Known::read(session).await?;
    let checkups = places.iter().map(|place| {
        let whose = |artifact: &Artifact| known.owner(artifact);
        preflight::checkup(place, &access, asked.schemas, whose)
    });
    let servers = places
        .iter()
        .map(|place| preflight::server_of(place, &access));
    let (checkups, servers) = tokio::join!(join_all(checkups), join_all(servers));
    let names = places.iter().map(|place| place.deployment.clone());
    let servers: Vec<(String, Option<String>)> = names.zip(servers).collect();
    let remarks = registration::look(global, session).await?;
    // A name that only the configuration has is no deployment that could be asked for.
    let is_asked = |name: &String| asked.deployments.is_empty() || asked.deployments.contains(name);
    let mut all: Vec<Found> = Vec::new();
    for remark in remarks.iter().filter(|one| is_asked(&one.deployment)) {
        if places.iter().all(|one| one.deployment != remark.deployment) {
            all.push(Found {
                deployment: remark.deployment.clone(),
                findings: vec![of_registration(remark)],
                unreachable: None,
            });
        }
    }
    for (at, (place, checkup)) in places.iter().zip(checkups).enumerate() {
        let name = &place.deployment;
        let remarks = remarks.iter().filter(|one| one.deployment == *name);
        let mut findings: Vec<Finding> = remarks.map(of_registration).collect();
        if checkup.is_ok() && findings.is_empty() {
            let server = servers[at].1.as_deref();
            findings.extend(preflight::twin(name, server, &servers[..at]));
        }
        let (found, unreachable) = match checkup {
            Ok(found) => (found, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        findings.extend(found);
        all.push(Found {
            deployment: name.clone(),
            findings,
            unreachable,
        });
    }
    Ok(all)
}

fn of_registration(remark: &Remark) -> Finding {
    Finding {
        severity: Severity::Warning,
        subject: "registration",
        finding: remark.problem.clone(),
        remedy: remark.remedy.clone(),
    }
}

/// Below the text of a finding.
const REST: &str = "           ";

fn text(found: &Found, width: Option<usize>) -> String {
    let mut lines = vec![found.deployment.clone()];
    if let Some(why) = &found.unreachable {
        let what = format!("unreachable: {why}");
        lines.extend(folded(&what, width, "  error    ", REST));
    }
    for one in &found.findings {
        let mark = match one.severity {
            Severity::Good => "  ok       ",
            Severity::Note => "  note     ",
            Severity::Warning => "  warning  ",
            Severity::Error => "  error    ",
        };
        let what = format!("{}: {}", one.subject, one.finding);
        lines.extend(folded(&what, width, mark, REST));
        if !one.remedy.is_empty() {
            lines.extend(folded(&format!("→ {}", one.remedy), width, REST, REST));
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// What the control database knows of the operations whose names are on a deployment.
struct Known {
    installation: Option<String>,
    operations: Table,
}

impl Known {
    async fn read(session: &mut Session) -> Result<Self, CliError> {
        let installation = session
            .read(
                "SELECT MAX(d.installation) AS installation FROM deployment_status AS d".to_owned(),
            )
            .await
            .ok()
            .map(|table| table.first_text("installation"));
        let operations = session
            .read(
                "SELECT o.operation_id, o.apply_id, o.state, o.completed_at IS NOT NULL AS is_settled
                   FROM operation_status AS o
                  ORDER BY o.operation_id DESC
                  LIMIT 10000"
                    .to_owned(),
            )
            .await?;
        Ok(Self {
            installation,
            operations,
        })
    }

    fn owner(&self, artifact: &Artifact) -> Option<Whose> {
        if self.installation.as_ref() != Some(&artifact.installation) {
            return None;
        }
        let id = artifact.operation_id.to_string();
        let row = (0..self.operations.rows.len())
            .find(|row| self.operations.text(*row, "operation_id") == id);
        let Some(row) = row else {
            return Some(Whose {
                words: format!("operation {id} of this installation, which is purged"),
                is_reverted: false,
                remedy: String::new(),
            });
        };
        let state = self.operations.text(row, "state");
        let apply = self.operations.text(row, "apply_id");
        Some(Whose {
            words: format!("operation {id} of apply {apply}, which is {state}"),
            is_reverted: state == "reverted",
            remedy: match state.as_str() {
                _ if self.operations.is(row, "is_settled") => String::new(),
                "revert_window" => format!(
                    "it is kept current until the revert window ends; `lockkeeper skip-revert {apply}` ends it now"
                ),
                "reverting" | "cancelling" => "a driver removes it in its time".to_owned(),
                _ => format!(
                    "the operation works with it; `lockkeeper cancel {apply}` gives the change up and removes it"
                ),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::golden;

    #[test]
    fn a_checkup_fits_80_columns() {
        let found = |severity, subject, finding: &str, remedy: &str| Finding {
            severity,
            subject,
            finding: finding.to_owned(),
            remedy: remedy.to_owned(),
        };
        let findings = vec![
            found(Severity::Good, "version", "8.4.6", ""),
            found(
                Severity::Error,
                "settings",
                "binlog_row_image is 'MINIMAL', and a change needs 'FULL'",
                "SET PERSIST binlog_row_image = FULL, and reconnect the application",
            ),
            found(
                Severity::Error,
                "privileges",
                "account 'lockkeeper'@'%' lacks REPLICATION SLAVE, REPLICATION CLIENT on schema shop",
                "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'lockkeeper'@'%'; GRANT ALTER, CREATE, DROP ON \
                 `shop`.* TO 'lockkeeper'@'%'",
            ),
            found(
                Severity::Note,
                "disk",
                "free space is not known: MySQL doesn't tell; the largest table, shop.orders, has 41 MB, and a copy needs \
                 as much again",
                "",
            ),
            found(
                Severity::Warning,
                "transactions",
                "session 41 of batch@10.0.0.7 has been in a transaction for 93 s (0 rows changed): a cutover waits for it",
                "end it, or KILL 41 if nobody needs it",
            ),
        ];
        let found = Found {
            deployment: "eu-1".to_owned(),
            findings,
            unreachable: None,
        };
        let shown = text(&found, Some(80));
        let longest = shown.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(80), "{shown}");
        golden("doctor-80.txt", &shown);
        let whole = text(&found, None);
        assert_eq!(whole.lines().count(), 1 + 5 + 3, "a line each: {whole}");
    }
}
