//! A server with a table, and the program run against it.

use std::process::{Output, Stdio};
use std::time::Duration;

use lockkeeper::config::ConnectionSettings;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use tokio::io::{AsyncBufRead, Lines};
use tokio::process::{Child, Command};

use crate::support::{TestDatabase, clean_up, eventually};

pub const PATIENCE: Duration = Duration::from_secs(90);

/// A server with a table, whose control schema is one of this test's own.
pub struct Shop {
    pub database: TestDatabase,
    pub schema: String,
    pub session: MySqlConnection,
}

impl Shop {
    pub async fn of(database: TestDatabase, rows: u32) -> Self {
        let schema = format!("a_{:016x}", rand::random::<u64>());
        let bare = database.settings().clone().without_schema();
        let mut session = bare.connect().await.expect("a session");
        for statement in [
            format!("CREATE DATABASE {schema}"),
            format!("USE {schema}"),
            "CREATE TABLE orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, total INT, note CHAR(200) DEFAULT 'x')"
                .to_owned(),
            "CREATE TABLE keyless (total INT)".to_owned(),
            "SET SESSION cte_max_recursion_depth = 1000000".to_owned(),
            format!(
                "INSERT INTO orders (total)
                 WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT n.i + 1 FROM n WHERE n.i < {rows})
                 SELECT n.i FROM n"
            ),
        ] {
            session
                .execute(AssertSqlSafe(statement.clone()))
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        Self {
            database,
            schema,
            session,
        }
    }

    pub async fn new() -> Self {
        Self::of(TestDatabase::bare().await, 1000).await
    }

    pub fn command(&self, settings: &ConnectionSettings, arguments: &[&str]) -> Command {
        let mut command = Command::from(crate::support::program());
        command
            .args(arguments)
            .env("LOCKKEEPER_URL", settings.url().expose())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub fn lockkeeper(&self, arguments: &[&str]) -> Command {
        self.command(self.database.settings(), arguments)
    }

    pub fn alter(&self, arguments: &[&str]) -> Command {
        let mut command = self.lockkeeper(&["alter", "--schema", &self.schema]);
        command.args(arguments);
        command
    }

    pub fn spawn(&self, change: &[&str], more: &[&str]) -> Child {
        let mut command = self.alter(&[change, more].concat());
        command.spawn().expect("the program runs")
    }

    /// Whoever runs the tests may have SIGHUP ignored, as `nohup` does; here it is not.
    pub fn spawn_with_hangup(&self, change: &[&str], more: &[&str]) -> Child {
        let alter = self.alter(&[change, more].concat());
        let alter = alter.as_std();
        let mut command = Command::new("env");
        command
            .arg("--default-signal=HUP")
            .arg(alter.get_program())
            .args(alter.get_args())
            .envs(
                alter
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.spawn().expect("env runs")
    }

    pub async fn count(&mut self, query: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(&mut self.session)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Tables that only a look or an apply makes.
    pub async fn artifacts(&mut self) -> i64 {
        let schema = self.schema.clone();
        self.count(&format!(
            "SELECT COUNT(*) FROM information_schema.TABLES AS t
              WHERE t.TABLE_SCHEMA = '{schema}' AND t.TABLE_NAME NOT IN ('orders', 'keyless')"
        ))
        .await
    }

    /// What a change keeps on the server: the former table and the fence.
    pub async fn tables_of_ours(&mut self) -> Vec<String> {
        let query = "SELECT CAST(t.TABLE_NAME AS CHAR) FROM information_schema.TABLES AS t
                      WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME LIKE '\\_lk\\_%'
                      ORDER BY t.TABLE_NAME";
        let names = sqlx::query_scalar(query).bind(&self.schema);
        let names: Vec<String> = names.fetch_all(&mut self.session).await.expect("names");
        assert_eq!(names.len(), 2, "{names:?}");
        names
    }

    pub async fn is_installed(&mut self) -> bool {
        let schema = self.database.schema().to_owned();
        self.count(&format!(
            "SELECT COUNT(*) FROM information_schema.SCHEMATA AS s WHERE s.SCHEMA_NAME = '{schema}'"
        ))
        .await
            == 1
    }

    pub async fn column_type(&mut self) -> String {
        let row = self
            .session
            .fetch_one("SHOW COLUMNS FROM orders LIKE 'total'")
            .await
            .expect("the column");
        row.try_get_unchecked(1).expect("its type")
    }

    /// What `query` answers about the first apply, once there is one.
    pub async fn ask(&self, query: &str) -> Option<String> {
        let mut session = self.database.settings().connect().await.ok()?;
        sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(format!(
            "SELECT CAST(({query}) AS CHAR)"
        )))
        .fetch_one(&mut session)
        .await
        .ok()?
    }

    pub async fn until(&self, query: &str, wanted: &str) {
        eventually(&format!("{query} is {wanted}"), PATIENCE, || async {
            self.ask(query).await.as_deref() == Some(wanted)
        })
        .await;
    }

    /// In the middle of its copy, which then stands still.
    pub async fn until_it_copies(&self) {
        let copied = "SELECT o.rows_copied > 0 FROM operation_status AS o";
        self.until(copied, "1").await;
        let paused = self.lockkeeper(&["throttle", "1", "10"]).output().await;
        assert_eq!(code(&paused.expect("throttled")), 0);
        let state = "SELECT o.state FROM operation_status AS o";
        assert_eq!(self.ask(state).await.as_deref(), Some("running"));
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // A server that is the tests' own goes as a whole.
        if self.database.is_reusable() {
            return;
        }
        let drop = format!("DROP DATABASE {}", self.schema);
        clean_up(self.database.settings(), &self.schema, vec![drop]);
    }
}

pub fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The object that a command which succeeds has printed.
#[track_caller]
pub fn done(output: &Output) -> serde_json::Value {
    assert_eq!(code(output), 0, "{}{}", out(output), err(output));
    serde_json::from_str(&out(output)).expect("one object")
}

pub fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    kill_process(pid.and_then(Pid::from_raw).expect("it runs"), signal).expect("a signal");
}

/// Reads what it writes until a line has `part`.
pub async fn until_it_says<R: AsyncBufRead + Unpin>(lines: &mut Lines<R>, part: &str) {
    let reading = async {
        while let Some(line) = lines.next_line().await.expect("UTF-8") {
            if line.contains(part) {
                return;
            }
        }
        panic!("it ended without saying: {part}");
    };
    let read = tokio::time::timeout(PATIENCE, reading).await;
    read.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {part}"));
}

/// What it writes until its end: unread, it would hold it up.
pub async fn rest<R: AsyncBufRead + Unpin>(lines: &mut Lines<R>) -> String {
    let mut text = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

pub async fn run(mut command: Command) -> Output {
    command.output().await.expect("the program runs")
}
