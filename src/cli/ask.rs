//! Questions to whoever sits at the terminal.

use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _};

use super::{CliError, output};
use crate::text::{folded, width_of};

/// Where the answer is typed: standard input may be a file of statements.
fn keyboard() -> Option<File> {
    if std::io::stdin().is_terminal() {
        return rustix::io::dup(std::io::stdin()).ok().map(File::from);
    }
    File::open("/dev/tty").ok()
}

/// Refuses where nobody could answer.
pub(super) fn need_terminal() -> Result<(), CliError> {
    if std::io::stderr().is_terminal() && keyboard().is_some() {
        return Ok(());
    }
    Err(CliError::usage(
        "there is no terminal to ask on; pass --yes to go on without asking",
    ))
}

/// Goes on if the answer is yes.
///
/// # Errors
///
/// `otherwise`, whatever else the answer is; Ctrl-C among it.
pub(super) async fn confirm(question: &str, otherwise: &str) -> Result<(), CliError> {
    let question = format!("{question} [y/N]");
    let lines = folded(&question, width_of(&std::io::stderr()), "", "");
    output::beside(&format!("{} ", lines.join("\n")));
    // A thread of its own: the runtime would wait for one of its own until Enter is pressed.
    let (sender, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = keyboard().map_or(Ok(0), |file| BufReader::new(file).read_line(&mut answer));
        let _ = sender.send(read.map(|_| answer));
    });
    tokio::select! {
        answer = answer => {
            let answer = answer
                .map_err(CliError::failed)?
                .map_err(|error| CliError::failed(format!("the terminal: {error}")))?;
            match answer.trim() {
                "y" | "Y" | "yes" => Ok(()),
                _ => Err(CliError::failed(otherwise)),
            }
        }
        _ = tokio::signal::ctrl_c() => {
            output::note("");
            Err(CliError::interrupted(otherwise))
        }
    }
}

/// Does it, unless Ctrl-C comes first. Needed behind every other place that listens for Ctrl-C: from the first of them on, the
/// signal ends nothing by itself any more, and a server that hangs would hold the command for ever.
///
/// # Errors
///
/// `otherwise` at Ctrl-C.
pub(super) async fn unless_interrupted<T>(
    doing: impl Future<Output = Result<T, CliError>>,
    otherwise: &str,
) -> Result<T, CliError> {
    tokio::select! {
        done = doing => done,
        _ = tokio::signal::ctrl_c() => Err(CliError::interrupted(otherwise)),
    }
}
