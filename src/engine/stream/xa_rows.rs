//! Rows of XA transactions between their PREPARE and their COMMIT.
//!
//! An XA transaction's rows are in the binlog where it was prepared, in a group of their own; whether they count is told
//! later, by another group that has its name and nothing else, and maybe never. Until then they are kept here, and the
//! shadow doesn't have them, as the original doesn't show them. At the COMMIT they are routed as if they had come with it:
//! what must be visible before a chunk is copied is the COMMIT. Nothing is put out of order by that: from the PREPARE on the
//! server keeps every other transaction away from these rows.
//!
//! # Crash
//!
//! What is kept here is in memory only, so a position that is stored must bring the rows back:
//! [`Prepared::position`] leaves the open PREPAREs out of the applied set, and the server sends just these again. Where it
//! doesn't number transactions, the stream begins again before the first of them, and of what was applied already only XA
//! transactions are looked at ([`Rereading`]). The places of held changes ([`super::routing`]) are such positions too: an XA
//! COMMIT whose rows wait for a chunk is read again after a crash, and so must be its PREPARE.
//!
//! # Before the stream
//!
//! A COMMIT of a name that isn't here touched none of our tables: [`super::xa_before`] sees to it that nothing was prepared
//! before the stream began.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::engine::EngineError;
use crate::engine::binlog::capture::{Ended, Fate};
use crate::engine::binlog::gtid::{Gtid, GtidSet, Position};
use crate::engine::binlog::rows::{Change, RowKey};
use crate::engine::binlog::xid::Xid;

/// All that is kept takes no more than this.
const BYTES: usize = 32 << 20;

/// XA transactions that have written to our tables and have not ended.
#[derive(Debug, Default)]
pub struct Prepared {
    /// Rows of the one that is being read.
    gathered: Rows,
    open: BTreeMap<Xid, Open>,
}

/// The last image of each key.
#[derive(Debug, Default)]
struct Rows {
    changes: HashMap<(usize, RowKey), Change>,
    bytes: usize,
}

#[derive(Debug)]
struct Open {
    rows: Rows,
    gtid: Option<Gtid>,
    /// The place before its PREPARE.
    before: (String, u64),
    since: Instant,
}

impl Rows {
    fn add(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.bytes += change.bytes();
            let key = (change.table, change.key.clone());
            if let Some(former) = self.changes.insert(key, change) {
                self.bytes -= former.bytes();
            }
        }
    }

    fn into_changes(self) -> Vec<Change> {
        self.changes.into_values().collect()
    }
}

impl Prepared {
    /// Keeps a part of an XA transaction whose end is still to come.
    ///
    /// # Errors
    ///
    /// Permanent if there is no room: a driver that reads it again has no more.
    pub fn gather(&mut self, changes: Vec<Change>) -> Result<(), EngineError> {
        self.gathered.add(changes);
        let open: usize = self.open.values().map(|open| open.rows.bytes).sum();
        if open + self.gathered.bytes <= BYTES {
            return Ok(());
        }
        Err(EngineError::permanent(format!(
            "XA transactions on the table that were not committed yet have more than {} MiB of \
             changes, and no more is kept; submit the change for a time when there are \
             none so large",
            BYTES >> 20
        )))
    }

    /// What a group's end says: the changes that count now, of `changes` (its own, or its last part)
    /// and of those that were kept.
    ///
    /// `before` is the end of the group before.
    pub fn decide(
        &mut self,
        end: &Ended,
        changes: Vec<Change>,
        before: (&str, u64),
    ) -> Result<Vec<Change>, EngineError> {
        match &end.fate {
            // Its other parts may wait here, if it is an XA transaction that is committed in one phase.
            Fate::Committed if self.gathered.changes.is_empty() => Ok(changes),
            Fate::Committed => {
                self.gather(changes)?;
                Ok(std::mem::take(&mut self.gathered).into_changes())
            }
            Fate::Prepared(xid) => {
                self.gather(changes)?;
                let rows = std::mem::take(&mut self.gathered);
                if rows.changes.is_empty() {
                    return Ok(Vec::new());
                }
                let open = Open {
                    rows,
                    gtid: end.gtid.clone(),
                    before: (before.0.to_owned(), before.1),
                    since: Instant::now(),
                };
                match self.open.insert(xid.clone(), open) {
                    None => Ok(Vec::new()),
                    Some(_) => Err(unlogged(xid)),
                }
            }
            Fate::CommitsPrepared(xid) => {
                let open = self.open.remove(xid);
                Ok(open.map_or_else(Vec::new, |open| open.rows.into_changes()))
            }
            Fate::RollsPreparedBack(xid) => {
                self.open.remove(xid);
                Ok(Vec::new())
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The place from which a driver that knows nothing of what is here goes on, where `routed` is
    /// the end of the last group.
    pub fn position(&self, routed: &Position) -> Position {
        let mut position = routed.clone();
        let first = self.open.values().map(|open| &open.before);
        let first = first.min_by_key(|(file, offset)| Position::rank(file, *offset));
        let Some((file, offset)) = first else {
            return position;
        };
        match &mut position.gtid_set {
            Some(set) => {
                let mut open = GtidSet::default();
                self.open
                    .values()
                    .filter_map(|open| open.gtid.as_ref())
                    .for_each(|gtid| open.insert(gtid));
                set.remove_all(&open);
            }
            None => {
                position.applied_to = Some((position.file, position.offset));
                position.file = file.clone();
                position.offset = *offset;
            }
        }
        position
    }

    /// The names of those that are prepared, and for how long the first has been; `None` if none is.
    pub fn open(&self) -> Option<(String, Duration)> {
        let longest = self.open.values().map(|open| open.since.elapsed()).max()?;
        let mut names: Vec<String> = self.open.keys().take(3).map(Xid::to_string).collect();
        if self.open.len() > names.len() {
            names.push(format!("{} more", self.open.len() - names.len()));
        }
        Some((names.join(" and "), longest))
    }

    /// Under the tables' lock none can be open: it holds the table until it ends.
    ///
    /// # Errors
    ///
    /// Permanent if one is, all the same.
    pub fn all_ended(&self) -> Result<(), EngineError> {
        match self.open.keys().next() {
            None => Ok(()),
            Some(xid) => Err(unlogged(xid)),
        }
    }
}

/// With `sql_log_bin` off, say.
fn unlogged(xid: &Xid) -> EngineError {
    EngineError::permanent(format!(
        "XA transaction {xid} wrote the table and was prepared, and its end is not in the binlog, so \
         that nobody can tell here whether its rows count; submit the change again"
    ))
}

/// What was applied already is read again: see [`Position::applied_to`].
#[derive(Debug)]
pub struct Rereading {
    /// As it was stored.
    pub from: Position,
    /// After the last group that was read.
    pub at: Position,
}

impl Rereading {
    /// Splits a stored position into where the stream begins and what is applied.
    pub fn of(stored: &Position) -> (Position, Option<Self>) {
        match &stored.applied_to {
            None => (stored.clone(), None),
            Some((file, offset)) => (
                Position::in_file(file, *offset),
                Some(Self {
                    at: Position::in_file(&*stored.file, stored.offset),
                    from: stored.clone(),
                }),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: u8, text: &str) -> Change {
        Change {
            table: 0,
            key: RowKey(Box::new([key])),
            upsert: true,
            tuple: text.into(),
            no_member: false,
        }
    }

    fn xid(name: &str) -> Xid {
        Xid::new(1, name.as_bytes(), b"")
    }

    fn end(fate: Fate, number: Option<u64>) -> Ended {
        Ended {
            fate,
            gtid: number.map(|number| Gtid::new([7; 16], "", number)),
            file: "b.1".into(),
            offset: 0,
            committed_at: 0,
            by_others: true,
            by_statement: false,
        }
    }

    fn tuples(mut changes: Vec<Change>) -> Vec<String> {
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        changes.into_iter().map(|c| c.tuple.to_string()).collect()
    }

    #[test]
    fn rows_wait_for_the_commit_of_their_name_and_go_with_the_rollback() {
        let mut prepared = Prepared::default();
        prepared
            .gather(vec![change(1, "old"), change(2, "a")])
            .unwrap();
        let ends = end(Fate::Prepared(xid("x")), None);
        let now = prepared.decide(&ends, vec![change(1, "new")], ("b.1", 4));
        assert!(now.unwrap().is_empty());
        let ends = end(Fate::Prepared(xid("y")), None);
        prepared
            .decide(&ends, vec![change(3, "b")], ("b.1", 9))
            .unwrap();
        assert!(prepared.all_ended().is_err());
        let ends = end(Fate::RollsPreparedBack(xid("y")), None);
        assert!(prepared.decide(&ends, vec![], ("", 0)).unwrap().is_empty());
        let ends = end(Fate::CommitsPrepared(xid("x")), None);
        let now = prepared.decide(&ends, vec![], ("", 0)).unwrap();
        assert_eq!(tuples(now), ["new", "a"]);
        assert!(prepared.all_ended().is_ok());
    }

    #[test]
    fn one_phase_brings_all_its_parts() {
        let mut prepared = Prepared::default();
        prepared.gather(vec![change(1, "a")]).unwrap();
        let ends = end(Fate::Committed, None);
        let now = prepared.decide(&ends, vec![change(2, "b")], ("", 0));
        assert_eq!(tuples(now.unwrap()), ["a", "b"]);
    }

    #[test]
    fn a_stored_position_brings_back_every_open_prepare_and_nothing_else() {
        let mut prepared = Prepared::default();
        for (name, number, before) in [("x", 5, 900), ("y", 7, 1200)] {
            let ends = end(Fate::Prepared(xid(name)), Some(number));
            let rows = vec![change(1, name)];
            prepared.decide(&ends, rows, ("b.1", before)).unwrap();
        }
        let uuid = uuid::Uuid::from_bytes([7; 16]);
        let routed = Position {
            gtid_set: Some(format!("{uuid}:1-9").parse().unwrap()),
            ..Position::in_file("b.2", 50)
        };
        let stored = prepared.position(&routed).gtid_set.unwrap().to_string();
        assert_eq!(stored, format!("{uuid}:1-4:6:8-9"));

        let stored = prepared.position(&Position::in_file("b.2", 50));
        assert_eq!((stored.file.as_str(), stored.offset), ("b.1", 900));
        let (applied, rereading) = Rereading::of(&stored);
        assert_eq!(applied, Position::in_file("b.2", 50));
        assert_eq!(rereading.unwrap().at, Position::in_file("b.1", 900));
    }

    #[test]
    fn a_name_that_is_prepared_again_had_an_end_that_nobody_saw() {
        let mut prepared = Prepared::default();
        let ends = end(Fate::Prepared(xid("x")), None);
        let rows = || vec![change(1, "a")];
        prepared.decide(&ends, rows(), ("b.1", 4)).unwrap();
        assert!(prepared.decide(&ends, rows(), ("b.1", 9)).is_err());
    }

    #[test]
    fn what_is_too_large_to_be_kept_is_refused() {
        let mut prepared = Prepared::default();
        let large = "x".repeat(BYTES / 2);
        prepared.gather(vec![change(1, &large)]).unwrap();
        // The same row again takes no more room.
        prepared.gather(vec![change(1, &large)]).unwrap();
        assert!(prepared.gather(vec![change(2, &large)]).is_err());
    }
}
