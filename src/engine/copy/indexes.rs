//! Secondary indexes that are built after the copy.

use std::time::{Duration, Instant};

use sqlx::Row;

use crate::engine::binlog::capture::STREAM_MARK;
use crate::engine::context::{Context, Halt, LONGEST_SILENCE, no_answer};
use crate::engine::error::server_error_kind;
use crate::engine::options::{IndexBuild, Options};
use crate::engine::session::Session;
use crate::engine::syntax::quote;
use crate::engine::table::{Key, KeyKind, TableDefinition, TablePlan, Way, catalog};
use crate::engine::{EngineError, ErrorKind, fail_point};
use crate::server_error;

/// Memory that the server sorts in while it builds indexes. Its default, 1 MB for all threads together, makes it merge
/// many small runs.
const SORT_BYTES: u64 = 32 << 20;

/// Another session asks this often whether the server still works on a build, and the build is given up after so many times in
/// a row that it did not, or could not be asked.
const ASKED_EVERY: Duration = Duration::from_secs(60);
const NOT_SEEN: u32 = 5;

/// To name the rows of a duplicate the server sorts the table. What it does not find in this time goes without names.
const LONGEST_NAMING_MS: u64 = 30_000;

/// Carries the AUTO_INCREMENT column while the index that will is put off.
const STAND_IN: &str = "_lk_auto_increment";

/// The index that rows went by, built once more behind those that belong before it. It takes the place and the name of the first
/// in one statement, so that there is one of that name at any time.
const ONCE_MORE: &str = "_lk_once_more";

/// What of a plan's shadow is built later: whole definitions, ready to stand after `ADD`.
///
/// Unique indexes always are, and all of them: of the values that a row has in several, `INSERT … ON DUPLICATE KEY UPDATE` goes
/// by the index that was made first. While chunks and changes of different moments are in the shadow, a
/// value that went from one row to another may be there twice for a while, and nobody could tell
/// that from a true duplicate. After the copy there are true ones only.
pub fn to_defer(plan: &TablePlan, defer_all: bool) -> Vec<Key> {
    let (Way::Copy, Some(shadow), Some(key)) = (plan.way, &plan.shadow, &plan.key) else {
        return Vec::new();
    };
    shadow
        .keys
        .iter()
        .filter(|k| k.name != key.target_index && k.name != "PRIMARY")
        // The first FULLTEXT index rebuilds the table; such an index is cheaper from the start.
        .filter(|k| k.kind == KeyKind::BTree && (k.unique || defer_all))
        .filter(|k| k.unique || !carries_auto_increment(shadow, k))
        .cloned()
        .collect()
}

/// Is there a unique key, besides the one that rows go by, while rows of different moments are in the shadow?
pub fn stays_unique(plan: &TablePlan, later: &[Key]) -> bool {
    let (Some(shadow), Some(copied_by)) = (&plan.shadow, &plan.key) else {
        return false;
    };
    let stays =
        |key: &&Key| key.unique && key.name != copied_by.target_index && !later.contains(key);
    shadow.keys.iter().filter(stays).any(|key| {
        // With all of the copy's key in it, it makes no two rows equal.
        let has = |column: &usize| {
            key.parts
                .iter()
                .any(|p| p.column == Some(*column) && p.prefix.is_none())
        };
        !copied_by.target.iter().all(has)
    })
}

/// An AUTO_INCREMENT column must be the first of some index at any time.
fn carries_auto_increment(shadow: &TableDefinition, key: &Key) -> bool {
    let first = key.parts.first().and_then(|part| part.column);
    first.is_some_and(|c| shadow.columns[c].auto_increment)
}

/// Whether plain indexes are built later, too.
pub async fn defer_all(session: &mut Session, options: &Options) -> Result<bool, EngineError> {
    match options.index_build {
        IndexBuild::Deferred => Ok(true),
        IndexBuild::Inline => Ok(false),
        IndexBuild::Auto => Ok(!has_replica(session).await?),
    }
}

/// Whether anybody but Lockkeeper reads the server's binlogs.
async fn has_replica(session: &mut Session) -> Result<bool, EngineError> {
    // Not information_schema.PROCESSLIST: it gives every session's statement in utf8mb3, and fails with 3854 while the
    // application runs one with a character that is not in there.
    let others = format!(
        "SELECT EXISTS (SELECT 1 FROM performance_schema.threads AS t \
                         WHERE t.PROCESSLIST_COMMAND IN ('Binlog Dump', 'Binlog Dump GTID') \
                           AND NOT EXISTS (SELECT 1 FROM performance_schema.user_variables_by_thread AS u \
                                            WHERE u.THREAD_ID = t.THREAD_ID AND u.VARIABLE_NAME = '{STREAM_MARK}'))"
    );
    let rows = match session.rows(&others).await {
        // Anybody may read `processlist`, but not those two: then our own streams count, too.
        Err(error) if server_error::number(&error) == Some(1142) => {
            let all = "SELECT EXISTS (SELECT 1 FROM performance_schema.processlist AS p \
                                       WHERE p.COMMAND IN ('Binlog Dump', 'Binlog Dump GTID'))";
            session.rows(all).await
        }
        other => other,
    };
    let doing = || EngineError::while_doing("looking for attached replicas");
    let rows = rows.map_err(doing())?;
    let Some(row) = rows.first() else {
        return Err(EngineError::retryable(
            "the server did not say whether a replica is attached",
        ));
    };
    row.try_get_unchecked(0).map_err(doing())
}

/// Drops what is deferred from the empty shadow.
pub async fn drop_deferred(
    session: &mut Session,
    shadow: &TableDefinition,
    deferred: &[Key],
) -> Result<(), EngineError> {
    if deferred.is_empty() {
        return Ok(());
    }
    let mut clauses: Vec<String> = deferred
        .iter()
        .map(|k| format!("DROP INDEX {}", quote(&k.name)))
        .collect();
    let is_carried = (shadow.keys.iter())
        .any(|key| !deferred.contains(key) && carries_auto_increment(shadow, key));
    let counter = shadow.columns.iter().find(|column| column.auto_increment);
    if let (false, Some(counter)) = (is_carried, counter) {
        clauses.push(format!("ADD INDEX {STAND_IN} ({})", quote(&counter.name)));
    }
    session
        .run(&format!(
            "ALTER TABLE {} {}",
            shadow.quoted(),
            clauses.join(", ")
        ))
        .await
        .map(drop)
        .map_err(EngineError::while_doing(
            "putting indexes of the empty copy off",
        ))
}

/// The key that rows go by, where one that is built later comes before it.
fn out_of_order<'a>(plan: &'a TablePlan, deferred: &[Key]) -> Option<&'a Key> {
    let (shadow, copied_by) = (plan.shadow.as_ref()?, plan.key.as_ref()?);
    let mut keys = shadow.keys.iter();
    let is_late = keys
        .by_ref()
        .take_while(|key| key.name != copied_by.target_index)
        .any(|key| key.unique && deferred.contains(key));
    is_late.then(|| {
        shadow
            .keys
            .iter()
            .find(|key| key.name == copied_by.target_index)
    })?
}

/// Adds those of `deferred` that are not there, in one statement.
pub async fn build(
    context: &Context,
    session: &mut Session,
    index: usize,
    deferred: &[Key],
) -> Result<(), Halt> {
    let plan = &context.plans[index];
    let Some(shadow) = &plan.shadow else {
        return Ok(());
    };
    let now = catalog::table(session, &shadow.schema, &shadow.name).await?;
    let Some(now) = now else {
        return Err(EngineError::LeaseLost(format!("{} is gone", shadow.quoted())).into());
    };
    let has = |name: &str| now.keys.iter().any(|key| key.name == name);
    let missing: Vec<&Key> = deferred.iter().filter(|k| !has(&k.name)).collect();
    let once_more = out_of_order(plan, deferred);
    // In the order of the statement.
    let mut clauses: Vec<String> = (shadow.keys.iter())
        .filter_map(|key| {
            let (name, definition) = (quote(&key.name), &key.definition);
            if missing.contains(&key) {
                Some(format!("ADD {definition}"))
            } else if once_more == Some(key) && !missing.is_empty() {
                Some(format!("ADD {}", definition.replacen(&name, ONCE_MORE, 1)))
            } else {
                None
            }
        })
        .collect();
    if has(STAND_IN) {
        clauses.push(format!("DROP INDEX {STAND_IN}"));
    }
    if !missing.is_empty() {
        tune(context, session).await?;
        fail_point::at("index.build.before");
        let sql = format!("ALTER TABLE {} {}", shadow.quoted(), clauses.join(", "));
        let result = run_stoppable(context, session, &sql).await?;
        fail_point::at("index.build.after");
        if let Err(error) = result {
            return Err(refused(session, plan, &missing, error).await);
        }
    }
    if let Some(key) = once_more
        && (!missing.is_empty() || has(ONCE_MORE))
    {
        let name = quote(&key.name);
        let sql = format!(
            "ALTER TABLE {} DROP INDEX {name}, RENAME INDEX {ONCE_MORE} TO {name}",
            shadow.quoted()
        );
        let result = run_stoppable(context, session, &sql).await?;
        result.map_err(EngineError::while_doing("putting indexes in their order"))?;
    }
    Ok(())
}

/// Why indexes could not be built, for people.
async fn refused(
    session: &mut Session,
    plan: &TablePlan,
    missing: &[&Key],
    error: sqlx::Error,
) -> Halt {
    let (Some(shadow), Some(original)) = (&plan.shadow, &plan.original) else {
        return EngineError::while_doing("building indexes")(error).into();
    };
    match server_error::number(&error) {
        Some(1062 | 1586) => {
            let rows = duplicates(session, plan, shadow, missing)
                .await
                .unwrap_or_default();
            EngineError::permanent(format!(
                "the new unique index cannot be built on {}: {}{rows}; remove the duplicate, and \
                 start again",
                original.quoted(),
                plan.in_own_names(&server_error::words(&error))
            ))
        }
        number if is_final(&error) => {
            let said = plan.in_own_names(&server_error::words_of_a_row(&error));
            EngineError::permanent(format!(
                "the indexes of {} cannot be built on its copy: {said} ({}); correct that, and start again",
                original.quoted(),
                number.unwrap_or_default()
            ))
        }
        _ => EngineError::while_doing("building indexes")(error),
    }
    .into()
}

/// Whether the rows, or the definition, are at fault. A table that is gone is somebody's doing, and is looked into elsewhere.
fn is_final(error: &sqlx::Error) -> bool {
    server_error_kind(error) == ErrorKind::Permanent && server_error::number(error) != Some(1146)
}

/// Lets this session's sorts use [`SORT_BYTES`], or more where the server's administrator gives more, and while others write no
/// more threads than chunks had: the server's own default is four, however few processors there are.
async fn tune(context: &Context, session: &mut Session) -> Result<(), EngineError> {
    let threads = match context.concurrency.in_company() {
        true => context.concurrency.threads().to_string(),
        false => "DEFAULT".to_owned(),
    };
    let settings = [
        format!(
            "innodb_ddl_buffer_size = \
             CAST(GREATEST({SORT_BYTES}, @@SESSION.innodb_ddl_buffer_size) AS UNSIGNED)"
        ),
        format!("innodb_ddl_threads = {threads}"),
        format!("innodb_parallel_read_threads = {threads}"),
    ];
    for setting in settings {
        match session.run(&format!("SET SESSION {setting}")).await {
            Ok(_) => {}
            // A server before 8.0.27 knows no such variables, and sorts otherwise.
            Err(error) if server_error::number(&error) == Some(1193) => {}
            Err(error) => return Err(EngineError::while_doing("building indexes")(error)),
        }
    }
    Ok(())
}

/// Runs a long statement; an order to end kills it. Nothing else listens meanwhile, so another session asks now and then
/// whether the server still works on it: it may have vanished, or the answer with a connection that was idle for too long.
async fn run_stoppable(
    context: &Context,
    session: &mut Session,
    sql: &str,
) -> Result<Result<(), sqlx::Error>, Halt> {
    let id = session.id();
    let mut orders = context.watch_orders();
    let mut running = std::pin::pin!(session.run(sql));
    let mut asked = Instant::now();
    let mut not_seen = 0;
    loop {
        tokio::select! {
            result = &mut running => return Ok(result.map(drop)),
            _ = orders.changed() => {}
            () = context.failed.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => context.report(),
        }
        if let Err(halt) = context.may_go_on() {
            let mut killer = context.sessions.open().await?;
            // It may have ended by itself just now.
            let _ = killer.run(&format!("KILL QUERY {id}")).await;
            let ended = tokio::time::timeout(LONGEST_SILENCE, running).await;
            killer.close().await;
            return Err(match ended {
                Ok(_) => halt,
                Err(_) => no_answer().into(),
            });
        }
        if asked.elapsed() >= ASKED_EVERY {
            not_seen = match is_executing(context, id).await {
                Ok(true) => 0,
                Ok(false) | Err(_) => not_seen + 1,
            };
            asked = Instant::now();
        }
        if not_seen >= NOT_SEEN {
            return Err(no_answer().into());
        }
    }
}

async fn is_executing(context: &Context, id: u64) -> Result<bool, EngineError> {
    let mut session = context.sessions.open().await?;
    let sql = format!(
        "SELECT 1 FROM information_schema.PROCESSLIST AS p WHERE p.ID = {id} AND p.COMMAND <> 'Sleep'"
    );
    let rows = session.rows(&sql).await;
    session.close().await;
    match rows {
        Ok(rows) => Ok(!rows.is_empty()),
        // Nothing is shown for now: it is asked again.
        Err(error) if server_error::number(&error) == Some(server_error::CANNOT_CONVERT) => {
            Ok(true)
        }
        Err(error) => Err(EngineError::while_doing("looking for a long statement")(
            error,
        )),
    }
}

/// Two rows that are equal in a unique index, for people.
async fn duplicates(
    session: &mut Session,
    plan: &TablePlan,
    shadow: &TableDefinition,
    keys: &[&Key],
) -> Option<String> {
    let identity: Vec<String> = plan
        .key
        .as_ref()?
        .target
        .iter()
        .map(|&i| format!("CAST({} AS CHAR)", quote(&shadow.columns[i].name)))
        .collect();
    for key in keys.iter().filter(|k| k.unique) {
        let columns: Option<Vec<String>> = key
            .parts
            .iter()
            .map(|part| {
                let name = quote(&shadow.columns[part.column?].name);
                Some(match part.prefix {
                    Some(length) => format!("LEFT({name}, {length})"),
                    None => name,
                })
            })
            .collect();
        let columns = columns?;
        let not_null: Vec<String> = columns.iter().map(|c| format!("{c} IS NOT NULL")).collect();
        let sql = format!(
            "SELECT /*+ MAX_EXECUTION_TIME({LONGEST_NAMING_MS}) */ GROUP_CONCAT(CONCAT_WS(',', {}) ORDER BY 1 SEPARATOR ') and (') FROM {} WHERE {} \
             GROUP BY {} HAVING COUNT(*) > 1 LIMIT 1",
            identity.join(", "),
            shadow.quoted(),
            not_null.join(" AND "),
            columns.join(", ")
        );
        let rows = session.rows(&sql).await.ok()?;
        if let Some(row) = rows.first() {
            let rows: String = row.try_get_unchecked(0).ok()?;
            let short: String = rows.chars().take(120).collect();
            return Some(format!(" in rows ({short})"));
        }
    }
    None
}
