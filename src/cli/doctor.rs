//! `doctor`: what is wrong with the installation, or with deployments.

use serde_json::json;

use super::access::AccessFlags;
use super::connect::Session;
use super::{CliError, Global, checkup, output, registration, rest};
use crate::install::{self, Difference, InstallError};
use crate::server_error;

/// What is said of the deployments means nothing where none is looked at.
const LOOKED_AT: &str = "looked_at";

#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new(LOOKED_AT),
    mut_arg("deployment_user", |flag| flag.requires(LOOKED_AT)),
    mut_arg("deployment_ssl_mode", |flag| flag.requires(LOOKED_AT)),
    mut_arg("deployment_ssl_ca", |flag| flag.requires(LOOKED_AT))
)]
pub(super) struct Args {
    /// Look at this deployment instead, from here: settings, privileges, replicas, leftovers; may be repeated
    #[arg(long = "deployment", value_name = "NAME", group = LOOKED_AT)]
    deployments: Vec<String>,
    /// Look at all deployments
    #[arg(long, group = LOOKED_AT)]
    all: bool,
    /// Check the privileges on this schema; may be repeated [default: all that the account sees]
    #[arg(long = "schema", value_name = "NAME", requires = LOOKED_AT)]
    schemas: Vec<String>,
    #[command(flatten)]
    access: AccessFlags,
}

/// Exit code 0 is "all is well": scripts may ask.
pub(super) async fn run(global: &Global, args: Args) -> Result<(), CliError> {
    let mut session = Session::open(global).await?;
    if args.all || !args.deployments.is_empty() {
        let asked = checkup::Asked {
            deployments: &args.deployments,
            schemas: &args.schemas,
            access: &args.access,
        };
        return checkup::run(global, &mut session, asked).await;
    }
    let (settings, schema) = (session.settings().clone(), session.schema().to_owned());
    // Readers and operators see views alone; what is behind them an administrator compares.
    let objects = match install::inspect(session.connection(), &schema).await {
        Ok(objects) => Some(objects),
        Err(InstallError::Database(error)) if server_error::is_denied(&error) => {
            install::check_for_drive(session.connection(), &schema)
                .await
                .map_err(|error| CliError::install(&settings, error))?;
            None
        }
        Err(error) => return Err(CliError::install(&settings, error)),
    };
    let is_compared = objects.is_some();
    let health = session
        .read("SELECT h.severity, h.subject, h.problem, h.remedy, h.apply_id FROM health AS h ORDER BY FIELD(h.severity, 'error', 'warning', 'notice'), h.subject".to_owned())
        .await?;
    let consistency = session
        .read("SELECT c.operation_id, c.recorded, c.declared FROM consistency AS c ORDER BY c.operation_id".to_owned())
        .await?;
    let objects: Vec<_> = objects
        .iter()
        .flatten()
        .map(|finding| {
            let how = match finding.difference {
                Difference::Missing => "missing",
                Difference::Edited => "edited by hand",
                Difference::NotGranted => "not granted to its roles",
            };
            let kind = match finding.kind {
                install::Kind::Data => "role",
                kind => kind.name(),
            };
            json!({"kind": kind, "name": finding.name, "problem": how})
        })
        .collect();
    let deployments = registration::look(global, &mut session).await?;
    // What is over is nothing that is wrong now; it only must not be forgotten.
    let failed = rest::failed_lately(&mut session).await?;
    let well = objects.is_empty()
        && deployments.is_empty()
        && health.rows.is_empty()
        && consistency.rows.is_empty();
    if global.json {
        output::json(&json!({
            "well": well,
            "objects": is_compared.then_some(objects),
            "deployments": deployments,
            "health": health.json(),
            "consistency": consistency.json(),
            "failed": failed,
        }));
    } else {
        for object in &objects {
            output::line(&format!(
                "{} {} is {}; `lockkeeper install` puts it right",
                object["kind"].as_str().unwrap_or_default(),
                object["name"].as_str().unwrap_or_default(),
                object["problem"].as_str().unwrap_or_default(),
            ));
        }
        for remark in &deployments {
            let sentence = format!(
                "{}: {}; {}",
                remark.deployment, remark.problem, remark.remedy
            );
            output::fold("", "    ", &sentence);
        }
        // Sentences, as `watch` shows them: a table would break the calls in them anywhere.
        for row in 0..health.rows.len() {
            let get = |column| health.text(row, column);
            let (severity, subject) = (get("severity"), get("subject"));
            let (problem, remedy) = (get("problem"), get("remedy"));
            let sentence = format!("{severity}: {subject}: {problem}; {remedy}");
            output::fold("", "    ", &sentence);
        }
        for one in &failed {
            output::fold("", "    ", &format!("note: {}", one.sentence()));
        }
        match (well, failed.is_empty()) {
            (true, true) => output::line("All is well."),
            (true, false) => output::line("All else is well."),
            (false, _) => {}
        }
        if !is_compared {
            let user = &settings.credentials.user;
            output::fold(
                "",
                "",
                &format!(
                    "Whether somebody edited an object is for an account with rights on the tables of {schema}; {user} has none."
                ),
            );
        }
    }
    if well {
        Ok(())
    } else {
        Err(CliError::failed("something is wrong; see above"))
    }
}
