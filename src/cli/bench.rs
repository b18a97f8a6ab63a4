//! `bench`: what things cost.

use super::{CliError, Global, output};
use crate::bench::{claims, engine, fleet};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Claims, beside the plain form of their predicate and beside one UPDATE and a commit
    Claims(claims::Options),
    /// A change of a large table, beside the server's own ways, other tools, and the least that a copy costs
    Engine(engine::Options),
    /// One driver with a hundred operations at once
    Fleet(fleet::Options),
    /// One change, as it is told on standard input: a part of `engine`
    #[command(hide = true)]
    Change,
}

/// Each figure as it is measured; failure where a target is missed.
pub(super) async fn run(global: &Global, command: Command) -> Result<(), CliError> {
    if global.names_control() {
        return Err(CliError::usage(
            "bench measures on a server of its own, not on a control database; leave --url out, or name a server that may be \
             filled and emptied with LOCKKEEPER_TEST_URL",
        ));
    }
    // Standard output is for the one answer of --json.
    let line = if global.json {
        output::note
    } else {
        output::line
    };
    let figures = match command {
        Command::Claims(options) => claims::run(options, |figure| line(&figure.to_string())).await,
        Command::Engine(options) => engine::run(options, line).await,
        Command::Fleet(options) => fleet::run(options, line).await,
        Command::Change => return engine::serve().await.map_err(CliError::failed),
    };
    let figures = figures.map_err(CliError::failed)?;
    if global.json {
        output::json(&serde_json::json!(figures));
    }
    let missed = figures.iter().filter(|figure| !figure.holds()).count();
    let of = figures.len();
    match missed {
        0 => Ok(()),
        _ => Err(CliError::failed(format!(
            "{missed} of {of} figures miss their target"
        ))),
    }
}
