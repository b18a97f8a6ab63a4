//! Routines, views, triggers and rows: what differs is replaced, what is no longer ours is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

use super::database::run;
use super::doctor::definitions_query;
use super::error::InstallError;
use super::privileges::GRANTS_NAME;
use super::set::{Kind, Object, UNLOCK_STATEMENT, drop_statement, objects};
use super::version::{API_VERSION, PROGRAM_VERSION};
use super::{Report, privileges};
use crate::server_error;

/// Seconds for each attempt, see [`patiently`].
const WAIT_SHORTLY: &str = "SET SESSION lock_wait_timeout = 1";
const WAIT_AS_USUAL: &str = "SET SESSION lock_wait_timeout = DEFAULT";
const LET_OTHERS_GO: Duration = Duration::from_millis(500);
/// For each statement.
const PATIENCE: Duration = Duration::from_secs(120);

/// A row of `installed_object`.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub name: String,
    pub kind: String,
    pub api_version: u32,
    pub version: String,
    pub sha256: String,
}

/// As the installer reads it, who may find no view.
pub(super) async fn recorded(session: &mut MySqlConnection) -> Result<Vec<Recorded>, sqlx::Error> {
    read_recorded(
        session,
        "SELECT o.object_name, o.kind, o.api_version, o.version, o.sha256 FROM installed_object AS o",
    )
    .await
}

/// As everybody else reads it, who has no rights on tables.
pub(super) async fn recorded_in_view(
    session: &mut MySqlConnection,
) -> Result<Vec<Recorded>, sqlx::Error> {
    read_recorded(
        session,
        "SELECT o.name, o.kind, o.api_version, o.version, o.sha256 FROM object_version AS o",
    )
    .await
}

async fn read_recorded(
    session: &mut MySqlConnection,
    query: &'static str,
) -> Result<Vec<Recorded>, sqlx::Error> {
    let rows = sqlx::query(query).fetch_all(session).await?;
    rows.iter()
        .map(|row| {
            Ok(Recorded {
                name: row.try_get(0)?,
                kind: row.try_get(1)?,
                api_version: row.try_get(2)?,
                version: row.try_get(3)?,
                sha256: row.try_get(4)?,
            })
        })
        .collect()
}

/// How `recorded` differs from this program's set, if it does; for people.
pub(super) fn first_difference(recorded: &[Recorded]) -> Result<Option<String>, InstallError> {
    let mut there: BTreeMap<(&str, &str), &str> = recorded
        .iter()
        .map(|object| {
            (
                (object.kind.as_str(), object.name.as_str()),
                object.sha256.as_str(),
            )
        })
        .collect();
    there.remove(&(Kind::Data.name(), GRANTS_NAME));
    for object in objects()? {
        let (kind, name) = (object.kind, object.name);
        match there.remove(&(kind.name(), name)) {
            None => return Ok(Some(format!("{kind} {name} is missing"))),
            Some(sha256) if sha256 != object.sha256() => {
                return Ok(Some(format!("{kind} {name} is another one")));
            }
            Some(_) => {}
        }
    }
    Ok(there
        .into_keys()
        .next()
        .map(|(kind, name)| format!("{kind} {name} is not known here")))
}

/// Whether all of `recorded` is of this program's set: where they differ, some of it is missing and nothing else is there.
pub(super) fn is_unfinished(recorded: &[Recorded]) -> Result<bool, InstallError> {
    let set = objects()?;
    Ok(recorded
        .iter()
        .filter(|row| (row.kind.as_str(), row.name.as_str()) != (Kind::Data.name(), GRANTS_NAME))
        .all(|row| {
            set.iter().any(|object| {
                row.kind == object.kind.name()
                    && row.name == object.name
                    && row.sha256 == object.sha256()
            })
        }))
}

/// Brings every object up to this program; answers the names of those that were created anew.
pub(super) async fn replace(
    session: &mut MySqlConnection,
    report: &mut Report,
) -> Result<BTreeSet<(Kind, String)>, InstallError> {
    run(session, WAIT_SHORTLY.to_owned()).await?;
    let recorded = recorded(session).await?;
    let there = unchanged_definitions(session).await?;
    let mut replaced = BTreeSet::new();
    for kind in Kind::ALL {
        let mut created = Vec::new();
        for object in objects()?.iter().filter(|object| object.kind == kind) {
            let key = (kind, object.name.to_owned());
            let row = recorded.iter().find(|row| {
                row.kind == kind.name() && row.name == object.name && row.sha256 == object.sha256()
            });
            let same = row.filter(|_| kind == Kind::Data || there.contains(&key));
            if let Some(row) = same {
                report.unchanged += 1;
                if row.version == PROGRAM_VERSION && row.api_version == API_VERSION {
                    continue;
                }
                // It is this version's, too. To create it anew would take it from its callers for a moment.
            } else {
                create(session, object).await?;
                report.replaced += 1;
                replaced.insert(key);
            }
            created.push((object.name, object.sha256()));
        }
        // Recorded after the whole kind: what breaks off in between is created once more, with the same result.
        if !created.is_empty() {
            run(session, record_statement(kind, &created)).await?;
        }
    }
    drop_retired(session, &recorded, report).await?;
    run(session, WAIT_AS_USUAL.to_owned()).await?;
    Ok(replaced)
}

async fn create(session: &mut MySqlConnection, object: &Object) -> Result<(), InstallError> {
    let lock = object.lock_statement();
    let unlock = lock.as_ref().map(|_| UNLOCK_STATEMENT.to_owned());
    let mut statements: Vec<String> = lock.into_iter().chain(object.drop_statement()).collect();
    statements.push(object.statement().to_owned());
    statements.extend(unlock);
    for statement in statements {
        patiently(session, &statement)
            .await
            .map_err(|source| InstallError::Object {
                kind: object.kind,
                name: object.name.to_owned(),
                hint: hint(&source),
                source,
            })?;
    }
    Ok(())
}

/// A routine or a view that a transaction has used is the transaction's until it ends: a reader's may last for hours, and whoever
/// calls it after we have asked for it stands behind us, with locks on rows in its hands. So each wait is short, and others go
/// first in between.
async fn patiently(session: &mut MySqlConnection, statement: &str) -> Result<(), sqlx::Error> {
    let began = Instant::now();
    loop {
        let result = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut *session)
            .await;
        match result {
            Err(error) if is_waiting(&error) && began.elapsed() < PATIENCE => {
                tokio::time::sleep(LET_OTHERS_GO).await;
            }
            result => return result.map(drop),
        }
    }
}

fn is_waiting(error: &sqlx::Error) -> bool {
    matches!(server_error::number(error), Some(1205 | 1213))
}

/// What to do about refusals that have nothing to do with the object.
fn hint(error: &sqlx::Error) -> &'static str {
    match server_error::number(error) {
        // With the binary log on, functions and triggers ask for more than CREATE ROUTINE and TRIGGER.
        Some(1419) => {
            "; install as an account with SUPER, or set log_bin_trust_function_creators = 1 meanwhile"
        }
        Some(1044 | 1142 | 1227 | 1370) => {
            "; install as an account that has ALL PRIVILEGES on the schema"
        }
        Some(1205 | 1213) => {
            "; an open transaction has used it, and performance_schema.metadata_locks shows whose; end that, and install again"
        }
        Some(_) | None => "",
    }
}

/// The rows of `installed_object`, each with a digest of what the server has made of the object.
pub(super) fn record_statement(kind: Kind, objects: &[(&str, String)]) -> String {
    let rows: Vec<String> = objects
        .iter()
        .map(|(name, sha256)| format!("ROW('{name}', '{sha256}')"))
        .collect();
    let (digest, join) = match definitions_query(kind) {
        Some(query) => (
            "d.definition_sha256",
            format!("\n  LEFT JOIN ({query}) AS d ON d.name = n.object_name"),
        ),
        None => ("NULL", String::new()),
    };
    format!(
        "INSERT INTO installed_object (object_name, kind, api_version, version, sha256, \
         definition_sha256, installed_at, installed_by)\n\
         SELECT n.object_name, '{kind}', {API_VERSION}, '{PROGRAM_VERSION}', n.sha256, {digest}, \
         UTC_TIMESTAMP(6), CURRENT_USER()\n  \
         FROM (VALUES {}) AS n (object_name, sha256){join}\n    \
         ON DUPLICATE KEY UPDATE api_version = VALUES(api_version), version = VALUES(version), \
         sha256 = VALUES(sha256), definition_sha256 = VALUES(definition_sha256), \
         installed_at = VALUES(installed_at), installed_by = VALUES(installed_by)",
        rows.join(",\n              ")
    )
}

/// The objects that are as the server stored them when they were installed: nobody has edited them.
async fn unchanged_definitions(
    session: &mut MySqlConnection,
) -> Result<BTreeSet<(Kind, String)>, InstallError> {
    let differences = super::doctor::differences(session).await?;
    let differing: BTreeSet<(Kind, String)> = differences
        .into_iter()
        .map(|finding| (finding.kind, finding.name))
        .collect();
    Ok(objects()?
        .iter()
        .map(|object| (object.kind, object.name.to_owned()))
        .filter(|key| !differing.contains(key))
        .collect())
}

/// Objects that an earlier program has installed and this one no longer has.
async fn drop_retired(
    session: &mut MySqlConnection,
    recorded: &[Recorded],
    report: &mut Report,
) -> Result<(), InstallError> {
    let current: BTreeSet<(&str, &str)> = objects()?
        .iter()
        .map(|object| (object.kind.name(), object.name))
        .chain([(Kind::Data.name(), privileges::GRANTS_NAME)])
        .collect();
    for row in recorded {
        if current.contains(&(row.kind.as_str(), row.name.as_str())) {
            continue;
        }
        let kind = Kind::from_name(&row.kind)
            .ok_or_else(|| InstallError::Set(format!("unknown kind {}", row.kind)))?;
        if let Some(statement) = drop_statement(kind, &row.name) {
            patiently(session, &statement).await?;
        }
        sqlx::query("DELETE FROM installed_object WHERE object_name = ? AND kind = ?")
            .bind(&row.name)
            .bind(&row.kind)
            .execute(&mut *session)
            .await?;
        report.dropped += 1;
    }
    Ok(())
}
