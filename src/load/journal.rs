//! What every key must hold: each acknowledged write, applied in the order of its writer.

use std::collections::{BTreeMap, HashMap};

use super::digest::RowDigest;
use super::order::Order;

/// What is known of one key.
#[derive(Debug, Clone)]
pub struct Entry {
    /// How many acknowledged writes this key has seen.
    pub writes: u64,
    /// The row that must be there; `None` after a delete.
    pub expected: Option<Order>,
    /// The digest of the row that the fill had put there.
    pub original: Option<RowDigest>,
}

/// The final state of every key that a writer has touched or looked at.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    entries: HashMap<u64, Entry>,
    acknowledged: u64,
}

impl Journal {
    /// A row of the fill, as it was before this writer's first write to it.
    pub(super) fn found(&mut self, key: u64, order: Order, digest: RowDigest) {
        self.entries.entry(key).or_insert(Entry {
            writes: 0,
            expected: Some(order),
            original: Some(digest),
        });
    }

    /// One acknowledged write, which may be to several keys.
    pub(super) fn acknowledge(&mut self, after: BTreeMap<u64, Option<Order>>) {
        self.acknowledged += 1;
        for (key, expected) in after {
            let entry = self.entries.entry(key).or_insert(Entry {
                writes: 0,
                expected: None,
                original: None,
            });
            entry.writes += 1;
            entry.expected = expected;
        }
    }

    /// The row that the key must have, if it must have one.
    pub fn expected(&self, key: u64) -> Option<&Order> {
        self.entries.get(&key)?.expected.as_ref()
    }

    pub(super) fn knows(&self, key: u64) -> bool {
        self.entries.contains_key(&key)
    }

    /// How many writes were acknowledged; one transaction is one write.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Every key that was looked at, in order.
    pub fn keys(&self) -> Vec<u64> {
        let mut keys: Vec<u64> = self.entries.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    pub fn entry(&self, key: u64) -> Option<&Entry> {
        self.entries.get(&key)
    }

    /// Two writers never own the same key.
    pub(super) fn merge(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.entries.extend(other.entries);
    }
}
