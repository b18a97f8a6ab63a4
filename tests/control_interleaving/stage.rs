//! A rollout, the sessions that meet on it, and the one that makes them wait for each other.

use std::time::Duration;

use sqlx::mysql::{MySqlConnection, MySqlDatabaseError, MySqlRow};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tokio::task::JoinHandle;

use crate::support::control::{Lent, lend};
use crate::support::{column, eventually, one};

const DEADLINE: Duration = Duration::from_secs(60);

/// What a caller saw: a row, nothing, or a refusal's number. Anything else, a deadlock above all, fails the test.
pub type Answer = Result<Option<MySqlRow>, u16>;

pub async fn call(session: &mut MySqlConnection, call: &str) -> Answer {
    match sqlx::raw_sql(AssertSqlSafe(call.to_owned()))
        .fetch_optional(session)
        .await
    {
        Ok(row) => Ok(row),
        Err(sqlx::Error::Database(error)) => {
            let number = error.downcast_ref::<MySqlDatabaseError>().number();
            assert!((50000..52000).contains(&number), "{call}: {number} {error}");
            Err(number)
        }
        Err(error) => panic!("{call}: {error}"),
    }
}

pub fn text(answer: &Answer, column: &str) -> String {
    match answer {
        Ok(Some(row)) => row.get(column),
        Ok(None) => "nothing".to_owned(),
        Err(number) => number.to_string(),
    }
}

/// A rollout with its sessions.
pub struct Stage {
    pub database: Lent,
    session: MySqlConnection,
    pub apply: u64,
    pub operations: Vec<u64>,
}

impl Stage {
    pub async fn set(count: u32, options: &str) -> Self {
        let database = lend().await;
        database.register_deployments(count).await;
        Self::on(database, options).await
    }

    /// The next rollout on the same installation; the former one is over.
    pub async fn again(self, options: &str) -> Self {
        let mut session = self.session;
        for table in ["operation_live", "table_hold"] {
            let delete = format!("DELETE FROM {table}");
            session
                .execute(AssertSqlSafe(delete))
                .await
                .expect("removed");
        }
        session
            .execute("UPDATE apply SET finished_at = UTC_TIMESTAMP(6)")
            .await
            .expect("finished");
        Self::on(self.database, options).await
    }

    pub async fn on(database: Lent, options: &str) -> Self {
        let mut session = database.connect().await;
        let submit = format!(
            "CALL apply_submit('shop', 'ALTER TABLE orders ADD COLUMN c INT', '{options}')"
        );
        let row = call(&mut session, &submit)
            .await
            .expect("accepted")
            .expect("a row");
        let apply: u64 = row.get("apply_id");
        let operations = format!(
            "SELECT operation_id FROM operation_status WHERE apply_id = {apply} ORDER BY position"
        );
        let operations = column(&mut session, &operations).await;
        Self {
            database,
            session,
            apply,
            operations,
        }
    }

    pub async fn call(&mut self, statement: &str) -> Answer {
        call(&mut self.session, statement).await
    }

    /// Claims, and gives the token.
    pub async fn claim(&mut self, claim: &str) -> String {
        let answer = self
            .call(&format!("CALL operation_claim_{claim}('first', NULL)"))
            .await;
        assert!(matches!(answer, Ok(Some(_))), "{claim}: {answer:?}");
        text(&answer, "lease_token")
    }

    /// A control session that holds a row until it is dropped.
    pub async fn hold(&self, lock: &str) -> MySqlConnection {
        let mut holder = self.database.connect().await;
        holder.execute("START TRANSACTION").await.expect("begun");
        sqlx::raw_sql(AssertSqlSafe(format!("{lock} FOR UPDATE")))
            .fetch_all(&mut holder)
            .await
            .expect("locked");
        holder
    }

    pub async fn hold_apply(&self) -> MySqlConnection {
        self.hold(&format!(
            "SELECT apply_id FROM apply WHERE apply_id = {}",
            self.apply
        ))
        .await
    }

    pub async fn hold_operation(&self, at: usize) -> MySqlConnection {
        let id = self.operations[at];
        self.hold(&format!(
            "SELECT operation_id FROM operation_live WHERE operation_id = {id}"
        ))
        .await
    }

    /// Starts a call in a session of its own, and returns once it waits for a lock. One that ends without has not met what it
    /// was to meet.
    pub async fn begin(&mut self, statement: String) -> JoinHandle<Answer> {
        let call = self.begin_or_end(statement.clone()).await;
        assert!(!call.is_finished(), "waited for nobody: {statement}");
        call
    }

    /// The same of a call that may pass over what is held, and so be over already.
    pub async fn begin_or_end(&mut self, statement: String) -> JoinHandle<Answer> {
        let mut session = self.database.connect().await;
        let id: u64 = one(&mut session, "SELECT CONNECTION_ID()").await;
        let task = tokio::spawn(async move { call(&mut session, &statement).await });
        self.until_it_waits(id, &task).await;
        task
    }

    /// A claim that has found what it wants in another's hands, and is to look again.
    pub async fn begin_to_look(&mut self, claim: String) -> JoinHandle<Answer> {
        let mut session = self.database.connect().await;
        let id: u64 = one(&mut session, "SELECT CONNECTION_ID()").await;
        let task = tokio::spawn(async move { call(&mut session, &claim).await });
        let watcher = tokio::sync::Mutex::new(self.database.connect().await);
        eventually("the claim looks again", DEADLINE, || async {
            let mut watcher = watcher.lock().await;
            let sleeps = format!(
                "SELECT COUNT(*) FROM performance_schema.processlist AS p WHERE p.ID = {id} AND p.STATE = 'User sleep'"
            );
            let sleeps: i64 = one(&mut watcher, &sleeps).await;
            sleeps > 0 || task.is_finished()
        })
        .await;
        task
    }

    async fn until_it_waits<T>(&self, id: u64, task: &JoinHandle<T>) {
        let watcher = tokio::sync::Mutex::new(self.database.connect().await);
        eventually("the call waits for a lock", DEADLINE, || async {
            let mut watcher = watcher.lock().await;
            let waits = format!(
                "SELECT COUNT(*) FROM performance_schema.data_lock_waits AS w
                   JOIN performance_schema.threads AS t ON t.thread_id = w.requesting_thread_id
                  WHERE t.processlist_id = {id}"
            );
            let waits: i64 = one(&mut watcher, &waits).await;
            waits > 0 || task.is_finished()
        })
        .await;
    }

    /// Kills a call that waits for a lock. Its session then commits, as one does that knows of no open transaction.
    pub async fn kill_and_commit(&mut self, statement: &str) {
        let mut session = self.database.connect().await;
        let id: u64 = one(&mut session, "SELECT CONNECTION_ID()").await;
        let call = AssertSqlSafe(statement.to_owned());
        let task = tokio::spawn(async move {
            let answer = sqlx::raw_sql(call).fetch_optional(&mut session).await;
            (session, answer)
        });
        self.until_it_waits(id, &task).await;
        let kill = format!("KILL QUERY {id}");
        self.session
            .execute(AssertSqlSafe(kill))
            .await
            .expect("killed");
        let (mut session, answer) = task.await.expect("ended");
        assert!(answer.is_err(), "waited for nobody: {statement}");
        session.execute("COMMIT").await.expect("committed");
    }

    /// Two calls that wait in line, the first of them first or last; in the order given.
    pub async fn begin_both(
        &mut self,
        [one, other]: [String; 2],
        in_this_order: bool,
    ) -> [JoinHandle<Answer>; 2] {
        if in_this_order {
            [self.begin(one).await, self.begin(other).await]
        } else {
            let other = self.begin(other).await;
            [self.begin(one).await, other]
        }
    }

    pub async fn states(&mut self) -> Vec<String> {
        let states = format!(
            "SELECT state FROM operation_status WHERE apply_id = {} ORDER BY position",
            self.apply
        );
        column(&mut self.session, &states).await
    }

    pub async fn count(&mut self, query: &str) -> i64 {
        one(&mut self.session, query).await
    }

    pub async fn is_consistent(&mut self) {
        assert_eq!(self.count("SELECT COUNT(*) FROM consistency").await, 0);
        assert_eq!(
            self.count("SELECT COUNT(*) FROM operation_claimable JOIN operation_blocked USING (operation_id)").await,
            0
        );
    }
}

pub async fn let_go(mut holder: MySqlConnection) {
    // The server rolls a closed session back in its own time: ask for it, and wait for the answer.
    sqlx::raw_sql("ROLLBACK")
        .execute(&mut holder)
        .await
        .expect("let go");
    holder.close().await.expect("closed");
}
