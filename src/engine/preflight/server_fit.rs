//! Whether the deployment's server is one that can be followed: the one it was, its settings, its binlogs.

use sqlx::Row;

use crate::engine::EngineError;
use crate::engine::binlog::gtid::Position;
use crate::engine::session::Session;
use crate::server_error;

/// Settings of the server without which changes cannot be followed.
pub(crate) async fn check_settings(session: &mut Session, gtid: bool) -> Result<(), EngineError> {
    let doing = || EngineError::while_doing("reading the binlog settings");
    let sql = "SELECT @@GLOBAL.log_bin, CAST(@@GLOBAL.binlog_format AS CHAR), \
               CAST(@@GLOBAL.binlog_row_image AS CHAR), @@GLOBAL.binlog_order_commits";
    let rows = match session.rows(sql).await {
        Ok(rows) => rows,
        // A server without binlog_format writes rows only.
        Err(error) if server_error::number(&error) == Some(1193) => return Ok(()),
        Err(error) => return Err(doing()(error)),
    };
    let Some(row) = rows.first() else {
        return Ok(());
    };
    let log_bin: i64 = row.try_get_unchecked(0).map_err(doing())?;
    let format: String = row.try_get_unchecked(1).map_err(doing())?;
    let image: String = row.try_get_unchecked(2).map_err(doing())?;
    let ordered: i64 = row.try_get_unchecked(3).map_err(doing())?;
    let refuse = |text: &str| Err(EngineError::permanent(text.to_owned()));
    if log_bin == 0 {
        return refuse("the server writes no binlog; start it with log_bin");
    }
    if format != "ROW" {
        return refuse("binlog_format is not ROW; set it globally and reconnect the application");
    }
    if image != "FULL" {
        return refuse(
            "binlog_row_image is not FULL; set it globally and reconnect the application",
        );
    }
    if !gtid && ordered == 0 {
        return refuse("binlog_order_commits is off and gtid_mode is not ON; turn one of them on");
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
    let rows = match session.rows("SHOW BINARY LOG STATUS").await {
        Ok(rows) => rows,
        // Before 8.2 the statement has another name.
        Err(error) if server_error::number(&error) == Some(1064) => {
            session.rows("SHOW MASTER STATUS").await.map_err(doing())?
        }
        Err(error) => return Err(doing()(error)),
    };
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
