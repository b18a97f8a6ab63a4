//! The state of one deployment: version, settings, rights, room, replicas, long transactions, leftovers.

use serde::Serialize;
use sqlx::Row as _;

use super::{INSTALLATION, NotLookedAt, Place, room};
use crate::config::Access;
use crate::engine::EngineError;
use crate::engine::binlog::capture::STREAM_MARK;
use crate::engine::names::{Artifact, ArtifactKind, moment};
use crate::engine::preflight::privilege;
use crate::engine::preflight::server_fit::BINLOG_SETTINGS;
use crate::engine::session::Session;
use crate::engine::state::artifact;
use crate::server_error;
use crate::server_version::{OLDEST, unsupported};

/// A transaction this old holds up a cutover, and keeps old row versions alive.
const LONG_SECONDS: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Good,
    Note,
    Warning,
    Error,
}

/// One line of a check-up.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub severity: Severity,
    pub subject: &'static str,
    pub finding: String,
    /// What to do, where something is to be done.
    pub remedy: String,
}

pub(super) fn finding(
    severity: Severity,
    subject: &'static str,
    finding: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    Finding {
        severity,
        subject,
        finding: finding.into(),
        remedy: remedy.into(),
    }
}

/// What a change may be for: where the account sees a table. Where Lockkeeper itself is, nobody but an upgrade changes tables, and
/// whoever is told to grant rights on those undoes its roles. (Of a role with rights on routines alone the server shows the schema
/// and neither tables nor routines.)
const SCHEMATA: &str = "SELECT CAST(s.SCHEMA_NAME AS CHAR) FROM information_schema.SCHEMATA AS s \
                         WHERE s.SCHEMA_NAME NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') \
                           AND NOT EXISTS (SELECT 1 FROM information_schema.TABLES AS t \
                                            WHERE t.TABLE_SCHEMA = s.SCHEMA_NAME AND t.TABLE_NAME = 'operation_claimable') \
                           AND EXISTS (SELECT 1 FROM information_schema.TABLES AS t WHERE t.TABLE_SCHEMA = s.SCHEMA_NAME) \
                         ORDER BY s.SCHEMA_NAME LIMIT 100";

/// Whose a leftover is, as far as the control database knows.
pub struct Whose {
    /// The operation and what became of it.
    pub words: String,
    /// Swapped back: what is left is the changed table.
    pub is_reverted: bool,
    /// What removes the tables that it works with.
    pub remedy: String,
}

/// `schemas`: whose rights are checked; empty: every schema that the account sees. `whose` says what the control database
/// knows of a leftover's operation, if it is one of its own.
pub async fn checkup(
    place: &Place,
    access: &Access,
    schemas: &[String],
    whose: impl Fn(&Artifact) -> Option<Whose>,
) -> Result<Vec<Finding>, NotLookedAt> {
    let (mut session, _) = match place.session(access).await {
        Err(NotLookedAt::Unsupported(server)) => return Ok(vec![version(&server.0)]),
        session => session?,
    };
    let session = &mut session;
    let server = variable(session, "version").await.unwrap_or_default();
    let mut findings = vec![version(&server)];
    findings.extend(settings(session).await);
    let seen = texts(session, SCHEMATA).await.unwrap_or_default().concat();
    let wanted = if schemas.is_empty() { &seen } else { schemas };
    findings.extend(rights(session, wanted).await);
    findings.extend(sight(session).await);
    findings.push(room::of_largest(place, session).await);
    findings.push(replicas(session).await);
    findings.extend(long_transactions(session).await);
    if seen.is_empty() {
        let what = "not shown: the account sees no table";
        findings.push(finding(Severity::Note, "leftovers", what, "see privileges"));
    } else {
        findings.extend(leftovers(session, whose).await);
    }
    Ok(findings)
}

pub(super) async fn texts(
    session: &mut Session,
    query: &str,
) -> Result<Vec<Vec<String>>, sqlx::Error> {
    let rows = session.rows(query).await?;
    rows.iter()
        .map(|row| {
            (0..row.len())
                .map(|at| {
                    let text: Option<String> = row.try_get_unchecked(at)?;
                    Ok(text.unwrap_or_default())
                })
                .collect()
        })
        .collect()
}

pub(super) async fn variable(session: &mut Session, name: &str) -> Option<String> {
    let rows = texts(session, &format!("SELECT CAST(@@GLOBAL.{name} AS CHAR)")).await;
    rows.ok()?.first()?.first().cloned()
}

fn version(version: &str) -> Finding {
    if unsupported(version).is_some() {
        let remedy = format!("Lockkeeper works on MySQL {OLDEST} or later");
        finding(Severity::Error, "version", version, remedy)
    } else {
        finding(Severity::Good, "version", version, "")
    }
}

/// What a copy needs: it reads every row's whole image from the binlog.
async fn settings(session: &mut Session) -> Vec<Finding> {
    let mut findings = Vec::new();
    let primary = [
        (
            "read_only",
            "0",
            "correct the deployment's address: it must be the primary; if it is, SET PERSIST read_only = OFF",
        ),
        (
            "super_read_only",
            "0",
            "correct the deployment's address: it must be the primary; if it is, SET PERSIST super_read_only = OFF",
        ),
    ];
    for (name, wanted, remedy) in BINLOG_SETTINGS.into_iter().chain(primary) {
        // A later server may have done away with a variable; it can't be wrong then.
        if let Some(value) = variable(session, name).await
            && !value.eq_ignore_ascii_case(wanted)
        {
            let what = format!("{name} is '{value}', and a change needs '{wanted}'");
            findings.push(finding(Severity::Error, "settings", what, remedy));
        }
    }
    let gtid_mode = variable(session, "gtid_mode").await.unwrap_or_default();
    if gtid_mode != "ON" {
        let what = format!(
            "gtid_mode is '{gtid_mode}': a copy knows its place in the binlog by file and offset only"
        );
        // One step after the other is all that the server allows.
        let modes = ["OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"];
        let done = modes.iter().position(|mode| *mode == gtid_mode);
        let mut remedy = "SET PERSIST enforce_gtid_consistency = ON".to_owned();
        for mode in &modes[done.map_or(0, |at| at + 1)..] {
            remedy.push_str(&format!("; SET PERSIST gtid_mode = {mode}"));
        }
        findings.push(finding(Severity::Note, "settings", what, remedy));
    }
    // Off by default below 32 processors, since 8.4. Whoever commits writes the redo log then, and looks only each 100 ms
    // whether another session that lost its processor in mid-write is done.
    if variable(session, "innodb_log_writer_threads")
        .await
        .is_some_and(|value| value == "OFF")
    {
        findings.push(finding(
            Severity::Note,
            "settings",
            "innodb_log_writer_threads is 'OFF': while a copy keeps all processors busy, 1 commit in 100 may take 100 ms",
            "SET PERSIST innodb_log_writer_threads = ON",
        ));
    }
    if findings.iter().all(|one| one.severity != Severity::Error) {
        findings.insert(
            0,
            finding(
                Severity::Good,
                "settings",
                "binlog and writability as needed",
                "",
            ),
        );
    }
    findings
}

async fn rights(session: &mut Session, schemas: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut refused = |refusal: EngineError, place: String| {
        let message = refusal.message();
        let (what, remedy) = match message.split_once("; run ") {
            Some((what, grants)) => (format!("{what}{place}"), grants.to_owned()),
            None => (message, String::new()),
        };
        findings.push(finding(Severity::Error, "privileges", what, remedy));
    };
    if schemas.is_empty() {
        if let Err(refusal) = privilege::check_global(session).await {
            refused(refusal, String::new());
        }
        let what = "the account sees no table, so its rights on a schema were not checked";
        let remedy = "name one with --schema";
        findings.push(finding(Severity::Note, "privileges", what, remedy));
        return findings;
    }
    for schema in schemas {
        if let Err(refusal) = privilege::check(session, schema, false).await {
            refused(refusal, format!(" on schema {schema}"));
        }
    }
    if findings.is_empty() {
        let what = format!("all that is needed on {}", schemas.join(", "));
        findings.push(finding(Severity::Good, "privileges", what, ""));
    }
    findings
}

/// A change goes without it, and tells less.
async fn sight(session: &mut Session) -> Option<Finding> {
    // No row is read: the right to is what matters.
    let query = "SELECT 1 \
                   FROM performance_schema.threads, performance_schema.metadata_locks, performance_schema.data_locks, \
                        performance_schema.events_transactions_current \
                  LIMIT 0";
    let error = session.rows(query).await.err()?;
    if !server_error::is_denied(&error) {
        return None;
    }
    let account = privilege::account(session).await.ok()?;
    Some(finding(
        Severity::Note,
        "privileges",
        "performance_schema can't be read: what blocks a swap is not named, and a copy first waits for idle transactions that \
         have nothing to do with it",
        format!("GRANT SELECT ON `performance_schema`.* TO {account}"),
    ))
}

async fn replicas(session: &mut Session) -> Finding {
    let Ok(all) = session.rows("SHOW REPLICAS").await else {
        let what = "not shown: the account lacks REPLICATION SLAVE";
        return finding(Severity::Note, "replicas", what, "see privileges");
    };
    // Streams of changes are in that list.
    let ours = format!(
        "SELECT CAST(u.THREAD_ID AS CHAR) FROM performance_schema.user_variables_by_thread AS u \
          WHERE u.VARIABLE_NAME = '{STREAM_MARK}'"
    );
    let what = match (all.len(), texts(session, &ours).await) {
        (0, _) => "none".to_owned(),
        (all, Ok(ours)) => match all.saturating_sub(ours.len()) {
            0 => "none".to_owned(),
            others => format!("{others} attached"),
        },
        (all, Err(_)) => format!("{all} attached, Lockkeeper's own streams among them"),
    };
    finding(Severity::Good, "replicas", what, "")
}

async fn long_transactions(session: &mut Session) -> Vec<Finding> {
    let query = format!(
        "SELECT CAST(t.trx_mysql_thread_id AS CHAR), CAST(TIMESTAMPDIFF(SECOND, t.trx_started, NOW()) AS CHAR), \
                COALESCE(CONCAT(p.USER, '@', p.HOST), ''), CAST(t.trx_rows_modified AS CHAR) \
           FROM information_schema.INNODB_TRX AS t \
           LEFT JOIN performance_schema.processlist AS p ON p.ID = t.trx_mysql_thread_id \
          WHERE t.trx_started < NOW() - INTERVAL {LONG_SECONDS} SECOND \
          ORDER BY t.trx_started LIMIT 30"
    );
    // A swap waits for none of the sessions of changes, which have named locks.
    let ours = "SELECT CAST(t.PROCESSLIST_ID AS CHAR) FROM performance_schema.metadata_locks AS m \
                  JOIN performance_schema.threads AS t ON t.THREAD_ID = m.OWNER_THREAD_ID \
                 WHERE m.OBJECT_TYPE = 'USER LEVEL LOCK' AND m.OBJECT_NAME LIKE '|_lk|_%' ESCAPE '|'";
    let ours = texts(session, ours).await.unwrap_or_default();
    let rows = match texts(session, &query).await {
        Ok(mut rows) => {
            rows.retain(|row| !ours.contains(&row[..1].to_vec()));
            rows.truncate(10);
            rows
        }
        Err(error) => {
            // The list has the running statements, too, as utf8mb3.
            let (what, remedy) = match server_error::number(&error) {
                Some(server_error::CANNOT_CONVERT) => (
                    "not shown: a transaction runs a statement with a character that utf8mb3 lacks (3854)",
                    "look again in a moment",
                ),
                Some(1227) => ("not shown: the account lacks PROCESS", "see privileges"),
                _ => ("not shown: the server does not list them", ""),
            };
            return vec![finding(Severity::Note, "transactions", what, remedy)];
        }
    };
    if rows.is_empty() {
        let what = format!("none is older than {LONG_SECONDS} s");
        return vec![finding(Severity::Good, "transactions", what, "")];
    }
    rows.iter()
        .filter_map(|row| match row.as_slice() {
            [id, seconds, who, rows] => Some(finding(
                Severity::Warning,
                "transactions",
                format!("session {id} of {who} has been in a transaction for {seconds} s ({rows} rows changed): a cutover waits for it"),
                format!("end it, or KILL {id} if nobody needs it"),
            )),
            _ => None,
        })
        .collect()
}

async fn leftovers(
    session: &mut Session,
    whose: impl Fn(&Artifact) -> Option<Whose>,
) -> Vec<Finding> {
    let found = match artifact::list(session.connection()).await {
        Ok(found) => found,
        Err(error) => return vec![finding(Severity::Warning, "leftovers", error.message(), "")],
    };
    if found.is_empty() {
        return vec![finding(Severity::Good, "leftovers", "none", "")];
    }
    found
        .iter()
        .map(|artifact| {
            let known = whose(artifact);
            let is_ours = known.is_some();
            let is_reverted = known.as_ref().is_some_and(|whose| whose.is_reverted);
            let ours = known.as_ref().map(|whose| whose.remedy.clone());
            let owner = match known {
                Some(whose) => whose.words,
                None if artifact.installation == INSTALLATION => {
                    "a preflight that did not end".to_owned()
                }
                None => format!(
                    "operation {} of another installation ({})",
                    artifact.operation_id, artifact.installation
                ),
            };
            let name = artifact.quoted();
            let then = |does: &str| match is_ours {
                true => format!("a driver {does}"),
                false => format!(
                    "a driver of that installation {does}; where its control schema is gone: DROP TABLE {name}"
                ),
            };
            let (what, remedy) = match &artifact.kind {
                ArtifactKind::Fence => (
                    format!("{name}: the fence of {owner}"),
                    then("removes it in its time"),
                ),
                ArtifactKind::Holding { due, .. } => (
                    format!(
                        "{name}: the {} table of {owner}, to be dropped from {} UTC on",
                        if is_reverted { "changed" } else { "former" },
                        moment(due)
                    ),
                    then("drops it then; what has been written since it was put aside is not in it"),
                ),
                ArtifactKind::Working { epoch, rest } => (
                    format!("{name}: {rest} of {owner}, lease epoch {epoch}"),
                    match ours {
                        Some(remedy) if !remedy.is_empty() => remedy,
                        Some(_) => format!("the operation has ended without it: DROP TABLE {name}"),
                        None => format!("if nobody knows it any more: DROP TABLE {name}"),
                    },
                ),
            };
            finding(Severity::Note, "leftovers", what, remedy)
        })
        .collect()
}
