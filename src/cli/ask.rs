//! Questions to whoever sits at the terminal.

use std::io::{IsTerminal as _, Write as _};

use super::CliError;

/// Refuses where nobody could answer.
pub(super) fn need_terminal() -> Result<(), CliError> {
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        return Ok(());
    }
    Err(CliError::usage(
        "there is no terminal to ask on; pass --yes to go on without asking",
    ))
}

/// Whether the answer is yes. Ctrl-C is no.
pub(super) async fn confirmed(question: &str) -> Result<bool, CliError> {
    eprint!("{question} [y/N] ");
    let _ = std::io::stderr().flush();
    // A thread of its own: the runtime would wait for one of its own until Enter is pressed.
    let (sender, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        let _ = sender.send(read.map(|_| answer));
    });
    tokio::select! {
        answer = answer => {
            let answer = answer
                .map_err(CliError::failed)?
                .map_err(|error| CliError::failed(format!("standard input: {error}")))?;
            Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
        }
        _ = tokio::signal::ctrl_c() => {
            eprintln!();
            Ok(false)
        }
    }
}
