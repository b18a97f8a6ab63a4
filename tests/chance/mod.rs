//! A table, a change of it and writes to it, drawn by chance. Every value is one that the former and the new type can hold, so
//! that nothing of this may be refused.

mod kinds;
mod writes;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use kinds::{KEYS, KINDS, Key, Kind};

/// Rows that are there before the change, with these ids from 1 on.
const FILLED: i32 = 2_000;

pub struct Table {
    key: &'static Key,
    columns: Vec<Column>,
    indexes: Vec<String>,
}

struct Column {
    name: String,
    kind: &'static Kind,
    is_indexed: bool,
}

impl Table {
    pub fn by_chance(random: &mut StdRng) -> Self {
        let key = KEYS.choose(random).expect("some");
        let columns: Vec<Column> = (0..random.random_range(2..6))
            .map(|number| {
                let kind = KINDS.choose(random).expect("some");
                Column {
                    name: format!("c{number}"),
                    kind,
                    is_indexed: kind.may_be_indexed && random.random_bool(0.4),
                }
            })
            .collect();
        let mut indexes = vec!["UNIQUE KEY by_u (u)".to_owned(), key.index.to_owned()];
        if !key.index.ends_with("(id)") {
            indexes.push("KEY by_id (id)".to_owned());
        }
        if random.random_bool(0.5) {
            indexes.push("KEY by_n (n, u)".to_owned());
        }
        let indexed = columns.iter().filter(|column| column.is_indexed);
        indexes.extend(indexed.map(|Column { name, .. }| format!("KEY by_{name} ({name})")));
        indexes.shuffle(random);
        Self {
            key,
            columns,
            indexes,
        }
    }

    /// What stands between `CREATE TABLE t (` and `)`.
    pub fn definition(&self) -> String {
        let columns = self.columns.iter();
        let columns: Vec<String> = columns
            .map(|Column { name, kind, .. }| format!("{name} {} NULL", kind.from))
            .collect();
        format!(
            "{}, n INT NOT NULL DEFAULT 0, u INT NULL, {}, {}",
            self.key.columns,
            columns.join(", "),
            self.indexes.join(", ")
        )
    }

    /// What stands after `ALTER TABLE t `.
    pub fn change(&self, random: &mut StdRng) -> String {
        let mut clauses = Vec::new();
        for column in &self.columns {
            let name = &column.name;
            let place = ["", "", "", " FIRST", " AFTER n"].choose(random);
            let place = place.expect("some");
            let to = column.kind.to.choose(random).expect("some");
            // An index of these needs a length.
            let needs_length = to.contains("TEXT") || to.contains("BLOB");
            let to = if column.is_indexed && needs_length {
                column.kind.from
            } else {
                to
            };
            match random.random_range(0..10) {
                0..5 => clauses.push(format!("MODIFY {name} {to} NULL{place}")),
                5 => clauses.push(format!("CHANGE {name} `{name} new` {to} NULL{place}")),
                6 => clauses.push(format!("DROP COLUMN {name}")),
                _ => {}
            }
        }
        for (likely, one_of) in OTHER_CLAUSES {
            if random.random_bool(*likely) {
                clauses.push((*one_of.choose(random).expect("some")).to_owned());
            }
        }
        if random.random_bool(0.4) {
            clauses.push((*self.key.changes.choose(random).expect("some")).to_owned());
        }
        clauses.shuffle(random);
        // Whatever else was drawn: the rows are copied.
        clauses.push("FORCE".into());
        clauses.join(", ")
    }

    /// Statements that fill the table.
    pub fn fill(&self, random: &mut StdRng) -> Vec<String> {
        let ids: Vec<i32> = (1..=FILLED).collect();
        let parts = ids.chunks(500);
        parts
            .map(|ids| {
                let rows = ids.iter().map(|id| self.row(random, *id, *id));
                let rows: Vec<String> = rows.collect();
                format!(
                    "INSERT INTO t ({}) VALUES {}",
                    self.names(),
                    rows.join(", ")
                )
            })
            .collect()
    }

    fn names(&self) -> String {
        let mut names: Vec<&str> = self.key_names().chain(["n", "u"]).collect();
        names.extend(self.columns.iter().map(|column| column.name.as_str()));
        names.join(", ")
    }

    fn key_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let others = self.key.beside_id.iter().map(|(name, _)| *name);
        ["id"].into_iter().chain(others)
    }

    fn key_values(&self, id: i32) -> impl Iterator<Item = String> {
        let others = self.key.beside_id.iter();
        [id.to_string()]
            .into_iter()
            .chain(others.map(move |(_, of_id)| of_id(id)))
    }

    /// `(1, …)`, in the order of [`Self::names`].
    fn row(&self, random: &mut StdRng, id: i32, unique: i32) -> String {
        let mut values: Vec<String> = self.key_values(id).collect();
        values.push(random.random_range(-1000..1000).to_string());
        values.push(if random.random_bool(0.2) {
            "NULL".into()
        } else {
            unique.to_string()
        });
        values.extend(self.columns.iter().map(|column| column.kind.value(random)));
        format!("({})", values.join(", "))
    }
}

/// How likely, and one of these.
const OTHER_CLAUSES: &[(f64, &[&str])] = &[
    (
        0.4,
        &[
            "ADD COLUMN added INT NOT NULL DEFAULT 7 AFTER n",
            "ADD COLUMN added VARCHAR(20) NOT NULL",
            "ADD COLUMN added INT NULL FIRST",
        ],
    ),
    (
        0.3,
        &[
            "ADD COLUMN twice BIGINT AS (n * 2) STORED",
            "ADD COLUMN twice BIGINT AS (n * 2) VIRTUAL, ADD KEY by_twice (twice)",
            "ADD KEY by_sum ((n + 1))",
        ],
    ),
    (0.2, &["ADD CHECK (n > -2000000000)"]),
    (
        0.3,
        &[
            "DROP KEY by_u, ADD UNIQUE KEY by_u (u)",
            "DROP KEY by_u",
            "DROP KEY by_u, ADD KEY by_u (u, n)",
            "ALTER INDEX by_u INVISIBLE",
            "RENAME INDEX by_u TO by_unique",
        ],
    ),
    (0.1, &["ROW_FORMAT=COMPRESSED"]),
];
