//! Who holds a table whose lock is wanted, and who of them may be killed.
//!
//! While `LOCK TABLES` waits behind a long transaction, every new query of the table waits
//! behind it. So the swap looks first, and gives way instead of queueing.

use std::time::Duration;

use sqlx::Row;

use super::Session;
use crate::engine::EngineError;
use crate::server_error;

/// A session that holds a lock of the table's definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocker {
    /// `None` for a lock that no session holds any more: a prepared XA transaction.
    pub id: Option<u64>,
    pub user: String,
    pub held_for: Duration,
    /// The lock is of an XA transaction that was prepared and is no session's any more. The server
    /// names the session that prepared it, though that may be busy with other things.
    pub is_detached: bool,
    /// The statement that has locked more than rows.
    pub holds: Option<&'static str>,
    /// Why it must not be killed; `None` if it may.
    pub protected: Option<&'static str>,
}

impl Blocker {
    pub fn describe(&self) -> String {
        let seconds = self.held_for.as_secs();
        match self.id {
            Some(id) if self.is_detached => format!(
                "an XA transaction that session {id} of {} has prepared has used the table",
                self.user
            ),
            Some(id) => match self.holds {
                Some(what) => format!(
                    "session {id} of {} has held {what} for {seconds} s",
                    self.user
                ),
                None => format!(
                    "session {id} of {} has used the table for {seconds} s",
                    self.user
                ),
            },
            None => "a prepared XA transaction has used the table".to_owned(),
        }
    }
}

/// Programs that a DBA runs on purpose, and that leave a mess when they are killed.
const TOOLS: [&str; 12] = [
    "gh-ost",
    "pt-online-schema",
    "pt_online_schema",
    "pt-archiver",
    "spirit",
    "mysqldump",
    "mysqlpump",
    "mydumper",
    "mysqlsh",
    "xtrabackup",
    "mysqlbackup",
    "lockkeeper",
];

/// Whether a lock is neither of the transaction that its session is in, which began in the statement that it is nested in,
/// nor of the statement that runs: then a former transaction has left it there, and that can only be a prepared one.
/// (The server gives a lock the number of the event that comes next.) Where no transaction of the session was ever seen,
/// nobody can tell. Only the types of locks that reading and writing rows takes: `LOCK TABLES` has others.
const IS_DETACHED: &str = "e.THREAD_ID IS NOT NULL AND l.LOCK_DURATION = 'TRANSACTION' \
     AND l.LOCK_TYPE IN ('SHARED_READ', 'SHARED_WRITE', 'SHARED_WRITE_LOW_PRIO') \
     AND NOT (e.STATE = 'ACTIVE' AND l.OWNER_EVENT_ID > COALESCE(e.NESTING_EVENT_ID, e.EVENT_ID - 1)) \
     AND NOT COALESCE(s.END_EVENT_ID IS NULL AND l.OWNER_EVENT_ID > s.EVENT_ID, FALSE)";

/// Under load InnoDB's purge holds a table nearly all the time, but never for longer than it takes to purge a row: the lock
/// is granted in between. It has no session either, and must not be taken for a prepared transaction.
const IS_PURGE: &str = "t.TYPE = 'BACKGROUND' AND t.PROCESSLIST_ID IS NULL";

/// `LOCK INSTANCE FOR BACKUP` and `FLUSH TABLES WITH READ LOCK`, which every table's lock waits for.
const HOLDS_ALL: &str = "(l.OBJECT_TYPE IN ('BACKUP LOCK', 'GLOBAL') AND l.LOCK_TYPE = 'SHARED')";

/// The sessions that hold the tables and have done so for at least `longer_than`.
///
/// Empty where `performance_schema` can't be read: the lock wait's limit is all there is then.
pub async fn holding(
    session: &mut Session,
    tables: &[(&str, &str)],
    longer_than: Duration,
) -> Result<Vec<Blocker>, EngineError> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let marks = vec!["(?, ?)"; tables.len()].join(", ");
    let statement = format!(
        "SELECT t.PROCESSLIST_ID AS session_id, COALESCE(t.PROCESSLIST_USER, '') AS user_name, \
                COALESCE(t.PROCESSLIST_COMMAND, '') AS command, \
                CAST(MAX(COALESCE(IF(e.STATE = 'ACTIVE', e.TIMER_WAIT DIV 1000000, NULL), t.PROCESSLIST_TIME * 1000000, 0)) AS UNSIGNED) \
                    AS held_microseconds, \
                MAX(l.LOCK_DURATION = 'EXPLICIT') AS is_explicit, \
                COALESCE(MAX(t.TYPE = 'BACKGROUND' OR t.NAME LIKE '%slave%' OR t.NAME LIKE '%replica%'), 0) AS is_of_server, \
                COALESCE(MAX(e.STATE = 'ACTIVE' AND e.XID_FORMAT_ID IS NOT NULL), 0) AS is_xa, \
                CAST(COALESCE(MAX(t.PROCESSLIST_INFO), '') AS CHAR) AS statement_now, \
                CAST(COALESCE(MAX(s.SQL_TEXT), '') AS CHAR) AS last_statement, \
                CAST(COALESCE((SELECT GROUP_CONCAT(a.ATTR_VALUE) FROM performance_schema.session_connect_attrs AS a \
                           WHERE a.PROCESSLIST_ID = t.PROCESSLIST_ID AND a.ATTR_NAME = 'program_name'), '') AS CHAR) AS program, \
                (SELECT COUNT(*) FROM performance_schema.metadata_locks AS u \
                  WHERE u.OWNER_THREAD_ID = l.OWNER_THREAD_ID AND u.OBJECT_TYPE = 'USER LEVEL LOCK') AS named_locks, \
                COALESCE(MAX({IS_DETACHED}), 0) AS is_detached, \
                MAX(l.OBJECT_TYPE = 'BACKUP LOCK') AS has_backup_lock, MAX(l.OBJECT_TYPE = 'GLOBAL') AS has_read_lock, \
                MAX(l.LOCK_TYPE IN ('SHARED_READ_ONLY', 'SHARED_NO_WRITE', 'SHARED_NO_READ_WRITE', 'EXCLUSIVE')) AS has_table_lock \
           FROM performance_schema.metadata_locks AS l \
           LEFT JOIN performance_schema.threads AS t ON t.THREAD_ID = l.OWNER_THREAD_ID \
           LEFT JOIN performance_schema.events_transactions_current AS e \
             ON e.THREAD_ID = l.OWNER_THREAD_ID \
           LEFT JOIN performance_schema.events_statements_current AS s ON s.THREAD_ID = l.OWNER_THREAD_ID \
          WHERE l.LOCK_STATUS = 'GRANTED' \
            AND ((l.OBJECT_TYPE = 'TABLE' AND (l.OBJECT_SCHEMA, l.OBJECT_NAME) IN ({marks})) OR {HOLDS_ALL}) \
            AND COALESCE(t.PROCESSLIST_ID, 0) <> CONNECTION_ID() \
            AND NOT COALESCE({IS_PURGE}, FALSE) \
          GROUP BY l.OWNER_THREAD_ID, t.PROCESSLIST_ID, t.PROCESSLIST_USER, t.PROCESSLIST_COMMAND"
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(statement));
    for (schema, table) in tables {
        query = query.bind(schema).bind(table);
    }
    let rows = match query.fetch_all(session.connection()).await {
        Ok(rows) => rows,
        Err(error) if server_error::is_denied(&error) => {
            tracing::debug!(%error, "performance_schema can't be read; blockers are not looked for");
            return Ok(Vec::new());
        }
        Err(error) => {
            return Err(EngineError::while_doing("looking for who uses the table")(
                error,
            ));
        }
    };
    let mut found = Vec::new();
    for row in &rows {
        let blocker =
            read(row).map_err(EngineError::while_doing("looking for who uses the table"))?;
        if blocker.held_for >= longer_than || blocker.is_detached {
            found.push(blocker);
        }
    }
    Ok(found)
}

fn read(row: &sqlx::mysql::MySqlRow) -> Result<Blocker, sqlx::Error> {
    let id: Option<u64> = row.try_get_unchecked("session_id")?;
    let user: String = row.try_get_unchecked("user_name")?;
    let command: String = row.try_get_unchecked("command")?;
    let microseconds: u64 = row.try_get_unchecked("held_microseconds")?;
    let text = |column: &str| row.try_get_unchecked::<String, _>(column);
    let flag = |column: &str| row.try_get_unchecked::<i64, _>(column).map(|n| n != 0);
    let (now, last) = (text("statement_now")?, text("last_statement")?);
    let words = format!("{now} {last} {}", text("program")?).to_lowercase();
    let is_detached = id.is_none() || flag("is_detached")?;
    let holds = if flag("has_backup_lock")? {
        Some("LOCK INSTANCE FOR BACKUP")
    } else if flag("has_read_lock")? {
        Some("FLUSH TABLES WITH READ LOCK")
    } else if flag("has_table_lock")? {
        Some("LOCK TABLES")
    } else if flag("is_explicit")? {
        // Of what a trigger reaches, or of a table that is read row by row.
        Some("LOCK TABLES, or a HANDLER,")
    } else {
        None
    };
    let protected = if is_detached || flag("is_xa")? {
        Some("an XA transaction belongs to its transaction manager")
    } else if flag("is_of_server")? || user == "system user" || user == "event_scheduler" {
        Some("it is a thread of the server, such as a replication applier")
    } else if command.starts_with("Binlog Dump") {
        Some("a replica reads from it")
    } else if holds.is_some() {
        Some("it holds what backups do")
    } else if flag("named_locks")? {
        Some("it holds a named lock, as our own sessions and other tools do")
    } else if TOOLS.iter().any(|tool| words.contains(tool)) {
        Some("it belongs to another tool")
    } else {
        None
    };
    Ok(Blocker {
        id,
        user,
        held_for: Duration::from_micros(microseconds),
        is_detached,
        holds,
        protected,
    })
}
