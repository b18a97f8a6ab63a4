//! Sums of rows by bucket: which part of a range holds the few rows that differ.
//!
//! Under writers nearly every range has a row that is behind. A range is then summed by buckets of its keys' checksums, in
//! the one pass that it takes anyway, and just the rows of differing buckets are read.

use std::collections::BTreeMap;

use crate::engine::table::key_range::KeyColumns;

/// Enough that a bucket of the largest chunk has about as many rows as are read at once.
const BUCKETS: u32 = 256;

/// A sum's range, as a whole or by buckets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    Whole,
    Buckets,
}

/// Rows and digest of each bucket that has rows; a whole range is bucket 0.
pub(super) type Sums = BTreeMap<u32, (u64, String)>;

impl Parts {
    /// The expression for a row's bucket, and what groups by it.
    pub(super) fn of(self, key: &KeyColumns) -> (String, &'static str) {
        match self {
            Self::Whole => ("0".to_owned(), ""),
            Self::Buckets => (bucket(key), " GROUP BY 1"),
        }
    }
}

/// Keys that are equal have the same text on both sides, so they are in one bucket.
fn bucket(key: &KeyColumns) -> String {
    format!("CRC32(CONCAT_WS('#',{})) MOD {BUCKETS}", key.select())
}

pub(super) fn rows(sums: &Sums) -> u64 {
    sums.values().map(|(rows, _)| rows).sum()
}

/// A condition for the rows in whose buckets both sides differ.
pub(super) fn in_differing(key: &KeyColumns, a: &Sums, b: &Sums) -> String {
    let mut buckets: Vec<u32> = a.keys().chain(b.keys()).copied().collect();
    buckets.sort_unstable();
    buckets.dedup();
    buckets.retain(|bucket| a.get(bucket) != b.get(bucket));
    let list: Vec<String> = buckets.iter().map(u32::to_string).collect();
    format!("{} IN ({})", bucket(key), list.join(","))
}
