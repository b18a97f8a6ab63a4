//! The last resort: MySQL from Debian's packages, unpacked into the user's cache, nothing installed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::{ServerError, file_error};
use super::find::lock;

const SCRIPT: &str = include_str!("../../docker/debian-mysql.sh");

/// Unpacks into `folder`, or waits for another process that does, and answers the launcher of mysqld.
pub(super) fn unpack(folder: &Path) -> Result<PathBuf, ServerError> {
    let mysqld = folder.join("mysqld");
    let _lock = lock(&folder.with_extension("lock"))?;
    if mysqld.is_file() {
        return Ok(mysqld);
    }
    eprintln!("Fetching MySQL from Debian's packages (about 100 MB, once) …");
    let mut script = tempfile::NamedTempFile::new()
        .map_err(file_error("a file cannot be made in", std::env::temp_dir()))?;
    script
        .write_all(SCRIPT.as_bytes())
        .map_err(file_error("cannot be written:", script.path()))?;
    let output = Command::new("bash")
        .arg(script.path())
        .arg("unpack")
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ServerError::Spawn {
            program: "bash".to_owned(),
            source,
        })?;
    if output.status.success() && mysqld.is_file() {
        Ok(mysqld)
    } else {
        Err(ServerError::Packages {
            log: last_lines(&String::from_utf8_lossy(&output.stderr), 12),
        })
    }
}

pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
