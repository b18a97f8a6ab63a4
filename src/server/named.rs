//! A server that somebody else runs.

use crate::config::ConnectionSettings;

use super::ServerError;

/// Names a server for tests and benches by the address of an account that may create schemas and accounts. The demo and the
/// sandbox bring their own.
pub const TEST_URL_VARIABLE: &str = "LOCKKEEPER_TEST_URL";

/// The server that the environment names, if it names one. Its schema part is not used.
pub fn named() -> Result<Option<ConnectionSettings>, ServerError> {
    match std::env::var(TEST_URL_VARIABLE) {
        Ok(text) if !text.is_empty() => text
            .parse::<ConnectionSettings>()
            .map(|settings| Some(settings.without_schema()))
            .map_err(ServerError::NamedAddress),
        Ok(_) | Err(_) => Ok(None),
    }
}
