//! Where a deployment is, and how to get in.

use crate::config::{ConnectionSettings, Secret, Tls};

/// A deployment's address and credentials.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Account that the driver brings.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Encryption of every session of ours.
    pub tls: Tls,
}

impl From<ConnectionSettings> for Target {
    fn from(settings: ConnectionSettings) -> Self {
        Self {
            host: settings.host,
            port: settings.port,
            user: settings.credentials.user,
            password: settings.credentials.password,
            tls: settings.tls,
        }
    }
}
