//! Connection settings: where a MySQL server is, who connects, and how the connection is protected.
//!
//! One type serves both client libraries, so that an address and its TLS mode mean the same on each session
//! that Lockkeeper opens. Passwords live in [`Secret`] and leave it only for the client library.

mod access;
mod keepalive;
mod private_file;
mod secret;
mod settings;
mod tls;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions as _, Executor as _};
use url::Url;

use crate::server_version;

pub use access::Access;
pub(crate) use keepalive::watch_connections;
pub use secret::Secret;
pub use settings::{DeploymentSettings, Layer, LogFormat, OPTIONS, Settings};
pub use tls::{Tls, TlsMode, tls_refusal};

/// The schema that Lockkeeper lives in unless the address names another.
pub const DEFAULT_SCHEMA: &str = "lockkeeper";
const DEFAULT_PORT: u16 = 3306;

/// A server that takes longer to let somebody in is taken for one that hangs.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// What a server may have set otherwise for all of its sessions, and ours rely on.
const SETTINGS: &str = "SET autocommit = 1, sql_safe_updates = 0, sql_select_limit = 18446744073709551615, \
    sql_big_selects = 1, max_execution_time = 0, optimizer_prune_level = 1";

/// How each session begins that has no more than [`ConnectionSettings::sqlx`].
pub(crate) async fn settle(session: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    keepalive::watch_connections();
    match session.execute(SETTINGS).await {
        Ok(_) => Ok(()),
        Err(error) => Err(server_version::why_unsettled(session, error).await),
    }
}

/// Who connects.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub user: String,
    pub password: Secret,
}

/// One server and schema, and all that is needed to connect to them.
#[derive(Clone, Debug)]
pub struct ConnectionSettings {
    pub host: String,
    pub port: u16,
    pub credentials: Credentials,
    /// The schema of the control plane; a session to a deployment has none.
    pub schema: Option<String>,
    pub tls: Tls,
}

/// An address or option that cannot be used. Never holds a password: the address itself is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "the address is no URL ({reason}); write mysql://user:password@host:port/schema and percent-encode special characters"
    )]
    NotAUrl { reason: String },
    #[error("the address has scheme '{scheme}'; only mysql:// is understood")]
    Scheme { scheme: String },
    #[error("the address names no {part}; write mysql://user:password@host:port/schema")]
    Missing { part: &'static str },
    #[error("the {part} of the address is not UTF-8 after percent-decoding; encode it as UTF-8")]
    Encoding { part: &'static str },
    #[error(
        "schema name '{name}' is refused: a schema name has 1 to 64 characters, no slash, no NUL, and doesn't end in a space"
    )]
    SchemaName { name: String },
    #[error("schema {name} belongs to MySQL itself; name one of your own, such as lockkeeper")]
    SystemSchema { name: String },
    #[error("unknown option '{name}' in the address; the options are ssl-mode and ssl-ca")]
    UnknownOption { name: String },
    #[error(
        "ssl-mode '{value}' is unknown; it is DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY"
    )]
    TlsMode { value: String },
    #[error(
        "ssl-mode {mode} checks the server's certificate; name the authority's file, with ssl-ca=FILE in an address and \
         ssl_ca in the configuration file"
    )]
    TlsAuthorityMissing { mode: TlsMode },
    #[error(
        "ssl-ca is given but ssl-mode is {mode}, which checks no certificate; use VERIFY_CA or VERIFY_IDENTITY"
    )]
    TlsAuthorityUnused { mode: TlsMode },
    #[error(
        "ssl-ca {}: {reason}; name a PEM file with the certificate of the authority that signs the servers' ones",
        path.display()
    )]
    TlsAuthorityFile { path: PathBuf, reason: String },
    #[error("{reason}")]
    Setting { reason: String },
    #[error("{place}: {source}")]
    At {
        place: String,
        source: Box<ConfigError>,
    },
    #[error("{}: {source}; correct {setting}", path.display())]
    File {
        path: PathBuf,
        setting: String,
        source: std::io::Error,
    },
    #[error(
        "{} holds a secret and has mode {mode:o}; others may not read it: chmod 600 {}", path.display(), path.display()
    )]
    FileOpen { path: PathBuf, mode: u32 },
    #[error(
        "{} is for user {owner} alone, and this is user {us}; run as that user: sudo -u '#{owner}' lockkeeper …, or name a \
         file of your own",
        path.display()
    )]
    FileOwner { path: PathBuf, owner: u32, us: u32 },
    #[error("more than one of password, password_file and credentials_command is given; keep one")]
    TwoCredentials,
    #[error("no credentials for {deployment}: {program}: {reason}; run the command by hand")]
    Command {
        deployment: String,
        program: String,
        reason: String,
    },
}

impl ConfigError {
    /// The same, with the setting that it is about.
    pub fn at(self, place: &str) -> Self {
        if place.is_empty() {
            return self;
        }
        Self::At {
            place: place.to_owned(),
            source: Box::new(self),
        }
    }
}

impl ConnectionSettings {
    /// A session to a deployment: no default schema, the same kind of protection everywhere.
    pub fn for_deployment(host: &str, port: u16, credentials: Credentials, tls: Tls) -> Self {
        Self {
            host: host.to_owned(),
            port,
            credentials,
            schema: None,
            tls,
        }
    }

    /// The schema of the control plane.
    pub fn schema(&self) -> &str {
        self.schema.as_deref().unwrap_or(DEFAULT_SCHEMA)
    }

    #[must_use]
    pub fn with_schema(mut self, schema: &str) -> Self {
        self.schema = Some(schema.to_owned());
        self
    }

    #[must_use]
    pub fn without_schema(mut self) -> Self {
        self.schema = None;
        self
    }

    /// The address as `--url` and `LOCKKEEPER_URL` take it, password included: for the environment of a child.
    pub fn url(&self) -> Secret {
        use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        let mut url = format!(
            "mysql://{}:{}@{host}:{}/{}?ssl-mode={}",
            encoded(&self.credentials.user),
            encoded(self.credentials.password.expose()),
            self.port,
            encoded(self.schema()),
            self.tls.mode
        );
        if let Some(authority) = &self.tls.authority {
            url.push_str(&format!(
                "&ssl-ca={}",
                encoded(&authority.to_string_lossy())
            ));
        }
        Secret::new(url)
    }

    /// Options for sqlx: UTC, utf8mb4, and the server's own `sql_mode` (sqlx would add to it).
    pub fn sqlx(&self) -> MySqlConnectOptions {
        let mut options = MySqlConnectOptions::new()
            .host(&self.host)
            .port(self.port)
            .username(&self.credentials.user)
            .password(self.credentials.password.expose())
            .charset("utf8mb4")
            .timezone(Some("+00:00".to_owned()))
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .ssl_mode(self.tls.mode.into())
            // Each one that is slow would be a warning with its SQL.
            .disable_statement_logging();
        if let Some(schema) = &self.schema {
            options = options.database(schema);
        }
        if let Some(authority) = &self.tls.authority {
            options = options.ssl_ca(authority);
        }
        options
    }

    /// One sqlx session.
    pub async fn connect(&self) -> Result<MySqlConnection, sqlx::Error> {
        let connecting = async {
            let mut session = self.sqlx().connect().await?;
            settle(&mut session).await?;
            Ok(session)
        };
        // The kernel takes connections for a server that is stopped.
        let silent = || {
            let limit = CONNECT_LIMIT.as_secs();
            let silent = format!("it takes connections, and has not answered for {limit} s");
            sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, silent))
        };
        tokio::time::timeout(CONNECT_LIMIT, connecting)
            .await
            .unwrap_or_else(|_| Err(silent()))
    }

    /// Options for mysql_async. It knows no PREFERRED: that mode becomes TLS here, and
    /// [`ConnectionSettings::connect_mysql_async`] falls back where the server has none.
    pub fn mysql_async(&self) -> mysql_async::OptsBuilder {
        self.mysql_async_with(self.tls.mysql_async())
    }

    fn mysql_async_with(&self, tls: Option<mysql_async::SslOpts>) -> mysql_async::OptsBuilder {
        mysql_async::OptsBuilder::default()
            .ip_or_hostname(&self.host)
            .tcp_port(self.port)
            .user(Some(&self.credentials.user))
            .pass(Some(self.credentials.password.expose()))
            .db_name(self.schema.as_deref())
            // Left alone it would switch to the server's socket file, on a loopback address.
            .prefer_socket(false)
            .setup(vec!["SET time_zone = '+00:00', NAMES utf8mb4", SETTINGS])
            .ssl_opts(tls)
    }

    /// One mysql_async session.
    pub async fn connect_mysql_async(&self) -> Result<mysql_async::Conn, mysql_async::Error> {
        let (session, _) = self.connect_and_settle().await?;
        Ok(session)
    }

    /// A pool of one mysql_async session, which runs `setup` first.
    pub async fn mysql_async_pool(
        &self,
        setup: String,
    ) -> Result<mysql_async::Pool, mysql_async::Error> {
        let (session, options) = self.connect_and_settle().await?;
        session.disconnect().await?;
        let one = mysql_async::PoolConstraints::new(0, 1).expect("zero to one");
        let options = options
            .setup(vec![setup])
            .pool_opts(mysql_async::PoolOpts::default().with_constraints(one));
        Ok(mysql_async::Pool::new(options))
    }

    /// A session, and the options that it took to get one.
    async fn connect_and_settle(
        &self,
    ) -> Result<(mysql_async::Conn, mysql_async::OptsBuilder), mysql_async::Error> {
        use mysql_async::{Conn, DriverError, Error};
        let options = self.mysql_async();
        match Conn::new(options.clone()).await {
            Ok(session) => Ok((session, options)),
            Err(Error::Driver(DriverError::NoClientSslFlagFromServer))
                if self.tls.mode == TlsMode::Preferred =>
            {
                let options = self.mysql_async_with(None);
                Ok((Conn::new(options.clone()).await?, options))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether somebody answers and lets us in; the session is closed again.
    pub async fn probe(&self) -> Result<(), sqlx::Error> {
        let mut session = self.connect().await?;
        session.execute("DO 0").await?;
        sqlx::Connection::close(session).await
    }
}

/// `user@host:port/schema`: how messages name a server.
impl fmt::Display for ConnectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.credentials.user, self.host, self.port)?;
        match &self.schema {
            Some(schema) => write!(f, "/{schema}"),
            None => Ok(()),
        }
    }
}

impl FromStr for ConnectionSettings {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        // Where a password has one of these, the rest of it would be taken for a host, a schema or an option, and be shown.
        let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
        let end = authority.find(['/', '?', '#']);
        if end.is_some_and(|end| authority[end..].contains('@')) {
            return Err(ConfigError::NotAUrl {
                reason: "there is an @ behind the first of / ? #".to_owned(),
            });
        }
        let url = Url::parse(text).map_err(|error| ConfigError::NotAUrl {
            reason: error.to_string(),
        })?;
        if url.scheme() != "mysql" {
            return Err(ConfigError::Scheme {
                scheme: url.scheme().to_owned(),
            });
        }
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or(ConfigError::Missing { part: "host" })?;
        let host = decoded(host, "host")?;
        // An IPv6 address stands in brackets in a URL only.
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&host)
            .to_owned();
        let user = decoded(url.username(), "user")?;
        if user.is_empty() {
            return Err(ConfigError::Missing { part: "user" });
        }
        let password = decoded(url.password().unwrap_or_default(), "password")?;
        let schema = decoded(url.path().trim_start_matches('/'), "schema")?;
        let schema = if schema.is_empty() {
            DEFAULT_SCHEMA.to_owned()
        } else {
            schema
        };
        check_schema_name(&schema)?;
        Ok(Self {
            host,
            port: url.port().unwrap_or(DEFAULT_PORT),
            credentials: Credentials {
                user,
                password: Secret::new(password),
            },
            schema: Some(schema),
            tls: tls_of(&url)?,
        })
    }
}

fn tls_of(url: &Url) -> Result<Tls, ConfigError> {
    let mut mode = None;
    let mut authority = None;
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "ssl-mode" | "ssl_mode" => mode = Some(value.parse()?),
            "ssl-ca" | "ssl_ca" => authority = Some(value.into_owned().into()),
            other => {
                return Err(ConfigError::UnknownOption {
                    name: other.to_owned(),
                });
            }
        }
    }
    Tls::new(mode, authority)
}

fn decoded(text: &str, part: &'static str) -> Result<String, ConfigError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| ConfigError::Encoding { part })
}

fn check_schema_name(name: &str) -> Result<(), ConfigError> {
    let system = ["mysql", "sys", "information_schema", "performance_schema"];
    if system.iter().any(|one| one.eq_ignore_ascii_case(name)) {
        return Err(ConfigError::SystemSchema {
            name: name.to_owned(),
        });
    }
    let fits = (1..=64).contains(&name.chars().count());
    if fits && !name.contains(['/', '\0']) && !name.ends_with(' ') {
        Ok(())
    } else {
        Err(ConfigError::SchemaName {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> ConnectionSettings {
        text.parse().expect("a good address")
    }

    #[test]
    fn every_part_of_an_address_is_percent_decoded() {
        let parsed = settings("mysql://dba%40ops:p%2Fw%3A%40%25@db-1.example:3307/lock%20keeper");
        assert_eq!(parsed.credentials.user, "dba@ops");
        assert_eq!(parsed.credentials.password.expose(), "p/w:@%");
        assert_eq!((parsed.host.as_str(), parsed.port), ("db-1.example", 3307));
        assert_eq!(parsed.schema(), "lock keeper");
    }

    #[test]
    fn an_address_written_out_is_read_back() {
        let text = "mysql://dba%40ops:p%2Fw%3A%40%25@[::1]:3307/lock%20keeper?ssl-mode=VERIFY_CA&ssl-ca=/etc/a%26b.pem";
        let (first, again) = (settings(text), settings(settings(text).url().expose()));
        assert_eq!(format!("{first:?}"), format!("{again:?}"));
        assert_eq!(first.credentials.password, again.credentials.password);
    }

    #[test]
    fn port_and_schema_have_defaults() {
        let parsed = settings("mysql://dba@db");
        assert_eq!((parsed.port, parsed.schema()), (3306, "lockkeeper"));
        assert_eq!(parsed.tls.mode, TlsMode::Preferred);
    }

    #[test]
    fn an_ipv6_address_loses_its_brackets() {
        assert_eq!(settings("mysql://dba@[::1]:3306/").host, "::1");
    }

    #[test]
    fn tls_modes_have_the_names_of_mysqls_own_clients() {
        let parsed = settings("mysql://dba@db/?ssl-mode=verify_ca&ssl-ca=/etc/ca.pem");
        assert_eq!(parsed.tls.mode, TlsMode::VerifyCa);
        let refused = "mysql://dba@db/?ssl-mode=VERIFY_IDENTITY"
            .parse::<ConnectionSettings>()
            .unwrap_err();
        assert!(refused.to_string().contains("ssl-ca=FILE"), "{refused}");
    }

    #[test]
    fn mysqls_own_schemas_are_left_alone() {
        for schema in ["mysql", "SYS", "information_schema", "performance_schema"] {
            let parsed = format!("mysql://dba@db/{schema}").parse::<ConnectionSettings>();
            let refused = parsed.unwrap_err().to_string();
            assert!(refused.contains(schema), "{refused}");
        }
    }

    #[test]
    fn an_unknown_option_is_refused_by_name() {
        let refused = "mysql://dba@db/?sslmode=REQUIRED"
            .parse::<ConnectionSettings>()
            .unwrap_err();
        assert!(refused.to_string().contains("sslmode"), "{refused}");
    }

    #[test]
    fn a_password_shows_in_no_output() {
        let parsed = settings("mysql://dba:hunter2@db/x");
        assert!(!format!("{parsed:?} {parsed:#?} {parsed}").contains("hunter2"));
        let refused = "mysql:/dba:hunter2@db"
            .parse::<ConnectionSettings>()
            .unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    }
}
