//! What a command ends with that could not be done.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::config::{ConnectionSettings, tls_refusal};
use crate::control::{ControlError, ErrorCode};
use crate::drive::DriveError;
use crate::install::{InstallError, role_name};
use crate::server_error;

/// What a command ends with: value, rule, next step for people, and a code for programs.
#[derive(Debug)]
pub struct CliError {
    how: How,
    message: String,
    /// The server's number, where it was the server that refused.
    code: Option<u16>,
    /// What a program may read beside the message.
    details: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// It was understood, and failed.
    Failed,
    /// The command was not understood.
    Usage,
    /// Ctrl-C, before it was done.
    Interrupted,
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
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
        Self::failed(format!("{error:#}"))
    }
}

impl CliError {
    fn new(how: How, message: impl fmt::Display) -> Self {
        Self {
            how,
            message: message.to_string(),
            code: None,
            details: Map::new(),
        }
    }

    pub(super) fn usage(message: impl fmt::Display) -> Self {
        Self::new(How::Usage, message)
    }

    pub(super) fn failed(message: impl fmt::Display) -> Self {
        Self::new(How::Failed, message)
    }

    pub(super) fn interrupted(message: impl fmt::Display) -> Self {
        Self::new(How::Interrupted, message)
    }

    /// The server refused, with this number.
    fn refused(code: u16, message: impl fmt::Display) -> Self {
        Self {
            code: Some(code),
            ..Self::failed(message)
        }
    }

    /// The same, with something that programs may read under `key`.
    #[must_use]
    pub(super) fn with(mut self, key: &str, value: Value) -> Self {
        self.details.insert(key.to_owned(), value);
        self
    }

    /// Whether the server answered, and will answer the same again. While `install` replaces routines, a view lacks one (1356), and
    /// somebody its right to call one (1370). Proxies say with numbers of their own that there is no server just now.
    pub(super) fn is_for_good(&self) -> bool {
        self.code.is_some_and(|code| {
            !server_error::may_pass(code)
                && !matches!(code, 1105 | 1305 | 1356 | 1370 | 9000..=9999)
        })
    }

    /// The ones that `--help` lists.
    pub(super) fn exit_code(&self) -> u8 {
        match self.how {
            How::Failed => 1,
            How::Usage => 2,
            How::Interrupted => 130,
        }
    }

    /// What `--json` writes to standard error.
    pub(super) fn json(&self) -> Value {
        let name = self
            .code
            .and_then(|number| ErrorCode::ALL.into_iter().find(|c| c.number() == number));
        let mut error = self.details.clone();
        error.insert("message".to_owned(), json!(self.message));
        error.insert("code".to_owned(), json!(self.code));
        error.insert("name".to_owned(), json!(name.map(ErrorCode::name)));
        error.insert("exit_code".to_owned(), json!(self.exit_code()));
        json!({ "error": error })
    }

    pub(super) fn install(settings: &ConnectionSettings, error: InstallError) -> Self {
        match error {
            InstallError::Connect(source) | InstallError::Database(source) => {
                Self::database(settings, &source)
            }
            other => Self::failed(other),
        }
    }

    /// A driver that could not go on.
    pub(super) fn drive(settings: &ConnectionSettings, error: DriveError) -> Self {
        match error {
            DriveError::Control(
                ControlError::Unreachable(source) | ControlError::Server(source),
            ) => Self::database(settings, &source),
            DriveError::Control(ControlError::Refused { code, message }) => {
                Self::refused(code.number(), message)
            }
            DriveError::Late(_) => Self::interrupted(error),
            other => Self::failed(other),
        }
    }

    /// A server that is there, and says nothing.
    pub(super) fn silent(settings: &ConnectionSettings, waited: Duration) -> Self {
        Self::failed(format!(
            "{}:{} has not answered for {} s; is the server overloaded, or stopped?",
            settings.host,
            settings.port,
            waited.as_secs()
        ))
    }

    /// A refusal of the server or of the way to it, with the next step.
    pub(super) fn database(settings: &ConnectionSettings, error: &sqlx::Error) -> Self {
        let (host, port) = (&settings.host, settings.port);
        let schema = settings.schema();
        let user = &settings.credentials.user;
        if let (Some(number), Some(refusal)) =
            (server_error::number(error), error.as_database_error())
        {
            let message = refusal.message().trim_end_matches('.');
            let next = match number {
                // The procedures say the next step themselves.
                50_000..=51_999 => return Self::refused(number, message),
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
                    "user {user} lacks a role; GRANT '{}' ('{}' for a driver, '{}' to read) TO the account, and SET DEFAULT \
                     ROLE ALL TO it; who installs needs all rights on {schema}",
                    role_name(schema, "operator"),
                    role_name(schema, "driver"),
                    role_name(schema, "reader"),
                ),
                // A view without a column, a procedure with other parameters.
                1054 | 1318 => format!(
                    "schema {schema} was installed by another lockkeeper than this one; run `lockkeeper install` with the \
                     newer of both"
                ),
                1040 => {
                    "all connections are in use; try again, or raise max_connections".to_owned()
                }
                1290 | 1836 => "this server is read-only; connect to the primary".to_owned(),
                1461 => server_error::MORE_PREPARED.to_owned(),
                1792 => {
                    "every new session begins read-only here; SET GLOBAL transaction_read_only = OFF, or \
                     connect to the primary if this server is none"
                        .to_owned()
                }
                _ => {
                    return Self::refused(number, format!("{host}:{port}: {message} ({number})"));
                }
            };
            return Self::refused(number, format!("{message}; {next}"));
        }
        if let Some(why) = tls_refusal(error) {
            return Self::failed(format!(
                "no protected connection to {host}:{port} ({why}); check ssl-mode and ssl-ca of the address"
            ));
        }
        match error {
            sqlx::Error::Io(source) => Self::failed(format!(
                "no MySQL server answers at {host}:{port} ({}); is it running, and are host and port right?",
                server_error::broken_off(source)
            )),
            sqlx::Error::Configuration(source) if source.to_string().contains("RSA") => {
                Self::failed(format!(
                    "{host}:{port} wants the password over a protected connection; use ssl-mode=REQUIRED in the address"
                ))
            }
            other => Self::failed(format!("{host}:{port}: {}", server_error::story(other))),
        }
    }
}
