//! Verification: every row of both tables is compared, while writes go on and are applied.
//!
//! A chunk is compared by the digests of both sides. Where these differ, its rows are; where rows
//! differ, the copy may just be behind: so the differing keys are read again after the applier
//! has passed the place where the stream was, and whatever is equal once is done, for later writes
//! are later changes. What keeps differing is read under a lock of that row alone.

mod converted;
mod differing;
pub mod digest;
mod rows;
mod sums;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use sqlx::Row;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::{Context, Halt};
use super::conversion::insert::Rows;
use super::conversion::key_order::not_comparable;
use super::error::ErrorKind;
use super::session::Session;
use super::state::checkpoint::{artifact_error, run};
use super::stream::position::Place;
use super::syntax::quote_table;
use super::table::Copied;
use super::table::cut::Cutter;
use super::table::key_range::{Bound, KeyColumns, KeyText};
use super::{EngineError, fail_point};
use converted::{Converted, convert};
use differing::ROUNDS;
use digest::Digest;
use rows::{KeyPart, RowDigests, differing, map_key};
use sums::{Parts, Sums};

const FIRST_ROWS: u64 = 5_000;
const FEWEST_ROWS: u64 = 200;
const MOST_ROWS: u64 = 50_000;

/// Where more rows of a chunk differ, all of the chunk is read again before they are.
const MOST_AGAIN: usize = 5_000;

/// So many rows that truly differ are enough.
const MOST_DIFFERENT: usize = 5_000;

/// So many differing rows are read again together: each time costs a wait for the applier.
const ROWS_AGAIN: usize = 500;

/// After a chunk that differed, so many are summed by buckets: the writers that were there are likely there still.
const WRITTEN_CHUNKS: u32 = 16;

/// A row that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Different {
    pub key: Vec<KeyText>,
    pub in_original: bool,
    pub in_shadow: bool,
}

impl Different {
    /// For people.
    pub fn shown(&self) -> String {
        let key = KeyColumns::shown(&self.key);
        match (self.in_original, self.in_shadow) {
            (true, false) => format!("{key} is missing in the copy"),
            (false, true) => format!("{key} is in the copy only"),
            (true, true) | (false, false) => format!("{key} differs"),
        }
    }
}

/// The comparison of one table with its shadow.
pub struct TableVerify {
    context: Arc<Context>,
    table: usize,
    original: Part,
    shadow: Part,
    place: Arc<Place>,
    cutter: Cutter,
    /// Where the next range begins; `None` at the end.
    rest: Mutex<Option<Bound>>,
    chunk_rows: AtomicU64,
    /// Chunks since the last one that differed.
    calm_chunks: AtomicU32,
}

/// One side.
struct Part {
    table: String,
    key: KeyColumns,
    /// What its rows have to go through first.
    converted: Option<Converted>,
    digest: String,
    /// The digest, or something that the other side has not where the server can make none: its sums must not agree.
    summed: String,
}

impl Part {
    fn new(table: String, key: KeyColumns, digest: String, side: &str) -> Self {
        let summed = format!(
            "IFNULL({digest},UNHEX(SHA2(CONCAT_WS('#','{side}',{}),256)))",
            key.select()
        );
        Self {
            table,
            key,
            converted: None,
            digest,
            summed,
        }
    }
}

impl TableVerify {
    pub fn new(
        context: &Arc<Context>,
        table: usize,
        place: &Arc<Place>,
    ) -> Result<Self, EngineError> {
        let plan = &context.plans[table];
        let Copied {
            original,
            shadow,
            key,
        } = plan.copied()?;
        let original_key = KeyColumns::new(original, &key.source, &key.source_index);
        let shadow_key = KeyColumns::new(shadow, &key.target, &key.target_index);
        if let Some(reason) = not_comparable(plan) {
            return Err(EngineError::permanent(reason));
        }
        let (converted, digest) = match Digest::new(plan) {
            Some(digest) => (None, digest),
            None => {
                let name = quote_table(&original.schema, &converted_name(context, table));
                let (converted, digest) = convert(plan, original, shadow, &name, &original_key)?;
                (Some((converted, name)), digest)
            }
        };
        let from = match &converted {
            Some((_, name)) => name.clone(),
            None => original.quoted(),
        };
        let cutter = Cutter::new(original, original_key.clone());
        let mut from = Part::new(from, original_key, digest.original, "original");
        from.converted = converted.map(|(converted, _)| converted);
        Ok(Self {
            context: Arc::clone(context),
            table,
            original: from,
            shadow: Part::new(shadow.quoted(), shadow_key, digest.shadow, "shadow"),
            place: Arc::clone(place),
            cutter,
            rest: Mutex::new(Some(None)),
            chunk_rows: AtomicU64::new(FIRST_ROWS),
            calm_chunks: AtomicU32::new(WRITTEN_CHUNKS),
        })
    }

    /// Compares the whole table; returns the rows that truly differ.
    pub async fn run(&self) -> Result<Vec<Different>, Halt> {
        self.context.concurrency.another_phase();
        let over = CancellationToken::new();
        let workers = (0..self.context.options.copy_threads).map(|n| self.work(n, &over));
        let found = try_join_all(workers).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn work(&self, number: u32, over: &CancellationToken) -> Result<Vec<Different>, Halt> {
        let mut session = self.context.sessions.open().await?;
        self.prepare(&mut session).await?;
        let mut found = Found::default();
        while self.context.concurrency.turn(number, over).await {
            self.context.may_go_on()?;
            let Some((from, to)) = self.next(&mut session).await? else {
                break;
            };
            let started = Instant::now();
            found.add(self.insist(&mut session, Piece::Range(&from, &to)).await?);
            fail_point::at("verify.chunk.after");
            if found.behind.len() >= ROWS_AGAIN {
                let behind = std::mem::take(&mut found.behind);
                found.add(self.insist(&mut session, Piece::Rows(&behind)).await?);
            }
            if found.different.len() > MOST_DIFFERENT {
                break;
            }
            self.context.report();
            self.context.throttle(started.elapsed()).await?;
        }
        // Whoever waits for a turn need not wait any longer.
        over.cancel();
        let behind = std::mem::take(&mut found.behind);
        found.add(self.insist(&mut session, Piece::Rows(&behind)).await?);
        session.close().await;
        Ok(found.different)
    }

    /// Compares a piece, on a fresh session where that may help.
    async fn insist(&self, session: &mut Session, piece: Piece<'_>) -> Result<Found, Halt> {
        let mut failures = 0;
        loop {
            let found = match piece {
                Piece::Range(from, to) => self.chunk(session, from, to).await,
                Piece::Rows(keys) => self.again(session, keys.clone()).await,
            };
            match found {
                Err(Halt::Failed(error)) => self.recover(session, error, &mut failures).await?,
                found => return found,
            }
        }
    }

    /// Makes the session fit for another attempt, or gives up.
    async fn recover(
        &self,
        session: &mut Session,
        error: EngineError,
        failures: &mut u32,
    ) -> Result<(), Halt> {
        *failures += 1;
        if error.kind() != ErrorKind::Retryable || *failures > 10 {
            return Err(error.into());
        }
        tracing::info!(%error, failures, "a chunk is compared again");
        tokio::time::sleep(Duration::from_millis(50) * *failures * *failures).await;
        self.context.may_go_on()?;
        self.context.sessions.replace(session, &error).await?;
        Ok(self.prepare(session).await?)
    }

    async fn prepare(&self, session: &mut Session) -> Result<(), EngineError> {
        if let Some(converted) = &self.original.converted {
            let doing = "creating a table to compare with";
            run(session.connection(), converted.create.clone(), doing).await?;
        }
        Ok(())
    }

    /// The next range, cut by the original's key.
    async fn next(&self, session: &mut Session) -> Result<Option<(Bound, Bound)>, Halt> {
        let mut rest = self.rest.lock().await;
        let Some(from) = rest.clone() else {
            return Ok(None);
        };
        let rows = self.chunk_rows.load(Ordering::Relaxed);
        let mut failures = 0;
        let to = loop {
            let error = match self.cutter.end(session, &from, rows).await {
                Ok(to) => break to,
                Err(error) => error,
            };
            self.recover(session, error, &mut failures).await?;
        };
        *rest = to.clone().map(Some);
        Ok(Some((from, to)))
    }

    async fn chunk(&self, session: &mut Session, from: &Bound, to: &Bound) -> Result<Found, Halt> {
        let started = Instant::now();
        let here = self.original.key.between(from.as_deref(), to.as_deref());
        let there = self.shadow.key.between(from.as_deref(), to.as_deref());
        let parts = match self.calm_chunks.load(Ordering::Relaxed) < WRITTEN_CHUNKS {
            true => Parts::Buckets,
            false => Parts::Whole,
        };
        let mut original = self.sums(session, &self.original, &here, parts).await?;
        let mut shadow = self.sums(session, &self.shadow, &there, parts).await?;
        let rows = sums::rows(&original);
        self.adapt(rows, started.elapsed());
        self.cutter.found(from, to, rows);
        self.context.progress.verified(rows);
        self.context.concurrency.done(rows);
        if original == shadow {
            // Counts up to what matters, and no further.
            let calm = u32::from(parts == Parts::Buckets);
            self.calm_chunks.fetch_add(calm, Ordering::Relaxed);
            return Ok(Found::default());
        }
        self.calm_chunks.store(0, Ordering::Relaxed);
        if parts == Parts::Whole {
            let parts = Parts::Buckets;
            original = self.sums(session, &self.original, &here, parts).await?;
            shadow = self.sums(session, &self.shadow, &there, parts).await?;
            if original == shadow {
                return Ok(Found::default());
            }
        }
        let of_original = sums::in_differing(&self.original.key, &original, &shadow);
        let of_shadow = sums::in_differing(&self.shadow.key, &original, &shadow);
        let mut behind: Option<BTreeSet<Vec<KeyPart>>> = None;
        let mut rounds = 0;
        loop {
            let original = self
                .digests(session, &self.original, &here, &of_original)
                .await?;
            let shadow = self
                .digests(session, &self.shadow, &there, &of_shadow)
                .await?;
            let mut differ = differing(&original, &shadow);
            // What was equal once is done.
            if let Some(behind) = &behind {
                differ.retain(|key| behind.contains(key));
            }
            rounds += 1;
            if differ.len() <= MOST_AGAIN || rounds == ROUNDS {
                return Ok(Found {
                    different: Vec::new(),
                    behind: differ,
                });
            }
            // A large transaction may be on its way.
            behind = Some(differ);
            self.context.may_go_on()?;
            self.place
                .wait_until_applied(session, &self.context)
                .await?;
        }
    }

    /// Rows and digest of a range, or of its buckets.
    async fn sums(
        &self,
        session: &mut Session,
        part: &Part,
        condition: &str,
        parts: Parts,
    ) -> Result<Sums, EngineError> {
        let (table, condition) = self.source(session, part, condition).await?;
        let (bucket, grouped) = parts.of(&part.key);
        let sql = format!(
            "SELECT {bucket}, COUNT(*), HEX(BIT_XOR({})) FROM {table} WHERE {condition}{grouped}",
            part.summed
        );
        let rows = session.rows(&sql).await;
        let rows = rows.map_err(|e| artifact_error(e, "comparing a range"))?;
        let mut sums = Sums::new();
        for row in rows {
            let read = |e| EngineError::while_doing("comparing a range")(e);
            let bucket: i64 = row.try_get_unchecked(0).map_err(read)?;
            let count: i64 = row.try_get_unchecked(1).map_err(read)?;
            let digest: Option<String> = row.try_get_unchecked(2).map_err(read)?;
            sums.insert(
                u32::try_from(bucket).unwrap_or_default(),
                (count.unsigned_abs(), digest.unwrap_or_default()),
            );
        }
        Ok(sums)
    }

    /// Digest of each row of a range that `also` picks.
    async fn digests(
        &self,
        session: &mut Session,
        part: &Part,
        condition: &str,
        also: &str,
    ) -> Result<RowDigests, EngineError> {
        let (table, condition) = self.source(session, part, condition).await?;
        let sql = format!(
            "SELECT {}, HEX({}) FROM {table} WHERE ({condition}) AND {also}",
            part.key.select(),
            part.digest
        );
        let doing = "comparing rows";
        let rows = session.rows(&sql).await;
        let rows = rows.map_err(|e| artifact_error(e, doing))?;
        let mut digests = RowDigests::new();
        for row in rows {
            let key = part
                .key
                .read(&row)
                .map_err(EngineError::while_doing(doing))?;
            let digest: Option<String> = row
                .try_get_unchecked(row.len() - 1)
                .map_err(EngineError::while_doing(doing))?;
            let digest = digest.ok_or_else(|| too_large(&key))?;
            // Two rows of one key are no copy, whatever they hold.
            digests
                .entry(map_key(&key))
                .and_modify(|d| d.extend(b"+"))
                .or_insert_with(|| digest.into_bytes());
        }
        Ok(digests)
    }

    /// Where to read `part` from: the original goes through its conversion, if it needs one.
    async fn source(
        &self,
        session: &mut Session,
        part: &Part,
        condition: &str,
    ) -> Result<(String, String), EngineError> {
        match &part.converted {
            Some(converted) => {
                let sql = format!("{}; {}{condition}", converted.clear, converted.fill);
                let done = run(session.connection(), sql, "converting rows to compare").await;
                if let Err(error) = done {
                    return Err(self.explained(session, converted, condition, error).await);
                }
                Ok((part.table.clone(), "TRUE".to_owned()))
            }
            None => {
                let table = format!("{} FORCE INDEX ({})", part.table, part.key.index());
                Ok((table, condition.to_owned()))
            }
        }
    }

    /// Names the row that cannot be converted, if that is the reason: it came after the copy, and the stream may not have
    /// brought it yet.
    async fn explained(
        &self,
        session: &mut Session,
        converted: &Converted,
        condition: &str,
        error: EngineError,
    ) -> EngineError {
        let plan = &self.context.plans[self.table];
        let Some(original) = &plan.original else {
            return error;
        };
        if error.kind() != ErrorKind::Permanent || !error.may_be_of_a_row() {
            return error;
        }
        let rows = Rows {
            original,
            key: &self.original.key,
            insert: &converted.fill,
            tail: "",
            condition,
        };
        let table = converted_name(&self.context, self.table);
        match rows.complaint(session, &table).await {
            Ok(Some(complaint)) => EngineError::permanent(format!(
                "{}; correct it, others may not fit either, and submit the change again",
                converted.in_own_names(&complaint)
            )),
            Ok(None) => EngineError::retryable("a row that did not fit the changed table does now"),
            Err(_) => error,
        }
    }

    fn adapt(&self, rows: u64, took: Duration) {
        let wanted =
            self.context.options.chunk_time().as_secs_f64() / 2.0 * self.context.share_of_time();
        let now = self.chunk_rows.load(Ordering::Relaxed);
        if rows < now / 2 {
            return;
        }
        let factor = (wanted / took.as_secs_f64().max(1e-3)).clamp(0.25, 1.5);
        let next = (rows as f64 * factor) as u64;
        self.chunk_rows
            .store(next.clamp(FEWEST_ROWS, MOST_ROWS), Ordering::Relaxed);
    }
}

/// Of the table that the original's rows go through.
fn converted_name(context: &Context, table: usize) -> String {
    let owner = context.sessions.owner();
    owner.artifact(&format!("verify_{table}"))
}

/// What is compared in one go.
#[derive(Clone, Copy)]
enum Piece<'a> {
    Range(&'a Bound, &'a Bound),
    Rows(&'a BTreeSet<Vec<KeyPart>>),
}

/// What a comparison has found.
#[derive(Default)]
struct Found {
    different: Vec<Different>,
    /// Rows that differ, perhaps because the copy is behind.
    behind: BTreeSet<Vec<KeyPart>>,
}

impl Found {
    fn add(&mut self, other: Self) {
        self.different.extend(other.different);
        self.behind.extend(other.behind);
    }
}

/// The one reason for which the server makes no digest of a row.
fn too_large(key: &[KeyText]) -> EngineError {
    EngineError::permanent(format!(
        "the row with {} is too large to be compared: as text it exceeds max_allowed_packet of the deployment; raise \
         that to twice its size, then submit again",
        KeyColumns::shown(key)
    ))
}
