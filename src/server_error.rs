//! What a server's answer says that is an error.

use sqlx::mysql::MySqlDatabaseError;

/// `None` where the server did not answer.
pub fn number(error: &sqlx::Error) -> Option<u16> {
    error
        .as_database_error()?
        .try_downcast_ref::<MySqlDatabaseError>()
        .map(MySqlDatabaseError::number)
}

/// Its words with its number.
pub fn shown(error: &sqlx::Error) -> String {
    let text = match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    };
    format!("{text} ({})", number(error).unwrap_or_default())
}
