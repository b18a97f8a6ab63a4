//! Transactions on a table.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::{FILLED, Table};

impl Table {
    /// Statements of one transaction, its end included.
    pub fn transaction(&self, random: &mut StdRng) -> Vec<String> {
        let mut statements = Vec::new();
        for _ in 0..random.random_range(1..5) {
            statements.extend(self.write(random));
        }
        if random.random_bool(0.2) {
            statements.push("SAVEPOINT here".into());
            statements.extend(self.write(random));
            statements.push("ROLLBACK TO SAVEPOINT here".into());
        }
        let is_kept = random.random_bool(0.9);
        statements.push(if is_kept { "COMMIT" } else { "ROLLBACK" }.into());
        statements
    }

    /// One that writes no column that the change touches: it means the same before the swap and after it.
    pub fn neutral_transaction(&self, random: &mut StdRng) -> Vec<String> {
        let id = any_id(random);
        let statement = match random.random_range(0..5) {
            0 => self.insert_the_key(id),
            1 => format!("DELETE FROM t WHERE id = {id}"),
            2 => self.move_key(random, id),
            _ => format!("UPDATE t SET n = n + 1 WHERE id BETWEEN {id} AND {id} + 3"),
        };
        vec![statement, "COMMIT".into()]
    }

    fn write(&self, random: &mut StdRng) -> Vec<String> {
        let (id, unique) = (any_id(random), any_id(random));
        let names = self.names();
        let statement = match random.random_range(0..14) {
            0 => format!(
                "INSERT IGNORE INTO t ({names}) VALUES {}",
                self.row(random, id, unique)
            ),
            1 => format!(
                "INSERT INTO t ({names}) VALUES {}, {} ON DUPLICATE KEY UPDATE n = t.n + 1000, u = NULL",
                self.row(random, id, unique),
                self.row(random, id + 1, unique + 1),
            ),
            2 => format!(
                "REPLACE INTO t ({names}) VALUES {}",
                self.row(random, id, unique)
            ),
            3 => format!("DELETE FROM t WHERE id BETWEEN {id} AND {id} + 4"),
            4 => self.move_key(random, id),
            5 => match self.key.touches.choose(random) {
                Some(touch) => format!("UPDATE t SET {touch} WHERE id BETWEEN {id} AND {id} + 4"),
                None => self.insert_the_key(id),
            },
            6 if self.key.columns.contains("AUTO_INCREMENT") => {
                format!("INSERT INTO t (n) VALUES ({id})")
            }
            // May be refused: then it is, on both.
            7 => format!("UPDATE t SET u = {unique} WHERE id = {id}"),
            8 => return give_away(id, any_id(random), unique),
            _ => {
                let column = self.columns.choose(random).expect("some");
                let (name, value) = (&column.name, column.kind.value(random));
                let last = id + random.random_range(0..20);
                format!("UPDATE t SET n = n + 1, {name} = {value} WHERE id BETWEEN {id} AND {last}")
            }
        };
        vec![statement]
    }

    fn insert_the_key(&self, id: i32) -> String {
        let names: Vec<&str> = self.key_names().collect();
        let values: Vec<String> = self.key_values(id).collect();
        format!(
            "INSERT IGNORE INTO t ({}, n) VALUES ({}, 1)",
            names.join(", "),
            values.join(", ")
        )
    }

    fn move_key(&self, random: &mut StdRng, from: i32) -> String {
        let to = any_id(random);
        let sets = self.key_names().zip(self.key_values(to));
        let sets: Vec<String> = sets
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        format!("UPDATE IGNORE t SET {} WHERE id = {from}", sets.join(", "))
    }
}

/// A unique value goes from row to row.
fn give_away(from: i32, to: i32, unique: i32) -> Vec<String> {
    vec![
        format!("UPDATE IGNORE t SET u = {unique} WHERE id = {from}"),
        format!("UPDATE t SET u = NULL WHERE id = {from}"),
        format!("UPDATE IGNORE t SET u = {unique} WHERE id = {to}"),
    ]
}

/// Of a filled row, mostly, or beyond either end.
fn any_id(random: &mut StdRng) -> i32 {
    random.random_range(-FILLED / 4..FILLED * 3 / 2)
}
