//! Foreign keys of a table that is changed, and how a swap hands them over.
//!
//! A copy has none while it is filled: the server checks a change of a parent against each of its
//! children, so a key of a copy that lags behind would refuse the application a delete that the
//! original allows. They are put on under the cutover's locks, after the last drain and before
//! the RENAME, with `foreign_key_checks = 0`: that changes metadata only. The table that the
//! application uses has its keys at every instant, whoever dies when. Taking them from the live
//! table first would leave their names free, but also, behind a crash, a live table that checks
//! nothing.
//!
//! So for a moment both tables have keys, whose names are unique in a schema. A name that the
//! server made from the table's (`orders_ibfk_1`) is made from the copy's, and RENAME gives it
//! back; any other key takes its own name after the RENAME, in one ALTER with the drop of its
//! interim one.
//!
//! All of it is sent as one text, which the server carries out though the driver dies meanwhile.
//! What a crash of the server leaves in between is keys on the table that nobody uses, or an interim
//! name: [`settle`] looks and puts that right.

use serde::{Deserialize, Serialize};

use super::{Key, KeyKind, TableDefinition, TablePlan, Way, catalog};
use crate::engine::cutover::locked::SwapNames;
use crate::engine::cutover::swap::SwapOutcome;
use crate::engine::names::{Owner, Role};
use crate::engine::session::Session;
use crate::engine::syntax::create_text::{CreateText, ElementKind};
use crate::engine::syntax::token::{Dialect, Token, tokens};
use crate::engine::syntax::{quote, quote_table};
use crate::engine::{EngineError, fail_point};

/// A foreign key as its table's `SHOW CREATE TABLE` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    pub name: String,
    /// Columns of the table itself.
    pub columns: Vec<String>,
    pub parent_schema: String,
    pub parent_table: String,
    /// What follows the parent's name: its columns, and what happens to the row.
    pub rules: String,
}

/// The foreign keys of a copied table before and after its change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ForeignKeys {
    pub former: Vec<ForeignKey>,
    pub changed: Vec<ForeignKey>,
}

impl ForeignKeys {
    pub fn is_empty(&self) -> bool {
        self.former.is_empty() && self.changed.is_empty()
    }

    /// Schema and table of what each key points at.
    pub fn parents(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.former.iter().chain(&self.changed);
        all.map(ForeignKey::parent)
    }
}

impl ForeignKey {
    /// All of a table's, in the order of their names.
    ///
    /// # Errors
    ///
    /// Only for text that no server makes.
    pub fn of(text: &CreateText, schema: &str) -> Result<Vec<Self>, EngineError> {
        text.of_kind(ElementKind::ForeignKey)
            .map(|element| {
                Self::parse(&element.name, element.without_name(), schema).ok_or_else(|| {
                    EngineError::permanent(format!(
                        "foreign key {} can't be read: {}",
                        element.name, element.text
                    ))
                })
            })
            .collect()
    }

    /// All keys of a table that is there now; none of one that isn't.
    pub async fn of_table(
        session: &mut Session,
        schema: &str,
        table: &str,
    ) -> Result<Vec<Self>, EngineError> {
        let text = catalog::create_statement(session, schema, table).await?;
        text.map_or(Ok(Vec::new()), |text| Self::of_text(&text, schema))
    }

    /// All keys that a `SHOW CREATE TABLE` shows.
    pub fn of_text(text: &str, schema: &str) -> Result<Vec<Self>, EngineError> {
        let text = CreateText::parse(text)
            .map_err(|error| EngineError::permanent(format!("SHOW CREATE TABLE: {error}")))?;
        Self::of(&text, schema)
    }

    fn parse(name: &str, text: &str, schema: &str) -> Option<Self> {
        let tokens = tokens(text, Dialect::OF_THE_SERVER).ok()?;
        let references = tokens.iter().position(|token| token.is("REFERENCES"))?;
        let columns = tokens[..references]
            .iter()
            .skip_while(|token| !token.is_mark('('))
            .filter_map(|token| token.identifier().map(str::to_owned))
            .collect();
        let rules = references + tokens[references..].iter().position(|t| t.is_mark('('))?;
        let parent: Vec<&str> = tokens[references + 1..rules]
            .iter()
            .filter_map(Token::identifier)
            .collect();
        let (parent_schema, parent_table) = match parent[..] {
            [table] => (schema, table),
            [other, table] => (other, table),
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            columns,
            parent_schema: parent_schema.to_owned(),
            parent_table: parent_table.to_owned(),
            rules: text[tokens[rules].span.start..].to_owned(),
        })
    }

    fn parent(&self) -> (&str, &str) {
        (&self.parent_schema, &self.parent_table)
    }

    /// What follows `FOREIGN KEY`, with another parent of the same shape.
    pub fn body(&self, parent: &str) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| quote(column)).collect();
        format!(
            "({}) REFERENCES {parent} {}",
            columns.join(", "),
            self.rules
        )
    }

    fn added_as(&self, name: &str) -> String {
        let parent = quote_table(&self.parent_schema, &self.parent_table);
        format!(
            "ADD CONSTRAINT {} FOREIGN KEY {}",
            quote(name),
            self.body(&parent)
        )
    }

    /// The name that the key of `live` has on `next`, so that two tables can have it at once.
    fn interim_name(&self, live: &str, next: &str, nth: usize) -> String {
        match number(&self.name, live) {
            Some(number) => format!("{next}_ibfk_{number}"),
            None => format!("{next}{INTERIM}{nth}"),
        }
    }

    /// The key in the table that the keys `of` belong to that has exactly its columns, and may
    /// have been made by the server for it.
    pub(crate) fn own_index<'a>(&self, of: &'a TableDefinition) -> Option<&'a Key> {
        of.keys.iter().find(|key| {
            let same = |(part, column): (&super::KeyPart, &String)| {
                part.prefix.is_none()
                    && part.column.is_some_and(|index| {
                        of.columns[index].name.to_lowercase() == column.to_lowercase()
                    })
            };
            !key.unique
                && key.kind == KeyKind::BTree
                && key.parts.len() == self.columns.len()
                && key.parts.iter().zip(&self.columns).all(same)
        })
    }
}

/// Ends the interim name of a key whose own name isn't made from its table's.
const INTERIM: &str = "_fk_";

/// The number in a name that the server made from the table's, and makes anew with each RENAME.
pub fn number(name: &str, table: &str) -> Option<u32> {
    let digits = name.strip_prefix(table)?.strip_prefix("_ibfk_")?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// What a swap sends before and after its RENAME.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Handover {
    pub before: Vec<String>,
    pub after: Vec<String>,
}

impl Handover {
    /// Adds one table's part. `of_live` are the keys of the table that goes aside.
    pub fn add(&mut self, schema: &str, swap: &SwapNames, of_live: &[ForeignKey]) {
        let alter = |table: &str, clauses: Vec<String>| {
            let table = quote_table(schema, table);
            format!(
                "ALTER TABLE {table} ALGORITHM=INPLACE, {}",
                clauses.join(", ")
            )
        };
        let SwapNames {
            live, next, aside, ..
        } = swap;
        let mut added = Vec::new();
        let mut renamed = Vec::new();
        for (nth, key) in swap.foreign_keys.iter().enumerate() {
            let interim = key.interim_name(live, next, nth);
            added.push(key.added_as(&interim));
            if number(&key.name, live).is_none() {
                renamed.push(format!("DROP FOREIGN KEY {}", quote(&interim)));
                renamed.push(key.added_as(&key.name));
            }
        }
        if !added.is_empty() {
            self.before.push(alter(next, added));
        }
        let dropped: Vec<String> = of_live
            .iter()
            .map(|key| match number(&key.name, live) {
                Some(number) => format!("{aside}_ibfk_{number}"),
                None => key.name.clone(),
            })
            .map(|name| format!("DROP FOREIGN KEY {}", quote(&name)))
            .collect();
        if !dropped.is_empty() {
            self.after.push(alter(aside, dropped));
        }
        if !renamed.is_empty() {
            self.after.push(alter(live, renamed));
        }
    }
}

/// Why a statement that adds a key is refused.
pub(crate) fn not_added_online() -> EngineError {
    EngineError::permanent(
        "a foreign key can't be added online, because rows of the copy would hold back \
         deletes of their parents; add it by hand with foreign_key_checks = 0",
    )
}

/// Puts right what a swap that was cut short has left: keys of the table that is not in use, and
/// interim names. Does nothing where all is as it should be.
///
/// Call it when no session is left that may have sent the RENAME.
pub(crate) async fn settle(
    session: &mut Session,
    schema: &str,
    owner: &Owner,
    plans: &[TablePlan],
    outcome: &SwapOutcome,
) -> Result<(), EngineError> {
    let swapped = match outcome {
        SwapOutcome::Swapped => true,
        SwapOutcome::NotSwapped => false,
        SwapOutcome::Unknown(_) => return Ok(()),
    };
    for plan in plans.iter().filter(|plan| plan.way == Way::Copy) {
        let (Some(original), false) = (&plan.original, plan.foreign_keys.is_empty()) else {
            continue;
        };
        let position = plan.task.position;
        let (unused, keys) = match swapped {
            true => (Role::Old(position), &plan.foreign_keys.changed),
            false => (Role::Shadow(position), &plan.foreign_keys.former),
        };
        drop_all(session, schema, &owner.table(unused)).await?;
        take_names(session, schema, owner, &original.name, keys).await?;
    }
    Ok(())
}

/// Drops all foreign keys of a table of ours.
pub(crate) async fn drop_all(
    session: &mut Session,
    schema: &str,
    table: &str,
) -> Result<(), EngineError> {
    let found = ForeignKey::of_table(session, schema, table).await?;
    if found.is_empty() {
        return Ok(());
    }
    let drops: Vec<String> = found
        .iter()
        .map(|key| format!("DROP FOREIGN KEY {}", quote(&key.name)))
        .collect();
    fail_point::at("keys.drop.before");
    alter(session, schema, table, &drops.join(", ")).await?;
    fail_point::at("keys.drop.after");
    Ok(())
}

/// Gives the keys of the table in use their own names. What others did to its keys stays.
async fn take_names(
    session: &mut Session,
    schema: &str,
    owner: &Owner,
    live: &str,
    keys: &[ForeignKey],
) -> Result<(), EngineError> {
    let mut clauses = Vec::new();
    for found in ForeignKey::of_table(session, schema, live).await? {
        // Of whichever epoch: RENAME leaves these names alone.
        let own = found
            .name
            .strip_prefix(&owner.operation_prefix())
            .and_then(|rest| rest.rsplit_once(INTERIM)?.1.parse::<usize>().ok())
            .and_then(|nth| keys.get(nth));
        if let Some(own) = own {
            clauses.push(format!("DROP FOREIGN KEY {}", quote(&found.name)));
            clauses.push(found.added_as(&own.name));
        }
    }
    if clauses.is_empty() {
        return Ok(());
    }
    fail_point::at("keys.name.before");
    alter(session, schema, live, &clauses.join(", ")).await?;
    fail_point::at("keys.name.after");
    Ok(())
}

/// Makes indexes that the server made for foreign keys into ones like any other.
///
/// The server replaces an index of its own by a new one when another key on the same columns is
/// added: under the cutover's lock that would be the build of an index. A renamed index is no
/// longer its own. Both ways at once would be no rename, so a crash may leave the first half: the
/// next call ends it.
pub(crate) async fn keep_indexes(
    session: &mut Session,
    table: &TableDefinition,
    keys: &[ForeignKey],
) -> Result<(), EngineError> {
    let mut own: Vec<&str> = keys
        .iter()
        .filter_map(|key| key.own_index(table))
        .map(|key| key.name.as_str())
        .collect();
    own.sort_unstable();
    own.dedup();
    let interim = |nth: usize| format!("_lk_index_{nth}");
    for back in [false, true] {
        let now = catalog::create_statement(session, &table.schema, &table.name).await?;
        let now = CreateText::parse(&now.unwrap_or_default())
            .map_err(|error| EngineError::permanent(format!("SHOW CREATE TABLE: {error}")))?;
        let renames: Vec<String> = own
            .iter()
            .enumerate()
            .map(|(nth, name)| match back {
                false => ((*name).to_owned(), interim(nth)),
                true => (interim(nth), (*name).to_owned()),
            })
            .filter(|(from, _)| now.of_kind(ElementKind::Key).any(|key| key.name == *from))
            .map(|(from, to)| format!("RENAME INDEX {} TO {}", quote(&from), quote(&to)))
            .collect();
        if !renames.is_empty() {
            alter(session, &table.schema, &table.name, &renames.join(", ")).await?;
        }
    }
    Ok(())
}

/// The definitions of the parents are locked for a moment too, so it is not waited for long: others
/// would wait behind.
async fn alter(
    session: &mut Session,
    schema: &str,
    table: &str,
    clauses: &str,
) -> Result<(), EngineError> {
    let table = quote_table(schema, table);
    let doing = || EngineError::while_doing(format!("handing over the foreign keys of {table}"));
    session
        .run("SET SESSION lock_wait_timeout = 1")
        .await
        .map_err(doing())?;
    let answer = session
        .run(&format!("ALTER TABLE {table} ALGORITHM=INPLACE, {clauses}"))
        .await;
    session
        .run("SET SESSION lock_wait_timeout = 30")
        .await
        .map_err(doing())?;
    answer.map(drop).map_err(doing())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "CREATE TABLE `c` (\n  `id` int NOT NULL,\n  `p` int DEFAULT NULL,\n  KEY `p` (`p`),\n  \
        CONSTRAINT `c_ibfk_2` FOREIGN KEY (`p`) REFERENCES `p` (`id`) ON DELETE CASCADE,\n  \
        CONSTRAINT `mine` FOREIGN KEY (`p`, `re``f`) REFERENCES `other`.`P 2` (`a`, `b`)\n) ENGINE=InnoDB";

    fn keys() -> Vec<ForeignKey> {
        ForeignKey::of_text(TEXT, "s").unwrap()
    }

    #[test]
    fn keys_are_read_as_the_server_writes_them() {
        let keys = keys();
        assert_eq!(keys[0].parent(), ("s", "p"));
        assert_eq!(keys[1].parent(), ("other", "P 2"));
        assert_eq!(keys[1].columns, ["p", "re`f"]);
        assert_eq!(
            keys[0].added_as("x"),
            "ADD CONSTRAINT `x` FOREIGN KEY (`p`) REFERENCES `s`.`p` (`id`) ON DELETE CASCADE"
        );
    }

    #[test]
    fn only_names_that_rename_makes_anew_have_a_number() {
        assert_eq!(number("c_ibfk_12", "c"), Some(12));
        for other in ["c_ibfk_", "c_ibfk_01", "c_ibfk_1a", "d_ibfk_1", "c_fk_1"] {
            assert_eq!(number(other, "c"), None, "{other}");
        }
    }

    #[test]
    fn a_handover_frees_each_name_before_it_is_taken() {
        let keys = keys();
        let swap = SwapNames {
            live: "c".into(),
            next: "_new".into(),
            aside: "_old".into(),
            fillers: Vec::new(),
            foreign_keys: keys.clone(),
        };
        let mut handover = Handover::default();
        handover.add("s", &swap, &keys);
        assert_eq!(
            handover.before,
            ["ALTER TABLE `s`.`_new` ALGORITHM=INPLACE, \
                 ADD CONSTRAINT `_new_ibfk_2` FOREIGN KEY (`p`) REFERENCES `s`.`p` (`id`) ON DELETE CASCADE, \
                 ADD CONSTRAINT `_new_fk_1` FOREIGN KEY (`p`, `re``f`) REFERENCES `other`.`P 2` (`a`, `b`)"]
        );
        assert_eq!(
            handover.after,
            [
                "ALTER TABLE `s`.`_old` ALGORITHM=INPLACE, DROP FOREIGN KEY `_old_ibfk_2`, DROP FOREIGN KEY `mine`",
                "ALTER TABLE `s`.`c` ALGORITHM=INPLACE, DROP FOREIGN KEY `_new_fk_1`, \
                 ADD CONSTRAINT `mine` FOREIGN KEY (`p`, `re``f`) REFERENCES `other`.`P 2` (`a`, `b`)"
            ]
        );
    }
}
