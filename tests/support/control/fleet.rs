use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use super::super::TestDatabase;
use super::pool;
use super::rows::{Answer, Beat, Blocked, Claim};
use super::session::{Argument, Outcome, Session};

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
    database: Option<TestDatabase>,
    session: Mutex<Session>,
    /// Sessions that somebody has returned: to connect takes longer than most calls.
    idle: std::sync::Mutex<Vec<Session>>,
    tables: AtomicU32,
}

impl Fleet {
    pub async fn of(deployments: u32) -> Self {
        let database = pool::take().await;
        let session = Session::new(database.connect().await);
        let fleet = Self {
            database: Some(database),
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
        self.database.as_ref().expect("there until dropped")
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

    // Claims.

    pub async fn claim_copy(&self, driver: &str) -> Option<Claim> {
        self.claim("operation_claim_copy", driver, Value::Null)
            .await
    }

    pub async fn claim_cutover(&self, driver: &str) -> Option<Claim> {
        self.claim("operation_claim_cutover", driver, Value::Null)
            .await
    }

    /// The copy claim of a driver that is limited to one deployment.
    pub async fn claim_copy_on(&self, deployment: &str) -> Option<Claim> {
        self.claim(
            "operation_claim_copy",
            "local",
            json!({"deployments": [deployment]}),
        )
        .await
    }

    pub async fn claim_cutover_on(&self, deployment: &str) -> Option<Claim> {
        self.claim(
            "operation_claim_cutover",
            "local",
            json!({"deployments": [deployment]}),
        )
        .await
    }

    pub async fn claim(&self, procedure: &str, driver: &str, scope: Value) -> Option<Claim> {
        let claim = self.sql().await.claim(procedure, driver, scope).await;
        let claim = claim.expect("a claim is never refused");
        self.check().await;
        claim
    }

    /// Both claims at once find nothing.
    #[track_caller]
    pub fn nothing_is_claimable(&self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let copy = self.claim_copy("nobody").await;
            let cutover = self.claim_cutover("nobody").await;
            assert!(
                copy.is_none() && cutover.is_none(),
                "at {caller}: {copy:?} {cutover:?}"
            );
        }
    }

    // A driver's calls, accepted.

    pub async fn beat(&self, claim: &Claim) -> Beat {
        self.done(
            async |session| session.heartbeat(claim, Value::Null, Value::Null).await,
            "heartbeat",
        )
        .await
    }

    pub async fn directive(&self, claim: &Claim) -> String {
        self.beat(claim).await.directive
    }

    pub async fn arrive(&self, claim: &Claim) -> String {
        self.done(async |session| session.arrive(claim).await, "arrive")
            .await
    }

    pub async fn swapped(&self, claim: &Claim) -> String {
        self.done(async |session| session.swapped(claim).await, "swapped")
            .await
    }

    pub async fn report(&self, procedure: &str, claim: &Claim) -> String {
        self.done(
            async |session| session.report(procedure, claim).await,
            procedure,
        )
        .await
    }

    /// A failure that is worth a retry.
    pub async fn fail_for_now(&self, claim: &Claim) -> String {
        self.done(
            async |session| session.fail(claim, "connection lost", 1).await,
            "fail",
        )
        .await
    }

    pub async fn fail_for_good(&self, claim: &Claim) -> String {
        self.done(
            async |session| session.fail(claim, "duplicate key", 0).await,
            "fail",
        )
        .await
    }

    pub async fn release(&self, claim: &Claim) -> bool {
        self.done(async |session| session.release(claim).await, "release")
            .await
    }

    async fn done<T>(&self, act: impl AsyncFnOnce(&mut Session) -> Outcome<T>, what: &str) -> T {
        let outcome = act(&mut *self.sql().await).await;
        let value = outcome.unwrap_or_else(|refusal| panic!("{what}: {refusal:?}"));
        self.check().await;
        value
    }

    // A DBA's commands.

    pub async fn command(&self, procedure: &str, arguments: &[Argument]) -> Outcome<Answer> {
        let answer = self.sql().await.command(procedure, arguments).await;
        self.check().await;
        answer
    }

    pub async fn try_stop(&self, apply: &Apply) -> Outcome<Answer> {
        self.command("apply_stop", arguments![apply.id, "peak hour"])
            .await
    }

    pub async fn stop(&self, apply: &Apply) -> Answer {
        self.try_stop(apply).await.expect("stop")
    }

    pub async fn try_start(&self, apply: &Apply) -> Outcome<Answer> {
        self.command("apply_start", arguments![apply.id, "quiet again"])
            .await
    }

    pub async fn start(&self, apply: &Apply) -> Answer {
        self.try_start(apply).await.expect("start")
    }

    pub async fn try_cancel(&self, apply: &Apply) -> Outcome<Answer> {
        self.command("apply_cancel", arguments![apply.id, "wrong index"])
            .await
    }

    pub async fn cancel(&self, apply: &Apply) -> Answer {
        self.try_cancel(apply).await.expect("cancel")
    }

    pub async fn try_release_pause(&self, apply: &Apply) -> Outcome<Answer> {
        self.command("apply_release", arguments![apply.id, "cell is rebuilt"])
            .await
    }

    pub async fn release_pause(&self, apply: &Apply) -> Answer {
        self.try_release_pause(apply).await.expect("release")
    }

    pub async fn try_cutover(&self, apply: &Apply, options: Value) -> Outcome<Answer> {
        self.command("apply_cutover", arguments![apply.id, options, "go"])
            .await
    }

    pub async fn cutover(&self, apply: &Apply) -> Answer {
        self.try_cutover(apply, Value::Null).await.expect("cutover")
    }

    pub async fn try_revert(&self, apply: &Apply, options: Value) -> Outcome<Answer> {
        self.command("apply_revert", arguments![apply.id, options, "slow plans"])
            .await
    }

    pub async fn revert(&self, apply: &Apply) -> Answer {
        self.try_revert(apply, Value::Null).await.expect("revert")
    }

    pub async fn try_skip_revert(&self, apply: &Apply) -> Outcome<Answer> {
        self.command("apply_skip_revert", arguments![apply.id, "all is well"])
            .await
    }

    pub async fn skip_revert(&self, apply: &Apply) -> Answer {
        self.try_skip_revert(apply).await.expect("skip_revert")
    }

    // What the views show.

    /// A column of `operation_status`, as text.
    pub async fn column(&self, operation: u64, column: &str) -> String {
        let query = format!(
            "SELECT CAST(s.{column} AS CHAR) FROM operation_status AS s WHERE s.operation_id = ?"
        );
        let mut texts = self.sql().await.texts(&query, arguments![operation]).await;
        assert_eq!(
            texts.len(),
            1,
            "operation {operation} is in operation_status"
        );
        texts.remove(0)
    }

    pub async fn state(&self, operation: u64) -> String {
        self.column(operation, "state").await
    }

    pub async fn states(&self, apply: &Apply) -> Vec<String> {
        self.sql()
            .await
            .texts(
                "SELECT s.state FROM operation_status AS s WHERE s.apply_id = ? ORDER BY s.position",
                arguments![apply.id],
            )
            .await
    }

    pub async fn apply_column(&self, apply: &Apply, column: &str) -> String {
        let query =
            format!("SELECT CAST(a.{column} AS CHAR) FROM apply_status AS a WHERE a.apply_id = ?");
        self.sql()
            .await
            .texts(&query, arguments![apply.id])
            .await
            .remove(0)
    }

    pub async fn apply_state(&self, apply: &Apply) -> String {
        self.apply_column(apply, "state").await
    }

    /// Operation and claim of everything that `operation_claimable` shows.
    pub async fn claimable(&self) -> Vec<(u64, String)> {
        self.sql()
            .await
            .rows(
                "SELECT c.operation_id, c.claim FROM operation_claimable AS c ORDER BY c.claimable_at, c.operation_id",
                &[],
            )
            .await
            .iter()
            .map(|row| (row.id("operation_id"), row.text("claim")))
            .collect()
    }

    pub async fn is_claimable(&self, operation: u64, claim: &str) -> bool {
        self.claimable()
            .await
            .contains(&(operation, claim.to_owned()))
    }

    pub async fn blocked(&self, operation: u64) -> Option<Blocked> {
        let rows = self
            .sql()
            .await
            .rows(
                "SELECT b.gate, b.blocker_operation_id, b.reason FROM operation_blocked AS b WHERE b.operation_id = ?",
                arguments![operation],
            )
            .await;
        assert!(rows.len() <= 1, "one row an operation");
        rows.first().map(Blocked::of)
    }

    /// Status of a request.
    pub async fn request_status(&self, answer: &Answer) -> String {
        self.sql()
            .await
            .texts(
                "SELECT r.status FROM control_request_log AS r WHERE r.request_id = ?",
                arguments![answer.request],
            )
            .await
            .remove(0)
    }

    pub async fn has_lease(&self, operation: u64) -> bool {
        self.sql()
            .await
            .number(
                "SELECT COUNT(*) FROM lease_status AS l WHERE l.operation_id = ?",
                arguments![operation],
            )
            .await
            == 1
    }

    // Time.

    pub async fn age(&self, operation: u64, seconds: i64) {
        self.call("operation_age", arguments![operation, seconds])
            .await;
    }

    // Whole ways.

    /// Claims a copy on the operation's own deployment.
    pub async fn run(&self, operation: u64) -> Claim {
        let deployment = self.column(operation, "deployment").await;
        let claim = self.claim_copy_on(&deployment).await;
        let claim = claim.unwrap_or_else(|| panic!("operation {operation} has an open copy gate"));
        assert_eq!(claim.operation, operation);
        claim
    }

    /// Copies and arrives where that parks.
    pub async fn park(&self, operation: u64) {
        let claim = self.run(operation).await;
        assert_eq!(self.arrive(&claim).await, "parked");
    }

    /// Copies and arrives where the cutover is deferred.
    pub async fn hold(&self, operation: u64) -> Claim {
        let claim = self.run(operation).await;
        assert_eq!(self.arrive(&claim).await, "hold");
        claim
    }

    /// From `pending`, or parked, to a swap under way, with an open gate and nothing deferred.
    pub async fn cut_over(&self, operation: u64) -> Claim {
        let deployment = self.column(operation, "deployment").await;
        if self.state(operation).await == "pending" {
            let claim = self.run(operation).await;
            match self.arrive(&claim).await.as_str() {
                "cut_over" => return claim,
                "parked" => {}
                other => panic!("operation {operation} arrived: {other}"),
            }
        }
        let claim = self.claim_cutover_on(&deployment).await;
        claim.unwrap_or_else(|| panic!("operation {operation} has an open cutover gate"))
    }

    /// From `stopped` with a start pending, or from a due retry, to a swap under way.
    pub async fn cut_over_again(&self, operation: u64) -> Claim {
        let claim = self.run(operation).await;
        if self.arrive(&claim).await == "cut_over" {
            return claim;
        }
        self.cut_over(operation).await
    }

    /// Ends an apply, whatever it is doing: the tests that follow in this schema are not to meet it.
    pub async fn retire(&self, apply: &Apply) {
        let finished = self.try_cancel(apply).await;
        if let Err(refusal) = &finished {
            assert_eq!(refusal.number, 50501, "{refusal:?}");
        }
        for operation in &apply.operations {
            self.age(*operation, 1_000_000).await;
        }
        loop {
            let claim = match self.claim_copy("retiring").await {
                Some(claim) => claim,
                None => match self.claim_cutover("retiring").await {
                    Some(claim) => claim,
                    None => break,
                },
            };
            assert_eq!(claim.apply, apply.id, "no other apply is left");
            match claim.state.as_str() {
                "cancelling" => self.report("operation_cancelled", &claim).await,
                "cutting_over" => {
                    let state = self.swapped(&claim).await;
                    self.age(claim.operation, 1_000_000).await;
                    state
                }
                "revert_window" if self.directive(&claim).await == "revert" => {
                    self.report("operation_begin_revert", &claim).await;
                    self.report("operation_reverted", &claim).await
                }
                "revert_window" => self.report("operation_complete", &claim).await,
                "reverting" => self.report("operation_reverted", &claim).await,
                other => panic!("{other} after a cancel"),
            };
        }
        let states = self.states(apply).await;
        assert_ne!(
            self.apply_column(apply, "finished_at").await,
            "NULL",
            "{states:?}"
        );
    }

    /// A lone apply that has ended so.
    pub async fn settled(&self, end: &str) -> Apply {
        let window = u64::from(end == "reverted") * 600;
        let options = json!({"deployments": ["d1"], "revert_window_seconds": window});
        let apply = self.submit(options).await;
        let [o1] = apply.all();
        match end {
            "completed" => drop(self.swap(o1).await),
            "failed" => self.fail_operation(o1).await,
            "cancelled" => drop(self.cancel(&apply).await),
            "reverted" => {
                let claim = self.swap(o1).await;
                self.revert(&apply).await;
                self.report("operation_begin_revert", &claim).await;
                self.report("operation_reverted", &claim).await;
            }
            other => panic!("{other} is no end"),
        }
        assert_eq!(self.state(o1).await, end);
        apply
    }

    /// From `pending`, or parked, to `completed`, or to `revert_window` where there is one.
    pub async fn swap(&self, operation: u64) -> Claim {
        let claim = self.cut_over(operation).await;
        self.swapped(&claim).await;
        claim
    }

    /// Lets a running, parked or pending operation fail for good.
    pub async fn fail_operation(&self, operation: u64) {
        let claim = self.run(operation).await;
        assert_eq!(self.fail_for_good(&claim).await, "failed");
    }

    /// All that is stored of an operation, and how many events there are of it: to see that nothing changed.
    pub async fn everything_of(&self, operation: u64) -> Vec<String> {
        let mut session = self.sql().await;
        let mut everything = Vec::new();
        for query in [
            "SELECT o.* FROM operation AS o WHERE o.operation_id = ?",
            "SELECT l.* FROM operation_live AS l WHERE l.operation_id = ?",
        ] {
            for row in session.rows(query, arguments![operation]).await {
                everything.push(row.raw());
            }
        }
        everything.extend(
            session
                .texts(
                    "SELECT CONCAT('events ', COUNT(*)) FROM event_log AS e WHERE e.operation_id = ?",
                    arguments![operation],
                )
                .await,
        );
        everything
    }

    /// How much there is of everything that is ever stored: a refused call adds nothing.
    pub async fn trace(&self) -> Vec<String> {
        self.sql()
            .await
            .texts(
                "SELECT CONCAT('applies ', COUNT(*)) FROM apply_status
                 UNION ALL SELECT CONCAT('operations ', COUNT(*)) FROM operation_status
                 UNION ALL SELECT CONCAT('tasks ',       COUNT(*)) FROM task_status
                 UNION ALL SELECT CONCAT('deployments ', COUNT(*)) FROM deployment_status
                 UNION ALL SELECT CONCAT('drivers ',     COUNT(*)) FROM driver_status
                 UNION ALL SELECT CONCAT('leases ',      COUNT(*)) FROM lease_status
                 UNION ALL SELECT CONCAT('requests ',    COUNT(*)) FROM control_request_log
                 UNION ALL SELECT CONCAT('events ',      COUNT(*)) FROM event_log
                 UNION ALL SELECT CONCAT('holds ',       COUNT(*)) FROM table_hold",
                &[],
            )
            .await
    }

    // What must always hold.

    /// Stored claims are the declared ones; each operation that waits is claimable or blocked with a reason, never both.
    pub async fn check(&self) {
        let mut session = self.sql().await;
        let inconsistent = session
            .texts(
                "SELECT CONCAT_WS(' / ', c.operation_id, c.recorded, c.declared) FROM consistency AS c",
                &[],
            )
            .await;
        assert!(inconsistent.is_empty(), "consistency: {inconsistent:?}");
        let astray = session
            .texts(
                "SELECT CONCAT_WS(' ', w.operation_id, w.state, 'claimable', w.claimable, 'blocked', w.blocked)
                   FROM (SELECT s.operation_id,
                                s.state,
                                (SELECT COUNT(*) FROM operation_claimable AS c WHERE c.operation_id = s.operation_id) AS claimable,
                                (SELECT COUNT(*)
                                   FROM operation_blocked AS b
                                  WHERE b.operation_id = s.operation_id
                                    AND b.reason LIKE '%.') AS blocked
                           FROM operation_status AS s
                           LEFT JOIN lease_status AS l
                             ON l.operation_id = s.operation_id
                          WHERE s.state IN ('pending', 'waiting_for_cutover', 'failed_retryable')
                            AND l.operation_id IS NULL) AS w
                  WHERE w.claimable + w.blocked <> 1",
                &[],
            )
            .await;
        assert!(astray.is_empty(), "neither or both: {astray:?}");
    }

    /// The moves of each operation form one chain of legal moves from `pending` to the state that it has.
    pub async fn check_history(&self) {
        let mut session = self.sql().await;
        let broken = session
            .texts(
                "SELECT CONCAT_WS(' ', m.operation_id, m.before_state, m.from_state, m.to_state)
                   FROM (SELECT e.operation_id, e.from_state, e.to_state, e.actor, e.detail, e.lease_epoch, e.occurred_at,
                                LAG(e.to_state, 1, 'pending') OVER one AS before_state,
                                LAG(e.lease_epoch, 1, 0)      OVER one AS before_epoch
                           FROM event_log AS e
                          WHERE e.to_state IS NOT NULL
                         WINDOW one AS (PARTITION BY e.operation_id ORDER BY e.event_id)) AS m
                   LEFT JOIN operation_transition AS t
                     ON t.from_state = m.from_state
                    AND t.to_state   = m.to_state
                  WHERE m.from_state <> m.before_state
                     OR t.from_state IS NULL
                     OR COALESCE(m.actor, '')  = ''
                     OR COALESCE(m.detail, '') = ''
                     OR m.lease_epoch IS NULL
                     OR m.lease_epoch < m.before_epoch
                     OR m.occurred_at IS NULL
                 UNION ALL
                 SELECT CONCAT_WS(' ', s.operation_id, 'is', s.state, 'but moved last to', m.to_state)
                   FROM operation_status AS s
                   LEFT JOIN (SELECT e.operation_id, e.to_state,
                                     ROW_NUMBER() OVER (PARTITION BY e.operation_id ORDER BY e.event_id DESC) AS number
                                FROM event_log AS e
                               WHERE e.to_state IS NOT NULL) AS m
                     ON m.operation_id = s.operation_id
                    AND m.number       = 1
                  WHERE COALESCE(m.to_state, 'pending') <> s.state",
                &[],
            )
            .await;
        assert!(broken.is_empty(), "broken chains: {broken:?}");
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(database) = self.database.take() {
            pool::give_back(database);
        }
    }
}
