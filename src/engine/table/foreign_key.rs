//! Foreign keys of a table that is changed, as text and as they are put on or taken off.
//!
//! A copy has none while it is filled: the server checks a change of a parent against each of its
//! children, so a key of a copy that lags behind would refuse the application a delete that the
//! original allows.

use serde::{Deserialize, Serialize};

use super::{Key, KeyKind, TableDefinition, catalog, create_text};
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
        Self::of(&create_text(text)?, schema)
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

    /// The clause that adds it under this name.
    pub fn added_as(&self, name: &str) -> String {
        let parent = quote_table(&self.parent_schema, &self.parent_table);
        format!(
            "ADD CONSTRAINT {} FOREIGN KEY {}",
            quote(name),
            self.body(&parent)
        )
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

/// The number in a name that the server made from the table's, and makes anew with each RENAME.
pub fn number(name: &str, table: &str) -> Option<u32> {
    let digits = name.strip_prefix(table)?.strip_prefix("_ibfk_")?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

/// Why a statement that adds a key is refused.
pub(crate) fn not_added_online() -> EngineError {
    EngineError::permanent(
        "a foreign key can't be added online, because rows of the copy would hold back \
         deletes of their parents; add it by hand with foreign_key_checks = 0",
    )
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
        let now = create_text(&now.unwrap_or_default())?;
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

/// Alters a table's foreign keys. The definitions of the parents are locked for a moment too, so it is not waited for long: others
/// would wait behind.
pub(crate) async fn alter(
    session: &mut Session,
    schema: &str,
    table: &str,
    clauses: &str,
) -> Result<(), EngineError> {
    let table = quote_table(schema, table);
    let doing = EngineError::while_doing(format!("handing over the foreign keys of {table}"));
    let statement = format!("ALTER TABLE {table} ALGORITHM=INPLACE, {clauses}");
    session
        .with_short_lock_waits(async |session| session.run(&statement).await.map_err(doing))
        .await
        .map(drop)
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
}
