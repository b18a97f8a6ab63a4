//! The number of a server's answer that is an error.

use sqlx::mysql::MySqlDatabaseError;

/// `None` where the server did not answer.
pub fn number(error: &sqlx::Error) -> Option<u16> {
    error
        .as_database_error()?
        .try_downcast_ref::<MySqlDatabaseError>()
        .map(MySqlDatabaseError::number)
}
