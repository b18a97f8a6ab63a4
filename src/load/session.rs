//! What goes wrong with the load itself, and names as text.

/// The load itself went wrong, not the change.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the load on {place}: {source}")]
    Database { place: String, source: sqlx::Error },
    #[error("table {table} does not exist in schema {schema}")]
    NoTable { schema: String, table: String },
    #[error("a writer ended before it was told to: {0}")]
    Writer(String),
}

impl LoadError {
    pub(super) fn at(place: impl ToString) -> impl FnOnce(sqlx::Error) -> Self {
        let place = place.to_string();
        move |source| Self::Database { place, source }
    }
}

/// A name in backticks. Not the engine's function: the load shares nothing with what it checks.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
