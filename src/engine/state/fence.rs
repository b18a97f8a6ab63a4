//! The fence: what stops a driver that lost its lease, on the deployment itself.
//!
//! One row in a table of the operation's own says which lease epoch may change anything. Whoever takes over
//! raises it, ends the former owner's sessions and gives every artifact a name of its own epoch;
//! what the former one sends later finds no session, no table and a larger epoch.

use serde::{Deserialize, Serialize};
use sqlx::mysql::MySqlRow;
use sqlx::{Connection, Row};

use super::artifact;
use crate::engine::names::Owner;
use crate::engine::session::{Session, Sessions};
use crate::engine::syntax::quote_table;
use crate::engine::{EngineError, fail_point};
use crate::server_error;

/// The fence of one operation on one deployment.
#[derive(Debug, Clone)]
pub struct Fence {
    schema: String,
    owner: Owner,
    server_uuid: String,
}

/// What a cutover writes down before it changes anything, so that a lost answer can be settled.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SwapRecord {
    /// Tables that one RENAME swaps, all or none.
    pub tables: Vec<SwapTable>,
    /// Statements that are executed by themselves.
    pub steps: Vec<StepRecord>,
    /// True from the swap back on.
    pub reverting: bool,
    /// Where the tables have the numbers that are written down; on another server, after a fail-over, they have others.
    #[serde(default)]
    pub server_uuid: String,
}

/// One table of a swap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapTable {
    pub position: u32,
    /// The name that the application uses.
    pub name: String,
    /// InnoDB's number of the table that has the name before the forward swap; 0 if not known.
    pub original_id: u64,
    /// That of the shadow.
    pub shadow_id: u64,
}

/// A statement without a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    pub position: u32,
    /// Digest of the table's definition before it; `None` where there was no table.
    pub before: Option<String>,
    /// Digest of the definition that it makes; `None` where only a change can be told.
    pub after: Option<String>,
    pub done: bool,
}

impl Fence {
    /// Makes this owner the only one who may change the operation's tables.
    ///
    /// Raises the epoch, ends the sessions of former epochs and waits until they are gone, then renames their
    /// artifacts. Safe to repeat.
    ///
    /// # Errors
    ///
    /// [`EngineError::LeaseLost`] if a later epoch was here before.
    pub async fn take_over(
        sessions: &Sessions,
        session: &mut Session,
        schema: &str,
    ) -> Result<Self, EngineError> {
        let owner = sessions.owner().clone();
        let fence = Self {
            schema: schema.to_owned(),
            server_uuid: session.server_uuid().await?,
            owner,
        };
        // A driver that was frozen during its swap holds the fence (and the application's table)
        // locked: end it before the fence is written, and look again after.
        fence.refuse_if_later(session).await?;
        sessions.end_former(session).await?;
        fail_point::at("fence.create.before");
        fence.create(session).await?;
        fail_point::at("fence.raise.before");
        fence.raise(session).await?;
        fail_point::at("fence.raise.after");
        sessions.end_former(session).await?;
        fail_point::at("fence.rename.before");
        artifact::take_over(session, schema, &fence.owner).await?;
        fail_point::at("fence.rename.after");
        Ok(fence)
    }

    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The fence's table, qualified and quoted.
    pub fn quoted(&self) -> String {
        quote_table(&self.schema, &self.owner.fence())
    }

    async fn refuse_if_later(&self, session: &mut Session) -> Result<(), EngineError> {
        let epoch: Result<Option<u64>, sqlx::Error> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                "SELECT f.lease_epoch FROM {} AS f WHERE f.id = 1",
                self.quoted()
            )))
            .fetch_optional(session.connection())
            .await;
        match epoch {
            Ok(Some(epoch)) if epoch > self.owner.epoch => Err(self.fenced_off(epoch)),
            Ok(_) => Ok(()),
            Err(error) if server_error::number(&error) == Some(1146) => Ok(()),
            Err(error) => Err(EngineError::while_doing("reading the fence")(error)),
        }
    }

    async fn create(&self, session: &mut Session) -> Result<(), EngineError> {
        session
            .run(&format!(
                "CREATE TABLE IF NOT EXISTS {} (\
                 id TINYINT UNSIGNED NOT NULL PRIMARY KEY, \
                 lease_epoch BIGINT UNSIGNED NOT NULL, \
                 server_uuid CHAR(36) NOT NULL, \
                 confirmed_at DATETIME(6) NOT NULL, \
                 swap JSON NULL, \
                 remove_from DATETIME(6) NULL\
                 ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 \
                 COMMENT = 'Lockkeeper: which driver may change this operation. Remove it with the operation.'",
                self.quoted()
            ))
            .await
            .map(drop)
            .map_err(EngineError::while_doing("creating the operation's fence"))
    }

    async fn raise(&self, session: &mut Session) -> Result<(), EngineError> {
        let doing = || EngineError::while_doing("raising the operation's fence");
        let table = self.quoted();
        let mut transaction = session.connection().begin().await.map_err(doing())?;
        let epoch: Option<u64> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT f.lease_epoch FROM {table} AS f WHERE f.id = 1 FOR UPDATE"
        )))
        .fetch_optional(&mut *transaction)
        .await
        .map_err(doing())?;
        if let Some(epoch) = epoch
            && epoch > self.owner.epoch
        {
            return Err(self.fenced_off(epoch));
        }
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "INSERT INTO {table} (id, lease_epoch, server_uuid, confirmed_at) \
             VALUES (1, ?, @@server_uuid, UTC_TIMESTAMP(6)) AS new \
             ON DUPLICATE KEY UPDATE lease_epoch = new.lease_epoch, \
             server_uuid = new.server_uuid, confirmed_at = new.confirmed_at"
        )))
        .bind(self.owner.epoch)
        .execute(&mut *transaction)
        .await
        .map_err(doing())?;
        transaction.commit().await.map_err(doing())
    }

    /// Is this owner's epoch still the fence's, on the same server, and may it be written?
    ///
    /// Cheap: for use under the cutover's lock (with [`Fence::quoted`] locked too) and before
    /// anything that can't be taken back.
    ///
    /// # Errors
    ///
    /// [`EngineError::LeaseLost`] if another epoch owns it or the fence is gone; retryable if the
    /// server is another one or read-only.
    pub async fn check(&self, session: &mut Session) -> Result<(), EngineError> {
        let rows = match session.rows(&self.question()).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.unanswered(error)),
        };
        self.judge(rows.first())
    }

    /// The statement whose row [`Fence::judge`] wants.
    pub(crate) fn question(&self) -> String {
        // Without an alias: under LOCK TABLES only the names that were locked are known.
        format!(
            "SELECT CAST(lease_epoch AS UNSIGNED), @@server_uuid, \
             CAST(@@GLOBAL.read_only OR @@GLOBAL.super_read_only AS UNSIGNED) \
             FROM {} WHERE id = 1",
            self.quoted()
        )
    }

    /// What it means that [`Fence::question`] failed.
    pub(crate) fn unanswered(&self, error: sqlx::Error) -> EngineError {
        if server_error::number(&error) == Some(1146) {
            self.gone()
        } else {
            EngineError::while_doing("reading the fence")(error)
        }
    }

    /// What the answer to [`Fence::question`] allows.
    pub(crate) fn judge(&self, row: Option<&MySqlRow>) -> Result<(), EngineError> {
        let Some(row) = row else {
            return Err(self.gone());
        };
        let read = || -> Result<(u64, String, u64), sqlx::Error> {
            Ok((
                row.try_get_unchecked(0)?,
                row.try_get_unchecked(1)?,
                row.try_get_unchecked(2)?,
            ))
        };
        let (epoch, server_uuid, read_only) =
            read().map_err(EngineError::while_doing("reading the fence"))?;
        if epoch != self.owner.epoch {
            return Err(self.fenced_off(epoch));
        }
        if server_uuid != self.server_uuid {
            return Err(EngineError::retryable(format!(
                "the session is on server {server_uuid}, the operation began this run on {}; it \
                 is tried again, and refused if the server is another for good",
                self.server_uuid
            )));
        }
        if read_only != 0 {
            return Err(EngineError::retryable(
                "the server is read-only: a fail-over may be under way; it is tried again",
            ));
        }
        Ok(())
    }

    /// Writes down what is about to be swapped; refused if the epoch is no longer ours.
    pub async fn write_swap(
        &self,
        session: &mut Session,
        record: &SwapRecord,
    ) -> Result<(), EngineError> {
        let doing = || EngineError::while_doing("writing down what is to be swapped");
        let text = serde_json::to_string(record)
            .map_err(|error| EngineError::permanent(format!("a swap's record: {error}")))?;
        let done = sqlx::query(sqlx::AssertSqlSafe(format!(
            "UPDATE {} SET swap = ?, confirmed_at = UTC_TIMESTAMP(6) WHERE id = 1 AND lease_epoch = ?",
            self.quoted()
        )))
        .bind(text)
        .bind(self.owner.epoch)
        .execute(session.connection())
        .await
        .map_err(doing())?;
        if done.rows_affected() == 0 {
            self.check(session).await?;
            return Err(self.gone());
        }
        Ok(())
    }

    /// What the last cutover wrote down, of whichever epoch.
    pub async fn read_swap(
        &self,
        session: &mut Session,
    ) -> Result<Option<SwapRecord>, EngineError> {
        let text: Option<Option<String>> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT CAST(f.swap AS CHAR) FROM {} AS f WHERE f.id = 1",
            self.quoted()
        )))
        .fetch_optional(session.connection())
        .await
        .map_err(EngineError::while_doing("reading what was to be swapped"))?;
        text.flatten()
            .map(|text| {
                serde_json::from_str(&text).map_err(|error| {
                    EngineError::permanent(format!(
                        "the record of the swap in {} can't be read ({error}); it was written by \
                         another version: let a driver of that one finish",
                        self.quoted()
                    ))
                })
            })
            .transpose()
    }

    /// Notes that the change was made and is there to stay: what is left is to clean up. The fence itself
    /// may go after `hold_seconds`.
    ///
    /// Until the control database knows of the end, a successor must find it here: a change that
    /// was made must not be made again.
    pub async fn finish(
        &self,
        session: &mut Session,
        hold_seconds: u64,
    ) -> Result<(), EngineError> {
        self.check(session).await?;
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "UPDATE {} SET remove_from = UTC_TIMESTAMP(6) + INTERVAL ? SECOND \
              WHERE id = 1 AND lease_epoch = ? AND remove_from IS NULL",
            self.quoted()
        )))
        // An hour at least: longer than a driver takes to report.
        .bind(hold_seconds.max(3600))
        .bind(self.owner.epoch)
        .execute(session.connection())
        .await
        .map(drop)
        .map_err(EngineError::while_doing("noting the operation's end"))
    }

    /// Was [`Fence::finish`] reached, in this epoch or an earlier one?
    pub async fn is_finished(&self, session: &mut Session) -> Result<bool, EngineError> {
        let finished: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT f.remove_from IS NOT NULL FROM {} AS f WHERE f.id = 1",
            self.quoted()
        )))
        .fetch_optional(session.connection())
        .await
        .map_err(EngineError::while_doing("reading the fence"))?;
        Ok(finished == Some(1))
    }

    /// Removes the fence, last of all that a cancelled operation leaves.
    pub async fn remove(&self, session: &mut Session) -> Result<(), EngineError> {
        self.check(session).await?;
        fail_point::at("fence.remove.before");
        session
            .run(&format!("DROP TABLE IF EXISTS {}", self.quoted()))
            .await
            .map(drop)
            .map_err(EngineError::while_doing("removing the operation's fence"))
    }

    fn fenced_off(&self, epoch: u64) -> EngineError {
        EngineError::LeaseLost(format!(
            "the fence {} is at epoch {epoch}, this driver's is {}",
            self.quoted(),
            self.owner.epoch
        ))
    }

    fn gone(&self) -> EngineError {
        EngineError::LeaseLost(format!(
            "the fence {} is gone: the operation was finished or cleaned up elsewhere",
            self.quoted()
        ))
    }
}
