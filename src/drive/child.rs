//! A driver as a child of this process, from this same program.

use std::process::Stdio;

use tokio::process::Command;

use crate::config::{ConnectionSettings, Credentials};

/// `drive`, for a control database and with an account on its deployments. What else the user has set for drivers of their own
/// does not hold for it. Passwords go through its environment: a command line shows in the process list.
///
/// It ends when its standard input is closed, which the kernel does, whatever this process dies of: keep it apart from the child,
/// since waiting for a child closes its input first.
///
/// # Errors
///
/// If this program's own file is not known.
pub(crate) fn command(
    control: &ConnectionSettings,
    account: &Credentials,
) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LOCKKEEPER_") {
            command.env_remove(name);
        }
    }
    command
        .args(["drive", "--end-with-input"])
        .env("LOCKKEEPER_URL", control.url().expose())
        .env("LOCKKEEPER_DEPLOYMENT_USER", &account.user)
        .env("LOCKKEEPER_DEPLOYMENT_PASSWORD", account.password.expose())
        // The user's file is not meant for it either.
        .env("LOCKKEEPER_CONFIG", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}
