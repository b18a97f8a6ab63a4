//! Files with secrets: ours, and nobody else's to read.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{ConfigError, Secret};

pub(super) fn check(path: &Path) -> Result<(), ConfigError> {
    let metadata = std::fs::metadata(path).map_err(|source| ConfigError::File {
        path: path.to_owned(),
        source,
    })?;
    if metadata.mode() & 0o077 != 0 {
        return Err(ConfigError::FileOpen {
            path: path.to_owned(),
            mode: metadata.mode() & 0o777,
        });
    }
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us {
        return Err(ConfigError::FileOwner {
            path: path.to_owned(),
            owner: metadata.uid(),
            us,
        });
    }
    Ok(())
}

/// The first line, without its end.
pub(super) fn read_secret(path: &Path) -> Result<Secret, ConfigError> {
    check(path)?;
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File {
        path: path.to_owned(),
        source,
    })?;
    Ok(Secret::new(text.lines().next().unwrap_or_default()))
}
