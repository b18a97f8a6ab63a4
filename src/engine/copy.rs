//! The copy: one table's rows into its shadow, in key ranges, on the server.

pub(super) mod indexes;
mod left;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use sqlx::Row;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::binlog::rows::RowLayout;
use super::context::{Context, Halt};
use super::conversion::insert::{Rows, from_original};
use super::error::ErrorKind;
use super::session::Session;
use super::state::checkpoint::{CopiedRange, run};
use super::stream::routing::{FlightId, Range, Routing, Unseen};
use super::syntax::quote;
use super::table::cut::Cutter;
use super::table::key_range::{Bound, KeyColumns};
use super::table::{Copied, TableDefinition};
use super::{EngineError, fail_point};
use left::{Chunk, Left};

/// Rows of the first chunk, and bounds of later ones.
const FIRST_ROWS: u64 = 2_000;
const FEWEST_ROWS: u64 = 20;
const MOST_ROWS: u64 = 250_000;

/// A chunk carries no more than about this many bytes.
const CHUNK_BYTES: u64 = 8 << 20;

/// Other commits wait while the server writes a chunk to its binlog: no longer than this, if it can be helped.
const COMMIT_TIME: Duration = Duration::from_millis(15);
/// The same while others write all the time.
const COMMIT_TIME_IN_COMPANY: Duration = Duration::from_millis(5);

/// A slow commit makes no chunk smaller than this: then it is not the chunk that makes it slow.
const FEWEST_BYTES: u64 = 256 << 10;

/// A chunk that fails this often in a row fails the copy.
const ATTEMPTS: u32 = 10;

/// Tells the routing what a former driver copied, of all tables, before the stream begins: a change of such a row would be taken
/// for one that a chunk is still to bring.
pub fn told_of(routing: &Routing, layouts: &[Option<Arc<RowLayout>>], done: &[CopiedRange]) {
    for one in done {
        let layout = layouts.get(one.table).and_then(Option::as_ref);
        if let Some(range) = layout.and_then(|layout| range_of(layout, &one.from, &one.to)) {
            routing.already_copied(one.table, range);
        }
    }
}

fn range_of(layout: &RowLayout, from: &Bound, to: &Bound) -> Option<Range> {
    let key = |bound: &Bound| match bound {
        None => Some(None),
        Some(parts) => layout.key_of(parts).map(Some),
    };
    Some(Range {
        from: key(from)?,
        to: key(to)?,
    })
}

/// The copy of one table.
pub struct TableCopy {
    context: Arc<Context>,
    table: usize,
    original: TableDefinition,
    /// The shadow's name.
    shadow: String,
    key: KeyColumns,
    cutter: Cutter,
    /// Everything before the condition.
    insert: String,
    /// What follows it.
    insert_tail: String,
    /// Whether chunks go on each at its own pace, not in rounds: see [`super::stream::routing`].
    ordered: bool,
    left: Mutex<Left>,
    chunk_rows: AtomicU64,
    most_rows: u64,
    /// What [`FEWEST_BYTES`] are, in rows.
    fewest_rows: u64,
    /// Chunks that may run at a time; less after deadlocks.
    threads: AtomicU32,
}

impl TableCopy {
    /// The copy of plan `table`, of which `done` was copied before, and told to the routing as such: see [`told_of`].
    pub fn new(
        context: &Arc<Context>,
        table: usize,
        done: &[CopiedRange],
    ) -> Result<Self, EngineError> {
        let plan = &context.plans[table];
        let Copied {
            original,
            shadow,
            key,
        } = plan.copied()?;
        if context.layouts[table].is_none() {
            return Err(EngineError::permanent(
                "a table that is not copied has no row images",
            ));
        }
        let columns = KeyColumns::new(original, &key.source, &key.source_index);
        let name = |t: &TableDefinition, i: usize| quote(&t.columns[i].name);
        let verb = match context.routing.values_meet(table) {
            // A change is on its way that tells what became of the other row, as the table goes in rounds.
            true => "REPLACE",
            false => "INSERT",
        };
        let insert = from_original(plan, original, shadow, verb, &shadow.quoted(), &columns);
        let ordered = context.routing.is_ordered(table);
        // Where changes are applied ahead of the copy, a row may be there already.
        let insert_tail = match ordered || verb == "REPLACE" {
            true => String::new(),
            false => {
                let column = format!("{}.{}", shadow.quoted(), name(shadow, key.target[0]));
                format!(" ON DUPLICATE KEY UPDATE {column} = {column}")
            }
        };
        let row_bytes = original.data_bytes / original.estimated_rows.max(1);
        let done: Vec<&CopiedRange> = done.iter().filter(|d| d.table == table).collect();
        Ok(Self {
            table,
            original: original.clone(),
            shadow: shadow.name.clone(),
            cutter: Cutter::new(original, columns.clone()),
            key: columns,
            insert,
            insert_tail,
            ordered,
            chunk_rows: AtomicU64::new(FIRST_ROWS),
            most_rows: (CHUNK_BYTES / row_bytes.max(1)).clamp(FEWEST_ROWS, MOST_ROWS),
            fewest_rows: (FEWEST_BYTES / row_bytes.max(1)).max(FEWEST_ROWS),
            threads: AtomicU32::new(context.options.copy_threads),
            left: Mutex::new(Left::after(done)),
            context: Arc::clone(context),
        })
    }

    /// The range as the routing compares it; `None` where it can't.
    fn range(&self, from: &Bound, to: &Bound) -> Option<Range> {
        range_of(self.context.layouts[self.table].as_ref()?, from, to)
    }

    /// Copies all that is left.
    pub async fn run(&self) -> Result<(), Halt> {
        self.context.progress.task_phase(self.table, "copying");
        self.context.concurrency.another_phase();
        if self.ordered {
            let over = CancellationToken::new();
            let workers = (0..self.context.options.copy_threads).map(|n| self.work(n, &over));
            try_join_all(workers).await?;
        } else {
            self.rounds().await?;
        }
        self.context.routing.complete(self.table);
        self.context.progress.all_copied(self.table);
        self.context.report();
        Ok(())
    }

    /// One of several workers, each going on at its own pace.
    async fn work(&self, number: u32, over: &CancellationToken) -> Result<(), Halt> {
        let mut session = self.context.sessions.open().await?;
        self.context.throttle(Duration::ZERO).await?;
        while number < self.threads.load(Ordering::Relaxed)
            && self.context.concurrency.turn(number, over).await
        {
            self.context.may_go_on()?;
            let begun = {
                let mut left = self.left.lock().await;
                let chunk = self.next(&mut left, &mut session).await?;
                chunk.map(|chunk| self.begin(chunk)).transpose()?
            };
            let Some(begun) = begun else {
                over.cancel();
                break;
            };
            let took = self.copy_chunk(&mut session, begun).await?;
            self.context.throttle(took).await?;
        }
        session.close().await;
        Ok(())
    }

    /// Chunks that begin together, and end before the next ones begin.
    async fn rounds(&self) -> Result<(), Halt> {
        self.context.throttle(Duration::ZERO).await?;
        let mut sessions = Vec::new();
        for _ in 0..self.context.options.copy_threads {
            sessions.push(self.context.sessions.open().await?);
        }
        loop {
            self.context.may_go_on()?;
            let mut chunks = Vec::new();
            let mut left = self.left.lock().await;
            let threads = self.threads.load(Ordering::Relaxed);
            for _ in 0..threads.min(self.context.concurrency.threads()) {
                chunks.extend(self.next(&mut left, &mut sessions[0]).await?);
            }
            drop(left);
            if chunks.is_empty() {
                break;
            }
            let begun = chunks
                .into_iter()
                .map(|c| self.begin(c))
                .collect::<Result<Vec<_>, _>>()?;
            let started = Instant::now();
            let running = sessions
                .iter_mut()
                .zip(begun)
                .map(|(session, begun)| self.copy_chunk(session, begun));
            try_join_all(running).await?;
            self.context.throttle(started.elapsed()).await?;
        }
        for session in sessions {
            session.close().await;
        }
        Ok(())
    }

    /// Cuts the next chunk off what is left.
    async fn next(
        &self,
        left: &mut Left,
        session: &mut Session,
    ) -> Result<Option<Chunk>, EngineError> {
        if let Some(gap) = left.gap() {
            return Ok(Some(gap));
        }
        let Some(tail) = left.tail.take() else {
            return Ok(None);
        };
        let end = self.end_of_chunk(session, &tail.from).await?;
        Ok(Some(left.cut(tail, end)))
    }

    /// The key at which a chunk after `from` ends; `None` if the table ends before.
    async fn end_of_chunk(
        &self,
        session: &mut Session,
        from: &Bound,
    ) -> Result<Bound, EngineError> {
        let mut failures = 0;
        loop {
            let rows = self.chunk_rows.load(Ordering::Relaxed);
            let error = match self.cutter.end(session, from, rows).await {
                Ok(end) => return Ok(end),
                Err(error) => error,
            };
            self.recover(session, error, &mut failures).await?;
        }
    }

    /// From here on changes in the chunk's range are held.
    fn begin(&self, chunk: Chunk) -> Result<Begun, EngineError> {
        let range = match self.ordered {
            true => self.range(&chunk.from, &chunk.to),
            false => None,
        };
        if self.ordered && range.is_none() {
            return Err(EngineError::permanent(
                "a key of the table could not be compared",
            ));
        }
        let (flight, unseen) = self.context.routing.begin(self.table, range);
        Ok(Begun {
            chunk,
            flight,
            unseen,
        })
    }

    /// Copies one chunk, however often it takes. Returns how long the server took.
    async fn copy_chunk(&self, session: &mut Session, begun: Begun) -> Result<Duration, Halt> {
        let mut failures = 0;
        while let Err(halt) = self.wait_until_visible(session, &begun.unseen).await {
            let Halt::Failed(error) = halt else {
                return Err(halt);
            };
            self.recover(session, error, &mut failures).await?;
        }
        let record = |rows| CopiedRange {
            table: self.table,
            sequence: begun.chunk.sequence,
            from: begun.chunk.from.clone(),
            to: begun.chunk.to.clone(),
            rows,
        };
        let insert = format!(
            "{}{}{}",
            self.insert,
            self.key
                .between(begun.chunk.from.as_deref(), begun.chunk.to.as_deref()),
            self.insert_tail
        );
        let (rows, committing, took) = loop {
            self.context.may_go_on()?;
            let started = Instant::now();
            match self.attempt(session, &insert, record).await {
                Ok((rows, committing)) => break (rows, committing, started.elapsed()),
                Err(error) => {
                    if let Err(error) = self.recover(session, error, &mut failures).await {
                        return Err(self.explained(session, &begun.chunk, error).await.into());
                    }
                }
            }
            // The reply to a commit may have been lost.
            if self.context.store.has_copied(session, &record(0)).await? {
                break (0, Duration::ZERO, started.elapsed());
            }
        };
        let Chunk { from, to, .. } = &begun.chunk;
        self.cutter.found(from, to, rows);
        self.context.routing.finish(self.table, begun.flight);
        self.context.progress.copied(self.table, rows);
        self.context.concurrency.done(rows);
        self.context.report();
        self.adapt(rows, committing, took);
        Ok(took)
    }

    /// Answers how many rows there were, and how long their commit took.
    async fn attempt(
        &self,
        session: &mut Session,
        insert: &str,
        record: impl Fn(u64) -> CopiedRange,
    ) -> Result<(u64, Duration), EngineError> {
        let doing = "copying a chunk";
        let connection = session.connection();
        run(connection, "BEGIN".into(), doing).await?;
        let rows = run(connection, insert.to_owned(), doing).await?;
        fail_point::at("copy.chunk.before");
        let done = format!("{}; COMMIT", self.context.store.add_copied(&record(rows))?);
        let committing = Instant::now();
        run(connection, done, doing).await?;
        let committing = committing.elapsed();
        fail_point::at("copy.chunk.after");
        Ok((rows, committing))
    }

    /// Makes the session fit for another attempt, or gives up.
    ///
    /// An error is never the end of the table: it is tried again, or it ends the copy.
    async fn recover(
        &self,
        session: &mut Session,
        error: EngineError,
        failures: &mut u32,
    ) -> Result<(), EngineError> {
        *failures += 1;
        if error.kind() != ErrorKind::Retryable || error.is_no_room() || *failures >= ATTEMPTS {
            return Err(error);
        }
        tracing::info!(%error, failures, "a chunk is copied again");
        if is_deadlock(&error) {
            // Chunks and changes meet in the same pages: smaller chunks, and fewer at a time.
            let rows = self.chunk_rows.load(Ordering::Relaxed);
            self.chunk_rows
                .store((rows / 2).max(FEWEST_ROWS), Ordering::Relaxed);
            if *failures > 2 {
                self.threads.store(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(Duration::from_millis(20) * *failures * *failures).await;
        // Whatever state it was left in.
        self.context.sessions.replace(session, &error).await
    }

    /// Names the row that the shadow doesn't take, if that is the reason.
    async fn explained(
        &self,
        session: &mut Session,
        chunk: &Chunk,
        error: EngineError,
    ) -> EngineError {
        if error.kind() != ErrorKind::Permanent || !error.may_be_of_a_row() {
            return error;
        }
        let condition = self.key.between(chunk.from.as_deref(), chunk.to.as_deref());
        let rows = Rows {
            original: &self.original,
            key: &self.key,
            insert: &self.insert,
            tail: &self.insert_tail,
            condition: &condition,
        };
        let Ok(Some(complaint)) = rows.complaint(session, &self.shadow).await else {
            return error;
        };
        EngineError::permanent(format!(
            "{complaint}; correct it, others may not fit either, and submit the change again"
        ))
    }

    /// Waits until the next snapshot is certain to contain `unseen`.
    async fn wait_until_visible(&self, session: &mut Session, unseen: &Unseen) -> Result<(), Halt> {
        let doing = "waiting for changes to become visible";
        if unseen.anonymous {
            // Commits become visible in the order of the binlog, so once a later one of ours has,
            // all before it have.
            run(session.connection(), self.context.store.mark()?, doing).await?;
        }
        if unseen.set.is_empty() {
            return Ok(());
        }
        let sql = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{}', 1)", unseen.set);
        loop {
            self.context.may_go_on()?;
            let rows = session
                .rows(&sql)
                .await
                .map_err(EngineError::while_doing(doing))?;
            let late: Option<i64> = rows
                .first()
                .map(|row| row.try_get_unchecked(0))
                .transpose()
                .map_err(EngineError::while_doing(doing))?;
            if late == Some(0) {
                self.context.routing.seen(unseen);
                return Ok(());
            }
        }
    }

    /// Lets the next chunks take as long as they should, and their commits.
    fn adapt(&self, rows: u64, committing: Duration, took: Duration) {
        let wanted = self.context.options.chunk_time().as_secs_f64() * self.context.share_of_time();
        let now = self.chunk_rows.load(Ordering::Relaxed);
        // A last, short chunk teaches nothing about the speed.
        if rows < now / 2 {
            return;
        }
        let by_time = wanted / took.as_secs_f64().max(1e-3);
        let commit_time = match self.context.concurrency.in_company() {
            true => COMMIT_TIME_IN_COMPANY,
            false => COMMIT_TIME,
        };
        let by_commit = commit_time.as_secs_f64() / committing.as_secs_f64().max(1e-3);
        let by_commit = by_commit.max(self.fewest_rows as f64 / rows as f64);
        let next = (rows as f64 * by_time.min(by_commit).clamp(0.25, 2.0)) as u64;
        tracing::trace!(rows, ?committing, ?took, next, "a chunk is copied");
        self.chunk_rows
            .store(next.clamp(FEWEST_ROWS, self.most_rows), Ordering::Relaxed);
    }
}

struct Begun {
    chunk: Chunk,
    flight: FlightId,
    unseen: Unseen,
}

fn is_deadlock(error: &EngineError) -> bool {
    matches!(error.server_number(), Some(1213 | 1205))
}
