//! What the optimizer knows of a table goes with the swap.

use std::collections::BTreeMap;

use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::engine::syntax::{quote, quote_table};
use crate::engine::table::{Copied, TablePlan};
use crate::server_error;

/// Columns that share one way of making histograms: buckets, and whether ANALYZE renews them.
type HistogramKinds = BTreeMap<(u64, bool), Vec<String>>;

/// Analyses the shadow, and makes the histograms that the original has.
pub(crate) async fn prepare(
    session: &mut Session,
    schema: &str,
    plan: &TablePlan,
    shadow: &str,
) -> Result<(), EngineError> {
    let table = quote_table(schema, shadow);
    let mut statements = vec![format!("ANALYZE TABLE {table}")];
    for ((buckets, automatic), columns) in histograms(session, schema, plan).await? {
        // The words exist since histograms can renew themselves, as does the attribute.
        let renewal = if automatic { " AUTO UPDATE" } else { "" };
        statements.push(format!(
            "ANALYZE TABLE {table} UPDATE HISTOGRAM ON {} WITH {buckets} BUCKETS{renewal}",
            columns.join(", ")
        ));
    }
    for statement in statements {
        session
            .rows(&statement)
            .await
            .map_err(EngineError::while_doing(format!("analysing {table}")))?;
    }
    Ok(())
}

async fn histograms(
    session: &mut Session,
    schema: &str,
    plan: &TablePlan,
) -> Result<HistogramKinds, EngineError> {
    let Copied {
        original, shadow, ..
    } = plan.copied()?;
    let rows: Result<Vec<(String, u64, i64)>, sqlx::Error> = sqlx::query_as(
        "SELECT CAST(s.COLUMN_NAME AS CHAR), \
                CAST(COALESCE(s.HISTOGRAM->>'$.\"number-of-buckets-specified\"', 100) AS UNSIGNED), \
                COALESCE(s.HISTOGRAM->>'$.\"auto-update\"' = 'true', 0) \
           FROM information_schema.COLUMN_STATISTICS AS s \
          WHERE s.SCHEMA_NAME = ? AND s.TABLE_NAME = ?",
    )
    .bind(schema)
    .bind(&original.name)
    .fetch_all(session.connection())
    .await;
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) if server_error::is_denied(&error) => Vec::new(),
        Err(error) => return Err(EngineError::while_doing("reading histograms")(error)),
    };
    let mut kinds = HistogramKinds::new();
    for (column, buckets, automatic) in rows {
        let target = original
            .columns
            .iter()
            .find(|c| c.name == column)
            .and_then(|c| plan.carried.iter().find(|pair| pair.source == c.ordinal))
            .map(|pair| quote(&shadow.columns[pair.target].name));
        if let Some(target) = target {
            kinds
                .entry((buckets, automatic != 0))
                .or_default()
                .push(target);
        }
    }
    Ok(kinds)
}
