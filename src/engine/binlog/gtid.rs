//! Sets of transactions, and places in the binlog.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use mysql_async::Sid;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Who numbered a transaction: a server, and a tag where the session set one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    uuid: Uuid,
    tag: String,
}

/// One transaction's identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gtid {
    pub origin: Origin,
    pub number: u64,
}

impl Gtid {
    pub fn new(uuid: [u8; 16], tag: &str, number: u64) -> Self {
        let origin = Origin {
            uuid: Uuid::from_bytes(uuid),
            tag: tag.to_owned(),
        };
        Self { origin, number }
    }
}

/// A set of transactions, as sorted, disjoint, half-open intervals for each origin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GtidSet(BTreeMap<Origin, Vec<(u64, u64)>>);

/// A text that is no GTID set.
#[derive(Debug, Clone, thiserror::Error)]
#[error("'{0}' is no GTID set")]
pub struct NotAGtidSet(String);

impl GtidSet {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn insert(&mut self, gtid: &Gtid) {
        self.add(&gtid.origin, gtid.number, gtid.number + 1);
    }

    fn add(&mut self, origin: &Origin, start: u64, end: u64) {
        if !self.0.contains_key(origin) {
            self.0.insert(origin.clone(), vec![(start, end)]);
            return;
        }
        let Some(list) = self.0.get_mut(origin) else {
            return;
        };
        // The intervals that touch the new one are joined with it.
        let first = list.partition_point(|&(_, e)| e < start);
        let last = list.partition_point(|&(s, _)| s <= end);
        if first == last {
            list.insert(first, (start, end));
        } else {
            let joined = (start.min(list[first].0), end.max(list[last - 1].1));
            list.splice(first..last, [joined]);
        }
    }

    /// Of how many ranges it is made.
    pub fn ranges(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Whether all of `other` is in here.
    pub fn contains_all(&self, other: &Self) -> bool {
        other.0.iter().all(|(origin, wanted)| {
            let Some(list) = self.0.get(origin) else {
                return wanted.is_empty();
            };
            wanted.iter().all(|&(start, end)| {
                let at = list.partition_point(|&(_, e)| e < end);
                list.get(at).is_some_and(|&(s, e)| s <= start && end <= e)
            })
        })
    }

    /// Takes all of `other` out.
    pub fn remove_all(&mut self, other: &Self) {
        for (origin, gone) in &other.0 {
            let Some(list) = self.0.get_mut(origin) else {
                continue;
            };
            for &(start, end) in gone {
                let mut left = Vec::with_capacity(list.len() + 1);
                for &(s, e) in list.iter() {
                    if s < start {
                        left.push((s, e.min(start)));
                    }
                    if e > end {
                        left.push((s.max(end), e));
                    }
                }
                *list = left;
            }
        }
        self.0.retain(|_, list| !list.is_empty());
    }

    /// The set in the form that a binlog request takes.
    pub fn sids(&self) -> Result<Vec<Sid<'static>>, NotAGtidSet> {
        self.0
            .iter()
            .map(|(origin, list)| {
                // Through text: the only way to a tagged one.
                let text = origin_text(origin, list);
                Sid::from_str(&text).map_err(|_| NotAGtidSet(text))
            })
            .collect()
    }
}

fn origin_text(origin: &Origin, list: &[(u64, u64)]) -> String {
    let mut text = origin.uuid.to_string();
    if !origin.tag.is_empty() {
        text.push(':');
        text.push_str(&origin.tag);
    }
    for &(start, end) in list {
        let last = end - 1;
        text.push_str(&match start == last {
            true => format!(":{start}"),
            false => format!(":{start}-{last}"),
        });
    }
    text
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (origin, list)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{}", origin_text(origin, list))?;
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = NotAGtidSet;

    fn from_str(text: &str) -> Result<Self, NotAGtidSet> {
        let wrong = || NotAGtidSet(text.to_owned());
        let mut set = Self::default();
        for group in text.split(',').map(str::trim).filter(|g| !g.is_empty()) {
            let mut parts = group.split(':').map(str::trim);
            let uuid = Uuid::parse_str(parts.next().ok_or_else(wrong)?).map_err(|_| wrong())?;
            let mut origin = Origin {
                uuid,
                tag: String::new(),
            };
            for part in parts {
                if !part.starts_with(|c: char| c.is_ascii_digit()) {
                    origin.tag = part.to_lowercase();
                    continue;
                }
                let (start, last) = part.split_once('-').unwrap_or((part, part));
                let start: u64 = start.parse().map_err(|_| wrong())?;
                let last: u64 = last.parse().map_err(|_| wrong())?;
                if start == 0 || last < start {
                    return Err(wrong());
                }
                set.add(&origin, start, last + 1);
            }
        }
        Ok(set)
    }
}

impl Serialize for GtidSet {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GtidSet {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A place between two transactions of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Everything up to here, where the server numbers its transactions.
    pub gtid_set: Option<GtidSet>,
    pub file: String,
    /// More than 32 bits: a file may be larger than 4 GiB.
    pub offset: u64,
    /// Where the server doesn't number them: all up to there is applied, and read again from here
    /// for the sake of the XA transactions that are prepared in between. A driver that doesn't know
    /// of this begins here, and refuses the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_to: Option<(String, u64)>,
}

impl Position {
    /// A place that has no number.
    pub fn in_file(file: impl Into<String>, offset: u64) -> Self {
        Self {
            gtid_set: None,
            file: file.into(),
            offset,
            applied_to: None,
        }
    }

    /// Whether everything up to `other` is before this place.
    pub fn has_reached(&self, other: &Self) -> bool {
        match (&self.gtid_set, &other.gtid_set) {
            (Some(mine), Some(theirs)) => mine.contains_all(theirs),
            _ => Self::rank(&self.file, self.offset) >= Self::rank(&other.file, other.offset),
        }
    }

    /// Orders places in files.
    pub fn rank(file: &str, offset: u64) -> (u64, u64) {
        (file_number(file), offset)
    }
}

/// Binlog files are numbered; beyond 999999 the number gets longer, so text does not compare.
fn file_number(file: &str) -> u64 {
    file.rsplit('.')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.parse().unwrap()
    }

    #[test]
    fn neighbours_join_and_the_text_is_the_servers() {
        let mut s = set(&format!("{A}:1-3:5:9-10"));
        s.insert(&Gtid::new(*Uuid::parse_str(A).unwrap().as_bytes(), "", 4));
        assert_eq!(s.to_string(), format!("{A}:1-5:9-10"));
        s.insert(&Gtid::new(*Uuid::parse_str(A).unwrap().as_bytes(), "x", 1));
        assert_eq!(s.to_string(), format!("{A}:1-5:9-10,{A}:x:1"));
        assert_eq!(set(&format!("{A}:1-5:9-10:x:1")), s);
        assert_eq!(s.sids().unwrap().len(), 2);
    }

    #[test]
    fn subsets_and_differences_are_exact() {
        let s = set(&format!("{A}:1-5:9-10"));
        assert!(s.contains_all(&set(&format!("{A}:2-5:10"))));
        assert!(!s.contains_all(&set(&format!("{A}:5-6"))));
        assert!(!s.contains_all(&set(&format!("{A}:8-9"))));
        assert!(!s.contains_all(&set(&format!("{A}:x:1"))));
        let mut left = s.clone();
        left.remove_all(&set(&format!("{A}:2-3:10-20")));
        assert_eq!(left, set(&format!("{A}:1:4-5:9")));
        left.remove_all(&s);
        assert!(left.is_empty());
    }

    #[test]
    fn files_compare_by_number() {
        let at = |file: &str, offset| Position::in_file(file, offset);
        assert!(at("bin.1000000", 4).has_reached(&at("bin.999999", 5_000_000_000)));
        assert!(!at("bin.000002", 4).has_reached(&at("bin.000002", 5)));
    }
}
