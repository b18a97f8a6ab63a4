//! The set of objects that this program brings, in the order in which they can be created.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use super::error::InstallError;
use crate::engine::syntax::quote;

mod embedded {
    use super::Kind;
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

pub(super) use embedded::MIGRATIONS;

/// In the order of installation: a view may use functions and views, a procedure anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Function,
    View,
    Procedure,
    Trigger,
    /// Rows that are code.
    Data,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::Function,
        Self::View,
        Self::Procedure,
        Self::Trigger,
        Self::Data,
    ];

    /// As `installed_object` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::View => "view",
            Self::Procedure => "procedure",
            Self::Trigger => "trigger",
            Self::Data => "data",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// As `DROP` has it.
    pub(super) fn keyword(self) -> Option<&'static str> {
        match self {
            Self::Function => Some("FUNCTION"),
            Self::View => Some("VIEW"),
            Self::Procedure => Some("PROCEDURE"),
            Self::Trigger => Some("TRIGGER"),
            Self::Data => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The files of `sql/`, comments and all, by kind and name.
pub(super) fn files() -> impl Iterator<Item = (Kind, &'static str, &'static str)> {
    embedded::OBJECTS.iter().copied()
}

/// One file of `sql/`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object {
    pub kind: Kind,
    pub name: &'static str,
    text: &'static str,
}

impl Object {
    /// Of the whole file: a changed comment is a changed object.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(self.text))
    }

    /// The file's one statement, without its header and its last semicolon.
    pub fn statement(&self) -> &'static str {
        let mut rest = self.text.trim_start();
        while let Some(comment) = rest.strip_prefix("--") {
            rest = comment
                .split_once('\n')
                .map_or("", |(_, rest)| rest)
                .trim_start();
        }
        rest.trim_end().trim_end_matches(';').trim_end()
    }

    /// What makes room for [`Object::statement`]; views replace themselves, rows update themselves.
    pub fn drop_statement(&self) -> Option<String> {
        match self.kind {
            Kind::Function | Kind::Procedure | Kind::Trigger => {
                drop_statement(self.kind, self.name)
            }
            Kind::View | Kind::Data => None,
        }
    }

    /// What keeps others out while a trigger is away: a move that comes between its DROP and its CREATE would be neither
    /// checked nor logged.
    pub fn lock_statement(&self) -> Option<String> {
        let after_on = || {
            self.statement()
                .split_whitespace()
                .skip_while(|word| *word != "ON")
        };
        match self.kind {
            Kind::Trigger => after_on()
                .nth(1)
                .map(|table| format!("LOCK TABLES {} WRITE", quote(table))),
            Kind::Function | Kind::View | Kind::Procedure | Kind::Data => None,
        }
    }
}

pub(super) const UNLOCK_STATEMENT: &str = "UNLOCK TABLES";

pub(super) fn drop_statement(kind: Kind, name: &str) -> Option<String> {
    Some(format!(
        "DROP {} IF EXISTS {}",
        kind.keyword()?,
        quote(name)
    ))
}

/// All objects, each after those that it needs.
pub(super) fn objects() -> Result<&'static [Object], InstallError> {
    static SET: LazyLock<Result<Vec<Object>, String>> = LazyLock::new(|| {
        let all = embedded::OBJECTS
            .iter()
            .map(|&(kind, name, text)| Object { kind, name, text });
        ordered(all.collect())
    });
    match &*SET {
        Ok(set) => Ok(set),
        Err(message) => Err(InstallError::Set(message.clone())),
    }
}

fn ordered(mut objects: Vec<Object>) -> Result<Vec<Object>, String> {
    objects.sort_by_key(|object| (object.kind, object.name));
    let (views, mut others): (Vec<Object>, Vec<Object>) = objects
        .into_iter()
        .partition(|object| object.kind == Kind::View);
    let at = others.partition_point(|object| object.kind < Kind::View);
    others.splice(at..at, ordered_views(views)?);
    Ok(others)
}

/// Views after the views that they read; by name where there is a choice.
fn ordered_views(views: Vec<Object>) -> Result<Vec<Object>, String> {
    let names: BTreeSet<&str> = views.iter().map(|view| view.name).collect();
    let mut waiting: BTreeMap<&str, (Object, BTreeSet<&str>)> = views
        .iter()
        .map(|view| {
            let mut reads = tables_read(view.statement());
            reads.retain(|name| names.contains(name) && *name != view.name);
            (view.name, (*view, reads))
        })
        .collect();
    let mut ordered = Vec::with_capacity(views.len());
    while !waiting.is_empty() {
        let ready = waiting
            .iter()
            .find(|(_, (_, reads))| reads.iter().all(|name| !waiting.contains_key(name)))
            .map(|(name, _)| *name);
        let Some(name) = ready else {
            let names: Vec<&str> = waiting.into_keys().collect();
            return Err(format!(
                "views read each other in a circle: {}",
                names.join(", ")
            ));
        };
        ordered.extend(waiting.remove(name).map(|(view, _)| view));
    }
    Ok(ordered)
}

/// Every name that follows FROM or JOIN.
fn tables_read(statement: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut expects_table = false;
    for line in statement.lines() {
        let line = line.split("--").next().unwrap_or_default();
        for word in line.split(|character: char| {
            !(character.is_alphanumeric() || character == '_' || character == '$')
        }) {
            if word.is_empty() {
                continue;
            }
            if expects_table {
                names.insert(word);
            }
            let keyword = word.to_ascii_uppercase();
            expects_table = matches!(keyword.as_str(), "FROM" | "JOIN" | "STRAIGHT_JOIN");
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(name: &'static str, text: &'static str) -> Object {
        Object {
            kind: Kind::View,
            name,
            text,
        }
    }

    #[test]
    fn a_view_comes_after_the_views_that_it_reads() {
        let views = vec![
            view(
                "a",
                "CREATE VIEW a AS SELECT x.i FROM (SELECT i FROM c) AS x JOIN b AS y ON true",
            ),
            view("b", "CREATE VIEW b AS SELECT i FROM c -- FROM a"),
            view("c", "CREATE VIEW c AS SELECT 1 AS i"),
        ];
        let names: Vec<&str> = ordered_views(views)
            .expect("no circle")
            .iter()
            .map(|view| view.name)
            .collect();
        assert_eq!(names, ["c", "b", "a"]);
    }

    #[test]
    fn views_in_a_circle_are_named() {
        let views = vec![
            view("a", "CREATE VIEW a AS SELECT i FROM b"),
            view("b", "CREATE VIEW b AS SELECT i FROM a"),
        ];
        assert!(ordered_views(views).unwrap_err().ends_with("a, b"));
    }

    #[test]
    fn a_statement_has_neither_header_nor_last_semicolon() {
        let text = "-- View: a\n--\n-- Says 1.\n\nCREATE VIEW a AS\n-- why\nSELECT 1;\n";
        assert_eq!(
            view("a", text).statement(),
            "CREATE VIEW a AS\n-- why\nSELECT 1"
        );
    }

    #[test]
    fn each_file_creates_the_object_that_it_is_named_after() {
        for object in objects().expect("an order") {
            let statement = object.statement();
            let Some(keyword) = object.kind.keyword() else {
                continue;
            };
            let head: String = statement.chars().take(400).collect();
            let words: Vec<&str> = head
                .split(|character: char| !(character.is_alphanumeric() || character == '_'))
                .filter(|word| !word.is_empty())
                .collect();
            let at = words.iter().position(|word| *word == keyword);
            assert_eq!(
                at.and_then(|at| words.get(at + 1)).copied(),
                Some(object.name),
                "sql/{}s/{}.sql",
                object.kind,
                object.name
            );
            assert!(
                !head.contains("DEFINER ="),
                "{} names a definer",
                object.name
            );
        }
    }
}
