//! Settings of the program: a flag beats the environment, which beats the file. All three are layers of one `figment`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Deserialize;
use serde::de::Error as _;

use super::{ConfigError, Secret, TlsMode, private_file};

/// Where a setting may come from. `docs/configuration.md` is checked against this table.
pub struct Setting {
    /// In the file; a dot is a table.
    pub key: &'static str,
    pub variable: &'static str,
    pub flag: Option<&'static str>,
    pub meaning: &'static str,
}

const fn option(
    key: &'static str,
    variable: &'static str,
    flag: Option<&'static str>,
    meaning: &'static str,
) -> Setting {
    Setting {
        key,
        variable,
        flag,
        meaning,
    }
}

/// What has no flag is a secret, or leads to one: a command line shows in the process list.
pub const OPTIONS: &[Setting] = &[
    option(
        "url",
        "LOCKKEEPER_URL",
        Some("--url"),
        "the control database, `mysql://user:password@host:port/schema?ssl-mode=MODE&ssl-ca=FILE`",
    ),
    option(
        "log",
        "LOCKKEEPER_LOG",
        None,
        "what is logged, to standard error: `warn` (default), `info`, `lockkeeper=debug`",
    ),
    option(
        "log_format",
        "LOCKKEEPER_LOG_FORMAT",
        Some("--log-format"),
        "`text` (default) or `json`, one object a line",
    ),
    option(
        "driver",
        "LOCKKEEPER_DRIVER",
        Some("--name"),
        "the driver's name, unique among those that run; default: host, process, random",
    ),
    option(
        "concurrency",
        "LOCKKEEPER_CONCURRENCY",
        Some("--concurrency"),
        "how many operations a driver executes at once; default 4",
    ),
    option(
        "end_seconds",
        "LOCKKEEPER_END_SECONDS",
        Some("--end-seconds"),
        "how long a driver that is told to end may take to give its leases back; default 45",
    ),
    option(
        "metrics_listen",
        "LOCKKEEPER_METRICS_LISTEN",
        Some("--metrics-listen"),
        "address and port of the driver's Prometheus endpoint; default: none",
    ),
    option(
        "otlp_endpoint",
        "LOCKKEEPER_OTLP_ENDPOINT",
        Some("--otlp-endpoint"),
        "where a driver sends a trace of each operation: a collector's gRPC address, `http://host:4317`; default: nowhere",
    ),
    option(
        "deployment.user",
        "LOCKKEEPER_DEPLOYMENT_USER",
        Some("--deployment-user"),
        "the account on the deployments; default: the control database's",
    ),
    option(
        "deployment.password",
        "LOCKKEEPER_DEPLOYMENT_PASSWORD",
        None,
        "its password; default: the control database's",
    ),
    option(
        "deployment.password_file",
        "LOCKKEEPER_DEPLOYMENT_PASSWORD_FILE",
        None,
        "a file with the password: mode 0600 and ours, or a credential of systemd",
    ),
    option(
        "deployment.credentials_command",
        "LOCKKEEPER_DEPLOYMENT_CREDENTIALS_COMMAND",
        None,
        "an array: a program and its arguments; it prints `{\"user\": …, \"password\": …}`",
    ),
    option(
        "deployment.ssl_mode",
        "LOCKKEEPER_DEPLOYMENT_SSL_MODE",
        Some("--deployment-ssl-mode"),
        "`DISABLED`, `PREFERRED` (default), `REQUIRED`, `VERIFY_CA`, `VERIFY_IDENTITY`",
    ),
    option(
        "deployment.ssl_ca",
        "LOCKKEEPER_DEPLOYMENT_SSL_CA",
        Some("--deployment-ssl-ca"),
        "the authority's certificate (PEM) for the `VERIFY_` modes",
    ),
];

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl TryFrom<String> for LogFormat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("'{text}' is unknown; it is text or json")),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub url: Option<Secret>,
    pub log: Option<String>,
    pub log_format: LogFormat,
    pub driver: Option<String>,
    #[serde(deserialize_with = "concurrency")]
    pub concurrency: Option<u16>,
    #[serde(deserialize_with = "end_seconds")]
    pub end_seconds: Option<u16>,
    #[serde(deserialize_with = "metrics_listen")]
    pub metrics_listen: Option<SocketAddr>,
    pub otlp_endpoint: Option<String>,
    /// For every deployment that has no settings of its own.
    pub deployment: DeploymentSettings,
    /// By the deployment's name.
    pub deployments: BTreeMap<String, DeploymentSettings>,
}

/// As the command line takes them.
const CONCURRENCY: RangeInclusive<u16> = 1..=1000;
const END_SECONDS: RangeInclusive<u16> = 1..=3600;

fn concurrency<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    number(from, &CONCURRENCY)
}

fn end_seconds<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    number(from, &END_SECONDS)
}

fn number<'de, D: serde::Deserializer<'de>>(
    from: D,
    range: &RangeInclusive<u16>,
) -> Result<Option<u16>, D::Error> {
    let number = i64::deserialize(from)?;
    let fits = u16::try_from(number).ok().filter(|n| range.contains(n));
    let refused = || format!("{number} is refused; it is {}", in_words(range));
    fits.map(Some).ok_or_else(|| D::Error::custom(refused()))
}

fn in_words(range: &RangeInclusive<u16>) -> String {
    format!("a number from {} to {}", range.start(), range.end())
}

fn metrics_listen<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    let refused =
        || format!("'{text}' is refused; it is an IP address and a port, such as 127.0.0.1:9187");
    text.parse()
        .map(Some)
        .map_err(|_| D::Error::custom(refused()))
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeploymentSettings {
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
    pub credentials_command: Option<Vec<String>>,
    pub ssl_mode: Option<TlsMode>,
    pub ssl_ca: Option<PathBuf>,
    /// How messages name it: the table, and what has said something in it.
    #[serde(skip)]
    pub place: String,
}

/// Where a password comes from: one of these.
const CREDENTIALS: [&str; 3] = ["password", "password_file", "credentials_command"];

/// What one source says: values by the keys of [`OPTIONS`].
#[derive(Clone, Default)]
pub struct Layer {
    name: String,
    values: Dict,
}

impl Layer {
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            values: Dict::new(),
        }
    }

    /// The same; under this name if it has none.
    #[must_use]
    pub fn or_named(mut self, name: &str) -> Self {
        if self.name.is_empty() {
            name.clone_into(&mut self.name);
        }
        self
    }

    /// Nothing is set by `None`.
    #[must_use]
    pub fn with(mut self, key: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            match key.split_once('.') {
                None => {
                    self.values.insert(key.to_owned(), value.into());
                }
                Some((table, key)) => {
                    let empty = || Value::from(Dict::new());
                    let table = self.values.entry(table.to_owned()).or_insert_with(empty);
                    if let Value::Dict(_, table) = table {
                        table.insert(key.to_owned(), value.into());
                    }
                }
            }
        }
        self
    }
}

fn tls(table: &Dict) -> (Option<TlsMode>, bool) {
    let mode = table.get("ssl_mode").and_then(Value::as_str);
    (
        mode.and_then(|text| text.parse().ok()),
        table.contains_key("ssl_ca"),
    )
}

impl Layer {
    /// Without what an upper layer says of all deployments, be it of one of them here, and what that takes the meaning from: the
    /// authority under a mode that checks nothing, such a mode under an authority, and another source of the password.
    #[must_use]
    fn without_void_by(mut self, upper: &Self) -> Self {
        let Some(Value::Dict(_, upper)) = upper.values.get("deployment") else {
            return self;
        };
        let void = |table: &Dict| match (tls(upper), tls(table)) {
            ((Some(mode), false), (_, true)) if !mode.checks() => Some("ssl_ca"),
            ((None, true), (Some(mode), _)) if !mode.checks() => Some("ssl_mode"),
            _ => None,
        };
        let has_credentials = CREDENTIALS.iter().any(|key| upper.contains_key(*key));
        for table in self.deployment_tables() {
            let void = void(table);
            table.retain(|key, _| {
                let is_void = void == Some(key.as_str())
                    || has_credentials && CREDENTIALS.contains(&key.as_str());
                !is_void && !upper.contains_key(key)
            });
        }
        self
    }

    /// `[deployment]` and each `[deployments.NAME]`.
    fn deployment_tables(&mut self) -> impl Iterator<Item = &mut Dict> {
        let tables = self.values.iter_mut().flat_map(|(key, value)| {
            let each = match (key.as_str(), value) {
                ("deployment", table) => vec![table],
                ("deployments", Value::Dict(_, tables)) => tables.values_mut().collect(),
                _ => Vec::new(),
            };
            each.into_iter()
        });
        tables.filter_map(|value| match value {
            Value::Dict(_, table) => Some(table),
            _ => None,
        })
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Settings {
    /// `file`: the one that was asked for, which must be there; else the user's own, if it is there.
    pub fn load(flags: Layer, file: Option<&Path>) -> Result<Self, ConfigError> {
        let asked = file.map(Path::to_owned).or_else(|| {
            let path = std::env::var_os("LOCKKEEPER_CONFIG")?;
            (!path.is_empty()).then(|| path.into())
        });
        let file = match asked {
            Some(path) => Some(path),
            None => own_file().filter(|path| path.exists()),
        };
        let file = match file {
            Some(path) => read(&path)?,
            None => Layer::named("no file"),
        };
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        if let Some(reason) = mistyped(names) {
            return Err(ConfigError::Setting { reason });
        }
        Self::of(flags, environment(|name| std::env::var(name).ok())?, file)
    }

    fn of(flags: Layer, environment: Layer, file: Layer) -> Result<Self, ConfigError> {
        let environment = environment.without_void_by(&flags);
        let file = file.without_void_by(&environment).without_void_by(&flags);
        let figment = Figment::new().merge(file).merge(environment).merge(flags);
        let mut settings: Self = figment.extract().map_err(refused)?;
        settings.deployment.place = place(&figment, "deployment", None);
        for (name, one) in &mut settings.deployments {
            one.place = place(&figment, "deployments", Some(name));
        }
        for one in settings.deployments.values().chain([&settings.deployment]) {
            let sources = usize::from(one.password.is_some())
                + usize::from(one.password_file.is_some())
                + usize::from(one.credentials_command.is_some());
            if sources > 1 {
                return Err(ConfigError::TwoCredentials.at(&one.place));
            }
        }
        Ok(settings)
    }
}

/// `deployment (the environment, /etc/lockkeeper/config.toml)`: a table, and what has said something in it.
fn place(figment: &Figment, table: &str, name: Option<&String>) -> String {
    let value = figment.find_value(table).ok();
    // A deployment's name may have a dot, which a path would part.
    let value = match (value, name) {
        (Some(Value::Dict(_, mut tables)), Some(name)) => tables.remove(name),
        (value, _) => value,
    };
    let values = value.and_then(Value::into_dict).unwrap_or_default();
    let mut sources: Vec<&str> = values
        .values()
        .filter_map(|value| figment.get_metadata(value.tag()))
        .map(|metadata| metadata.name.as_ref())
        .collect();
    sources.sort_unstable();
    sources.dedup();
    let table = match name {
        Some(name) => format!("{table}.{name}"),
        None => table.to_owned(),
    };
    format!("{table} ({})", sources.join(", "))
}

/// Which setting, where, and what is wrong with it. A value is repeated only where it can hold no secret.
fn refused(error: figment::Error) -> ConfigError {
    use figment::error::Kind;
    let key = error.path.join(".");
    let is_secret = OPTIONS.iter().any(|option| {
        option.key.ends_with(key.rsplit('.').next().unwrap_or(&key)) && option.flag.is_none()
    });
    let what = match error.kind {
        Kind::UnknownField(name, known) => {
            format!("'{name}' is unknown; it is one of {}", known.join(", "))
        }
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) if is_secret => {
            format!("it has to be {expected}")
        }
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("{actual} is refused; it has to be {expected}")
        }
        other => other.to_string(),
    };
    let place = match error.metadata {
        Some(metadata) => format!("{key} ({})", metadata.name),
        None => key,
    };
    ConfigError::Setting {
        reason: format!("{place}: {what}"),
    }
}

fn own_file() -> Option<PathBuf> {
    let folders = directories::ProjectDirs::from("", "", "lockkeeper")?;
    Some(folders.config_dir().join("config.toml"))
}

fn read_number(
    variable: &str,
    text: &str,
    range: &RangeInclusive<u16>,
) -> Result<u16, ConfigError> {
    text.parse().map_err(|_| ConfigError::Setting {
        reason: format!("{variable} is '{text}'; it is {}", in_words(range)),
    })
}

/// A variable that is nearly one of ours. Others with our prefix are somebody else's: Kubernetes makes some of each service's name.
fn mistyped(names: impl Iterator<Item = String>) -> Option<String> {
    const MOST_LETTERS: usize = 2;
    let known = || {
        let variables = OPTIONS.iter().map(|option| option.variable);
        variables.chain(["LOCKKEEPER_CONFIG"])
    };
    let mut ours = names.filter(|name| name.starts_with("LOCKKEEPER_"));
    ours.find_map(|name| {
        if known().any(|known| known == name) {
            return None;
        }
        let near =
            known().find(|known| strsim::damerau_levenshtein(known, &name) <= MOST_LETTERS)?;
        Some(format!(
            "the environment has {name}, which is not known; write {near}"
        ))
    })
}

/// Every value is text here: a password of digits stays what it is.
fn environment(get: impl Fn(&str) -> Option<String>) -> Result<Layer, ConfigError> {
    let mut layer = Layer::named("the environment");
    for option in OPTIONS {
        let variable = option.variable;
        // Empty is unset, as a compose file passes it on; but a password may be empty.
        let Some(text) =
            get(variable).filter(|text| !text.is_empty() || option.key == "deployment.password")
        else {
            continue;
        };
        layer = match option.key {
            "concurrency" => layer.with(
                option.key,
                Some(read_number(variable, &text, &CONCURRENCY)?),
            ),
            "end_seconds" => layer.with(
                option.key,
                Some(read_number(variable, &text, &END_SECONDS)?),
            ),
            "deployment.credentials_command" => {
                let words: Vec<String> =
                    serde_json::from_str(&text).map_err(|_| ConfigError::Setting {
                        reason: format!(
                            "{variable} is no JSON array of texts; write [\"program\", \"argument\"]"
                        ),
                    })?;
                layer.with(option.key, Some(words))
            }
            key => layer.with(key, Some(text)),
        };
    }
    Ok(layer)
}

fn read(path: &Path) -> Result<Layer, ConfigError> {
    use figment::providers::{Format as _, Toml};
    let (text, metadata) = private_file::read(path, "--config or LOCKKEEPER_CONFIG")?;
    // Its own message would repeat the line, password included.
    let values: Dict = Toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        ConfigError::Setting {
            reason: format!(
                "{}, line {}: not TOML; texts stand in quotes",
                path.display(),
                text[..at].lines().count().max(1)
            ),
        }
    })?;
    if has_secret(&values) {
        private_file::check(path, &metadata)?;
    }
    Ok(Layer {
        name: path.display().to_string(),
        values,
    })
}

fn has_secret(values: &Dict) -> bool {
    values.iter().any(|(key, value)| match value {
        Value::Dict(_, table) => has_secret(table),
        _ => key == "password" || key == "url",
    })
}

#[cfg(test)]
#[path = "settings_test.rs"]
mod tests;
