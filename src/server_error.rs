//! What a server's answer says that is an error.

use std::io::ErrorKind;

use sqlx::mysql::MySqlDatabaseError;

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
        other => other.to_string(),
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
