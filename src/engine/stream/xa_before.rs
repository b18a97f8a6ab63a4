//! XA transactions from before the stream.
//!
//! The rows of a prepared XA transaction are in the binlog where it was prepared. If that is before the place at which the
//! stream begins, its COMMIT comes through the stream with nothing but a name, and its rows are visible to no chunk that is
//! copied before. So the copy begins once every transaction that may be such a one has ended: from then on each prepared
//! transaction has its rows in the stream ([`super::xa_rows`]).
//!
//! XA RECOVER is not what is asked: it needs a privilege of its own, and shows a transaction only after its PREPARE is in the
//! binlog and executed. InnoDB's list has it from its first row to its end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rand::Rng as _;
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use crate::engine::context::{Halt, must_halt};
use crate::engine::session::Session;
use crate::engine::table::{TablePlan, Way};
use crate::engine::{EngineError, LeaseHolder, Progress};
use crate::server_error;

/// How often is looked again. InnoDB renews its list no sooner than 100 ms after somebody last read it.
const PAUSE: Duration = Duration::from_millis(150);

/// Whoever reads it sooner keeps it old, for others too. Changes that begin together on a server would do that to each other for
/// good, so each waits longer the more often that has happened, by chance, and up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// How long it is waited for before that is said in the log.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// How often it is looked at before it is given up.
const TRIES: u32 = 60;

/// A transaction that has changed rows.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    /// 0 where no session has it: a prepared one, mostly.
    session: u64,
    rows: u64,
}

/// By InnoDB's number.
type Suspects = HashMap<u64, Suspect>;

/// Waits until no XA transaction is prepared that wrote one of `plans`' tables before now.
///
/// To be called after the place was taken at which the stream begins, and before anything is copied.
///
/// # Errors
///
/// Retryable, naming what is in the way, if that takes longer than `limit`.
pub(crate) async fn wait_until_ended(
    session: &mut Session,
    plans: &[TablePlan],
    lease: &dyn LeaseHolder,
    limit: Duration,
) -> Result<(), Halt> {
    let started = Instant::now();
    let mut told = false;
    let mut suspects = all_now(session, lease).await?;
    while !suspects.is_empty() {
        if started.elapsed() >= limit {
            return Err(in_the_way(session, &suspects).await.into());
        }
        if started.elapsed() >= TELL_AFTER {
            let waits_for = waits_for(&suspects);
            if !std::mem::replace(&mut told, true) {
                tracing::info!("{waits_for}");
            }
            lease.report(Progress {
                phase: "preflight".into(),
                throttled_by: Some(waits_for),
                ..Progress::default()
            });
        }
        tokio::time::sleep(PAUSE).await;
        must_halt(&lease.orders().borrow())?;
        // In this order: a session that still has the transaction afterwards had it then.
        let ordinary = ordinary_sessions(session).await?;
        let now = all_now(session, lease).await?;
        suspects.retain(|id, suspect| {
            let Some(now) = now.get(id) else { return false };
            let is_ordinary = now.session == suspect.session && ordinary.contains(&now.session);
            // What goes on writing was not prepared.
            now.rows == suspect.rows && !is_ordinary
        });
        acquit_of_other_tables(session, plans, &mut suspects).await?;
    }
    Ok(())
}

/// For people: those with a session by that.
fn waits_for(suspects: &Suspects) -> String {
    let mut whose: Vec<String> = suspects
        .iter()
        .map(|(number, suspect)| match suspect.session {
            0 => format!("prepared transaction {number}"),
            session => format!("session {session}"),
        })
        .collect();
    whose.sort_unstable();
    format!(
        "the copy begins once the transactions have ended that began before it ({}); which of them matter is seen with SELECT on \
         performance_schema",
        whose.join(", ")
    )
}

/// The transactions of this moment or a later one.
async fn all_now(session: &mut Session, lease: &dyn LeaseHolder) -> Result<Suspects, Halt> {
    let doing = || EngineError::while_doing("looking for transactions from before the change");
    let mut unreadable = false;
    for attempt in 0..TRIES {
        // The list may be as old as others like who read it often. With a transaction of our own in it, it is new, unless
        // that is a former one: so the statement that runs in it has a number.
        session
            .run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            .await
            .map_err(doing())?;
        let found = read(session, rand::random()).await;
        session.run("COMMIT").await.map_err(doing())?;
        let found = found?;
        if let Some((suspects, true)) = found {
            return Ok(suspects);
        }
        unreadable = found.is_none();
        must_halt(&lease.orders().borrow())?;
        tokio::time::sleep(pause_after(attempt)).await;
    }
    let why = match unreadable {
        true => {
            "the server cannot show information_schema.INNODB_TRX while a transaction runs a statement with a character that \
             utf8mb3 lacks (3854), so that transactions from before the change cannot be looked for; wait until that \
             statement has ended, the change is tried again"
        }
        false => {
            "somebody reads information_schema.INNODB_TRX so often that the server never renews it, so \
             that transactions from before the change cannot be looked for; read it less often"
        }
    };
    Err(EngineError::retryable(why).into())
}

fn pause_after(attempt: u32) -> Duration {
    let longest = (PAUSE * (2 << attempt.min(8))).min(LONGEST_PAUSE);
    rand::rng().random_range(PAUSE..longest)
}

/// What InnoDB lists, and whether it lists this very look, `number`; `None` while the server cannot make the list.
async fn read(session: &mut Session, number: u32) -> Result<Option<(Suspects, bool)>, EngineError> {
    let doing = || EngineError::while_doing("looking for transactions from before the change");
    // At the front: the list has the first 1024 characters of a statement.
    let sql = format!(
        "SELECT /* look {number} */ CAST(t.trx_id AS UNSIGNED), CAST(t.trx_mysql_thread_id AS UNSIGNED), \
                CAST(t.trx_rows_modified AS UNSIGNED), \
                COALESCE(t.trx_mysql_thread_id = CONNECTION_ID() AND t.trx_query LIKE '%/* look {number} */%', FALSE) \
           FROM information_schema.INNODB_TRX AS t"
    );
    let rows = match session.rows(&sql).await {
        Err(error) if server_error::number(&error) == Some(server_error::CANNOT_CONVERT) => {
            return Ok(None);
        }
        rows => rows.map_err(doing())?,
    };
    let (mut suspects, mut is_new) = (Suspects::new(), false);
    for row in &rows {
        let read = |row: &MySqlRow| -> Result<(u64, Suspect, i64), sqlx::Error> {
            let suspect = Suspect {
                session: row.try_get_unchecked(1)?,
                rows: row.try_get_unchecked(2)?,
            };
            Ok((
                row.try_get_unchecked(0)?,
                suspect,
                row.try_get_unchecked(3)?,
            ))
        };
        let (id, suspect, is_ours) = read(row).map_err(doing())?;
        is_new |= is_ours != 0;
        if suspect.rows > 0 {
            suspects.insert(id, suspect);
        }
    }
    Ok(Some((suspects, is_new)))
}

/// Sessions that are in a transaction which is no XA transaction.
async fn ordinary_sessions(session: &mut Session) -> Result<Vec<u64>, EngineError> {
    let sql = "SELECT CAST(t.PROCESSLIST_ID AS UNSIGNED) \
                 FROM performance_schema.threads AS t \
                 JOIN performance_schema.events_transactions_current AS e ON e.THREAD_ID = t.THREAD_ID \
                WHERE t.PROCESSLIST_ID IS NOT NULL AND e.STATE = 'ACTIVE' AND e.XID_FORMAT_ID IS NULL";
    Ok(numbers(session, sql).await?.unwrap_or_default())
}

/// Takes out the transactions that hold locks of tables, and none of ours.
async fn acquit_of_other_tables(
    session: &mut Session,
    plans: &[TablePlan],
    suspects: &mut Suspects,
) -> Result<(), EngineError> {
    let ours: Vec<String> = plans
        .iter()
        .filter(|plan| plan.way == Way::Copy)
        .filter_map(|plan| plan.original.as_ref())
        .map(|table| {
            format!(
                "(d.OBJECT_SCHEMA = {} AND d.OBJECT_NAME = {})",
                crate::engine::syntax::quote_text(&table.schema),
                crate::engine::syntax::quote_text(&table.name)
            )
        })
        .collect();
    let ids: Vec<u64> = suspects.keys().copied().collect();
    for id in ids {
        // One by one: that is looked up, and a list would be searched for among all locks.
        let sql = format!(
            "SELECT CAST(COALESCE(SUM({}), 0) AS UNSIGNED) \
               FROM performance_schema.data_locks AS d \
              WHERE d.ENGINE_TRANSACTION_ID = {id} AND d.LOCK_TYPE = 'TABLE' \
             HAVING COUNT(*) > 0",
            ours.join(" OR ")
        );
        match numbers(session, &sql).await? {
            Some(of_ours) if of_ours == [0] => {
                suspects.remove(&id);
            }
            Some(_) => {}
            None => return Ok(()),
        }
    }
    Ok(())
}

/// One number a row; `None` where the account may not ask.
async fn numbers(session: &mut Session, sql: &str) -> Result<Option<Vec<u64>>, EngineError> {
    let doing = || EngineError::while_doing("looking at a transaction from before the change");
    let rows = match session.rows(sql).await {
        Ok(rows) => rows,
        Err(error) if server_error::is_denied(&error) => {
            tracing::debug!(%error, "performance_schema can't be read; nobody is acquitted");
            return Ok(None);
        }
        Err(error) => return Err(doing()(error)),
    };
    let numbers: Result<_, _> = rows.iter().map(|row| row.try_get_unchecked(0)).collect();
    numbers.map(Some).map_err(doing())
}

async fn in_the_way(session: &mut Session, suspects: &Suspects) -> EngineError {
    let prepared = xids(session).await;
    let mut those: Vec<String> = suspects
        .iter()
        .take(3)
        .map(|(id, suspect)| match suspect.session {
            0 => format!("InnoDB's transaction {id} of no session, so prepared"),
            session => format!("session {session}'s transaction {id}"),
        })
        .collect();
    if !prepared.is_empty() {
        those.push(format!("prepared are {}", prepared.join(" and ")));
    }
    let why = match prepared.is_empty() && suspects.values().all(|suspect| suspect.session != 0) {
        // Whose account may not read performance_schema, or where it is off, can't tell an idle one from a prepared one.
        true => {
            "a transaction has been open since before the change, and may have written the table under XA"
        }
        false => {
            "an XA transaction that was prepared before may have written the table, and its rows would be missed"
        }
    };
    EngineError::retryable(format!(
        "the copy cannot begin: {why} ({}); commit it or roll it back, the change is tried again; with SELECT on \
         performance_schema, where that is on, the driver tells other transactions apart",
        those.join(", ")
    ))
}

/// The first names that XA RECOVER shows, to whom it shows any.
async fn xids(session: &mut Session) -> Vec<String> {
    let rows = session.rows("XA RECOVER CONVERT XID").await;
    let name = |row: &MySqlRow| -> Result<String, sqlx::Error> {
        let format: i64 = row.try_get_unchecked(0)?;
        let global: i64 = row.try_get_unchecked(1)?;
        let data: String = row.try_get_unchecked(3)?;
        let data = data.trim_start_matches("0x");
        let at = (global as usize * 2).min(data.len());
        let (global, branch) = data.split_at(at);
        Ok(format!("X'{global}',X'{branch}',{format}"))
    };
    rows.unwrap_or_default()
        .iter()
        .take(3)
        .filter_map(|row| name(row).ok())
        .collect()
}
