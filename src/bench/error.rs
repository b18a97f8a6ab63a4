//! Why nothing could be measured.

use crate::engine::EngineError;
use crate::install::InstallError;
use crate::server::ServerError;

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("no server to measure on: {0}")]
    Server(#[from] ServerError),
    #[error("not installed: {0}")]
    Install(#[from] InstallError),
    #[error("the server refused a statement of the benchmark: {0}")]
    Database(#[from] sqlx::Error),
    #[error("a session of the benchmark ended early: {0}")]
    Session(#[from] tokio::task::JoinError),
    #[error("the change failed: {0}")]
    Change(#[from] EngineError),
    #[error("{what}: {source}")]
    Process {
        what: &'static str,
        source: std::io::Error,
    },
    #[error("{0}")]
    Tool(String),
}

impl BenchError {
    pub(super) fn process(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Process { what, source }
    }
}
