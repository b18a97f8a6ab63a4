//! Statements, and queries with one column.

use sqlx::mysql::{MySql, MySqlConnection};
use sqlx::{AssertSqlSafe, Decode, Row as _, Type};

/// One statement or several; panics with the beginning of what is refused. Sent as text, as below.
pub async fn run(session: &mut MySqlConnection, statements: impl Into<String>) {
    let statements = statements.into();
    let beginning: String = statements.chars().take(200).collect();
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(session)
        .await
        .unwrap_or_else(|error| panic!("{beginning}: {error}"));
}

/// The first column of every row. Sent as text: where another test installs meanwhile, the server may give a prepared
/// statement up (1615).
pub async fn column<T>(session: &mut MySqlConnection, query: &str) -> Vec<T>
where
    T: for<'r> Decode<'r, MySql> + Type<MySql>,
{
    let rows = sqlx::raw_sql(AssertSqlSafe(query.to_owned()))
        .fetch_all(session)
        .await
        .unwrap_or_else(|error| panic!("{query}: {error}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// The only row's first column.
pub async fn one<T>(session: &mut MySqlConnection, query: &str) -> T
where
    T: for<'r> Decode<'r, MySql> + Type<MySql>,
{
    let mut rows = column(session, query).await;
    assert_eq!(rows.len(), 1, "{query}");
    rows.remove(0)
}
