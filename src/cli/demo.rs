//! `demo`: a whole rollout on servers of its own.

use super::CliError;
use crate::demo::{self, Options};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Leave the servers running and print how to connect
    #[arg(long)]
    keep: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let ended = demo::run(Options { keep: args.keep }).await;
    ended.map_err(|error| match error.downcast_ref::<demo::Interrupted>() {
        Some(interrupted) => CliError::interrupted(interrupted),
        None => error.into(),
    })
}
