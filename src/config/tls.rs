//! How a connection is protected, in the words of MySQL's clients.

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
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

impl TlsMode {
    pub const ALL: [Self; 5] = [
        Self::Disabled,
        Self::Preferred,
        Self::Required,
        Self::VerifyCa,
        Self::VerifyIdentity,
    ];

    /// As MySQL's clients name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "DISABLED",
            Self::Preferred => "PREFERRED",
            Self::Required => "REQUIRED",
            Self::VerifyCa => "VERIFY_CA",
            Self::VerifyIdentity => "VERIFY_IDENTITY",
        }
    }

    /// Whether an authority's word is asked for.
    pub fn checks(self) -> bool {
        match self {
            Self::Disabled | Self::Preferred | Self::Required => false,
            Self::VerifyCa | Self::VerifyIdentity => true,
        }
    }
}

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
        match (mode.checks(), &authority) {
            (true, None) => Err(ConfigError::TlsAuthorityMissing { mode }),
            (false, Some(_)) => Err(ConfigError::TlsAuthorityUnused { mode }),
            (true, Some(_)) | (false, None) => Ok(Self { mode, authority }),
        }
    }

    /// What is said of one place, over what is said of all: what it leaves out is as there, as far as it has a meaning.
    pub(super) fn over(
        &self,
        mode: Option<TlsMode>,
        authority: Option<PathBuf>,
    ) -> Result<Self, ConfigError> {
        match (mode, authority) {
            (None, None) => Ok(self.clone()),
            (None, authority) => Self::new(Some(self.mode).filter(|mode| mode.checks()), authority),
            (Some(mode), None) if mode.checks() => Self::new(Some(mode), self.authority.clone()),
            (Some(mode), authority) => Self::new(Some(mode), authority),
        }
    }

    /// The same, if the authority's file can be read: the client libraries open it as they connect, and then it looks as if
    /// the server were to blame.
    pub fn with_readable_authority(self) -> Result<Self, ConfigError> {
        let Some(path) = &self.authority else {
            return Ok(self);
        };
        let refused = |reason: String| ConfigError::TlsAuthorityFile {
            path: path.clone(),
            reason,
        };
        let content = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
        if !String::from_utf8_lossy(&content).contains("-----BEGIN CERTIFICATE-----") {
            return Err(refused("it holds no certificate".to_owned()));
        }
        Ok(self)
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

/// What a session was refused for, if it was for its protection: sqlx tells of a certificate as of a broken connection.
pub fn tls_refusal(error: &sqlx::Error) -> Option<String> {
    match error {
        sqlx::Error::Tls(source) => Some(source.to_string()),
        sqlx::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
            Some(source.to_string())
        }
        _ => None,
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

impl TryFrom<String> for TlsMode {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl FromStr for TlsMode {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let mut all = Self::ALL.into_iter();
        let named = all.find(|mode| mode.name().eq_ignore_ascii_case(text));
        named.ok_or_else(|| ConfigError::TlsMode {
            value: text.to_owned(),
        })
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_of_its_own_lowers_no_mode_and_a_mode_that_checks_nothing_needs_none() {
        use TlsMode::{Preferred, Required, VerifyCa, VerifyIdentity};
        let tls = |mode, authority: Option<&str>| Tls {
            mode,
            authority: authority.map(Into::into),
        };
        for (base, mode, authority, expected) in [
            (
                tls(VerifyIdentity, Some("a")),
                None,
                Some("b"),
                tls(VerifyIdentity, Some("b")),
            ),
            (
                tls(VerifyCa, Some("a")),
                Some(VerifyIdentity),
                None,
                tls(VerifyIdentity, Some("a")),
            ),
            (
                tls(VerifyIdentity, Some("a")),
                Some(Required),
                None,
                tls(Required, None),
            ),
            (
                tls(VerifyIdentity, Some("a")),
                None,
                None,
                tls(VerifyIdentity, Some("a")),
            ),
            (
                tls(Required, None),
                None,
                Some("b"),
                tls(VerifyCa, Some("b")),
            ),
            (
                tls(Preferred, None),
                Some(Required),
                None,
                tls(Required, None),
            ),
        ] {
            let over = base.over(mode, authority.map(Into::into));
            assert_eq!(over.expect("good settings"), expected, "over {base:?}");
        }
    }

    #[test]
    fn an_authority_is_a_file_with_a_certificate() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let tls = Tls::new(None, Some(file.path().to_owned())).expect("a mode");
        let refused = tls.clone().with_readable_authority().unwrap_err();
        let path = file.path().display().to_string();
        assert!(refused.to_string().contains(&path), "{refused}");
        std::fs::write(file.path(), "-----BEGIN CERTIFICATE-----\n").expect("written");
        assert_eq!(tls.clone().with_readable_authority().expect("read"), tls);
    }
}
