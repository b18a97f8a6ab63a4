//! How a deployment is entered: its own credentials or those for all, from the settings, a file, or a command.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;

use super::settings::{DeploymentSettings, Settings};
use super::{ConfigError, ConnectionSettings, Credentials, Secret, Tls, private_file};

/// A vault that doesn't answer is no reason to hang for ever.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// Asked for each session of a driver to a new operation, so that what a vault hands out may change.
#[derive(Debug, Clone)]
pub struct Access {
    default: Entry,
    each: BTreeMap<String, Entry>,
    /// Where to, whatever address is registered.
    at: Option<(String, u16)>,
}

#[derive(Debug, Clone)]
struct Entry {
    user: String,
    password: Source,
    tls: Tls,
}

#[derive(Debug, Clone)]
enum Source {
    Given(Secret),
    File { path: PathBuf, setting: String },
    Command(Vec<String>),
}

impl Access {
    /// The same everywhere.
    pub fn everywhere(credentials: Credentials, tls: Tls) -> Self {
        Self {
            default: Entry {
                user: credentials.user,
                password: Source::Given(credentials.password),
                tls,
            },
            each: BTreeMap::new(),
            at: None,
        }
    }

    /// What is not said about a deployment is as for all; what is not said at all, as for the control database.
    pub fn new(settings: &Settings, control: &Credentials) -> Result<Self, ConfigError> {
        Self::changed(Self::everywhere(control.clone(), Tls::default()), settings)
    }

    /// The control database's server is the deployment, by the way that this process has to it: what is not said is as for that,
    /// TLS included.
    pub fn to_control(
        settings: &Settings,
        control: &ConnectionSettings,
    ) -> Result<Self, ConfigError> {
        let base = Self::everywhere(control.credentials.clone(), control.tls.clone());
        Ok(Self {
            at: Some((control.host.clone(), control.port)),
            ..Self::changed(base, settings)?
        })
    }

    fn changed(base: Self, settings: &Settings) -> Result<Self, ConfigError> {
        let default = base.default.changed_by(&settings.deployment)?;
        let each = settings
            .deployments
            .iter()
            .map(|(name, own)| Ok((name.clone(), default.changed_by(own)?)))
            .collect::<Result<_, ConfigError>>()?;
        Ok(Self {
            default,
            each,
            at: None,
        })
    }

    /// All that is needed to connect to a deployment.
    pub async fn to(
        &self,
        deployment: &str,
        host: &str,
        port: u16,
    ) -> Result<ConnectionSettings, ConfigError> {
        let entry = self.each.get(deployment).unwrap_or(&self.default);
        let (host, port) = match &self.at {
            Some((host, port)) => (host.as_str(), *port),
            None => (host, port),
        };
        let credentials = match &entry.password {
            Source::Given(password) => Credentials {
                user: entry.user.clone(),
                password: password.clone(),
            },
            Source::File { path, setting } => Credentials {
                user: entry.user.clone(),
                password: private_file::read_secret(path, setting)
                    .map_err(|error| error.at(&format!("no password for {deployment}")))?,
            },
            Source::Command(words) => ask(words, deployment, host, port, &entry.user).await?,
        };
        let tls = entry.tls.clone();
        Ok(ConnectionSettings::for_deployment(
            host,
            port,
            credentials,
            tls,
        ))
    }
}

impl Entry {
    fn changed_by(&self, own: &DeploymentSettings) -> Result<Self, ConfigError> {
        let password = if let Some(password) = &own.password {
            Source::Given(password.clone())
        } else if let Some(path) = &own.password_file {
            Source::File {
                path: path.clone(),
                setting: format!("password_file of {}", own.place),
            }
        } else if let Some(words) = &own.credentials_command {
            Source::Command(words.clone())
        } else {
            self.password.clone()
        };
        let tls = self.tls.over(own.ssl_mode, own.ssl_ca.clone());
        let tls = tls
            .and_then(Tls::with_readable_authority)
            .map_err(|error| error.at(&own.place))?;
        Ok(Self {
            user: own.user.clone().unwrap_or_else(|| self.user.clone()),
            password,
            tls,
        })
    }
}

/// What a command prints.
#[derive(Deserialize)]
struct Printed {
    user: Option<String>,
    password: Secret,
}

/// Runs the command with the deployment's name and address in its environment, and for `{deployment}` in its arguments.
async fn ask(
    words: &[String],
    deployment: &str,
    host: &str,
    port: u16,
    user: &str,
) -> Result<Credentials, ConfigError> {
    let refused = |reason: String| ConfigError::Command {
        deployment: deployment.to_owned(),
        program: words.first().cloned().unwrap_or_default(),
        reason,
    };
    let [program, arguments @ ..] = words else {
        return Err(refused("the array is empty".to_owned()));
    };
    let output = tokio::process::Command::new(program)
        .args(
            arguments
                .iter()
                .map(|word| word.replace("{deployment}", deployment)),
        )
        .env("LOCKKEEPER_DEPLOYMENT", deployment)
        .env("LOCKKEEPER_DEPLOYMENT_HOST", host)
        .env("LOCKKEEPER_DEPLOYMENT_PORT", port.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(COMMAND_LIMIT, output)
        .await
        .map_err(|_| {
            refused(format!(
                "it did not end within {} s",
                COMMAND_LIMIT.as_secs()
            ))
        })?
        .map_err(|error| refused(error.to_string()))?;
    if !output.status.success() {
        return Err(refused(format!("it ended with {}", output.status)));
    }
    // What it printed is repeated nowhere.
    let printed: Printed = serde_json::from_slice(&output.stdout)
        .map_err(|_| refused("it printed no {\"user\": …, \"password\": …}".to_owned()))?;
    Ok(Credentials {
        user: printed.user.unwrap_or_else(|| user.to_owned()),
        password: printed.password,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsMode;

    fn control() -> Credentials {
        Credentials {
            user: "control".to_owned(),
            password: Secret::new("of-control"),
        }
    }

    fn access(settings: Settings) -> Access {
        Access::new(&settings, &control()).expect("good settings")
    }

    async fn shown(access: &Access, deployment: &str) -> String {
        let settings = access
            .to(deployment, "db", 3306)
            .await
            .expect("credentials");
        let Credentials { user, password } = settings.credentials;
        format!("{user}:{} {}", password.expose(), settings.tls.mode)
    }

    fn with(own: DeploymentSettings) -> Settings {
        Settings {
            deployment: DeploymentSettings {
                user: Some("all".to_owned()),
                ssl_mode: Some(TlsMode::Required),
                ..DeploymentSettings::default()
            },
            deployments: [("eu-1".to_owned(), own)].into(),
            ..Settings::default()
        }
    }

    #[tokio::test]
    async fn the_control_database_as_a_deployment_is_protected_as_its_address_says() {
        let address = "mysql://dba:own@db/?ssl-mode=REQUIRED";
        let address: ConnectionSettings = address.parse().expect("an address");
        let nothing_said = Settings::default();
        let access = Access::to_control(&nothing_said, &address).expect("good settings");
        assert_eq!(shown(&access, "db:3306").await, "dba:own REQUIRED");
    }

    /// The refusal of settings for all and for eu-1.
    fn refusal(all: DeploymentSettings, own: DeploymentSettings) -> String {
        let at = |place: &str, said| DeploymentSettings {
            place: place.to_owned(),
            ..said
        };
        let settings = Settings {
            deployment: at("deployment", all),
            deployments: [("eu-1".to_owned(), at("deployments.eu-1", own))].into(),
            ..Settings::default()
        };
        let access = Access::new(&settings, &control());
        access.expect_err("not good").to_string()
    }

    #[test]
    fn what_is_said_of_tls_in_vain_is_refused_where_it_stands() {
        let said = |ssl_mode, authority: Option<&str>| DeploymentSettings {
            ssl_mode,
            ssl_ca: authority.map(Into::into),
            ..DeploymentSettings::default()
        };
        let nothing = || said(None, None);
        let lacks = || said(Some(TlsMode::VerifyCa), None);
        for (all, own, place) in [
            (lacks(), nothing(), "deployment: ssl-mode VERIFY_CA checks"),
            (
                nothing(),
                lacks(),
                "deployments.eu-1: ssl-mode VERIFY_CA checks",
            ),
            (
                nothing(),
                said(Some(TlsMode::Required), Some("/nonexistent/ca.pem")),
                "deployments.eu-1: ssl-ca is given",
            ),
            (
                nothing(),
                said(None, Some("/nonexistent/ca.pem")),
                "deployments.eu-1: ssl-ca /nonexistent/ca.pem: No such file",
            ),
        ] {
            let refused = refusal(all, own);
            assert!(refused.starts_with(place), "{refused}");
        }
    }

    #[tokio::test]
    async fn what_is_not_said_of_a_deployment_is_as_for_all() {
        let access = access(with(DeploymentSettings {
            password: Some(Secret::new("own")),
            ..DeploymentSettings::default()
        }));
        assert_eq!(shown(&access, "eu-1").await, "all:own REQUIRED");
        assert_eq!(shown(&access, "us-1").await, "all:of-control REQUIRED");
    }

    #[tokio::test]
    async fn a_command_is_told_the_deployment_and_prints_its_credentials() {
        let script =
            r#"printf '{"user": "u-%s", "password": "p-%s"}' "$1" "$LOCKKEEPER_DEPLOYMENT""#;
        let words = ["sh", "-c", script, "sh", "{deployment}"]
            .map(str::to_owned)
            .to_vec();
        let access = access(with(DeploymentSettings {
            credentials_command: Some(words),
            ..DeploymentSettings::default()
        }));
        assert_eq!(shown(&access, "eu-1").await, "u-eu-1:p-eu-1 REQUIRED");
    }

    #[tokio::test]
    async fn what_a_command_prints_is_in_no_message() {
        for script in [
            "echo hunter2",
            "echo hunter2; exit 3",
            r#"echo '{"password": ["hunter2"]}'"#,
        ] {
            let words = ["sh", "-c", script].map(str::to_owned).to_vec();
            let access = access(with(DeploymentSettings {
                credentials_command: Some(words),
                ..DeploymentSettings::default()
            }));
            let refused = access.to("eu-1", "db", 1).await.expect_err(script);
            assert!(refused.to_string().contains("eu-1"), "{refused}");
            assert!(
                !format!("{refused} {refused:?}").contains("hunter2"),
                "{refused}"
            );
        }
    }

    #[tokio::test]
    async fn a_password_file_is_read_when_it_is_needed_and_only_if_it_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "of-file\n").expect("written");
        let access = access(with(DeploymentSettings {
            password_file: Some(file.path().to_owned()),
            place: "deployments.eu-1".to_owned(),
            ..DeploymentSettings::default()
        }));
        assert_eq!(shown(&access, "eu-1").await, "all:of-file REQUIRED");
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(file.path(), open).expect("set");
        let refused = access.to("eu-1", "db", 1).await.expect_err("open to all");
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
        drop(file);
        let refused = access.to("eu-1", "db", 1).await.expect_err("no file");
        let said = refused.to_string();
        assert!(
            said.starts_with("no password for eu-1: ")
                && said.ends_with("correct password_file of deployments.eu-1"),
            "{said}"
        );
    }
}
