//! Has anybody edited or dropped what was installed? The schema is compared with the record of it.

use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

use super::database::prepare_session;
use super::error::InstallError;
use super::privileges::{GRANTS_NAME, ungranted};
use super::set::Kind;
use super::version::check_for_drive;
use crate::server_error;

/// One object that is not as it was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    pub name: String,
    pub difference: Difference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    Missing,
    Edited,
    /// A role lacks it.
    NotGranted,
}

/// Compares the schema of `session` with what was installed into it.
///
/// # Errors
///
/// Also [`InstallError::NotInstalled`], and the other version errors of [`check_for_drive`].
pub async fn inspect(
    session: &mut MySqlConnection,
    schema: &str,
) -> Result<Vec<Finding>, InstallError> {
    prepare_session(session).await?;
    let mut findings = match differences(session).await {
        Err(InstallError::Database(error)) if server_error::number(&error) == Some(1146) => {
            return Err(InstallError::NotInstalled {
                schema: schema.to_owned(),
            });
        }
        other => other?,
    };
    check_for_drive(session, schema).await?;
    let lacking = ungranted(session, schema).await?.unwrap_or_default();
    // Who installed may not have been allowed to make roles, and was told so.
    let is_recorded = "SELECT COUNT(*) FROM installed_object AS o WHERE o.object_name = ?";
    let is_recorded: i64 = sqlx::query_scalar(is_recorded)
        .bind(GRANTS_NAME)
        .fetch_one(&mut *session)
        .await?;
    if is_recorded == 0 {
        return Ok(findings);
    }
    findings.extend(lacking.roles.into_iter().map(|name| Finding {
        kind: Kind::Data,
        name,
        difference: Difference::Missing,
    }));
    for (kind, name) in lacking.objects {
        // What is missing is told of already.
        if !findings.iter().any(|found| found.name == name) {
            findings.push(Finding {
                kind,
                name,
                difference: Difference::NotGranted,
            });
        }
    }
    Ok(findings)
}

/// For each kind, (name, definition_sha256) of all objects in the session's schema, as the server stores them.
pub(super) fn definitions_query(kind: Kind) -> Option<String> {
    let (name, parts, source, schema, only) = match kind {
        Kind::Function | Kind::Procedure => (
            "r.routine_name",
            "r.routine_definition, r.dtd_identifier, r.security_type, r.sql_data_access, \
             r.is_deterministic, r.sql_mode, r.collation_connection, r.database_collation, \
             (SELECT GROUP_CONCAT(CONCAT_WS(' ', p.parameter_mode, p.parameter_name, p.dtd_identifier) \
             ORDER BY p.ordinal_position) FROM information_schema.parameters AS p \
             WHERE p.specific_schema = r.routine_schema AND p.specific_name = r.specific_name \
             AND p.routine_type = r.routine_type)",
            "information_schema.routines AS r",
            "r.routine_schema",
            if kind == Kind::Function {
                " AND r.routine_type = 'FUNCTION'"
            } else {
                " AND r.routine_type = 'PROCEDURE'"
            },
        ),
        Kind::View => (
            "v.table_name",
            "v.view_definition, v.security_type, v.check_option",
            "information_schema.views AS v",
            "v.table_schema",
            "",
        ),
        Kind::Trigger => (
            "t.trigger_name",
            "t.action_timing, t.event_manipulation, t.event_object_table, t.action_statement, t.sql_mode",
            "information_schema.triggers AS t",
            "t.trigger_schema",
            "",
        ),
        Kind::Data => return None,
    };
    Some(format!(
        "SELECT {name} AS name, SHA2(CONCAT_WS('\\n', {parts}), 256) AS definition_sha256 \
         FROM {source} WHERE {schema} = DATABASE(){only}"
    ))
}

pub(super) async fn differences(
    session: &mut MySqlConnection,
) -> Result<Vec<Finding>, InstallError> {
    let mut findings = Vec::new();
    for kind in [Kind::Function, Kind::View, Kind::Procedure, Kind::Trigger] {
        let Some(query) = definitions_query(kind) else {
            continue;
        };
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT o.object_name, d.name IS NULL AS missing \
               FROM installed_object AS o \
               LEFT JOIN ({query}) AS d ON d.name = o.object_name \
              WHERE o.kind = '{kind}' \
                AND (d.name IS NULL OR NOT d.definition_sha256 <=> o.definition_sha256) \
              ORDER BY o.object_name"
        )))
        .fetch_all(&mut *session)
        .await?;
        for row in rows {
            let missing: bool = row.try_get(1)?;
            findings.push(Finding {
                kind,
                name: row.try_get(0)?,
                difference: if missing {
                    Difference::Missing
                } else {
                    Difference::Edited
                },
            });
        }
    }
    Ok(findings)
}
