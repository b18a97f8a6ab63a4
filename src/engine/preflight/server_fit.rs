//! Whether the deployment's server is one that can be followed: its version, its settings, its binlogs.

use sqlx::Row;

use crate::engine::EngineError;
use crate::engine::binlog::gtid::Position;
use crate::engine::session::Session;
use crate::{server_error, server_version};

/// A variable as text; `None` where the server doesn't know it.
pub(super) async fn variable(
    session: &mut Session,
    name: &str,
) -> Result<Option<String>, EngineError> {
    match session
        .rows(&format!("SELECT CAST(@@GLOBAL.{name} AS CHAR)"))
        .await
    {
        Ok(rows) => rows
            .first()
            .map(|row| row.try_get_unchecked::<Option<String>, _>(0))
            .transpose()
            .map(Option::flatten)
            .map_err(EngineError::while_doing(format!("reading {name}"))),
        Err(error) if server_error::number(&error) == Some(1193) => Ok(None),
        Err(error) => Err(EngineError::while_doing(format!("reading {name}"))(error)),
    }
}

/// Neither the server's own schema nor one that Lockkeeper is installed in.
pub(super) async fn check_schema(session: &mut Session, schema: &str) -> Result<(), EngineError> {
    let lower = schema.to_lowercase();
    if ["mysql", "sys", "information_schema", "performance_schema"].contains(&lower.as_str()) {
        return Err(EngineError::permanent(format!(
            "schema {schema} is the server's own, whose tables an upgrade of the server changes; name the application's"
        )));
    }
    let control = "SELECT COUNT(DISTINCT t.TABLE_NAME) FROM information_schema.TABLES AS t \
                    WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME IN ('operation_live', 'operation_claimable')";
    let found: i64 = sqlx::query_scalar(control)
        .bind(schema)
        .fetch_one(session.connection())
        .await
        .map_err(EngineError::while_doing("looking at the schema"))?;
    match found {
        2 => Err(EngineError::permanent(format!(
            "schema {schema} is Lockkeeper's own, which `lockkeeper install` changes and nothing else; name the application's"
        ))),
        _ => Ok(()),
    }
}

/// A MySQL that is supported, and the primary.
pub(super) async fn check_server(session: &mut Session) -> Result<(), EngineError> {
    let version = variable(session, "version").await?.unwrap_or_default();
    if let Some(unsupported) = server_version::unsupported(&version) {
        return Err(EngineError::permanent(unsupported.to_string()));
    }
    for name in ["read_only", "super_read_only"] {
        if variable(session, name).await?.as_deref() == Some("1") {
            return Err(EngineError::retryable(format!(
                "the server has {name} on, so it is no primary now; correct the deployment's \
                 address, or wait for the fail-over"
            )));
        }
    }
    let single = variable(session, "group_replication_single_primary_mode").await?;
    if single.as_deref() == Some("0") {
        let online: Result<i64, sqlx::Error> = sqlx::query_scalar(
            "SELECT COUNT(*) FROM performance_schema.replication_group_members AS m \
              WHERE m.MEMBER_STATE IN ('ONLINE', 'RECOVERING')",
        )
        .fetch_one(session.connection())
        .await;
        if online.is_ok_and(|members| members > 1) {
            return Err(EngineError::permanent(
                "the group has several primaries, where a change of a table isn't safe beside \
                 writes on other members; switch it to single-primary mode for the change",
            ));
        }
    }
    Ok(())
}

/// Global variables, what capture needs them to be, and how they come to it.
pub(crate) const BINLOG_SETTINGS: [(&str, &str, &str); 4] = [
    ("log_bin", "1", "start the server with --log-bin"),
    (
        "binlog_format",
        "ROW",
        "SET PERSIST binlog_format = ROW, and reconnect the application",
    ),
    (
        "binlog_row_image",
        "FULL",
        "SET PERSIST binlog_row_image = FULL, and reconnect the application",
    ),
    (
        "binlog_row_value_options",
        "",
        "SET PERSIST binlog_row_value_options = '', and reconnect the application",
    ),
];

/// Capture needs every row's whole image in the binlog.
pub(crate) async fn check_binlog(session: &mut Session) -> Result<(), EngineError> {
    for (name, wanted, remedy) in BINLOG_SETTINGS {
        // A variable that a later server has done away with can't be set to anything else.
        if let Some(value) = variable(session, name).await?
            && !value.eq_ignore_ascii_case(wanted)
        {
            return Err(EngineError::permanent(format!(
                "{name} is '{value}', and a copy needs '{wanted}': {remedy}"
            )));
        }
    }
    Ok(())
}

/// Without GTIDs a place in the binlog tells what is visible only where commits come in its order.
pub(crate) async fn check_order(session: &mut Session, gtid: bool) -> Result<(), EngineError> {
    if !gtid && variable(session, "binlog_order_commits").await?.as_deref() == Some("0") {
        return Err(EngineError::permanent(
            "binlog_order_commits is off and gtid_mode is not ON; turn one of them on",
        ));
    }
    Ok(())
}

/// What is kept out of the binlog for good, whatever a session sets.
///
/// # Errors
///
/// Permanent if rows of the schema, or what others do to its tables, may be missing there.
pub(crate) async fn check_filters(session: &mut Session, schema: &str) -> Result<(), EngineError> {
    let doing = || EngineError::while_doing("asking what the binlog lacks");
    let rows = session.binlog_status().await.map_err(doing())?;
    let list = |at: usize| -> Result<String, EngineError> {
        let row = rows.first();
        let text: Option<String> = row
            .map(|row| row.try_get_unchecked(at))
            .transpose()
            .map_err(doing())?;
        Ok(text.unwrap_or_default())
    };
    let (only, ignored) = (list(2)?, list(3)?);
    let refuse = |text: String| Err(EngineError::permanent(text));
    // Rows go by their table's schema, but a TRUNCATE by the session's: no list that names the schema has it all.
    if !only.is_empty() {
        return refuse(format!(
            "binlog_do_db is '{only}', so that not all that happens to {schema} is in the binlog; start the server without it"
        ));
    }
    let is_ignored = |name: &str| name.trim().to_lowercase() == schema.to_lowercase();
    if ignored.split(',').any(is_ignored) {
        return refuse(format!(
            "binlog_ignore_db is '{ignored}', so that no change of {schema} is in the binlog; start the server without it"
        ));
    }
    // Named log_slave_updates before 8.0.26.
    let logs = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_replica_updates', 'log_slave_updates') AND Value = 'OFF'";
    if !session.rows(logs).await.map_err(doing())?.is_empty() {
        let channels = session.rows("SHOW REPLICA STATUS").await.map_err(doing())?;
        if !channels.is_empty() {
            return refuse(
                "log_replica_updates is OFF and the server is a replica, so that what it replicates is not in its binlog; \
                 start it with log_replica_updates, or take its replication away"
                    .to_owned(),
            );
        }
    }
    Ok(())
}

/// Whether the stream can go on from the checkpoint's position.
pub(crate) async fn check_position(
    session: &mut Session,
    position: &Position,
) -> Result<(), EngineError> {
    let Some(set) = &position.gtid_set else {
        return Ok(());
    };
    let doing = || EngineError::while_doing("comparing the checkpoint with the server");
    // After a crash of the server its last commits may take a moment to be seen.
    let sql = format!(
        "SELECT WAIT_FOR_EXECUTED_GTID_SET('{set}', 10), GTID_SUBSET(@@GLOBAL.gtid_purged, '{set}')"
    );
    let rows = session.rows(&sql).await.map_err(doing())?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    let missing: i64 = row.try_get_unchecked(0).map_err(doing())?;
    let kept: i64 = row.try_get_unchecked(1).map_err(doing())?;
    if missing != 0 {
        return Err(EngineError::permanent(
            "the server lacks transactions that the checkpoint contains (it was restored, or failed \
             over with a loss); the copy cannot be trusted: cancel and start again",
        ));
    }
    if kept == 0 {
        return Err(EngineError::permanent(
            "the binlogs after the checkpoint were purged, and changes since then with them; cancel \
             and start again, and keep binlogs longer",
        ));
    }
    Ok(())
}
