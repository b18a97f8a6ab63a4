//! `install`: the control schema, brought up to date or printed.

use super::{CliError, Global, output};
use crate::config::DEFAULT_SCHEMA;
use crate::install::{self, PROGRAM_VERSION};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the SQL instead, for a DBA to run with the mysql client alone
    #[arg(long)]
    print: bool,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<(), CliError> {
    if args.print {
        let settings = global.settings_if_any()?;
        let schema = settings
            .as_ref()
            .map_or(DEFAULT_SCHEMA, |settings| settings.schema());
        let text = install::print(schema).map_err(CliError::failed)?;
        output::write(&text);
        return Ok(());
    }
    let settings = global.settings()?;
    let report = install::install(&settings)
        .await
        .map_err(|error| CliError::install(&settings, error))?;
    for warning in &report.warnings {
        output::note(&format!("lockkeeper: warning: {warning}"));
    }
    if global.json {
        output::json(&serde_json::json!({
            "schema": settings.schema(),
            "version": PROGRAM_VERSION,
            "migrations": report.migrations,
            "replaced": report.replaced,
            "unchanged": report.unchanged,
            "dropped": report.dropped,
            "warnings": report.warnings,
        }));
    } else {
        output::line(&format!(
            "Lockkeeper {PROGRAM_VERSION} is installed in schema {}: {} migrations applied, {} objects replaced, \
             {} unchanged, {} dropped.",
            settings.schema(),
            report.migrations,
            report.replaced,
            report.unchanged,
            report.dropped
        ));
    }
    Ok(())
}
