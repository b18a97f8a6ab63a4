//! What hangs on a table besides its own definition.

use super::catalog::failed;
use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::engine::syntax::quote_table;

/// What hangs on a table besides its own definition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// `BASE TABLE`, `VIEW` …
    pub table_type: String,
    pub engine: String,
    /// Foreign keys of other tables (or this one) that point at this table.
    pub referenced_by: Vec<ReferringKey>,
    /// Names of its triggers, in order.
    pub triggers: Vec<String>,
    /// Names of its CHECK constraints.
    pub checks: Vec<String>,
}

/// A foreign key, seen from the table that it points at.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ReferringKey {
    pub name: String,
    pub child_schema: String,
    pub child_table: String,
}

impl Surroundings {
    /// `None` where there is no table of that name.
    pub async fn of(
        session: &mut Session,
        schema: &str,
        name: &str,
    ) -> Result<Option<Self>, EngineError> {
        let quoted = quote_table(schema, name);
        let row: Option<(String, Option<String>)> = sqlx::query_as(
            "SELECT CAST(t.TABLE_TYPE AS CHAR), CAST(t.ENGINE AS CHAR) \
               FROM information_schema.TABLES AS t WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ?",
        )
        .bind(schema)
        .bind(name)
        .fetch_optional(session.connection())
        .await
        .map_err(failed(&quoted))?;
        let Some((table_type, engine)) = row else {
            return Ok(None);
        };
        let referenced_by = sqlx::query_as(
            "SELECT CAST(k.CONSTRAINT_NAME AS CHAR) AS name, CAST(k.CONSTRAINT_SCHEMA AS CHAR) AS child_schema, \
                    CAST(k.TABLE_NAME AS CHAR) AS child_table \
               FROM information_schema.REFERENTIAL_CONSTRAINTS AS k \
              WHERE k.UNIQUE_CONSTRAINT_SCHEMA = ? AND k.REFERENCED_TABLE_NAME = ? \
              ORDER BY k.CONSTRAINT_SCHEMA, k.CONSTRAINT_NAME",
        )
        .bind(schema)
        .bind(name)
        .fetch_all(session.connection())
        .await
        .map_err(failed(&quoted))?;
        let triggers = sqlx::query_scalar(
            "SELECT CAST(t.TRIGGER_NAME AS CHAR) FROM information_schema.TRIGGERS AS t \
              WHERE t.EVENT_OBJECT_SCHEMA = ? AND t.EVENT_OBJECT_TABLE = ? \
              ORDER BY t.ACTION_TIMING, t.EVENT_MANIPULATION, t.ACTION_ORDER",
        )
        .bind(schema)
        .bind(name)
        .fetch_all(session.connection())
        .await
        .map_err(failed(&quoted))?;
        let checks = sqlx::query_scalar(
            "SELECT CAST(t.CONSTRAINT_NAME AS CHAR) FROM information_schema.TABLE_CONSTRAINTS AS t \
              WHERE t.CONSTRAINT_TYPE = 'CHECK' AND t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ? \
              ORDER BY t.CONSTRAINT_NAME",
        )
        .bind(schema)
        .bind(name)
        .fetch_all(session.connection())
        .await
        .map_err(failed(&quoted))?;
        Ok(Some(Self {
            table_type,
            engine: engine.unwrap_or_default(),
            referenced_by,
            triggers,
            checks,
        }))
    }
}
