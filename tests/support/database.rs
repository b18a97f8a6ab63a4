//! A schema for a test, and accounts on it.

use std::sync::Mutex;

use lockkeeper::config::{ConnectionSettings, Credentials, Secret};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _};

use super::{clean_up, server};

/// A schema of its own on the shared server, with Lockkeeper installed.
pub struct TestDatabase {
    settings: ConnectionSettings,
    /// Nothing stays behind on a server that isn't ours.
    clean_up: bool,
    accounts: Mutex<Vec<String>>,
    others: Mutex<Vec<String>>,
}

impl TestDatabase {
    /// Installed and empty.
    pub async fn fresh() -> Self {
        let database = Self::bare().await;
        lockkeeper::install::install(&database.settings)
            .await
            .expect("installed");
        database
    }

    /// An address whose schema doesn't exist yet.
    pub async fn bare() -> Self {
        let server = server().await;
        let mut database = Self::on(server.administrator());
        database.clean_up = server.is_named();
        database
    }

    /// The same on a server of the test's own, which ends with it.
    pub fn on(administrator: &ConnectionSettings) -> Self {
        let schema = format!("lk_{:016x}", rand::random::<u64>());
        Self {
            settings: administrator.clone().with_schema(&schema),
            clean_up: false,
            accounts: Mutex::default(),
            others: Mutex::default(),
        }
    }

    /// Whether it may be left to another test: it ends with the server, so that nobody has to drop it.
    pub fn is_reusable(&self) -> bool {
        !self.clean_up
    }

    /// Its roles, as SQL names them: reader, operator, driver.
    pub fn roles(&self) -> [String; 3] {
        roles(self.schema())
    }

    /// A new account that has been granted `grants` and nothing else: a role, or `ALL ON …`.
    pub async fn account(&self, grants: &[&str]) -> ConnectionSettings {
        let user = format!("lk_{:08x}", rand::random::<u32>());
        let password = "only-for-a-test";
        let mut statements = vec![format!(
            "CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'"
        )];
        statements.extend(
            grants
                .iter()
                .map(|grant| format!("GRANT {grant} TO '{user}'@'%'")),
        );
        statements.push(format!("SET DEFAULT ROLE ALL TO '{user}'@'%'"));
        let administrator = self.settings.clone().without_schema();
        let mut session = administrator.connect().await.expect("a session");
        for statement in statements {
            session
                .execute(AssertSqlSafe(statement))
                .await
                .expect("an account");
        }
        self.accounts
            .lock()
            .expect("no test has failed meanwhile")
            .push(user.clone());
        let mut settings = self.settings.clone();
        settings.credentials = Credentials {
            user,
            password: Secret::new(password),
        };
        settings
    }

    /// Who may do everything, with the test's schema as the default.
    pub fn settings(&self) -> &ConnectionSettings {
        &self.settings
    }

    pub fn schema(&self) -> &str {
        self.settings.schema()
    }

    /// The name of another schema, which goes with this one.
    pub fn other_schema(&self) -> String {
        let schema = format!("p_{:016x}", rand::random::<u64>());
        let mut others = self.others.lock().expect("no test has failed meanwhile");
        others.push(schema.clone());
        schema
    }

    /// A new session in the test's schema.
    pub async fn connect(&self) -> MySqlConnection {
        self.settings
            .connect()
            .await
            .expect("a session to the test's schema")
    }

    /// The address as a command line takes it.
    pub fn url(&self) -> String {
        let settings = &self.settings;
        let mut url = url::Url::parse("mysql://host").expect("a base");
        url.set_host(Some(&settings.host)).expect("a host");
        url.set_port(Some(settings.port)).expect("a port");
        url.set_username(&settings.credentials.user)
            .expect("a user");
        url.set_password(Some(settings.credentials.password.expose()))
            .expect("a password");
        url.set_path(settings.schema());
        url.into()
    }

    /// Registers deployments `d0`, `d1` … that all lead to the shared server.
    pub async fn register_deployments(&self, count: u32) {
        let mut session = self.connect().await;
        for number in 0..count {
            // As text: a prepared call may be given up while another test installs (1615).
            let (host, port) = (&self.settings.host, self.settings.port);
            let call =
                format!("CALL deployment_register('d{number}', {number}, '{host}', {port}, NULL)");
            sqlx::raw_sql(AssertSqlSafe(call))
                .execute(&mut session)
                .await
                .expect("deployment_register");
        }
    }

    /// Submits a change of a small table, for one deployment; the schema that it is in.
    pub async fn submit_a_small_change(&self) -> String {
        self.submit_a_change(3).await
    }

    /// A change of a table with so many rows, on this very server; copied in small chunks, so that it can be watched.
    pub async fn submit_a_change(&self, rows: u32) -> String {
        self.register_deployments(1).await;
        let schema = format!("o_{:016x}", rand::random::<u64>());
        let mut session = self.connect().await;
        for statement in [
            format!("CREATE DATABASE {schema}"),
            format!("CREATE TABLE {schema}.t (id INT PRIMARY KEY, v INT, KEY by_v (v))"),
            format!("SET SESSION cte_max_recursion_depth = {rows}"),
            format!(
                "INSERT INTO {schema}.t
                 WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {rows})
                 SELECT number.n, number.n FROM number"
            ),
            format!(
                "CALL apply_submit('{schema}', 'ALTER TABLE t MODIFY v BIGINT',
                                   '{{\"engine\": {{\"chunk_seconds\": 0.01}}}}')"
            ),
        ] {
            session
                .execute(AssertSqlSafe(statement))
                .await
                .expect("prepared");
        }
        schema
    }

    pub async fn drop_schema(&self, schema: &str) {
        let mut session = self.connect().await;
        session
            .execute(AssertSqlSafe(format!("DROP DATABASE {schema}")))
            .await
            .expect("dropped");
    }
}

fn roles(schema: &str) -> [String; 3] {
    ["reader", "operator", "driver"].map(|role| format!("'{schema}_{role}'@'%'"))
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let taken = |names: &Mutex<Vec<String>>| {
            std::mem::take(&mut *names.lock().unwrap_or_else(|e| e.into_inner()))
        };
        let schema = self.schema();
        // Others look for what was left in all schemas, on a server of ours too.
        let mut statements: Vec<String> = taken(&self.others)
            .iter()
            .map(|other| format!("DROP DATABASE IF EXISTS `{other}`"))
            .collect();
        if self.clean_up {
            statements.extend([
                format!("DROP DATABASE IF EXISTS `{schema}`"),
                format!("DROP ROLE IF EXISTS {}", roles(schema).join(", ")),
            ]);
            let accounts = taken(&self.accounts);
            let drop = |account: &String| format!("DROP USER IF EXISTS '{account}'@'%'");
            statements.extend(accounts.iter().map(drop));
        }
        if !statements.is_empty() {
            clean_up(&self.settings, schema, statements);
        }
    }
}
