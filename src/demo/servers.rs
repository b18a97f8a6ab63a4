//! The servers of the demo, their accounts, and what is on them before the change.

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Executor as _, MySqlConnection};

use super::sizes::Sizes;
use crate::config::{ConnectionSettings, Credentials, DEFAULT_SCHEMA, Secret};
use crate::install;
use crate::load::{self, Before, Change};
use crate::server::{Server, ServerOptions};

/// The application's schema on each deployment.
pub(super) const SCHEMA: &str = "shop";
/// Who writes to it.
const APPLICATION: &str = "shop_app";
/// Who changes it, the same on each deployment.
const DRIVER: &str = "lockkeeper";

/// One MySQL server with the application's table.
pub(super) struct Deployment {
    pub name: String,
    pub server: Server,
    /// Who may do anything, for filling and checking.
    pub administrator: ConnectionSettings,
    /// The application: it may write rows, and no more.
    pub application: ConnectionSettings,
}

/// All servers of the demo; dropping it stops and removes them.
pub(super) struct Fleet {
    pub control_server: Server,
    /// The control database, as its administrator.
    pub control: ConnectionSettings,
    pub deployments: Vec<Deployment>,
    /// The account that drivers bring to the deployments.
    pub driver: Credentials,
}

impl Fleet {
    /// Servers, accounts, the control plane, the deployments' registration.
    pub async fn start(sizes: &Sizes) -> anyhow::Result<Self> {
        let driver = account(DRIVER);
        let application = account(APPLICATION);
        let control = async {
            let server = Server::start(ServerOptions::durable("demo-control")).await?;
            let settings = server.administrator().clone().with_schema(DEFAULT_SCHEMA);
            install::install(&settings)
                .await
                .context("installing the control plane")?;
            Ok::<_, anyhow::Error>((server, settings))
        };
        let deployments = (1..=sizes.deployments)
            .map(|number| Deployment::start(format!("cell-{number}"), &driver, &application));
        let ((control_server, control), deployments) =
            tokio::try_join!(control, futures_util::future::try_join_all(deployments))?;
        let fleet = Self {
            control_server,
            control,
            deployments,
            driver,
        };
        fleet
            .register(sizes)
            .await
            .context("registering the deployments")?;
        Ok(fleet)
    }

    async fn register(&self, sizes: &Sizes) -> anyhow::Result<()> {
        let mut session = self.control.connect().await?;
        for (name, value) in [
            ("lease_ttl_seconds", sizes.lease_ttl_seconds),
            ("poll_seconds", sizes.poll_seconds),
        ] {
            sqlx::query("CALL setting_set(?, ?)")
                .bind(name)
                .bind(value.to_string())
                .execute(&mut session)
                .await?;
        }
        for (position, deployment) in self.deployments.iter().enumerate() {
            sqlx::query("CALL deployment_register(?, ?, ?, ?, NULL)")
                .bind(&deployment.name)
                .bind(position as u64)
                .bind(&deployment.administrator.host)
                .bind(deployment.administrator.port)
                .execute(&mut session)
                .await?;
        }
        Ok(())
    }

    /// The table and its rows on all deployments, and a digest of them.
    pub async fn fill(&self, sizes: &Sizes) -> anyhow::Result<Vec<Before>> {
        let fills = self.deployments.iter().map(|deployment| async move {
            let mut session = deployment.administrator.connect().await?;
            session.execute(load::create_table()).await?;
            load::fill(&mut session, sizes.rows).await?;
            session.execute("ANALYZE TABLE orders").await?;
            let before = Before::take(&mut session, SCHEMA).await?;
            load::until_written_out(&mut session).await?;
            Ok::<_, anyhow::Error>(before)
        });
        futures_util::future::try_join_all(fills).await
    }

    /// Asks for the change on all deployments; answers the apply.
    pub async fn submit(&self, change: &Change, sizes: &Sizes) -> anyhow::Result<u64> {
        let options = serde_json::json!({
            "name": "demo",
            "cutover_policy": "barrier",
            "cutover_gate": "all_parked",
            "note": "the demo's rollout",
        });
        let mut session = self.control.connect().await?;
        let rows = sqlx::query("CALL apply_submit(?, ?, ?)")
            .bind(SCHEMA)
            .bind(change.statement)
            .bind(options.to_string())
            .fetch_all(&mut session)
            .await
            .context("submitting the change")?;
        let row = rows.first().context("apply_submit gave no answer")?;
        let apply_id: u64 = sqlx::Row::try_get(row, "apply_id")?;
        sqlx::query("CALL apply_throttle(?, ?, 'there should be something to see')")
            .bind(apply_id)
            .bind(sizes.throttle_level)
            .execute(&mut session)
            .await
            .context("throttling the change")?;
        Ok(apply_id)
    }
}

impl Deployment {
    async fn start(
        name: String,
        driver: &Credentials,
        application: &Credentials,
    ) -> anyhow::Result<Self> {
        let server = Server::start(ServerOptions::durable(&format!("demo-{name}"))).await?;
        let administrator = server.administrator().clone();
        let mut session = administrator.connect().await?;
        create_accounts(&mut session, driver, application)
            .await
            .with_context(|| format!("accounts on {name}"))?;
        let administrator = administrator.with_schema(SCHEMA);
        let application = ConnectionSettings {
            credentials: application.clone(),
            ..administrator.clone()
        };
        Ok(Self {
            name,
            server,
            administrator,
            application,
        })
    }
}

async fn create_accounts(
    session: &mut MySqlConnection,
    driver: &Credentials,
    application: &Credentials,
) -> Result<(), sqlx::Error> {
    for statement in [
        // Not a part of the change: a replica would make its own.
        "SET SESSION sql_log_bin = 0".to_owned(),
        format!("CREATE DATABASE {SCHEMA}"),
        create_user(driver),
        // The servers are the demo's own; what a driver really needs is in the docs.
        format!("GRANT ALL ON *.* TO {DRIVER}@'%'"),
        create_user(application),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {SCHEMA}.* TO {APPLICATION}@'%'"),
    ] {
        session.execute(AssertSqlSafe(statement)).await?;
    }
    Ok(())
}

/// The password is hexadecimal: it needs no quoting.
fn create_user(account: &Credentials) -> String {
    format!(
        "CREATE USER {}@'%' IDENTIFIED BY '{}'",
        account.user,
        account.password.expose()
    )
}

fn account(user: &str) -> Credentials {
    Credentials {
        user: user.to_owned(),
        password: Secret::new(hex::encode(rand::random::<[u8; 16]>())),
    }
}
