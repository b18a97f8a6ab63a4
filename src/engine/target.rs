//! Where a deployment is, and how to get in.

use std::fmt;

/// A text that no log, error or debug output shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that opens a session.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How a session is encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Disabled,
    /// Where the server offers it; the certificate is not checked.
    #[default]
    Preferred,
    /// Always; the certificate is not checked.
    Required,
    /// Always; the certificate must come from this authority (PEM file) and name the host.
    VerifyIdentity {
        /// The authority's certificate, or the system's when absent.
        ca_file: Option<std::path::PathBuf>,
    },
}

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
    pub password: Password,
    /// Encryption of every session of ours.
    pub tls: Tls,
}

impl From<crate::config::ConnectionSettings> for Target {
    fn from(settings: crate::config::ConnectionSettings) -> Self {
        use crate::config::TlsMode;
        let ca_file = settings.tls.authority.clone();
        Self {
            host: settings.host,
            port: settings.port,
            user: settings.credentials.user,
            password: Password::new(settings.credentials.password.expose()),
            tls: match settings.tls.mode {
                TlsMode::Disabled => Tls::Disabled,
                TlsMode::Preferred => Tls::Preferred,
                TlsMode::Required => Tls::Required,
                TlsMode::VerifyCa | TlsMode::VerifyIdentity => Tls::VerifyIdentity { ca_file },
            },
        }
    }
}
