//! What a server's answer says that is an error.

use std::io::ErrorKind;

use sqlx::mysql::MySqlDatabaseError;

use crate::server_version;

/// What to do when the server keeps no more prepared statements (1461).
pub const MORE_PREPARED: &str = "every program on the server shares that number; raise it with \
    SET GLOBAL max_prepared_stmt_count, or look for one that never closes its statements";

/// `None` where the server did not answer.
pub fn number(error: &sqlx::Error) -> Option<u16> {
    error
        .as_database_error()?
        .try_downcast_ref::<MySqlDatabaseError>()
        .map(MySqlDatabaseError::number)
}

/// Disk full, error on write, table or temporary table full, a sort's file that could not be written.
pub fn means_no_room(number: u16) -> bool {
    matches!(number, 3 | 20 | 1021 | 1026 | 1114 | 1878)
}

/// Access denied, host blocked or not allowed, password expired, account locked. Of this program: another one may have the right
/// password, and so may this one once somebody has put it right.
pub fn means_not_let_in(number: u16) -> bool {
    matches!(number, 1045 | 1129 | 1130 | 1698 | 1862 | 3118)
}

/// The server's "cannot convert string": its lists of sessions and transactions have each one's statement in utf8mb3, whatever one
/// selects, and are read by nobody while one runs with a character that is not in there, an emoji say, or with raw bytes.
pub const CANNOT_CONVERT: u16 = 3854;

/// Whether the same statement may succeed later: its failure depends on load, on other sessions or on the state of the server. Any other
/// number says that the statement itself, or the data, is at fault.
pub fn may_pass(number: u16) -> bool {
    match number {
        // Too many connections, out of memory or resources, read or write errors of files.
        1040 | 1037 | 1038 | 1041 | 1030 | 1135 | 1203 | 1226 => true,
        number if means_no_room(number) => true,
        // Too many locks, transactions or prepared statements; a definition that changed under the statement.
        1206 | 1637 | 1461 | 1412 | 1615 => true,
        CANNOT_CONVERT => true,
        // Group replication gave the transaction up; the binlog could not be written, for which the server usually ends itself.
        3100 | 3101 | 1598 => true,
        // Lock wait time-out, deadlock, interrupted, killed, shutdown, time limit.
        1205 | 1213 | 1317 | 1053 | 1077 | 1079 | 1927 | 3024 | 4031 | 3168 | 3169 | 3572 => true,
        // read_only, super_read_only, offline mode: a fail-over may be under way.
        1290 | 1792 | 1836 | 3032 => true,
        // Connection trouble of the server's making.
        1152 | 1153 | 1154..=1161 | 1184 | 2000..=2999 => true,
        number => means_not_let_in(number),
    }
}

/// The account lacks a right: on a schema, a table, a column, a routine, or one of the server's own.
pub fn is_denied(error: &sqlx::Error) -> bool {
    matches!(number(error), Some(1044 | 1142 | 1143 | 1227 | 1370))
}

/// An error and all its causes, each once.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

/// What is said of it, without the number.
pub fn words(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => story(other),
    }
}

/// What is said of it.
pub fn story(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(broken) => broken_off(broken),
        other => {
            server_version::refused(other).map_or_else(|| other.to_string(), ToString::to_string)
        }
    }
}

/// Of a session that ended, the TLS library says what it would have expected of the protocol.
pub fn broken_off(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            "the session was ended: somebody killed it, or the server went away".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The same where the row is named otherwise: its place among those of a statement of ours tells nobody anything.
pub fn words_of_a_row(error: &sqlx::Error) -> String {
    let words = words(error);
    match words.rsplit_once(" at row ") {
        Some((what, place)) if place.chars().all(|c| c.is_ascii_digit()) => what.to_owned(),
        Some(_) | None => words,
    }
}
