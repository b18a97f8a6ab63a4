//! A session that calls procedures and tells refusals from answers.

use serde_json::{Value, json};
use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlDatabaseError};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Executor as _, MySql};

use super::rows::{Answer, Beat, Claim, Row};

/// What the server said instead of doing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub number: u16,
    pub message: String,
}

pub type Outcome<T> = Result<T, Refusal>;

/// One argument of a call.
#[derive(Clone, Debug)]
pub enum Argument {
    Null,
    Integer(i64),
    Natural(u64),
    Text(String),
}

impl From<&str> for Argument {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Argument {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Argument {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Argument {
    fn from(number: u64) -> Self {
        Self::Natural(number)
    }
}

impl From<i64> for Argument {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

/// `null` is SQL's NULL, as it is for every JSON argument that may be left out.
impl From<Value> for Argument {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            other => Self::Text(other.to_string()),
        }
    }
}

impl From<Option<&str>> for Argument {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::Null, Self::from)
    }
}

/// One connection; a method for each procedure that tests call often, `call` for the rest.
pub struct Session {
    connection: MySqlConnection,
}

impl Session {
    pub fn new(connection: MySqlConnection) -> Self {
        Self { connection }
    }

    pub async fn call(&mut self, procedure: &str, arguments: &[Argument]) -> Outcome<Vec<Row>> {
        let marks = vec!["?"; arguments.len()].join(", ");
        self.fetch(&format!("CALL {procedure}({marks})"), arguments)
            .await
    }

    /// A call that answers exactly one row.
    pub async fn call_row(&mut self, procedure: &str, arguments: &[Argument]) -> Outcome<Row> {
        let mut rows = self.call(procedure, arguments).await?;
        assert_eq!(rows.len(), 1, "{procedure} answers one row");
        Ok(rows.remove(0))
    }

    pub async fn fetch(&mut self, statement: &str, arguments: &[Argument]) -> Outcome<Vec<Row>> {
        for _ in 0..100 {
            let mut query: Query<'_, MySql, MySqlArguments> =
                sqlx::query(AssertSqlSafe(statement.to_owned()));
            for argument in arguments {
                query = match argument.clone() {
                    Argument::Null => query.bind(None::<String>),
                    Argument::Integer(number) => query.bind(number),
                    Argument::Natural(number) => query.bind(number),
                    Argument::Text(text) => query.bind(text),
                };
            }
            match query.fetch_all(&mut self.connection).await {
                Ok(rows) => return Ok(rows.into_iter().map(Row::new).collect()),
                Err(error) => match refusal(error) {
                    // Another test installs: each routine that it creates makes the server prepare statements again,
                    // and after three times the server gives up.
                    Refusal { number: 1615, .. } => {}
                    other => return Err(other),
                },
            }
        }
        panic!("never prepared: {statement}");
    }

    /// Rows of a query that must succeed.
    pub async fn rows(&mut self, query: &str, arguments: &[Argument]) -> Vec<Row> {
        self.fetch(query, arguments)
            .await
            .unwrap_or_else(|refusal| panic!("{query}: {refusal:?}"))
    }

    /// The only number that a query answers.
    pub async fn number(&mut self, query: &str, arguments: &[Argument]) -> i64 {
        let rows = self.rows(query, arguments).await;
        assert_eq!(rows.len(), 1, "{query}");
        rows[0].number_at(0)
    }

    /// The first column of every row, as text.
    pub async fn texts(&mut self, query: &str, arguments: &[Argument]) -> Vec<String> {
        let rows = self.rows(query, arguments).await;
        rows.iter().map(|row| row.text_at(0)).collect()
    }

    /// Rows of a query that is sent as text and must succeed.
    pub async fn text_rows(&mut self, query: &str) -> Vec<Row> {
        let rows = self
            .connection
            .fetch_all(sqlx::raw_sql(AssertSqlSafe(query.to_owned())))
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        rows.into_iter().map(Row::new).collect()
    }

    /// A statement sent as text: what can't be prepared, and what must be sent as it stands.
    pub async fn run(&mut self, statement: &str) -> Outcome<()> {
        self.connection
            .execute(sqlx::raw_sql(AssertSqlSafe(statement.to_owned())))
            .await
            .map(|_| ())
            .map_err(refusal)
    }

    /// What the session has read since its last FLUSH STATUS: seeks into an index, and rows read on from there.
    pub async fn reads(&mut self) -> (i64, i64) {
        let counters = self
            .text_rows("SHOW SESSION STATUS LIKE 'Handler_read%'")
            .await;
        let mut reads = (0, 0);
        for counter in counters {
            let count: i64 = counter.text_at(1).parse().expect("a count");
            match counter.text_at(0).as_str() {
                "Handler_read_key" | "Handler_read_first" => reads.0 += count,
                _ => reads.1 += count,
            }
        }
        reads
    }

    pub async fn claim(
        &mut self,
        procedure: &str,
        driver: &str,
        scope: Value,
    ) -> Outcome<Option<Claim>> {
        let rows = self.call(procedure, arguments![driver, scope]).await?;
        assert!(rows.len() <= 1, "{procedure} answers one row or none");
        Ok(rows.first().map(Claim::of))
    }

    pub async fn claim_copy(&mut self, driver: &str) -> Outcome<Option<Claim>> {
        self.claim("operation_claim_copy", driver, Value::Null)
            .await
    }

    pub async fn claim_cutover(&mut self, driver: &str) -> Outcome<Option<Claim>> {
        self.claim("operation_claim_cutover", driver, Value::Null)
            .await
    }

    pub async fn heartbeat(
        &mut self,
        claim: &Claim,
        progress: Value,
        checkpoint: Value,
    ) -> Outcome<Beat> {
        self.call_row(
            "operation_heartbeat",
            arguments![claim.operation, &claim.token, progress, checkpoint],
        )
        .await
        .map(|row| Beat::of(&row))
    }

    /// Answers the decision.
    pub async fn arrive(&mut self, claim: &Claim) -> Outcome<String> {
        self.call_row(
            "operation_arrive",
            arguments![claim.operation, &claim.token, Value::Null],
        )
        .await
        .map(|row| row.text("decision"))
    }

    /// `operation_begin_cutover`, `operation_stopped` and all others that take a lease only; answers the state.
    pub async fn report(&mut self, procedure: &str, claim: &Claim) -> Outcome<String> {
        self.call_row(procedure, arguments![claim.operation, &claim.token])
            .await
            .map(|row| row.text("state"))
    }

    pub async fn swapped(&mut self, claim: &Claim) -> Outcome<String> {
        self.call_row(
            "operation_swapped",
            arguments![claim.operation, &claim.token, json!({"swap_ms": 12})],
        )
        .await
        .map(|row| row.text("state"))
    }

    pub async fn fail(&mut self, claim: &Claim, message: &str, retryable: i64) -> Outcome<String> {
        self.call_row(
            "operation_fail",
            arguments![claim.operation, &claim.token, message, retryable],
        )
        .await
        .map(|row| row.text("state"))
    }

    /// Answers whether there was a lease to give back.
    pub async fn release(&mut self, claim: &Claim) -> Outcome<bool> {
        self.call_row(
            "operation_release",
            arguments![claim.operation, &claim.token],
        )
        .await
        .map(|row| row.number("released") == 1)
    }

    /// A DBA's command: `apply_stop` and the like, those with options or a level too.
    pub async fn command(&mut self, procedure: &str, arguments: &[Argument]) -> Outcome<Answer> {
        self.call_row(procedure, arguments)
            .await
            .map(|row| Answer::of(&row))
    }
}

fn refusal(error: sqlx::Error) -> Refusal {
    match error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>())
    {
        Some(error) => Refusal {
            number: error.number(),
            message: error.message().to_owned(),
        },
        None => panic!("no answer of the server: {error}"),
    }
}
