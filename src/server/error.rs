//! Why there is no server to work with.

use std::path::PathBuf;

use super::named::TEST_URL_VARIABLE;
use crate::config::ConfigError;

/// Why there is no server to work with.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("LOCKKEEPER_TEST_URL: {0}")]
    NamedAddress(#[source] ConfigError),
    #[error(
        "the server that LOCKKEEPER_TEST_URL names cannot be used: {source}; correct it, or unset it to have one started"
    )]
    Named { source: sqlx::Error },
    #[error("no MySQL server could be found or brought:\n{}\nPut mysqld (MySQL 8.0.22 or later) on PATH.", tried.join("\n"))]
    Nothing { tried: Vec<String> },
    #[error("LOCKKEEPER_SERVER is '{value}'; it is program, container or packages, or not set")]
    UnknownSource { value: String },
    #[error("no folder for cached files; set HOME or XDG_CACHE_HOME")]
    NoCacheFolder,
    #[error("{what} {}: {source}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{program} cannot be run: {source}")]
    Spawn {
        program: String,
        source: std::io::Error,
    },
    #[error("a new data folder could not be initialised by {}:\n{log}", program.display())]
    Initialize { program: PathBuf, log: String },
    #[error("the server ended while it was starting; its log says:\n{log}")]
    Ended { log: String },
    #[error("the server took no connection within {seconds} s ({last}); its log says:\n{log}")]
    NotReady {
        seconds: u64,
        last: String,
        log: String,
    },
    #[error("MySQL could not be unpacked from Debian's packages:\n{log}")]
    Packages { log: String },
    #[error("container: {0}")]
    Container(String),
    #[error("this server was not started from here, so it is not stopped or frozen from here")]
    NotOurs,
    #[error("the signal could not be sent: {0}")]
    Signal(std::io::Error),
}

impl ServerError {
    /// For who would also have taken a server that the environment names; the demo and the sandbox take none.
    pub(super) fn or_named(self) -> Self {
        match self {
            Self::Nothing { mut tried } => {
                tried.insert(0, format!("- {TEST_URL_VARIABLE} names no server"));
                Self::Nothing { tried }
            }
            other => other,
        }
    }
}

/// `File` with the path that it was about.
pub(super) fn file_error(
    what: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(std::io::Error) -> ServerError {
    let path = path.into();
    move |source| ServerError::File { what, path, source }
}
