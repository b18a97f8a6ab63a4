use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use sqlx::mysql::MySqlSslMode;

use super::ConfigError;

/// How a connection is protected, in the words of MySQL's own clients (`--ssl-mode`).
///
/// DISABLED does not go together with an account of `caching_sha2_password`, the server's default: without
/// TLS its password would have to be encrypted with a key that an unknown server sends. Such a login is
/// refused by the client unless the server still has it in its cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    Disabled,
    #[default]
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

/// mysql_async 0.37 lets a certificate of another name pass where the text of rustls's refusal has this word, and rustls
/// writes the host's name there instead (<https://github.com/blackbeam/mysql_async/issues/404>). Under VERIFY_CA the name
/// means nothing, so the host is given this one. To be removed with the release that looks at the error itself.
const ANY_NAME: &str = "NotValidForName";

/// A mode, and the authority whose signature it asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    pub mode: TlsMode,
    /// A PEM file, `--ssl-ca` of MySQL's clients.
    pub authority: Option<PathBuf>,
}

impl Tls {
    /// Without a mode: VERIFY_CA where an authority is named, as MySQL's clients do, else PREFERRED.
    pub fn new(mode: Option<TlsMode>, authority: Option<PathBuf>) -> Result<Self, ConfigError> {
        let mode = match (mode, &authority) {
            (Some(mode), _) => mode,
            (None, Some(_)) => TlsMode::VerifyCa,
            (None, None) => TlsMode::Preferred,
        };
        match mode {
            TlsMode::VerifyCa | TlsMode::VerifyIdentity if authority.is_none() => {
                Err(ConfigError::TlsAuthorityMissing { mode })
            }
            TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required if authority.is_some() => {
                Err(ConfigError::TlsAuthorityUnused { mode })
            }
            TlsMode::Disabled
            | TlsMode::Preferred
            | TlsMode::Required
            | TlsMode::VerifyCa
            | TlsMode::VerifyIdentity => Ok(Self { mode, authority }),
        }
    }

    pub(crate) fn mysql_async(&self) -> Option<mysql_async::SslOpts> {
        let unchecked = mysql_async::SslOpts::default().with_danger_accept_invalid_certs(true);
        let checked = || {
            let authorities = self.authority.iter().cloned().map(Into::into).collect();
            mysql_async::SslOpts::default()
                .with_root_certs(authorities)
                .with_disable_built_in_roots(true)
        };
        match self.mode {
            TlsMode::Disabled => None,
            TlsMode::Preferred | TlsMode::Required => Some(unchecked),
            TlsMode::VerifyCa => Some(
                checked()
                    .with_danger_skip_domain_validation(true)
                    .with_danger_tls_hostname_override(Some(ANY_NAME)),
            ),
            TlsMode::VerifyIdentity => Some(checked()),
        }
    }
}

impl From<TlsMode> for MySqlSslMode {
    fn from(mode: TlsMode) -> Self {
        match mode {
            TlsMode::Disabled => Self::Disabled,
            TlsMode::Preferred => Self::Preferred,
            TlsMode::Required => Self::Required,
            TlsMode::VerifyCa => Self::VerifyCa,
            TlsMode::VerifyIdentity => Self::VerifyIdentity,
        }
    }
}

impl FromStr for TlsMode {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text.to_ascii_uppercase().as_str() {
            "DISABLED" => Ok(Self::Disabled),
            "PREFERRED" => Ok(Self::Preferred),
            "REQUIRED" => Ok(Self::Required),
            "VERIFY_CA" => Ok(Self::VerifyCa),
            "VERIFY_IDENTITY" => Ok(Self::VerifyIdentity),
            _ => Err(ConfigError::TlsMode {
                value: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "DISABLED",
            Self::Preferred => "PREFERRED",
            Self::Required => "REQUIRED",
            Self::VerifyCa => "VERIFY_CA",
            Self::VerifyIdentity => "VERIFY_IDENTITY",
        })
    }
}
