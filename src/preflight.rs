//! What is looked at before a change is submitted: how each statement would go on each deployment, what stands in its
//! way, and whether the deployments' tables are the same. The engine looks again when the work begins; this is for people.

mod checkup;
mod difference;
mod drift;
mod room;
mod trial;
mod twins;

use std::time::Duration;

use crate::config::{Access, ConnectionSettings, tls_refusal};
use crate::engine::EngineError;
use crate::engine::names::Owner;
use crate::engine::session::{Session, Sessions};
use crate::server_error;
use crate::server_version::{self, Unsupported};

pub use checkup::{Finding, Severity, Whose, checkup};
pub use drift::{Drift, drift};
pub use trial::{Change, Examination, Planned, TableText, examine};
pub use twins::{note_twins, server_of, twin};

use NotLookedAt::Unreachable;

/// Eight hex digits in the names of what a preflight makes on a deployment, and removes again.
pub const INSTALLATION: &str = "00000000";
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A deployment as it is registered.
#[derive(Debug, Clone)]
pub struct Place {
    pub deployment: String,
    pub host: String,
    pub port: u16,
}

/// Why a deployment could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum NotLookedAt {
    /// A driver elsewhere may still reach it.
    #[error("{0}")]
    Unreachable(String),
    /// From wherever it is reached.
    #[error("{0}")]
    Unsupported(Unsupported),
}

impl Place {
    async fn settings(&self, access: &Access) -> Result<ConnectionSettings, NotLookedAt> {
        access
            .to(&self.deployment, &self.host, self.port)
            .await
            .map_err(|error| Unreachable(error.to_string()))
    }

    /// A session as the engine's own, of nobody's operation.
    async fn session(&self, access: &Access) -> Result<(Session, Owner), NotLookedAt> {
        let settings = self.settings(access).await?;
        // The engine waits longer for a server than a person at a prompt does.
        tokio::time::timeout(CONNECT_LIMIT, settings.probe())
            .await
            .map_err(|_| {
                Unreachable(format!(
                    "{settings} does not answer within {} s",
                    CONNECT_LIMIT.as_secs()
                ))
            })?
            .map_err(|error| refused_by(&settings, &error))?;
        let owner = Owner {
            installation: INSTALLATION.to_owned(),
            operation_id: u64::from(rand::random::<u32>()),
            epoch: 1,
        };
        let sessions = Sessions::new(settings.into(), owner.clone(), trial::nobody());
        let session = sessions.open().await.map_err(not_looked_at)?;
        Ok((session, owner))
    }
}

/// With the next step, as far as it can be told from here.
fn refused_by(settings: &ConnectionSettings, error: &sqlx::Error) -> NotLookedAt {
    if let Some(server) = server_version::refused(error) {
        return NotLookedAt::Unsupported(server.clone());
    }
    if let Some(why) = tls_refusal(error) {
        return Unreachable(format!(
            "{settings}: no protected connection ({why}); check --deployment-ssl-mode and --deployment-ssl-ca, or ssl_mode \
             and ssl_ca of the configuration file"
        ));
    }
    let (what, next) = match (server_error::number(error), error) {
        (Some(1045), _) => (
            error
                .as_database_error()
                .map_or_else(String::new, |error| error.message().to_owned()),
            "correct the account for this deployment: LOCKKEEPER_DEPLOYMENT_USER and _PASSWORD, or [deployments.NAME] of \
             the configuration file",
        ),
        (_, sqlx::Error::Io(source)) => (
            format!("no MySQL server answers ({source})"),
            "is it running, and is its address right in `lockkeeper deployment list`?",
        ),
        (_, other) => return Unreachable(format!("{settings}: {other}")),
    };
    Unreachable(format!("{settings}: {what}; {next}"))
}

fn not_looked_at(error: EngineError) -> NotLookedAt {
    match error.cause().and_then(server_version::refused) {
        Some(server) => NotLookedAt::Unsupported(server.clone()),
        None => Unreachable(error.message()),
    }
}
