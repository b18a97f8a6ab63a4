//! The one server: what is on it, the control schema, its name as a deployment.

use super::super::connect::Session;
use super::super::{CliError, deployment, output};
use crate::config::ConnectionSettings;
use crate::install::{self, InstallError, role_name};
use crate::preflight::Place;
use crate::server_error;

/// The label by which the server is known again, whatever address it is called by.
const LABEL: &str = "server_uuid";
/// A deployment's name has at most 64 characters.
const LONGEST_NAME: usize = 64;

pub(super) struct Server {
    settings: ConnectionSettings,
    uuid: String,
    /// None where Lockkeeper is not installed, or not to the end.
    pub session: Option<Session>,
}

/// A deployment that is registered.
struct Known {
    name: String,
    host: String,
    port: u16,
    uuid: Option<String>,
}

impl Server {
    /// Changes nothing.
    pub async fn look(settings: &ConnectionSettings) -> Result<Self, CliError> {
        let database = |error: sqlx::Error| CliError::database(settings, &error);
        let bare = settings.clone().without_schema();
        let mut session = bare.connect().await.map_err(database)?;
        let uuid: String = sqlx::query_scalar("SELECT @@server_uuid")
            .fetch_one(&mut session)
            .await
            .map_err(database)?;
        let installed = installed(settings).await?;
        if installed.is_none() {
            install::refuse_foreign(&mut session, settings.schema())
                .await
                .map_err(|error| CliError::install(settings, error))?;
        }
        Ok(Self {
            session: installed,
            settings: settings.clone(),
            uuid,
        })
    }

    /// The server as a deployment, registered or not.
    pub async fn place(&mut self) -> Result<Place, CliError> {
        let known = self.known().await?;
        let name = known.map_or_else(|| own_name(&self.settings), |known| known.name);
        Ok(Place {
            deployment: name,
            host: self.settings.host.clone(),
            port: self.settings.port,
        })
    }

    /// Installs and registers what is not there yet; the deployment's name.
    pub async fn prepare(&mut self) -> Result<String, CliError> {
        if self.session.is_none() {
            let report = install::install(&self.settings)
                .await
                .map_err(|error| not_allowed_or(&self.settings, error))?;
            for warning in &report.warnings {
                output::note(&format!("lockkeeper: warning: {warning}"));
            }
            self.session = installed(&self.settings).await?;
        }
        let known = self.known().await?;
        let Some(session) = &mut self.session else {
            return Err(CliError::failed(format!(
                "schema {} has no Lockkeeper although it was installed; run `lockkeeper doctor`",
                self.settings.schema()
            )));
        };
        // The address that is registered is for others; this process goes where its own settings lead.
        if let Some(known) = known {
            return Ok(known.name);
        }
        let name = own_name(&self.settings);
        let address = (self.settings.host.as_str(), self.settings.port);
        let labels = serde_json::json!({ LABEL: self.uuid }).to_string();
        deployment::register(session, &name, None, address, Some(&labels)).await?;
        Ok(name)
    }

    /// By the server's own identity, else by its address.
    async fn known(&mut self) -> Result<Option<Known>, CliError> {
        let Some(session) = &mut self.session else {
            return Ok(None);
        };
        let table = session
            .read(
                "SELECT d.deployment, d.position, d.host, d.port, d.labels
                   FROM deployment_status AS d
                  ORDER BY d.position, d.deployment"
                    .to_owned(),
            )
            .await?;
        let mut all = Vec::new();
        for row in 0..table.rows.len() {
            all.push(Known {
                name: table.text(row, "deployment"),
                host: table.text(row, "host"),
                port: table.whole(row, "port")?,
                uuid: serde_json::from_str::<serde_json::Value>(&table.text(row, "labels"))
                    .ok()
                    .and_then(|labels| labels[LABEL].as_str().map(str::to_owned)),
            });
        }
        let (host, port) = (&self.settings.host, self.settings.port);
        let by_identity = all
            .iter()
            .position(|one| one.uuid.as_ref() == Some(&self.uuid));
        let by_address = || {
            all.iter()
                .position(|one| one.host == *host && one.port == port)
        };
        Ok(by_identity
            .or_else(by_address)
            .and_then(|at| all.into_iter().nth(at)))
    }
}

/// `host:port`; of a host with a long name, its end.
fn own_name(settings: &ConnectionSettings) -> String {
    let name = format!("{}:{}", settings.host, settings.port);
    let length = name.chars().count();
    name.chars()
        .skip(length.saturating_sub(LONGEST_NAME))
        .collect()
}

/// A session to the control schema, if it is there and fit for this program.
async fn installed(settings: &ConnectionSettings) -> Result<Option<Session>, CliError> {
    let mut connection = match settings.connect().await {
        Ok(connection) => connection,
        Err(error) if server_error::number(&error) == Some(1049) => return Ok(None),
        // To who may not look, it is the same whether it is there or not.
        Err(error) if server_error::number(&error) == Some(1044) => {
            return Err(not_allowed(settings, &error));
        }
        Err(error) => return Err(CliError::database(settings, &error)),
    };
    match install::check_for_drive(&mut connection, settings.schema()).await {
        Ok(()) => Ok(Some(Session::of(settings.clone(), connection))),
        Err(InstallError::NotInstalled { .. } | InstallError::SchemaIncomplete { .. }) => Ok(None),
        Err(error) => Err(CliError::install(settings, error)),
    }
}

fn not_allowed_or(settings: &ConnectionSettings, error: InstallError) -> CliError {
    let denied = match &error {
        InstallError::Connect(source)
        | InstallError::Database(source)
        | InstallError::Object { source, .. } => {
            server_error::is_denied(source)
                || matches!(server_error::number(source), Some(1410 | 1419))
        }
        _ => false,
    };
    if denied {
        not_allowed(settings, &error)
    } else {
        CliError::install(settings, error)
    }
}

fn not_allowed(settings: &ConnectionSettings, error: &dyn std::fmt::Display) -> CliError {
    let schema = settings.schema();
    CliError::failed(format!(
        "{error}; if Lockkeeper is not in schema {schema} yet, let an administrator run `lockkeeper install` (or, with the \
         mysql client alone, what `lockkeeper install --print` prints), then GRANT '{}', '{}' TO {} and SET DEFAULT ROLE ALL TO it",
        role_name(schema, "operator"),
        role_name(schema, "driver"),
        settings.credentials.user,
    ))
}
