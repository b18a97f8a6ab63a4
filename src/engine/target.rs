//! Where a deployment is, and how to get in.

use std::fmt;
use std::path::PathBuf;

use crate::config::{self, TlsMode};

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
    /// Always; the certificate must come from this authority, whatever name it has.
    VerifyCa {
        /// The authority's certificate, a PEM file.
        ca_file: Option<PathBuf>,
    },
    /// Always; the certificate must come from this authority and name the host.
    VerifyIdentity {
        /// The authority's certificate, a PEM file.
        ca_file: Option<PathBuf>,
    },
}

impl Tls {
    /// The same in the words of the settings, which both client libraries have their options from.
    pub(super) fn settings(&self) -> config::Tls {
        let (mode, authority) = match self {
            Self::Disabled => (TlsMode::Disabled, None),
            Self::Preferred => (TlsMode::Preferred, None),
            Self::Required => (TlsMode::Required, None),
            Self::VerifyCa { ca_file } => (TlsMode::VerifyCa, ca_file.clone()),
            Self::VerifyIdentity { ca_file } => (TlsMode::VerifyIdentity, ca_file.clone()),
        };
        config::Tls { mode, authority }
    }
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

impl From<config::ConnectionSettings> for Target {
    fn from(settings: config::ConnectionSettings) -> Self {
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
                TlsMode::VerifyCa => Tls::VerifyCa { ca_file },
                TlsMode::VerifyIdentity => Tls::VerifyIdentity { ca_file },
            },
        }
    }
}
