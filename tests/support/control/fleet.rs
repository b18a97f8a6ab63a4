//! A fleet to roll out to.

mod checks;
mod commands;
mod driver;
mod looks;
mod ways;

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use super::super::TestDatabase;
use super::pool::{Lent, lend};
use super::session::{Argument, Outcome, Refusal, Session};

/// An apply and its operations, in order.
#[derive(Clone, Debug)]
pub struct Apply {
    pub id: u64,
    pub operations: Vec<u64>,
}

impl Apply {
    /// The operations by name: `let [o1, o2] = apply.all();`.
    #[track_caller]
    pub fn all<const N: usize>(&self) -> [u64; N] {
        self.operations
            .clone()
            .try_into()
            .expect("as many operations as deployments")
    }
}

/// Deployments `d1`, `d2` … in a schema of the test's own, and one session to it. After each successful step what must
/// hold at any moment is looked at; sessions of `Fleet::session` are for those who race, and look at nothing.
pub struct Fleet {
    database: Lent,
    session: Mutex<Session>,
    /// Sessions that somebody has returned: to connect takes longer than most calls.
    idle: std::sync::Mutex<Vec<Session>>,
    tables: AtomicU32,
}

impl Fleet {
    pub async fn of(deployments: u32) -> Self {
        let database = lend().await;
        let session = Session::new(database.connect().await);
        let fleet = Self {
            database,
            session: Mutex::new(session),
            idle: std::sync::Mutex::default(),
            tables: AtomicU32::new(0),
        };
        for number in 1..=deployments {
            let parity = if number % 2 == 0 { "even" } else { "odd" };
            fleet
                .call(
                    "deployment_register",
                    arguments![
                        format!("d{number}"),
                        u64::from(number - 1),
                        format!("db{number}.example"),
                        u64::from(3300 + number),
                        json!({"parity": parity, "cell": format!("c{number}")})
                    ],
                )
                .await;
        }
        fleet
    }

    pub fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// Another session, for whoever acts at the same time.
    pub async fn session(&self) -> Session {
        Session::new(self.database().connect().await)
    }

    /// One that was returned, or a new one.
    pub async fn borrow_session(&self) -> Session {
        let idle = self.idle.lock().expect("no test panics here").pop();
        match idle {
            Some(session) => session,
            None => self.session().await,
        }
    }

    pub fn return_session(&self, session: Session) {
        self.idle.lock().expect("no test panics here").push(session);
    }

    /// A session of an account of that name, with the roles of an operator and a driver.
    pub async fn session_as(&self, name: &str) -> Session {
        self.session_with_roles(name, &["operator", "driver"]).await
    }

    /// A session of an account that has these roles and nothing else.
    pub async fn session_with_roles(&self, name: &str, roles: &[&str]) -> Session {
        let schema = self.database().schema();
        let user = format!("{name}_{:08x}", rand::random::<u32>());
        let password = format!("{:032x}", rand::random::<u128>());
        let mut sql = self.sql().await;
        let account = format!("'{user}'@'%'");
        sql.run(&format!("CREATE USER {account} IDENTIFIED BY '{password}'"))
            .await
            .expect("an account");
        for role in roles {
            let role = lockkeeper::install::role_name(schema, role);
            for grant in [
                format!("GRANT '{role}'@'%' TO {account}"),
                format!("SET DEFAULT ROLE ALL TO {account}"),
            ] {
                sql.run(&grant).await.expect("a role");
            }
        }
        let mut settings = self.database().settings().clone().without_schema();
        settings.credentials = lockkeeper::config::Credentials {
            user,
            password: lockkeeper::config::Secret::new(&password),
        };
        let mut session = Session::new(settings.connect().await.expect("a session"));
        if !roles.is_empty() {
            session
                .run(&format!("USE `{schema}`"))
                .await
                .expect("the schema");
        }
        session
    }

    /// The test's own session.
    pub async fn sql(&self) -> MutexGuard<'_, Session> {
        self.session.lock().await
    }

    /// A name that no other apply of this test has used.
    pub fn new_table(&self) -> String {
        format!("t{}", self.tables.fetch_add(1, Ordering::Relaxed))
    }

    /// Submits a change of a new table.
    pub async fn submit(&self, options: Value) -> Apply {
        let statement = format!("ALTER TABLE {} ADD COLUMN c INT", self.new_table());
        self.try_submit(&statement, options)
            .await
            .expect("accepted")
    }

    pub async fn try_submit(&self, statement: &str, options: Value) -> Outcome<Apply> {
        let row = self
            .sql()
            .await
            .call_row("apply_submit", arguments!["shop", statement, options])
            .await?;
        let id = row.id("apply_id");
        self.check().await;
        let operations = self
            .sql()
            .await
            .rows(
                "SELECT s.operation_id FROM operation_status AS s WHERE s.apply_id = ? ORDER BY s.position",
                arguments![id],
            )
            .await;
        Ok(Apply {
            id,
            operations: operations
                .iter()
                .map(|row| row.id("operation_id"))
                .collect(),
        })
    }

    /// Any call that must succeed.
    #[track_caller]
    pub fn call(&self, procedure: &str, arguments: &[Argument]) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let outcome = self.sql().await.call(procedure, arguments).await;
            outcome.unwrap_or_else(|refusal| panic!("{procedure} at {caller}: {refusal:?}"));
            self.check().await;
        }
    }

    /// Any call that must be refused with this number.
    #[track_caller]
    pub fn refuses(
        &self,
        number: u16,
        procedure: &str,
        arguments: &[Argument],
    ) -> impl Future<Output = Refusal> {
        let caller = std::panic::Location::caller();
        async move {
            let outcome = self.sql().await.call(procedure, arguments).await;
            self.check().await;
            match outcome {
                Err(refusal) if refusal.number == number => refusal,
                other => panic!("{procedure} at {caller}: expected {number}, found {other:?}"),
            }
        }
    }
}
