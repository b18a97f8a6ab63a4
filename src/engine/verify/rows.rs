//! Digests of rows by their keys, and where two sides of them differ.

use std::collections::{BTreeMap, BTreeSet};

use super::Different;
use crate::engine::table::key_range::{KeyColumns, KeyText};

pub(super) type RowDigests = BTreeMap<Vec<KeyPart>, Vec<u8>>;

/// Key parts in some order, for maps.
pub(super) type KeyPart = (u8, Vec<u8>);

pub(super) fn map_key(key: &[KeyText]) -> Vec<KeyPart> {
    key.iter()
        .map(|part| match part {
            KeyText::Plain(text) => (0, text.clone().into_bytes()),
            KeyText::Bytes(bytes) => (1, bytes.clone()),
        })
        .collect()
}

pub(super) fn from_map_key(key: &[KeyPart]) -> Vec<KeyText> {
    key.iter()
        .map(|(kind, bytes)| match kind {
            0 => KeyText::Plain(String::from_utf8_lossy(bytes).into_owned()),
            _ => KeyText::Bytes(bytes.clone()),
        })
        .collect()
}

pub(super) fn any_of(key: &KeyColumns, keys: &[Vec<KeyPart>]) -> String {
    let each: Vec<String> = keys
        .iter()
        .map(|k| format!("({})", key.is(&from_map_key(k))))
        .collect();
    format!("({})", each.join(" OR "))
}

pub(super) fn differing(a: &RowDigests, b: &RowDigests) -> BTreeSet<Vec<KeyPart>> {
    let keys = a.keys().chain(b.keys());
    keys.filter(|key| a.get(*key) != b.get(*key))
        .cloned()
        .collect()
}

pub(super) fn describe(
    keys: &BTreeSet<Vec<KeyPart>>,
    original: &RowDigests,
    shadow: &RowDigests,
) -> Vec<Different> {
    keys.iter()
        .map(|key| Different {
            key: from_map_key(key),
            in_original: original.contains_key(key),
            in_shadow: shadow.contains_key(key),
        })
        .collect()
}
