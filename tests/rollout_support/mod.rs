//! Several deployments on private servers, ruled by a control schema on the shared one, and drivers in this process.

#![allow(dead_code)] // each test binary uses its own part

use std::time::Duration;

use lockkeeper::config::{Access, Credentials, Secret, Tls};
use lockkeeper::control::DriverName;
use lockkeeper::drive::{self, DriveError, DriveOptions};
use lockkeeper::server::Server;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{self, TestDatabase, eventually};

/// A whole rollout on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(240);

pub struct Fleet {
    pub control: TestDatabase,
    pub session: MySqlConnection,
    pub servers: Vec<Server>,
}

/// A driver that runs in this process until it is told to end.
pub struct Driver {
    end: CancellationToken,
    task: JoinHandle<Result<(), DriveError>>,
}

impl Driver {
    /// As SIGTERM does.
    pub async fn end(self) {
        self.end.cancel();
        self.task
            .await
            .expect("no panic")
            .expect("a driver that ends in order");
    }
}

impl Fleet {
    /// Deployments `d0`, `d1` … in this order, each with an account for drivers.
    pub async fn of(count: usize) -> Self {
        let (control, servers) =
            tokio::join!(TestDatabase::fresh(), support::private_servers(count));
        let mut session = control.connect().await;
        for (position, server) in servers.iter().enumerate() {
            let address = server.administrator();
            let (host, port) = (&address.host, address.port);
            sqlx::raw_sql(AssertSqlSafe(format!(
                "CALL deployment_register('d{position}', {position}, '{host}', {port}, NULL)"
            )))
            .execute(&mut session)
            .await
            .expect("registered");
            let mut root = address.connect().await.expect("a session");
            for statement in [
                "CREATE USER driver@'%' IDENTIFIED BY 'a password of these tests'",
                "GRANT ALL ON *.* TO driver@'%'",
            ] {
                root.execute(statement).await.expect("an account");
            }
        }
        session
            .execute("CALL setting_set('poll_seconds', '1')")
            .await
            .expect("a setting");
        Self {
            control,
            session,
            servers,
        }
    }

    pub fn start_driver(&self, name: &str) -> Driver {
        let end = CancellationToken::new();
        let told = end.clone();
        let control = self.control.settings().clone();
        let options = DriveOptions {
            name: DriverName(name.to_owned()),
            scope: None,
            concurrency: 2,
            access: Access::everywhere(
                Credentials {
                    user: "driver".to_owned(),
                    password: Secret::new("a password of these tests"),
                },
                Tls::default(),
            ),
            until_idle: false,
            end_within: drive::END_WITHIN,
        };
        let task = tokio::spawn(async move { drive::drive(&control, options, told).await });
        Driver { end, task }
    }

    /// One apply on all deployments.
    pub async fn submit(
        &mut self,
        schema: &str,
        statements: &[&str],
        options: serde_json::Value,
    ) -> u64 {
        let rows = sqlx::query("CALL apply_submit(?, ?, ?)")
            .bind(schema)
            .bind(serde_json::json!(statements).to_string())
            .bind(options.to_string())
            .fetch_all(&mut self.session)
            .await
            .expect("submitted");
        rows[0].try_get("apply_id").expect("an apply")
    }

    /// `apply_stop` and the like.
    pub async fn command(&mut self, procedure: &str, apply_id: u64) {
        self.call(&format!("{procedure}({apply_id}, 'a test')"))
            .await;
    }

    /// What has other arguments.
    pub async fn call(&mut self, call: &str) {
        sqlx::raw_sql(AssertSqlSafe(format!("CALL {call}")))
            .fetch_all(&mut self.session)
            .await
            .unwrap_or_else(|error| panic!("{call}: {error}"));
    }

    /// Each operation's state and error, in order.
    pub async fn states(&self, apply_id: u64) -> Vec<(String, Option<String>)> {
        let mut session = self.control.connect().await;
        // As text: a prepared statement may be given up while another test installs (1615).
        let rows = sqlx::raw_sql(AssertSqlSafe(format!(
            "SELECT o.state, o.error FROM operation_status AS o WHERE o.apply_id = {apply_id} ORDER BY o.position",
        )))
        .fetch_all(&mut session)
        .await
        .expect("operation_status");
        rows.iter()
            .map(|row| (row.get("state"), row.get("error")))
            .collect()
    }

    /// Waits until the states are as wanted; a failure ends the wait at once, with its reason.
    pub async fn until(&self, what: &str, apply_id: u64, wanted: impl Fn(&[&str]) -> bool) {
        eventually(what, PATIENCE, || async {
            let states = self.states(apply_id).await;
            for (state, error) in &states {
                assert!(
                    state != "failed" && state != "cancelled",
                    "{what}: {states:?} ({error:?})"
                );
            }
            let states: Vec<&str> = states.iter().map(|(state, _)| state.as_str()).collect();
            wanted(&states)
        })
        .await;
    }
}
