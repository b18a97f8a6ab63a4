//! A schema on the shared server, seen as a deployment that an operation changes.

#![allow(dead_code, unused_imports)] // each test binary uses its own part

mod half;
mod twin;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use lockkeeper::config::ConnectionSettings;
use lockkeeper::engine::names::Owner;
use lockkeeper::engine::session::{Session, Sessions};
use lockkeeper::engine::target::Target;
use lockkeeper::engine::{
    Directive, Engine, Job, JobTask, LeaseHolder, LeaseLost, Orders, Outcome, Progress, preflight,
};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use tokio::sync::watch;

use crate::support::PATIENCE;

pub use half::{HalfCopied, half_copied};

/// A lease that a test can take away. It ends the test as soon as the verification finds a difference: that is repaired,
/// and whatever lost the row would show in nothing.
pub struct TestLease {
    orders: watch::Sender<Orders>,
    lost: AtomicBool,
    progress: Mutex<Progress>,
    verified: Mutex<Vec<u64>>,
    may_differ: bool,
}

impl TestLease {
    pub fn held() -> Arc<Self> {
        Self::new(false)
    }

    /// For a copy that the test spoils.
    pub fn of_a_spoilt_copy() -> Arc<Self> {
        Self::new(true)
    }

    fn new(may_differ: bool) -> Arc<Self> {
        Arc::new(Self {
            orders: watch::Sender::new(Orders::default()),
            lost: AtomicBool::new(false),
            progress: Mutex::default(),
            verified: Mutex::default(),
            may_differ,
        })
    }

    /// What was reported last.
    pub fn progress(&self) -> Progress {
        self.progress.lock().expect("no test panics here").clone()
    }

    /// Each number of compared rows that was reported.
    pub fn verified(&self) -> Vec<u64> {
        self.verified.lock().expect("no test panics here").clone()
    }

    pub fn order(&self, orders: Orders) {
        self.orders.send_replace(orders);
    }

    pub fn direct(&self, directive: Directive) {
        self.order(Orders {
            directive,
            ..Orders::default()
        });
    }

    pub fn lose(&self) {
        self.lost.store(true, Ordering::SeqCst);
    }
}

impl LeaseHolder for TestLease {
    fn orders(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }

    fn report(&self, progress: Progress) {
        let mut verified = self.verified.lock().expect("no test panics here");
        verified.extend(progress.rows_verified);
        *self.progress.lock().expect("no test panics here") = progress;
    }

    fn record_checkpoint(&self, checkpoint: serde_json::Value) {
        let differed =
            checkpoint["repaired"] == true || checkpoint["failed_verification"].is_string();
        assert!(!differed || self.may_differ, "rows were lost: {checkpoint}");
    }

    fn confirm(&self) -> BoxFuture<'_, Result<(), LeaseLost>> {
        Box::pin(async {
            if self.lost.load(Ordering::SeqCst) {
                Err(LeaseLost("another driver has it".into()))
            } else {
                Ok(())
            }
        })
    }
}

/// The same operation on the same deployment, for a driver in another process.
pub fn job_of(
    settings: &ConnectionSettings,
    schema: &str,
    installation: &str,
    epoch: u64,
    statements: &[&str],
) -> (Target, Job) {
    let job = Job {
        installation: installation.to_owned(),
        operation_id: 7,
        lease_epoch: epoch,
        schema_name: schema.to_owned(),
        tasks: statements
            .iter()
            .enumerate()
            .map(|(i, statement)| JobTask {
                task_id: 100 + i as u64,
                position: i as u32,
                statement: (*statement).to_owned(),
            })
            .collect(),
        options: serde_json::json!({}),
        revert_window_seconds: 0,
        is_under_way: false,
    };
    (settings.clone().into(), job)
}

pub struct Deployment {
    pub settings: ConnectionSettings,
    pub schema: String,
    /// Eight hex digits, different in each test.
    pub installation: String,
    pub root: MySqlConnection,
    _clean_up: Option<CleanUp>,
}

/// Nothing stays behind on a server that isn't ours.
struct CleanUp {
    settings: ConnectionSettings,
    schema: String,
    installation: String,
}

impl Drop for CleanUp {
    fn drop(&mut self) {
        let (schema, installation) = (&self.schema, &self.installation);
        let statements = vec![
            format!("DROP DATABASE IF EXISTS `{schema}`"),
            // Of tests that have more than one schema, or an account.
            format!("DROP DATABASE IF EXISTS `{schema}_far`"),
            format!("DROP USER IF EXISTS u{installation}"),
        ];
        crate::support::clean_up(&self.settings, schema, statements);
    }
}

impl Deployment {
    /// A new, empty schema.
    pub async fn fresh() -> Self {
        let server = crate::support::server().await;
        let db = Self::on(server.administrator().clone()).await;
        let clean_up = server.is_named().then(|| CleanUp {
            settings: db.settings.clone(),
            schema: db.schema.clone(),
            installation: db.installation.clone(),
        });
        Self {
            _clean_up: clean_up,
            ..db
        }
    }

    pub async fn on(settings: ConnectionSettings) -> Self {
        let settings = settings.without_schema();
        let id = uuid::Uuid::new_v4().simple().to_string();
        let schema = format!("d_{id}");
        let mut root = settings.connect().await.expect("a session");
        root.execute(AssertSqlSafe(format!(
            "CREATE DATABASE `{schema}`; USE `{schema}`"
        )))
        .await
        .expect("a schema");
        Self {
            settings,
            schema,
            installation: id[..8].to_owned(),
            root,
            _clean_up: None,
        }
    }

    pub fn target(&self) -> Target {
        self.settings.clone().into()
    }

    pub fn owner(&self, epoch: u64) -> Owner {
        Owner {
            installation: self.installation.clone(),
            operation_id: 7,
            epoch,
        }
    }

    pub fn sessions(&self, epoch: u64) -> Sessions {
        Sessions::new(self.target(), self.owner(epoch), TestLease::held())
    }

    pub async fn session(&self, epoch: u64) -> Session {
        self.sessions(epoch)
            .open()
            .await
            .expect("a session of ours")
    }

    pub fn job(&self, statements: &[&str]) -> Job {
        job_of(
            &self.settings,
            &self.schema,
            &self.installation,
            1,
            statements,
        )
        .1
    }

    /// As `information_schema` shows it.
    pub async fn column_type(&mut self, table: &str, column: &str) -> String {
        self.text(&format!(
            "SELECT CAST(COLUMN_TYPE AS CHAR) FROM information_schema.COLUMNS \
              WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{table}' AND COLUMN_NAME = '{column}'"
        ))
        .await
    }

    /// The table of ours whose name ends so: `_new`, `_old`, `_checkpoint`.
    pub async fn ours(&mut self, end: &str) -> String {
        let tables = self.tables().await;
        let found = tables
            .into_iter()
            .find(|name| name.starts_with("_lk_") && name.ends_with(end));
        found.unwrap_or_else(|| panic!("no table {end}"))
    }

    /// Runs statements as the administrator, in the test's schema.
    pub async fn run(&mut self, statements: &str) {
        self.root
            .execute(AssertSqlSafe(statements.to_owned()))
            .await
            .unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    /// The first column of the first row, as text.
    pub async fn text(&mut self, query: &str) -> String {
        let row = self
            .root
            .fetch_one(AssertSqlSafe(query.to_owned()))
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        row.try_get_unchecked::<Option<String>, _>(0)
            .expect("text")
            .unwrap_or_else(|| "NULL".into())
    }

    /// The schema's tables.
    pub async fn tables(&mut self) -> BTreeSet<String> {
        let rows = self
            .root
            .fetch_all(AssertSqlSafe(format!(
                "SELECT CAST(TABLE_NAME AS CHAR) FROM information_schema.TABLES \
                  WHERE TABLE_SCHEMA = '{}'",
                self.schema
            )))
            .await
            .expect("tables");
        rows.iter()
            .map(|row| row.try_get_unchecked(0).expect("a name"))
            .collect()
    }
}

pub async fn open(db: &Deployment, job: Job) -> (Engine, Arc<TestLease>) {
    let lease = TestLease::held();
    let engine = Engine::open(db.target(), job, lease.clone())
        .await
        .expect("the engine");
    (engine, lease)
}

/// An engine whose copy has ended, with no difference found.
pub async fn copied(db: &Deployment, job: Job) -> (Engine, Arc<TestLease>) {
    let (mut engine, lease) = open(db, job).await;
    copy(&mut engine).await;
    (engine, lease)
}

pub async fn copy(engine: &mut Engine) {
    let copied = tokio::time::timeout(PATIENCE, engine.copy()).await;
    let copied = copied.expect("in time").expect("the copy");
    assert_eq!(copied, Outcome::Verified);
}

pub async fn swap(mut engine: Engine) {
    let swapped = tokio::time::timeout(PATIENCE, engine.cut_over()).await;
    swapped.expect("in time").expect("the swap");
    engine.finish().await.expect("the end");
    engine.close().await;
}

/// Swaps; what `content` says of the tables must be the same before and after, and is returned.
pub async fn swapped_alike(db: &mut Deployment, engine: Engine, content: &str) -> String {
    let expected = db.text(content).await;
    swap(engine).await;
    assert_eq!(db.text(content).await, expected);
    expected
}

/// The text with which preflight refuses statements, or `None` where it accepts them. Nothing is left of either.
pub async fn refusal(
    db: &mut Deployment,
    statements: &[&str],
    options: serde_json::Value,
) -> Option<String> {
    let before = db.tables().await;
    let mut session = db.session(1).await;
    let mut job = db.job(statements);
    job.options = options;
    let result = preflight::plan(&mut session, &job, &db.owner(1)).await;
    session.close().await;
    match result {
        Ok(plans) => {
            for plan in plans.iter().filter_map(|plan| plan.shadow.as_ref()) {
                db.run(&format!("DROP TABLE {}", plan.quoted())).await;
            }
            None
        }
        Err(error) => {
            assert_eq!(db.tables().await, before, "{error}");
            Some(error.message())
        }
    }
}
