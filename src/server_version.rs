//! Versions of MySQL, and the oldest that is supported.

use std::fmt;

use sqlx::mysql::MySqlConnection;

use crate::server_error;

/// The oldest server that Lockkeeper runs on.
pub const OLDEST: Version = Version(8, 0, 22);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

impl Version {
    /// The numbers that a text like `8.0.22-log` begins with.
    pub fn of(text: &str) -> Option<Self> {
        let mut numbers = text
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse().ok());
        Some(Self(numbers.next()??, numbers.next()??, numbers.next()??))
    }
}

/// A server that Lockkeeper doesn't run on, by its version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server is {0}; only MySQL {OLDEST} or later is supported")]
pub struct Unsupported(pub String);

/// MariaDB's numbers are higher, and mean another server.
pub fn unsupported(version: &str) -> Option<Unsupported> {
    let is_other = version.to_ascii_lowercase().contains("mariadb");
    let is_old = Version::of(version).is_none_or(|version| version < OLDEST);
    (is_other || is_old).then(|| Unsupported(version.to_owned()))
}

/// Asks the server; one that is not supported is [`sqlx::Error::Configuration`] with an [`Unsupported`].
pub async fn check(session: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let version: String = sqlx::query_scalar("SELECT VERSION()")
        .fetch_one(session)
        .await?;
    match unsupported(&version) {
        Some(unsupported) => Err(sqlx::Error::Configuration(Box::new(unsupported))),
        None => Ok(()),
    }
}

/// What made the first settings of a session fail. Where the server knows one of them not (1193), it is its version that matters; only
/// then is it asked for.
pub async fn why_unsettled(session: &mut MySqlConnection, error: sqlx::Error) -> sqlx::Error {
    match server_error::number(&error) {
        Some(1193) => check(session).await.err().unwrap_or(error),
        Some(_) | None => error,
    }
}

/// The server that was refused for its version, if that is the error.
pub fn refused(error: &sqlx::Error) -> Option<&Unsupported> {
    match error {
        sqlx::Error::Configuration(source) => source.downcast_ref(),
        _ => None,
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert_eq!(Version::of("8.0.22-log"), Some(OLDEST));
        assert_eq!(Version::of("9.7.4-2"), Some(Version(9, 7, 4)));
        assert!(Version::of("8.0.9").unwrap() < OLDEST);
        assert!(Version::of("10.1.0").unwrap() > OLDEST);
        assert_eq!(Version::of("next"), None);
    }

    #[test]
    fn only_mysql_that_is_new_enough_is_supported() {
        for version in ["8.0.22", "8.0.36-28", "8.4.6", "9.7.4-2-debian"] {
            assert_eq!(unsupported(version), None);
        }
        for version in ["5.7.44-log", "8.0.21", "10.11.6-MariaDB-0+deb12u1", "next"] {
            let said = unsupported(version).expect(version).to_string();
            let wanted =
                format!("the server is {version}; only MySQL 8.0.22 or later is supported");
            assert_eq!(said, wanted);
        }
    }
}
