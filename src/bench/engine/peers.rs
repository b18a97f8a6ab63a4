//! Other tools, where they are installed: with settings that are reasonable on a server of one's own.

use std::io::Write as _;
use std::process::Stdio;

use tempfile::NamedTempFile;
use tokio::process::Command;

use super::Bench;
use super::tables::CHANGED;
use super::ways::Way;
use crate::bench::BenchError;

pub(super) fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Makes the change `what` (what follows ALTER TABLE).
pub(super) async fn change(peer: Way, bench: &Bench, what: &str) -> Result<(), BenchError> {
    let failed = BenchError::process("running another tool");
    // A password on the command line would show in the process list.
    let mut account = NamedTempFile::new().map_err(&failed)?;
    let settings = &bench.settings;
    let credentials = &settings.credentials;
    writeln!(
        account,
        "[client]\nuser={}\npassword={}",
        credentials.user,
        credentials.password.expose()
    )
    .map_err(&failed)?;
    let file = account.path().display();
    let (host, port, schema) = (&settings.host, settings.port, settings.schema());
    let mut command = Command::new(peer.name());
    match peer {
        Way::GhOst => command
            .arg(format!("--conf={file}"))
            .arg(format!("--host={host}"))
            .arg(format!("--port={port}"))
            .arg(format!("--database={schema}"))
            .arg(format!("--table={CHANGED}"))
            .arg(format!("--alter={what}"))
            .args(["--allow-on-master", "--assume-rbr", "--execute"])
            .args(["--ssl", "--ssl-allow-insecure"])
            // As fast as it goes: its defaults are 1000 and 10.
            .args(["--chunk-size=10000", "--dml-batch-size=100"]),
        Way::PtOsc => command
            .arg(format!("--alter={what}"))
            .args(["--execute", "--no-check-replication-filters"])
            // It looks for replicas by a statement that 8.4 has no more, and cannot read EXPLAIN's tree, 9.7's default: it
            // would take the table for empty.
            .args([
                "--recursion-method=none",
                "--set-vars=explain_format=TRADITIONAL",
            ])
            // It cannot be told not to look at the load.
            .args(["--chunk-time=1", "--max-load=Threads_running=1000"])
            .arg("--critical-load=Threads_running=10000")
            .arg(format!("F={file},h={host},P={port},D={schema},t={CHANGED}")),
        Way::Lockkeeper | Way::Floor | Way::Inplace | Way::Copy => {
            return Err(BenchError::Tool(format!(
                "{} is no other tool",
                peer.name()
            )));
        }
    };
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(&failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    Err(BenchError::Tool(format!(
        "{} ended with {}: {}",
        peer.name(),
        output.status,
        last.join(" | ")
    )))
}
