//! The session that installs, its lock, and the schema itself.

use sqlx::{AssertSqlSafe, Executor as _, MySqlConnection};

use super::error::InstallError;
use super::migrate::HISTORY_TABLE;
use crate::engine::syntax::quote;

/// Each routine keeps the sql_mode and character set of the session that created it.
pub(super) const SQL_MODE: &str = "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,\
                                   NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION";
pub(super) const CHARACTER_SET: &str = "utf8mb4";
pub(super) const COLLATION: &str = "utf8mb4_0900_ai_ci";

/// Longer than any installation, so that ten at once all get their turn.
const LOCK_SECONDS: u32 = 300;
/// A lock's name has at most 64 characters.
const LONGEST_LOCK: usize = 64;

pub(super) fn session_settings() -> String {
    format!(
        "SET NAMES {CHARACTER_SET} COLLATE {COLLATION}, SESSION sql_mode = '{SQL_MODE}', \
         SESSION time_zone = '+00:00', SESSION group_concat_max_len = 65536"
    )
}

pub(super) async fn prepare_session(session: &mut MySqlConnection) -> Result<(), InstallError> {
    session.execute(AssertSqlSafe(session_settings())).await?;
    // What a server that has come from an older one often has otherwise. To set it takes a privilege, so only there.
    let is_other: bool = sqlx::query_scalar("SELECT @@SESSION.default_collation_for_utf8mb4 <> ?")
        .bind(COLLATION)
        .fetch_one(&mut *session)
        .await?;
    if is_other {
        let set = format!("SET SESSION default_collation_for_utf8mb4 = {COLLATION}");
        session.execute(AssertSqlSafe(set)).await?;
    }
    Ok(())
}

/// One installation into a schema at a time, whoever runs it; freed with the session.
pub(super) async fn lock(session: &mut MySqlConnection, schema: &str) -> Result<(), InstallError> {
    let name = lock_name(schema);
    let got: Option<i64> = sqlx::query_scalar("SELECT GET_LOCK(?, ?)")
        .bind(&name)
        .bind(LOCK_SECONDS)
        .fetch_one(&mut *session)
        .await?;
    if got == Some(1) {
        return Ok(());
    }
    let holder: Option<u64> = sqlx::query_scalar("SELECT IS_USED_LOCK(?)")
        .bind(&name)
        .fetch_one(session)
        .await?;
    Err(InstallError::Busy {
        schema: schema.to_owned(),
        seconds: LOCK_SECONDS,
        connection: holder.unwrap_or_default(),
    })
}

pub(super) fn lock_name(schema: &str) -> String {
    let name = format!("lockkeeper:{schema}");
    if name.chars().count() <= LONGEST_LOCK {
        name
    } else {
        format!("lockkeeper:{}", short_digest(schema))
    }
}

/// Creates the schema and makes it the session's own. Variables of routines take its default collation.
pub(super) async fn create_schema(
    session: &mut MySqlConnection,
    schema: &str,
) -> Result<(), InstallError> {
    let collation = |session| {
        sqlx::query_scalar::<_, String>(
            "SELECT s.default_collation_name
               FROM information_schema.schemata AS s
              WHERE s.schema_name = ?",
        )
        .bind(schema.to_owned())
        .fetch_optional(session)
    };
    // Asked first: IF NOT EXISTS needs the right to create even where there is nothing to do.
    let found: Option<String> = collation(&mut *session).await?;
    match found {
        None => run(session, create_schema_statement(schema)).await?,
        Some(found) if found == COLLATION => {}
        Some(found) => {
            let tables: i64 = sqlx::query_scalar(
                "SELECT COUNT(*) FROM information_schema.tables AS t WHERE t.table_schema = ?",
            )
            .bind(schema)
            .fetch_one(&mut *session)
            .await?;
            if tables > 0 {
                return Err(InstallError::Collation {
                    schema: schema.to_owned(),
                    collation: found,
                });
            }
            let schema = quote(schema);
            let statement = format!(
                "ALTER DATABASE {schema} CHARACTER SET {CHARACTER_SET} COLLATE {COLLATION}"
            );
            run(session, statement).await?;
        }
    }
    run(session, format!("USE {}", quote(schema))).await
}

pub(super) fn create_schema_statement(schema: &str) -> String {
    let schema = quote(schema);
    format!(
        "CREATE DATABASE IF NOT EXISTS {schema} CHARACTER SET {CHARACTER_SET} COLLATE {COLLATION}"
    )
}

/// Refuses a schema that somebody else has tables in: an object of ours would replace one of theirs that has its name.
pub async fn refuse_foreign(
    session: &mut MySqlConnection,
    schema: &str,
) -> Result<(), InstallError> {
    let table: Option<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT CAST(MIN(t.table_name) AS CHAR) {}",
        of_somebody_else("?")
    )))
    .bind(schema)
    .bind(schema)
    .fetch_one(session)
    .await?;
    match table {
        None => Ok(()),
        Some(table) => Err(InstallError::SchemaInUse {
            schema: schema.to_owned(),
            table,
        }),
    }
}

/// From where to read the tables of a schema that is not ours: the first table that an installation makes is not there, nor, for an
/// account that sees views alone, the view of it.
pub(super) fn of_somebody_else(schema: &str) -> String {
    format!(
        "FROM information_schema.tables AS t
          WHERE t.table_schema = {schema}
            AND t.table_name  <> '{HISTORY_TABLE}'
            AND NOT EXISTS (SELECT 1
                              FROM information_schema.tables AS o
                             WHERE o.table_schema = {schema}
                               AND o.table_name  IN ('installed_object', 'object_version'))"
    )
}

/// The tables fit no older row format than the usual one.
pub(super) async fn refuse_old_row_format(
    session: &mut MySqlConnection,
    schema: &str,
) -> Result<(), InstallError> {
    let format: Option<String> = sqlx::query_scalar(
        "SELECT @@GLOBAL.innodb_default_row_format
           FROM DUAL
          WHERE @@GLOBAL.innodb_default_row_format <> 'dynamic'
            AND NOT EXISTS (SELECT 1
                              FROM information_schema.tables AS t
                             WHERE t.table_schema = ?
                               AND t.table_name   = 'operation_live')",
    )
    .bind(schema)
    .fetch_optional(session)
    .await?;
    match format {
        None => Ok(()),
        Some(format) => Err(InstallError::RowFormat { format }),
    }
}

/// As text: much of what an installation runs can't be prepared.
pub(super) async fn run(
    session: &mut MySqlConnection,
    statement: String,
) -> Result<(), InstallError> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(session)
        .await?;
    Ok(())
}

/// A text literal under [`SQL_MODE`].
pub(super) fn text_literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

pub(super) fn short_digest(text: &str) -> String {
    use sha2::{Digest, Sha256};
    hex::encode(Sha256::digest(text))[..8].to_owned()
}
