//! Whether the deployment's server is one that can be followed: the one it was, its settings, its binlogs.

use sqlx::Row;

use super::EngineError;
use super::binlog::gtid::Position;
use super::error::server_error_number;
use super::session::Session;

pub(super) async fn server_uuid(session: &mut Session) -> Result<String, EngineError> {
    let doing = || EngineError::while_doing("asking for the server's identity");
    let rows = session
        .rows("SELECT @@server_uuid")
        .await
        .map_err(doing())?;
    let row = rows
        .first()
        .ok_or_else(|| EngineError::retryable("the server has no identity"))?;
    row.try_get_unchecked(0).map_err(doing())
}

/// Settings of the server without which changes cannot be followed.
pub(super) async fn check_settings(session: &mut Session, gtid: bool) -> Result<(), EngineError> {
    let doing = || EngineError::while_doing("reading the binlog settings");
    let sql = "SELECT @@GLOBAL.log_bin, CAST(@@GLOBAL.binlog_format AS CHAR), \
               CAST(@@GLOBAL.binlog_row_image AS CHAR), @@GLOBAL.binlog_order_commits";
    let rows = match session.rows(sql).await {
        Ok(rows) => rows,
        // A server without binlog_format writes rows only.
        Err(error) if server_error_number(&error) == Some(1193) => return Ok(()),
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

/// Whether the stream can go on from the checkpoint's position.
pub(super) async fn check_position(
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
