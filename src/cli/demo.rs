//! `demo`: a whole rollout on servers of its own.

use super::{CliError, Global};
use crate::demo::{self, Options};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Leave the servers running and print how to connect
    #[arg(long)]
    keep: bool,
}

pub(super) async fn run(global: &Global, args: Args) -> Result<(), CliError> {
    if global.json {
        return Err(CliError::usage(
            "demo is to be looked at, and has no answer for programs; leave --json out",
        ));
    }
    let ended = demo::run(Options { keep: args.keep }).await;
    ended.map_err(|error| match error.downcast_ref::<demo::Interrupted>() {
        Some(interrupted) => CliError::interrupted(interrupted),
        None => error.into(),
    })
}
