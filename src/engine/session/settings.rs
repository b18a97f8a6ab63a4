//! How a session of ours is connected and set up, whatever the server's and the account's defaults are.

use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::CONNECT_LIMIT;
use crate::config::watch_connections;
use crate::engine::{EngineError, Target};
use crate::{server_error, server_version};

/// Strict, so that nothing is cut silently; a zero stays a zero; dates that an application was
/// allowed to store can be stored again.
pub const OUR_SQL_MODE: &str =
    "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION,ALLOW_INVALID_DATES";

/// TIMESTAMP values are moments: in UTC each has one text.
pub const OUR_TIME_ZONE: &str = "+00:00";

/// How long a statement waits for a table and for a row, where nothing else is said.
pub(super) const USUAL_LOCK_WAIT: Duration = Duration::from_secs(30);

/// An unregistered session with our settings: for reading, and for what must look at a
/// deployment without owning anything there (`doctor`).
pub async fn connect(target: &Target) -> Result<MySqlConnection, EngineError> {
    let place = || format!("opening a session on {}:{}", target.host, target.port);
    let options = options(target);
    let connected = async {
        let mut connection = options.connect().await?;
        watch_connections();
        set_up(&mut connection).await?;
        Ok(connection)
    };
    tokio::time::timeout(CONNECT_LIMIT, connected)
        .await
        .map_err(|_| {
            EngineError::retryable(format!(
                "{}:{} did not answer in {} s",
                target.host,
                target.port,
                CONNECT_LIMIT.as_secs()
            ))
        })?
        .map_err(EngineError::while_doing(place()))
}

fn options(target: &Target) -> MySqlConnectOptions {
    let options = MySqlConnectOptions::new()
        .host(&target.host)
        .port(target.port)
        .username(&target.user)
        .password(target.password.expose())
        .charset("utf8mb4")
        // All settings are ours, and are set in one statement.
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .set_names(false)
        .disable_statement_logging();
    let options = options.ssl_mode(target.tls.mode.into());
    match &target.tls.authority {
        Some(file) => options.ssl_ca(file),
        None => options,
    }
}

/// Settings that every session of ours needs and every account may set.
const SETTINGS: &str = "SET NAMES utf8mb4, \
     transaction_isolation = 'READ-COMMITTED', \
     transaction_read_only = 0, \
     autocommit = 1, \
     completion_type = 'NO_CHAIN', \
     foreign_key_checks = 0, \
     unique_checks = 1, \
     wait_timeout = 86400, \
     net_read_timeout = 600, \
     net_write_timeout = 600, \
     max_execution_time = 0, \
     sql_select_limit = 18446744073709551615, \
     sql_safe_updates = 0, \
     cte_max_recursion_depth = 1000, \
     sql_big_selects = 1, \
     sql_quote_show_create = 1, \
     group_concat_max_len = 1048576, \
     range_optimizer_max_mem_size = 0, \
     information_schema_stats_expiry = 0";

/// Settings that some servers don't know, or that an account may not set.
const OPTIONAL_SETTINGS: [&str; 7] = [
    // It would copy the whole shadow for a default, under the swap's lock.
    "old_alter_table = OFF",
    // A generated invisible primary key is a column to copy like any other.
    "show_gipk_in_create_table_and_information_schema = ON",
    "binlog_format = 'ROW'",
    "binlog_row_image = 'FULL'",
    "binlog_row_value_options = ''",
    "use_secondary_engine = 'OFF'",
    "explain_format = 'TRADITIONAL'",
];

async fn set_up(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let lock_wait = USUAL_LOCK_WAIT.as_secs();
    let settings = format!(
        "{SETTINGS}, lock_wait_timeout = {lock_wait}, innodb_lock_wait_timeout = {lock_wait}, \
         sql_mode = '{OUR_SQL_MODE}', time_zone = '{OUR_TIME_ZONE}'"
    );
    let set = sqlx::raw_sql(AssertSqlSafe(settings));
    if let Err(error) = set.execute(&mut *connection).await {
        return Err(server_version::why_unsettled(connection, error).await);
    }
    for setting in OPTIONAL_SETTINGS {
        let result = sqlx::raw_sql(AssertSqlSafe(format!("SET SESSION {setting}")))
            .execute(&mut *connection)
            .await;
        match result {
            Ok(_) => {}
            // Unknown here (1193), not granted (1227), or global only (1229).
            Err(error) if matches!(server_error::number(&error), Some(1193 | 1227 | 1229)) => {
                tracing::trace!(setting, %error, "left as the server has it");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
