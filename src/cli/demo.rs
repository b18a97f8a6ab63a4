use super::CliError;
use crate::demo::{self, Options};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Leave the servers running and print how to connect
    #[arg(long)]
    keep: bool,
}

pub(super) async fn run(args: Args) -> Result<(), CliError> {
    Ok(demo::run(Options { keep: args.keep }).await?)
}
