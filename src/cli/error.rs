use std::fmt;

use crate::config::ConnectionSettings;
use crate::install::{InstallError, role_name};

/// What a command ends with, for people: value, rule, next step.
#[derive(Debug)]
pub enum CliError {
    /// The command was not understood: exit code 2.
    Usage(String),
    /// It was, and failed: exit code 1.
    Failed(String),
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for CliError {}

impl From<crate::server::ServerError> for CliError {
    fn from(error: crate::server::ServerError) -> Self {
        Self::failed(error)
    }
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

impl CliError {
    pub(super) fn usage(message: impl fmt::Display) -> Self {
        Self::Usage(message.to_string())
    }

    pub(super) fn failed(message: impl fmt::Display) -> Self {
        Self::Failed(message.to_string())
    }

    pub(super) fn install(settings: &ConnectionSettings, error: InstallError) -> Self {
        match error {
            InstallError::Connect(source) | InstallError::Database(source) => {
                Self::database(settings, &source)
            }
            other => Self::failed(other),
        }
    }

    /// A refusal of the server or of the way to it, with the next step.
    pub(super) fn database(settings: &ConnectionSettings, error: &sqlx::Error) -> Self {
        let (host, port) = (&settings.host, settings.port);
        let schema = settings.schema();
        let user = &settings.credentials.user;
        if let Some(refusal) = error
            .as_database_error()
            .and_then(|error| error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>())
        {
            let message = refusal.message();
            let next = match refusal.number() {
                // The procedures say the next step themselves.
                50_000..=51_999 => return Self::failed(message),
                1045 => format!(
                    "the user or password for {host}:{port} is wrong; correct LOCKKEEPER_URL \
                     (special characters of a password are percent-encoded)"
                ),
                1049 | 1146 | 1305 | 1356 => {
                    format!(
                        "schema {schema} has no (complete) Lockkeeper; run `lockkeeper install`"
                    )
                }
                1044 | 1142 | 1370 => format!(
                    "user {user} lacks a role; GRANT '{}' (or '{}' to read) TO the account, and SET DEFAULT ROLE ALL TO it",
                    role_name(schema, "operator"),
                    role_name(schema, "reader"),
                ),
                1040 => {
                    "all connections are in use; try again, or raise max_connections".to_owned()
                }
                1290 | 1836 => "this server is read-only; connect to the primary".to_owned(),
                _ => {
                    return Self::failed(format!(
                        "{host}:{port}: {message} ({})",
                        refusal.number()
                    ));
                }
            };
            return Self::failed(format!("{message}; {next}"));
        }
        match error {
            sqlx::Error::Io(source) => Self::failed(format!(
                "no MySQL server answers at {host}:{port} ({source}); is it running, and are host and port right?"
            )),
            sqlx::Error::Tls(source) => Self::failed(format!(
                "no protected connection to {host}:{port} ({source}); check ssl-mode and ssl-ca of the address"
            )),
            sqlx::Error::Configuration(source) if source.to_string().contains("RSA") => {
                Self::failed(format!(
                    "{host}:{port} wants the password over a protected connection; use ssl-mode=REQUIRED in the address"
                ))
            }
            other => Self::failed(format!("{host}:{port}: {other}")),
        }
    }
}
