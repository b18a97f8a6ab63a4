//! A MySQL server for a demo, a sandbox or a test: found, or brought and run privately.
//!
//! The order: a server that `LOCKKEEPER_TEST_URL` names (never started or stopped from here); `mysqld` on
//! PATH, or unpacked by an earlier run; a container; Debian's packages. A server started here listens on
//! loopback, keeps everything in one private folder, and is gone with the last process that holds it,
//! whatever that one died of: see `supervisor.sh`.

mod container;
mod error;
mod find;
mod named;
mod options;
mod packages;
mod process;
mod program;
mod shared;
mod supervisor;

use std::path::Path;
use std::time::Duration;

use crate::config::{ConnectionSettings, Credentials, Secret, Tls};

use container::ContainerServer;
use process::ProcessServer;

pub use crate::server_version::Version;
pub use error::ServerError;
pub use find::{Source, find};
pub use named::{TEST_URL_VARIABLE, named};
pub use options::{Durability, ServerOptions};
pub use program::Program;

/// A running server. Dropping it stops and removes it, unless it is somebody else's.
#[derive(Debug)]
pub struct Server {
    administrator: ConnectionSettings,
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Named,
    Process(Box<ProcessServer>),
    Container(Box<ContainerServer>),
}

impl Server {
    /// Starts a private server of the first source that has one; never the named one.
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let backend = match find().await? {
            Source::Program(program) => {
                Backend::Process(Box::new(ProcessServer::start(&program, &options).await?))
            }
            Source::Container(image) => {
                Backend::Container(Box::new(ContainerServer::start(&image, &options).await?))
            }
        };
        Ok(Self::of(backend))
    }

    /// Starts one in a container, whatever else there is; `None` where no container can be run.
    pub async fn start_in_container(options: ServerOptions) -> Result<Option<Self>, ServerError> {
        let Ok(image) = container::available().await else {
            return Ok(None);
        };
        let server = ContainerServer::start(&image, &options).await?;
        Ok(Some(Self::of(Backend::Container(Box::new(server)))))
    }

    /// The server that the environment names, else a private one.
    pub async fn named_or_start(options: ServerOptions) -> Result<Self, ServerError> {
        match named()? {
            Some(administrator) => Self::from_named(administrator).await,
            None => Self::start(options).await.map_err(ServerError::or_named),
        }
    }

    /// The server that the environment names, else one that all processes with the same `pointer` file share.
    ///
    /// It stops about a second after the last of them has ended. Hold the value for as long as it is used.
    pub async fn named_or_shared(
        pointer: &Path,
        options: ServerOptions,
    ) -> Result<Self, ServerError> {
        match named()? {
            Some(administrator) => Self::from_named(administrator).await,
            None => match find().await.map_err(ServerError::or_named)? {
                Source::Program(program) => {
                    let server = shared::join_or_start(pointer, &program, &options).await?;
                    Ok(Self::of(Backend::Process(Box::new(server))))
                }
                Source::Container(image) => {
                    let server = ContainerServer::start(&image, &options).await?;
                    Ok(Self::of(Backend::Container(Box::new(server))))
                }
            },
        }
    }

    async fn from_named(administrator: ConnectionSettings) -> Result<Self, ServerError> {
        administrator
            .probe()
            .await
            .map_err(|source| ServerError::Named { source })?;
        Ok(Self {
            administrator,
            backend: Backend::Named,
        })
    }

    fn of(backend: Backend) -> Self {
        let administrator = match &backend {
            Backend::Process(server) => server.administrator(),
            Backend::Container(server) => server.administrator(),
            Backend::Named => unreachable!("a named server has an address of its own"),
        };
        Self {
            administrator,
            backend,
        }
    }

    /// An account that may do anything; no default schema.
    pub fn administrator(&self) -> &ConnectionSettings {
        &self.administrator
    }

    /// Whether it was there before us and stays after us.
    pub fn is_named(&self) -> bool {
        matches!(self.backend, Backend::Named)
    }

    /// The private folder, with the error log and the data.
    pub fn folder(&self) -> Option<&Path> {
        match &self.backend {
            Backend::Process(server) => Some(server.folder()),
            Backend::Named | Backend::Container(_) => None,
        }
    }

    /// What it was started from; its other programs (`mysql`, `mysql_tzinfo_to_sql`) lie beside it.
    pub fn program(&self) -> Option<&Program> {
        match &self.backend {
            Backend::Process(server) => Some(server.program()),
            Backend::Named | Backend::Container(_) => None,
        }
    }

    /// The process id of mysqld, where it runs on this machine.
    pub fn pid(&self) -> Option<u32> {
        match &self.backend {
            Backend::Process(server) => server.pid(),
            Backend::Named | Backend::Container(_) => None,
        }
    }

    /// SIGKILL: a crash. [`Server::restart`] brings it back on the same port with the same data.
    pub async fn kill(&self) -> Result<(), ServerError> {
        match &self.backend {
            Backend::Process(server) => server.kill().await,
            Backend::Container(server) => server.kill().await,
            Backend::Named => Err(ServerError::NotOurs),
        }
    }

    /// Starts it again after [`Server::kill`]; returns once it takes connections.
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        match &mut self.backend {
            Backend::Process(server) => server.restart().await,
            Backend::Container(server) => server.restart().await,
            Backend::Named => Err(ServerError::NotOurs),
        }
    }

    /// SIGSTOP, or a container's pause: it holds its connections and answers nothing.
    pub async fn freeze(&self) -> Result<(), ServerError> {
        match &self.backend {
            Backend::Process(server) => server.freeze(),
            Backend::Container(server) => server.freeze().await,
            Backend::Named => Err(ServerError::NotOurs),
        }
    }

    /// It goes on where [`Server::freeze`] has stopped it.
    pub async fn thaw(&self) -> Result<(), ServerError> {
        match &self.backend {
            Backend::Process(server) => server.thaw(),
            Backend::Container(server) => server.thaw().await,
            Backend::Named => Err(ServerError::NotOurs),
        }
    }

    /// The container that it runs in.
    pub fn container(&self) -> Option<&str> {
        match &self.backend {
            Backend::Container(server) => Some(server.id()),
            Backend::Named | Backend::Process(_) => None,
        }
    }

    /// Lets it run on after this process has ended; whoever reads [`Server::folder`] and [`Server::pid`], or
    /// [`Server::container`], before can stop it.
    pub fn leave_running(self) {
        match self.backend {
            Backend::Named => {}
            Backend::Process(server) => server.leave_running(),
            Backend::Container(server) => server.leave_running(),
        }
    }
}

/// How long a server may take to come up on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// How often a waiting caller looks again.
const POLL: Duration = Duration::from_millis(25);

/// The administrator of a server of ours on this machine.
fn root(port: u16, password: &Secret) -> ConnectionSettings {
    let credentials = Credentials {
        user: "root".to_owned(),
        password: password.clone(),
    };
    ConnectionSettings::for_deployment("127.0.0.1", port, credentials, Tls::default())
}
