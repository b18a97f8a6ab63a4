//! What is registered, beside what the configuration says: names that nobody has, and one server under two names.

use serde::Serialize;

use super::connect::{Session, hex_literal};
use super::deployment::address_text;
use super::{CliError, Global};
use crate::config::Layer;
use crate::text::shell_quoted;

#[derive(Debug, Serialize)]
pub(super) struct Remark {
    pub deployment: String,
    pub problem: String,
    pub remedy: String,
}

pub(super) async fn look(global: &Global, session: &mut Session) -> Result<Vec<Remark>, CliError> {
    let table = session
        .read(
            "SELECT d.deployment, LOWER(d.host) AS host, d.port
               FROM deployment_status AS d
              ORDER BY d.position, d.deployment"
                .to_owned(),
        )
        .await?;
    let mut registered: Vec<(String, String)> = Vec::new();
    for row in 0..table.rows.len() {
        let address = address_text(&table.text(row, "host"), table.whole(row, "port")?);
        registered.push((table.text(row, "deployment"), address));
    }
    let mut remarks: Vec<Remark> = Vec::new();
    for (at, (name, address)) in registered.iter().enumerate() {
        if let Some((first, _)) = registered[..at].iter().find(|(_, other)| other == address) {
            remarks.push(same_address(name, first, address));
        }
    }
    let configured = global.load(Layer::default())?.deployments;
    for name in configured.into_keys() {
        if !registered.iter().any(|(other, _)| *other == name) {
            remarks.push(Remark {
                problem: format!(
                    "the configuration has [deployments.{name}], and no deployment has that name: nobody uses it"
                ),
                remedy: format!(
                    "correct the name, or `lockkeeper deployment add {} HOST:PORT`",
                    shell_quoted(&name)
                ),
                deployment: name,
            });
        }
    }
    Ok(remarks)
}

/// What is wrong with a name that has just been registered.
pub(super) async fn look_at(
    session: &mut Session,
    name: &str,
    host: &str,
    port: u16,
) -> Result<Option<Remark>, CliError> {
    let table = session
        .read(format!(
            "SELECT d.deployment
               FROM deployment_status AS d
              WHERE LOWER(d.host) = LOWER({})
                AND d.port = {port}
                AND d.deployment <> {}
              ORDER BY d.position
              LIMIT 1",
            hex_literal(host),
            hex_literal(name)
        ))
        .await?;
    let address = address_text(host, port);
    Ok((!table.rows.is_empty())
        .then(|| same_address(name, &table.first_text("deployment"), &address)))
}

/// What goes on at the new address of a deployment that has moved from `was`.
pub(super) async fn unfinished(
    session: &mut Session,
    name: &str,
    was: (&str, u16),
) -> Result<Option<Remark>, CliError> {
    let table = session
        .read(format!(
            "SELECT o.apply_id
               FROM operation_status AS o
              WHERE o.deployment = {}
                AND o.completed_at IS NULL
              ORDER BY o.apply_id",
            hex_literal(name)
        ))
        .await?;
    let applies: Vec<String> = (0..table.rows.len())
        .map(|row| table.text(row, "apply_id"))
        .collect();
    Ok((!applies.is_empty()).then(|| Remark {
        deployment: name.to_owned(),
        problem: format!(
            "it is not done with apply {}, which goes on at the new address if that is the same server; another one, a promoted \
             replica too, refuses what was being copied",
            applies.join(", ")
        ),
        remedy: format!(
            "if it is another: `lockkeeper deployment add {} {}` until the apply has ended, or `lockkeeper cancel`",
            shell_quoted(name),
            shell_quoted(&address_text(was.0, was.1))
        ),
    }))
}

fn same_address(name: &str, first: &str, address: &str) -> Remark {
    Remark {
        deployment: name.to_owned(),
        problem: format!(
            "it has the address of {first}, {address}: a change would come to that server twice"
        ),
        remedy: format!(
            "correct the address of the one that has moved: `lockkeeper deployment add NAME ADDRESS`; only if both are \
             the same server: `lockkeeper deployment remove {}`",
            shell_quoted(name)
        ),
    }
}
