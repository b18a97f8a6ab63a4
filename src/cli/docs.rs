//! Pages that are made from the program itself: manual pages and the reference of the SQL interface.

use std::path::PathBuf;

use clap::CommandFactory as _;

use super::{Cli, CliError, output};
use crate::install;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Manual pages, one a command
    Man { folder: PathBuf },
    /// Completions for bash, zsh and fish
    Completions { folder: PathBuf },
    /// docs/reference.md, from the header comments of sql/
    Reference,
}

pub(super) fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Man { folder } => {
            let failed = |error| CliError::failed(format!("{}: {error}", folder.display()));
            std::fs::create_dir_all(&folder).map_err(failed)?;
            clap_mangen::generate_to(Cli::command(), &folder).map_err(failed)
        }
        Command::Completions { folder } => {
            use clap_complete::Shell;
            let failed = |error| CliError::failed(format!("{}: {error}", folder.display()));
            std::fs::create_dir_all(&folder).map_err(failed)?;
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                clap_complete::generate_to(shell, &mut Cli::command(), "lockkeeper", &folder)
                    .map_err(failed)?;
            }
            Ok(())
        }
        Command::Reference => {
            output::write(&install::reference());
            Ok(())
        }
    }
}
