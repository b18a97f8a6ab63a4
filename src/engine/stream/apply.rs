//! The applier: takes the stream, keeps the last image of each key, and writes them to the
//! shadow in batches, together with the position that they lead to.

mod clock;
mod flush;
mod refused;
mod texts;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sqlx::MySqlConnection;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::position::{DOUBT, refuse_what_never_comes};
use super::routing::Routing;
use super::running::Flow;
use super::xa_rows::{Prepared, Rereading};
use crate::engine::EngineError;
use crate::engine::binlog::capture::{Capture, Captured, Ended};
use crate::engine::binlog::gtid::Position;
use crate::engine::binlog::rows::{Change, RowKey};
use crate::engine::conversion::staging::Staging;
use crate::engine::session::{Session, Sessions};
use crate::engine::state::checkpoint::{Store, run};
use crate::engine::table::TablePlan;
use crate::engine::throttle::concurrency::Concurrency;
use clock::ServerClock;
pub(crate) use flush::DUPLICATE;
use flush::{Transaction, prepare};

/// A batch is written when it is this large, whatever the pace.
const BATCH_BYTES: usize = 2 << 20;
const BATCH_ROWS: usize = 4000;

/// A transaction is written in parts only when it is larger than this.
const TRANSACTION_BYTES: usize = 8 << 20;

/// While this much is held for chunks, nothing more is taken from the stream.
const HELD_BYTES: usize = 8 << 20;

/// The position is stored this often though no row of ours changed.
const POSITION_EVERY: Duration = Duration::from_secs(1);
const IDLE_POSITION_EVERY: Duration = Duration::from_secs(30);

/// See [`Applier::unheard`].
const UNHEARD: Duration = Duration::from_secs(30);

/// How long changes are gathered before they are written, so that hot rows are written once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// While the copy runs.
    Gather,
    /// To catch up.
    Prompt,
}

impl Pace {
    fn gather(self) -> Duration {
        match self {
            Self::Gather => Duration::from_millis(250),
            Self::Prompt => Duration::from_millis(20),
        }
    }
}

/// How far the applier is, for those who wait for it.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Everything before is in the shadow.
    pub position: Position,
    /// The last transaction that was taken from the stream.
    pub routed: Position,
    /// How far behind the server's clock the last applied transaction is.
    pub lag: Duration,
    /// Changes written so far.
    pub changes: u64,
}

/// The applier with all that it holds. It can be stopped, and started again, anywhere.
pub struct Applier {
    sessions: Sessions,
    store: Store,
    routing: Arc<Routing>,
    concurrency: Arc<Concurrency>,
    staging: Arc<Vec<Option<Staging>>>,
    capture: Capture,
    session: Option<Session>,
    writes_on: Arc<AtomicU64>,
    pending: HashMap<(usize, RowKey), Change>,
    pending_bytes: usize,
    /// After the last whole transaction that was taken.
    routed: Position,
    prepared: Prepared,
    rereading: Option<Rereading>,
    stored: Position,
    /// The place that was written last, from which a resume would go on; `None` before the first.
    written: Option<Position>,
    /// Since then something came that is not our own.
    others_came: bool,
    committed_at: u64,
    /// As the session was opened that is written on.
    clock: Option<ServerClock>,
    first_pending: Option<Instant>,
    last_store: Instant,
    status: watch::Sender<Applied>,
    pace: watch::Receiver<Pace>,
    suspicious: mpsc::UnboundedSender<String>,
    /// How many went there.
    suspected: u64,
    plans: Arc<[TablePlan]>,
    flow: Flow,
    /// The longest statement that the server takes; 0 while it was not asked.
    longest_statement: usize,
    /// The last thing taken is a transaction's part, and not its last.
    in_transaction: bool,
}

/// What an applier is made of.
pub struct Parts {
    pub sessions: Sessions,
    pub store: Store,
    pub routing: Arc<Routing>,
    pub concurrency: Arc<Concurrency>,
    pub staging: Arc<Vec<Option<Staging>>>,
    pub capture: Capture,
    pub position: Position,
    pub pace: watch::Receiver<Pace>,
    /// Gets statements after which the original must be looked at again.
    pub suspicious: mpsc::UnboundedSender<String>,
    pub plans: Arc<[TablePlan]>,
    pub flow: Flow,
}

impl Applier {
    pub fn new(parts: Parts) -> (Self, watch::Receiver<Applied>) {
        let (routed, rereading) = Rereading::of(&parts.position);
        let applied = Applied {
            position: routed.clone(),
            routed: routed.clone(),
            lag: Duration::ZERO,
            changes: 0,
        };
        let (status, receiver) = watch::channel(applied);
        let applier = Self {
            sessions: parts.sessions,
            store: parts.store,
            routing: parts.routing,
            concurrency: parts.concurrency,
            staging: parts.staging,
            capture: parts.capture,
            session: None,
            writes_on: Arc::default(),
            pending: HashMap::new(),
            pending_bytes: 0,
            routed: routed.clone(),
            prepared: Prepared::default(),
            rereading,
            stored: routed,
            written: None,
            others_came: false,
            committed_at: 0,
            clock: None,
            first_pending: None,
            last_store: Instant::now(),
            status,
            pace: parts.pace,
            suspicious: parts.suspicious,
            suspected: 0,
            plans: parts.plans,
            flow: parts.flow,
            longest_statement: 0,
            in_transaction: false,
        };
        (applier, receiver)
    }

    /// The server's number of the session that the last batch was sent on, 0 before the first: what has to end where nobody
    /// waits for its answer.
    pub fn writes_on(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.writes_on)
    }

    /// Ends once the stream was given up and its last word, which says why, was not heard for a while: the session on which
    /// this one writes may be one that nobody answers.
    pub fn unheard(&self) -> impl Future<Output = ()> + use<> {
        let broken = self.capture.broken.clone();
        async move {
            broken.cancelled().await;
            tokio::time::sleep(UNHEARD).await;
        }
    }

    /// Applies until `stop` is cancelled. What is gathered and not written stays in `self`.
    ///
    /// # Errors
    ///
    /// What cannot be applied, or the stream's own end.
    pub async fn run(&mut self, stop: &CancellationToken) -> Result<(), EngineError> {
        while !stop.is_cancelled() {
            let routing = Arc::clone(&self.routing);
            let room = routing.held_bytes() < HELD_BYTES;
            let due = self.due();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = routing.released.notified() => self.take_released(),
                // Else who begins to wait now would wait until the place is stored by the old pace.
                Ok(()) = self.pace.changed() => self.tell_who_waits(),
                captured = self.capture.receiver.recv(), if room => {
                    self.take(captured.unwrap_or_else(|| Err(stream_ended())))?;
                    self.take_what_is_there()?;
                    self.tell_who_waits();
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.flush_on_own_session().await?;
                }
            }
            if self.is_full() || self.due().is_some_and(|due| due <= Instant::now()) {
                self.flush_on_own_session().await?;
            }
        }
        Ok(())
    }

    /// A transaction is written as a whole where it fits: a unique value may be on its way from
    /// one of its rows to another.
    fn is_full(&self) -> bool {
        match self.in_transaction {
            true => self.pending_bytes >= TRANSACTION_BYTES,
            false => self.pending_bytes >= BATCH_BYTES || self.pending.len() >= BATCH_ROWS,
        }
    }

    fn due(&self) -> Option<Instant> {
        if self.in_transaction {
            return None;
        }
        let gather = self.pace.borrow().gather();
        let rows = self.first_pending.map(|first| first + gather);
        let position = (self.stored != self.routed).then(|| {
            // Those who wait for a position do not wait for the next row.
            let every = match *self.pace.borrow() {
                // To store the place comes back through the stream as well: alone that would go on for ever.
                _ if !self.others_came => IDLE_POSITION_EVERY,
                Pace::Gather => POSITION_EVERY,
                Pace::Prompt => Duration::from_millis(100),
            };
            self.last_store + every
        });
        match (rows, position) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn take_what_is_there(&mut self) -> Result<(), EngineError> {
        while !self.is_full() && self.routing.held_bytes() < HELD_BYTES {
            match self.capture.receiver.try_recv() {
                Ok(captured) => self.take(captured)?,
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return Err(stream_ended()),
            }
        }
        Ok(())
    }

    /// Where nothing is left to write, the place is reached, whether or not it is stored already: to store it is a
    /// transaction of its own, and is done now and then.
    fn tell_who_waits(&self) {
        let nobody_waits = *self.pace.borrow() == Pace::Gather;
        if nobody_waits || !self.pending.is_empty() {
            return;
        }
        let position = self.routing.low_watermark(&self.routed);
        if position != self.routed {
            return;
        }
        self.tell(position, 0);
    }

    /// `written` changes later, all before `position` is in the shadow.
    fn tell(&self, position: Position, written: u64) {
        let lag = self.lag();
        let routed = self.routed.clone();
        self.status.send_modify(|applied| {
            applied.position = position;
            applied.routed = routed;
            applied.lag = lag;
            applied.changes += written;
        });
    }

    fn take(&mut self, captured: Result<Captured, EngineError>) -> Result<(), EngineError> {
        let captured = captured?;
        self.in_transaction = captured.end.is_none();
        // As long as what ends here is still open.
        let before = match self.prepared.is_empty() && self.rereading.is_none() {
            true => Cow::Borrowed(&self.routed),
            false => Cow::Owned(self.resumable()),
        };
        let mut changes = match &captured.end {
            Some(end) => {
                let at = self.rereading.as_ref().map_or(&self.routed, |r| &r.at);
                let place = (at.file.as_str(), at.offset);
                self.prepared.decide(end, captured.changes, place)?
            }
            None if captured.undecided => {
                self.prepared.gather(captured.changes)?;
                Vec::new()
            }
            None => captured.changes,
        };
        if self.rereading.is_some() {
            changes.clear(); // applied already
        }
        // What was held comes first.
        let apply = self.routing.route(changes, captured.gtid.as_ref(), &before);
        apply.into_iter().for_each(|change| self.add(change));
        if let Some(statement) = captured.suspicious {
            // Nobody listens once the change is over.
            let _ = self.suspicious.send(statement);
            self.suspected += 1;
        }
        if let Some(end) = captured.end {
            self.ended(&end);
        }
        Ok(())
    }

    fn has_taken(&self, target: &Position) -> bool {
        self.rereading.is_none() && self.routed.has_reached(target)
    }

    fn ended(&mut self, end: &Ended) {
        if let Some(rereading) = &mut self.rereading {
            rereading.at = Position::in_file(&*end.file, end.offset);
            if rereading.at.has_reached(&self.routed) {
                self.rereading = None;
            }
            return;
        }
        if let (Some(set), Some(gtid)) = (&mut self.routed.gtid_set, &end.gtid) {
            set.insert(gtid);
        }
        self.routed.file = end.file.to_string();
        self.routed.offset = end.offset;
        self.committed_at = end.committed_at;
        self.others_came |= end.by_others || end.by_statement;
        if end.by_others {
            self.concurrency.others_wrote();
        }
    }

    /// From here a driver that knows nothing but the checkpoint goes on.
    fn resumable(&self) -> Position {
        match &self.rereading {
            Some(rereading) => rereading.from.clone(),
            None => self.prepared.position(&self.routed),
        }
    }

    /// How many statements came after which the originals had to be looked at again.
    pub fn suspected(&self) -> u64 {
        self.suspected
    }

    /// XA transactions that are prepared: see [`super::drain::Drain::prepared`].
    pub fn prepared(&self) -> Option<(String, Duration)> {
        self.prepared.open()
    }

    fn take_released(&mut self) {
        for change in self.routing.take_released() {
            self.add(change);
        }
    }

    fn add(&mut self, change: Change) {
        self.first_pending.get_or_insert_with(Instant::now);
        self.pending_bytes += change.bytes();
        let key = (change.table, change.key.clone());
        if let Some(former) = self.pending.insert(key, change) {
            self.pending_bytes -= former.bytes();
        }
    }

    fn lag(&self) -> Duration {
        match &self.clock {
            Some(clock) if self.committed_at > 0 => clock.since(self.committed_at, Instant::now()),
            // Nothing has come yet, or nothing was written.
            Some(_) | None => Duration::ZERO,
        }
    }

    /// Prepares `connection` for [`Applier::drain`].
    pub async fn prepare(&self, connection: &mut MySqlConnection) -> Result<(), EngineError> {
        self.check_place(connection).await?;
        prepare(connection, &self.staging).await?;
        // BEGIN would release table locks; without autocommit, COMMIT keeps them.
        run(
            connection,
            "SET autocommit = 0".into(),
            "preparing the swap",
        )
        .await?;
        Ok(())
    }

    /// Takes from the stream up to `target`, or as much as one batch may have.
    pub async fn gather(
        &mut self,
        target: &Position,
        deadline: Instant,
    ) -> Result<(), EngineError> {
        while !self.has_taken(target) && !self.is_full() {
            let next = tokio::time::timeout_at(deadline, self.capture.receiver.recv());
            let captured = next.await.map_err(|_| {
                EngineError::retryable("the stream did not reach the locked state in time")
            })?;
            self.take(captured.unwrap_or_else(|| Err(stream_ended())))?;
        }
        Ok(())
    }

    /// Applies everything up to `target` on a session that holds the tables locked.
    pub async fn drain(
        &mut self,
        connection: &mut MySqlConnection,
        target: &Position,
        deadline: Instant,
    ) -> Result<(), EngineError> {
        loop {
            self.gather(target, deadline).await?;
            if self.has_taken(target) {
                break;
            }
            self.flush_within(connection, deadline).await?;
        }
        self.prepared.all_ended()?;
        self.flush_within(connection, deadline).await
    }

    /// Applies everything up to `target` on a session of its own. `helper` is asked whether all of that can come.
    pub async fn catch_up(
        &mut self,
        target: &Position,
        helper: &mut Session,
    ) -> Result<(), EngineError> {
        let mut doubts = tokio::time::interval_at(Instant::now() + DOUBT, DOUBT);
        while !self.has_taken(target) {
            tokio::select! {
                captured = self.capture.receiver.recv() => {
                    self.take(captured.unwrap_or_else(|| Err(stream_ended())))?;
                    if self.is_full() {
                        self.flush_on_own_session().await?;
                    }
                }
                _ = doubts.tick() => refuse_what_never_comes(helper, &self.routed, target).await?,
            }
        }
        self.flush_on_own_session().await
    }

    /// Ends the stream and the session.
    pub async fn close(self) {
        if let Some(session) = self.session {
            session.close().await;
        }
    }
}

fn stream_ended() -> EngineError {
    EngineError::retryable("the binlog stream ended unexpectedly")
}
