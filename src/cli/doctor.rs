//! `doctor`: what is wrong with the installation, or with deployments.

use serde::Serialize;
use serde_json::{Value, json};

use super::access::AccessFlags;
use super::answer::Table;
use super::connect::Session;
use super::registration::{self, Remark};
use super::rest::{self, Rest};
use super::{CliError, Global, checkup, output};
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
    let diagnosis = diagnose(global, &mut session).await?;
    if global.json {
        output::json(&diagnosis.json());
    } else {
        diagnosis.tell(&session);
    }
    if diagnosis.is_well() {
        Ok(())
    } else {
        Err(CliError::failed("something is wrong; see above"))
    }
}

/// What is wrong with the installation.
struct Diagnosis {
    /// None where the account may not compare them.
    objects: Option<Vec<Object>>,
    deployments: Vec<Remark>,
    health: Table,
    consistency: Table,
    /// What is over is nothing that is wrong now; it only must not be forgotten.
    failed: Vec<Rest>,
}

/// One that isn't as it was installed.
#[derive(Debug, Serialize)]
struct Object {
    kind: &'static str,
    name: String,
    problem: &'static str,
}

impl From<install::Finding> for Object {
    fn from(finding: install::Finding) -> Self {
        Self {
            kind: match finding.kind {
                install::Kind::Data => "role",
                kind => kind.name(),
            },
            name: finding.name,
            problem: match finding.difference {
                Difference::Missing => "missing",
                Difference::Edited => "edited by hand",
                Difference::NotGranted => "not granted to its roles",
            },
        }
    }
}

async fn diagnose(global: &Global, session: &mut Session) -> Result<Diagnosis, CliError> {
    Ok(Diagnosis {
        objects: objects(session).await?,
        health: session
            .read("SELECT h.severity, h.subject, h.problem, h.remedy, h.apply_id FROM health AS h ORDER BY FIELD(h.severity, 'error', 'warning', 'notice'), h.subject".to_owned())
            .await?,
        consistency: session
            .read("SELECT c.operation_id, c.recorded, c.declared FROM consistency AS c ORDER BY c.operation_id".to_owned())
            .await?,
        deployments: registration::look(global, session).await?,
        failed: rest::failed_lately(session).await?,
    })
}

/// Readers and operators see views alone; what is behind them an administrator compares.
async fn objects(session: &mut Session) -> Result<Option<Vec<Object>>, CliError> {
    let (settings, schema) = (session.settings().clone(), session.schema().to_owned());
    let found = match install::inspect(session.connection(), &schema).await {
        Ok(found) => Ok(Some(found.into_iter().map(Object::from).collect())),
        Err(InstallError::Database(error)) if server_error::is_denied(&error) => {
            let usable = install::check_for_drive(session.connection(), &schema).await;
            usable.map(|()| None)
        }
        Err(error) => Err(error),
    };
    found.map_err(|error| CliError::install(&settings, error))
}

impl Diagnosis {
    fn is_well(&self) -> bool {
        self.objects.iter().flatten().next().is_none()
            && self.deployments.is_empty()
            && self.health.rows.is_empty()
            && self.consistency.rows.is_empty()
    }

    fn json(&self) -> Value {
        json!({
            "well": self.is_well(),
            "objects": self.objects,
            "deployments": self.deployments,
            "health": self.health.json(),
            "consistency": self.consistency.json(),
            "failed": self.failed,
        })
    }

    fn tell(&self, session: &Session) {
        for Object {
            kind,
            name,
            problem,
        } in self.objects.iter().flatten()
        {
            output::line(&format!(
                "{kind} {name} is {problem}; `lockkeeper install` puts it right"
            ));
        }
        for remark in &self.deployments {
            let sentence = format!(
                "{}: {}; {}",
                remark.deployment, remark.problem, remark.remedy
            );
            output::fold("", "    ", &sentence);
        }
        // Sentences, as `watch` shows them: a table would break the calls in them anywhere.
        for row in 0..self.health.rows.len() {
            let get = |column| self.health.text(row, column);
            let (severity, subject) = (get("severity"), get("subject"));
            let (problem, remedy) = (get("problem"), get("remedy"));
            let sentence = format!("{severity}: {subject}: {problem}; {remedy}");
            output::fold("", "    ", &sentence);
        }
        for one in &self.failed {
            output::fold("", "    ", &format!("note: {}", one.sentence()));
        }
        match (self.is_well(), self.failed.is_empty()) {
            (true, true) => output::line("All is well."),
            (true, false) => output::line("All else is well."),
            (false, _) => {}
        }
        if self.objects.is_none() {
            let (schema, user) = (session.schema(), &session.settings().credentials.user);
            output::fold(
                "",
                "",
                &format!(
                    "Whether somebody edited an object is for an account with rights on the tables of {schema}; {user} has none."
                ),
            );
        }
    }
}
