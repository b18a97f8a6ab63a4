//! Copy and stream, kept in order without locking a row of the original.
//!
//! # Why nothing is lost
//!
//! A *chunk* copies a key range with one `INSERT … SELECT`, which reads the original in one
//! snapshot. The *stream* brings the image of every row that changed, in the order of the binlog.
//! For every key, the state that the stream leads to must win. Three rules do it:
//!
//! 1. A chunk *begins* (here, in [`Routing::begin`]) before its snapshot is taken. Between the two it
//!    waits until every transaction whose rows were routed before it began is visible on the server.
//!    A transaction is in the binlog before that (with semi-synchronous replication, seconds
//!    before), so "received" is not enough.
//! 2. A change that is routed before the chunk of its key begins may therefore be dropped or
//!    applied, it makes no difference: the chunk's snapshot contains it.
//! 3. A change that is routed after that is *held* until the chunk has committed, and is applied
//!    then, in the order of the stream. Of several for one key the last is enough.
//!
//! Say that the last change of key `k` is `c`. If `c` was routed after `k`'s chunk began, it is
//! applied after the chunk's rows are there, and no later change undoes it. If before, the
//! snapshot contains it and no change follows. In between, the shadow may hold a row that is newer
//! than the stream (the snapshot saw what is not routed yet): the images that are still to come
//! lead it through older states to the same end. A row that gets another key is two changes, the
//! old key goes and the new one comes, so each is judged by its own range.
//!
//! # Keys that the driver cannot compare
//!
//! For text keys only the server knows the order. Then every change is applied, wherever the copy
//! is; chunks run in rounds; and what is routed during a round is held until the round is over.
//! A chunk meets rows that the stream brought before it: these are as new as its snapshot or
//! newer (rule 2), or their next image is still to come, so the chunk leaves them as they are.
//! A batch from before the round may meet the chunk's rows in turn: it takes them away and puts its
//! own there, and is written again where such a row came between the two.
//!
//! # Values that go from one row to another
//!
//! Where the target keeps another unique key than the one that rows go by, a row that is written takes
//! its values from whatever row has them, and that one's next image must still be to come. Within a
//! range that is so, and not between two: a chunk's snapshot may be older than what was applied
//! beside it, and what its row takes away then nothing brings back. So such a table goes in rounds as
//! well, whatever its keys. All that is in the target when a round begins is in its snapshots, so a
//! chunk's row takes the place of one that the stream brought.
//!
//! # Crash
//!
//! A chunk's rows and the record that it is done are one transaction. The position that is stored with applied
//! changes lies before the first change that is still held: see [`Routing::low_watermark`]. So a
//! resume replays whatever was held, and rules 2 and 3 hold for the replayed changes as for any.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::engine::binlog::gtid::{Gtid, GtidSet, Position};
use crate::engine::binlog::rows::{Change, RowKey};

/// A chunk that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlightId(u64);

/// What must be visible before a chunk may take its snapshot.
#[derive(Debug, Clone, Default)]
pub struct Unseen {
    /// Where the server numbers its transactions.
    pub set: GtidSet,
    /// Where it doesn't: whether there is anything at all.
    pub anonymous: bool,
}

/// So many ranges of transactions are waited for one by one.
const FEW_RANGES: usize = 1000;

/// Shared by the copy and the applier.
#[derive(Debug)]
pub struct Routing {
    inner: Mutex<Inner>,
    /// Told when held changes are free.
    pub released: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    tables: Vec<TableRanges>,
    unseen: Unseen,
    next_flight: u64,
    held_bytes: usize,
    released: Vec<Change>,
    /// Where the first of `released` was routed.
    released_from: Option<Mark>,
    holds: u64,
    caught_up: bool,
}

#[derive(Debug)]
struct TableRanges {
    /// Ranges are judged each by its own; else the table goes in rounds.
    ordered: bool,
    /// The target keeps another unique key than the one that rows go by.
    stays_unique: bool,
    /// All of it is copied.
    complete: bool,
    /// Copied ranges, sorted and joined; after the first bound, up to and including the second.
    copied: Vec<Range>,
    flights: Vec<Flight>,
    /// Held until the round is over.
    round: Held,
}

#[derive(Debug)]
struct Flight {
    id: FlightId,
    range: Option<Range>,
    held: Held,
}

#[derive(Debug, Default)]
struct Held {
    changes: HashMap<RowKey, Change>,
    from: Option<Mark>,
}

/// A place in the stream, and its rank among such places.
#[derive(Debug, Clone)]
struct Mark {
    rank: u64,
    position: Position,
}

/// After `from`, up to and including `to`; `None` is the end of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub from: Option<RowKey>,
    pub to: Option<RowKey>,
}

impl Range {
    fn contains(&self, key: &RowKey) -> bool {
        self.from.as_ref().is_none_or(|from| key > from)
            && self.to.as_ref().is_none_or(|to| key <= to)
    }
}

enum Place {
    Apply,
    Hold(usize),
    HoldRound,
    Drop,
}

impl TableRanges {
    fn place(&self, key: &RowKey) -> Place {
        if self.complete {
            return Place::Apply;
        }
        if !self.ordered {
            return if self.flights.is_empty() {
                Place::Apply
            } else {
                Place::HoldRound
            };
        }
        let in_flight = self
            .flights
            .iter()
            .position(|f| f.range.as_ref().is_some_and(|range| range.contains(key)));
        if let Some(flight) = in_flight {
            return Place::Hold(flight);
        }
        // The last range that begins before the key.
        let after = self
            .copied
            .partition_point(|r| r.from.as_ref().is_none_or(|from| from < key));
        match after.checked_sub(1).map(|at| &self.copied[at]) {
            Some(range) if range.contains(key) => Place::Apply,
            Some(_) | None => Place::Drop,
        }
    }

    fn add_copied(&mut self, range: Range) {
        let at = self.copied.partition_point(|r| r.from < range.from);
        self.copied.insert(at, range);
        let mut joined: Vec<Range> = Vec::with_capacity(self.copied.len());
        for range in self.copied.drain(..) {
            match joined.last_mut() {
                Some(last) if last.to.is_some() && last.to == range.from => last.to = range.to,
                Some(_) | None => joined.push(range),
            }
        }
        self.copied = joined;
    }
}

impl Routing {
    /// One entry a table: whether its keys can be compared here, and each range be judged by its own.
    pub fn new(ordered: impl IntoIterator<Item = bool>) -> Self {
        let tables = ordered
            .into_iter()
            .map(|ordered| TableRanges {
                ordered,
                stays_unique: false,
                complete: false,
                copied: Vec::new(),
                flights: Vec::new(),
                round: Held::default(),
            })
            .collect();
        Self {
            inner: Mutex::new(Inner {
                tables,
                ..Inner::default()
            }),
            released: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sorts the changes of (a part of) one transaction; returns those to apply now, after all
    /// that was released before: in one step, or a chunk that ends in between would let an older
    /// change of a key come after a newer one.
    ///
    /// `before` is a place before that transaction, from which a resume gets its rows again: see
    /// [`super::xa_rows`] for those of XA transactions.
    pub fn route(
        &self,
        changes: Vec<Change>,
        gtid: Option<&Gtid>,
        before: &Position,
    ) -> Vec<Change> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        // With those between them they are few ranges again, however long no chunk begins: each has been received, too.
        let counts = !changes.is_empty() || inner.unseen.set.ranges() > FEW_RANGES;
        if counts && inner.tables.iter().any(|t| !t.complete) {
            match gtid {
                Some(gtid) => inner.unseen.set.insert(gtid),
                None => inner.unseen.anonymous = true,
            }
        }
        inner.released_from = None;
        let mut apply = std::mem::take(&mut inner.released);
        inner.held_bytes -= apply.iter().map(Change::bytes).sum::<usize>();
        apply.reserve(changes.len());
        for change in changes {
            let Some(table) = inner.tables.get_mut(change.table) else {
                continue;
            };
            let held = match table.place(&change.key) {
                Place::Apply => {
                    apply.push(change);
                    continue;
                }
                Place::Drop => continue,
                Place::Hold(flight) => &mut table.flights[flight].held,
                Place::HoldRound => &mut table.round,
            };
            if held.from.is_none() {
                inner.holds += 1;
                held.from = Some(Mark {
                    rank: inner.holds,
                    position: before.clone(),
                });
            }
            inner.held_bytes += change.bytes();
            if let Some(former) = held.changes.insert(change.key.clone(), change) {
                inner.held_bytes -= former.bytes();
            }
        }
        apply
    }

    /// A chunk begins. `range` is `None` where the table goes in rounds.
    ///
    /// Its snapshot may be taken once what is returned is visible; tell by [`Routing::seen`].
    pub fn begin(&self, table: usize, range: Option<Range>) -> (FlightId, Unseen) {
        let mut inner = self.lock();
        inner.next_flight += 1;
        let id = FlightId(inner.next_flight);
        inner.tables[table].flights.push(Flight {
            id,
            range,
            held: Held::default(),
        });
        (id, inner.unseen.clone())
    }

    /// All of `unseen` is visible on the server now.
    pub fn seen(&self, unseen: &Unseen) {
        let mut inner = self.lock();
        inner.unseen.set.remove_all(&unseen.set);
    }

    /// A chunk has committed: what was held for it may be applied.
    pub fn finish(&self, table: usize, id: FlightId) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let ranges = &mut inner.tables[table];
        let Some(at) = ranges.flights.iter().position(|f| f.id == id) else {
            return;
        };
        let flight = ranges.flights.remove(at);
        let mut free = vec![flight.held];
        if let Some(range) = flight.range {
            ranges.add_copied(range);
        }
        if ranges.flights.is_empty() {
            free.push(std::mem::take(&mut ranges.round));
        }
        for held in free {
            inner.released_from = earlier(inner.released_from.take(), held.from);
            inner.released.extend(held.changes.into_values());
        }
        self.released.notify_one();
    }

    /// A range that a former driver copied.
    pub fn already_copied(&self, table: usize, range: Range) {
        self.lock().tables[table].add_copied(range);
    }

    /// The whole table is copied: every change is applied from now on.
    pub fn complete(&self, table: usize) {
        self.lock().tables[table].complete = true;
    }

    /// Changes that were held and no longer are. They come before any change that is routed later.
    pub fn take_released(&self) -> Vec<Change> {
        let mut inner = self.lock();
        inner.released_from = None;
        let released = std::mem::take(&mut inner.released);
        inner.held_bytes -= released.iter().map(Change::bytes).sum::<usize>();
        released
    }

    /// Whether a chunk may bring the very row that a change is bringing: only in rounds, as changes go
    /// ahead of the copy there.
    pub fn chunks_meet_changes(&self) -> bool {
        self.lock().tables.iter().any(|t| !t.ordered && !t.complete)
    }

    /// The target keeps another unique key: see [`Routing::values_meet`]. Such a table goes in rounds.
    pub fn stays_unique(&self, table: usize) {
        let mut inner = self.lock();
        inner.tables[table].stays_unique = true;
        inner.tables[table].ordered = false;
    }

    /// Whether chunks go on each at its own pace, not in rounds.
    pub fn is_ordered(&self, table: usize) -> bool {
        self.lock().tables[table].ordered
    }

    /// Whether a row that is written may take a value of a unique key from another row. The change that took it away from
    /// there is held, or on its way, and has that row's whole image; so the other row gives way until it comes. Also after the
    /// copy, as long as the stream tells of what was before its end. Where it is a true duplicate the verification misses that row.
    pub fn values_meet(&self, table: usize) -> bool {
        let inner = self.lock();
        inner
            .tables
            .get(table)
            .is_some_and(|t| t.stays_unique && !inner.caught_up)
    }

    /// The stream has come to where the copy ended: from here on the target is one state of the original.
    pub fn caught_up(&self) {
        self.lock().caught_up = true;
    }

    /// How much is held.
    pub fn held_bytes(&self) -> usize {
        self.lock().held_bytes
    }

    /// The place before the first change that is held, or `routed` if none is: all changes
    /// before it are applied, if those that were given out are.
    pub fn low_watermark(&self, routed: &Position) -> Position {
        let inner = self.lock();
        let mut first = inner.released_from.clone();
        for table in &inner.tables {
            first = earlier(first, table.round.from.clone());
            for flight in &table.flights {
                first = earlier(first, flight.held.from.clone());
            }
        }
        first.map_or_else(|| routed.clone(), |mark| mark.position)
    }
}

fn earlier(a: Option<Mark>, b: Option<Mark>) -> Option<Mark> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if a.rank <= b.rank { a } else { b }),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> RowKey {
        RowKey(Box::new([n]))
    }

    fn change(n: u8, text: &str) -> Change {
        Change {
            table: 0,
            key: key(n),
            upsert: true,
            tuple: text.into(),
            no_member: false,
        }
    }

    fn at(offset: u64) -> Position {
        Position::in_file("b.1", offset)
    }

    fn range(from: Option<u8>, to: Option<u8>) -> Range {
        Range {
            from: from.map(key),
            to: to.map(key),
        }
    }

    fn tuples(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|c| &*c.tuple).collect()
    }

    #[test]
    fn a_change_ahead_of_the_copy_is_dropped_and_one_behind_it_is_applied() {
        let routing = Routing::new([true]);
        let (first, _) = routing.begin(0, Some(range(None, Some(10))));
        routing.finish(0, first);
        let applied = routing.route(vec![change(10, "a"), change(11, "b")], None, &at(4));
        assert_eq!(tuples(&applied), ["a"]);
        assert!(routing.begin(0, Some(range(Some(10), None))).1.anonymous);
    }

    #[test]
    fn a_change_in_flight_is_held_until_the_chunk_is_done_and_holds_the_position() {
        let routing = Routing::new([true]);
        let (one, _) = routing.begin(0, Some(range(None, Some(10))));
        let (two, _) = routing.begin(0, Some(range(Some(10), Some(20))));
        assert!(
            routing
                .route(vec![change(15, "old")], None, &at(100))
                .is_empty()
        );
        assert!(
            routing
                .route(vec![change(5, "x"), change(15, "new")], None, &at(200))
                .is_empty()
        );
        assert_eq!(routing.low_watermark(&at(300)), at(100));
        routing.finish(0, two);
        assert_eq!(
            routing.low_watermark(&at(300)),
            at(100),
            "released, but not taken yet"
        );
        assert_eq!(tuples(&routing.take_released()), ["new"]);
        assert_eq!(routing.low_watermark(&at(300)), at(200));
        routing.finish(0, one);
        assert_eq!(tuples(&routing.take_released()), ["x"]);
        assert_eq!(routing.low_watermark(&at(300)), at(300));
        assert_eq!(routing.held_bytes(), 0);
        assert_eq!(
            tuples(&routing.route(vec![change(20, "y")], None, &at(300))),
            ["y"]
        );
    }

    #[test]
    fn transactions_of_others_between_those_of_the_table_do_not_add_up() {
        let routing = Routing::new([true]);
        let gtid = |number| Gtid::new([7; 16], "", number);
        for number in 1..10_000 {
            let changes = match number % 2 {
                0 => Vec::new(),
                _ => vec![change(1, "a")],
            };
            routing.route(changes, Some(&gtid(number)), &at(number));
        }
        let (_, unseen) = routing.begin(0, Some(range(None, None)));
        assert!(unseen.set.ranges() <= FEW_RANGES + 1);
        let mut missing = GtidSet::default();
        (1..10_000)
            .step_by(2)
            .for_each(|n| missing.insert(&gtid(n)));
        assert!(unseen.set.contains_all(&missing));
    }

    #[test]
    fn keys_that_cannot_be_compared_are_held_for_the_whole_round() {
        let routing = Routing::new([false]);
        assert_eq!(routing.route(vec![change(1, "a")], None, &at(4)).len(), 1);
        let (one, _) = routing.begin(0, None);
        let (two, _) = routing.begin(0, None);
        assert!(routing.route(vec![change(2, "b")], None, &at(5)).is_empty());
        routing.finish(0, one);
        assert!(routing.take_released().is_empty());
        routing.finish(0, two);
        assert_eq!(tuples(&routing.take_released()), ["b"]);
        routing.complete(0);
    }

    #[test]
    fn what_was_released_comes_before_what_is_routed_after_it() {
        let routing = Routing::new([false]);
        let (one, _) = routing.begin(0, None);
        assert!(
            routing
                .route(vec![change(1, "old")], None, &at(5))
                .is_empty()
        );
        routing.finish(0, one);
        let applied = routing.route(vec![change(1, "new")], None, &at(6));
        assert_eq!(tuples(&applied), ["old", "new"]);
        assert_eq!(routing.held_bytes(), 0);
        assert!(routing.take_released().is_empty());
    }

    #[test]
    fn copied_ranges_join_across_gaps_that_close() {
        let routing = Routing::new([true]);
        routing.already_copied(0, range(None, Some(10)));
        routing.already_copied(0, range(Some(20), Some(30)));
        assert!(
            routing
                .route(vec![change(15, "a")], None, &at(1))
                .is_empty()
        );
        assert_eq!(routing.route(vec![change(25, "b")], None, &at(1)).len(), 1);
        routing.already_copied(0, range(Some(10), Some(20)));
        assert_eq!(routing.lock().tables[0].copied, [range(None, Some(30))]);
        assert_eq!(routing.route(vec![change(15, "c")], None, &at(1)).len(), 1);
    }
}
