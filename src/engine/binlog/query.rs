//! What a query event means for the stream: where a transaction ends, and what may touch a table.

use super::cursor::{Cursor, Malformed};

/// A query event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query<'a> {
    pub schema: &'a [u8],
    pub text: &'a [u8],
}

/// What a query is to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// `BEGIN`, `XA START`, or a `CREATE TABLE … START TRANSACTION`: a group begins.
    Begin,
    /// `COMMIT`, where the storage engine has no XID.
    Commit,
    /// A whole group was rolled back (it changed something that could not be).
    Rollback,
    /// Part of the group was rolled back, and its events are in the binlog all the same.
    RollbackTo,
    /// `SAVEPOINT` and the like: nothing.
    Nothing,
    XaEnd,
    XaCommit,
    XaRollback,
    /// A change of data that was logged as a statement, or a call of a function that may make one.
    Data,
    /// Of a temporary table, which no stream follows; where statements are logged, also inside a transaction.
    Temporary,
    /// Anything else: DDL and administration; a group of its own.
    Other,
}

/// Reads the body of a query event.
pub fn read(data: &[u8]) -> Result<Query<'_>, Malformed> {
    let mut c = Cursor::new(data);
    c.bytes(8)?;
    let schema_length = usize::from(c.u8()?);
    c.bytes(2)?;
    let status_length = usize::from(c.u16()?);
    c.bytes(status_length)?;
    let schema = c.bytes(schema_length)?;
    c.bytes(1)?;
    Ok(Query {
        schema,
        text: c.rest(),
    })
}

impl Query<'_> {
    pub fn meaning(&self) -> Meaning {
        let mut words = words(self.text).map(|w| w.to_ascii_uppercase());
        let mut next = || words.next().unwrap_or_default();
        match next().as_slice() {
            b"BEGIN" => Meaning::Begin,
            b"START" => Meaning::Begin,
            b"COMMIT" => Meaning::Commit,
            b"ROLLBACK" => match next().as_slice() {
                b"TO" => Meaning::RollbackTo,
                _ => Meaning::Rollback,
            },
            b"SAVEPOINT" | b"RELEASE" => Meaning::Nothing,
            b"XA" => match next().as_slice() {
                b"START" | b"BEGIN" => Meaning::Begin,
                b"END" => Meaning::XaEnd,
                b"COMMIT" => Meaning::XaCommit,
                b"ROLLBACK" => Meaning::XaRollback,
                _ => Meaning::Nothing,
            },
            b"INSERT" | b"UPDATE" | b"DELETE" | b"REPLACE" | b"LOAD" | b"WITH" | b"SELECT"
            | b"DO" | b"CALL" | b"TABLE" | b"VALUES" => Meaning::Data,
            b"CREATE" | b"DROP" if next() == b"TEMPORARY" => Meaning::Temporary,
            b"CREATE" if self.text.trim_ascii_end().ends_with(b"START TRANSACTION") => {
                Meaning::Begin
            }
            _ => Meaning::Other,
        }
    }

    /// Whether it is what the server itself writes when it first opens a MEMORY table after a start:
    /// ``DELETE FROM `a`.`b` ``. No trigger fires for that.
    pub fn empties_one_table(&self) -> bool {
        let name = |text: &[u8]| {
            let inside = text.strip_prefix(b"`")?.strip_suffix(b"`")?;
            (!inside.is_empty()).then(|| inside.split(|b| *b == b'`').count())
        };
        // Two names, and nothing but a point between them.
        let names = self.text.strip_prefix(b"DELETE FROM ");
        names.is_some_and(|names| {
            name(names) == Some(3) && names.windows(3).any(|three| three == b"`.`")
        })
    }

    /// Whether the statement can be about `schema`.`table`. Errs on the side of yes: the name may be in
    /// it in whatever role, but a table of another schema than the session's is named with its own.
    pub fn mentions(&self, schema: &str, table: &str) -> bool {
        let default = String::from_utf8_lossy(self.schema).to_lowercase();
        // In another character set the schema's name may be spelled with other bytes.
        let unreadable = || std::str::from_utf8(self.text).is_err();
        (default == schema.to_lowercase() || self.names(schema) || unreadable())
            && self.names(table)
    }

    /// Whether the text has `name` as a whole word.
    pub fn names(&self, name: &str) -> bool {
        let text = String::from_utf8_lossy(self.text).to_lowercase();
        let name = name.to_lowercase();
        let quoted = name.replace('`', "``");
        let in_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        [name.as_str(), quoted.as_str()].iter().any(|name| {
            text.match_indices(name).any(|(at, found)| {
                let before = text[..at].chars().next_back().is_some_and(in_name);
                let after = text[at + found.len()..].chars().next().is_some_and(in_name);
                !before && !after
            })
        })
    }
}

/// Words of a statement, comments left out.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_ascii_start();
            if let Some(comment) = rest.strip_prefix(b"/*") {
                // `/*! … */` is executed: what is inside counts.
                if let Some(code) = comment.strip_prefix(b"!") {
                    rest = code.trim_ascii_start();
                    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
                    rest = &rest[digits..];
                    continue;
                }
                let end = comment.windows(2).position(|w| w == b"*/")?;
                rest = &comment[end + 2..];
            } else if rest.starts_with(b"#") || rest.starts_with(b"-- ") {
                let end = rest.iter().position(|b| *b == b'\n')?;
                rest = &rest[end + 1..];
            } else {
                break;
            }
        }
        let length = rest
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric())
            .count();
        if length == 0 {
            return None;
        }
        let (word, tail) = rest.split_at(length);
        rest = tail;
        Some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(text: &str) -> Meaning {
        Query {
            schema: b"s",
            text: text.as_bytes(),
        }
        .meaning()
    }

    #[test]
    fn the_first_words_tell_through_comments() {
        assert_eq!(meaning("BEGIN"), Meaning::Begin);
        assert_eq!(meaning("/* app */ commit"), Meaning::Commit);
        assert_eq!(meaning("rollback /* x */ to `a`"), Meaning::RollbackTo);
        assert_eq!(meaning("-- why\nINSERT INTO t VALUES (1)"), Meaning::Data);
        assert_eq!(meaning("/*!80000 UPDATE */ t SET a = 1"), Meaning::Data);
        assert_eq!(meaning("XA COMMIT X'01',X'',1"), Meaning::XaCommit);
        assert_eq!(
            meaning("CREATE TABLE t (a INT) START TRANSACTION"),
            Meaning::Begin
        );
        assert_eq!(
            meaning("CREATE TEMPORARY TABLE t (a INT)"),
            Meaning::Temporary
        );
        assert_eq!(
            meaning("DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `t`"),
            Meaning::Temporary
        );
        assert_eq!(meaning("SELECT `d`.`f`(1)"), Meaning::Data);
        assert_eq!(meaning("DROP TABLE t"), Meaning::Other);
        assert_eq!(meaning("ALTER TABLE t ADD a INT"), Meaning::Other);
        assert_eq!(meaning("%$unreadable"), Meaning::Other);
    }

    #[test]
    fn what_the_server_says_of_a_memory_table_after_a_start_is_known() {
        for (text, known) in [
            ("DELETE FROM `a`.`b`", true),
            ("DELETE FROM `a`.`b` WHERE `c`", false),
            ("DELETE FROM `a`", false),
            ("DELETE FROM b", false),
            ("INSERT INTO `a`.`b`", false),
        ] {
            let text = text.as_bytes();
            let schema = b"s";
            assert_eq!(Query { schema, text }.empties_one_table(), known);
        }
    }

    #[test]
    fn a_name_is_found_as_a_whole_word_only() {
        let q = |text: &'static str| Query {
            schema: b"S",
            text: text.as_bytes(),
        };
        assert!(q("ALTER TABLE `Orders` ADD a INT").mentions("s", "orders"));
        assert!(!q("ALTER TABLE `_lk_1_orders` ADD a INT").mentions("s", "orders"));
        assert!(q("RENAME TABLE a.orders TO b").mentions("a", "orders"));
    }

    #[test]
    fn a_table_of_the_same_name_in_another_schema_is_another_table() {
        let text = "ALTER TABLE orders ADD a INT".as_bytes();
        for (schema, mentioned) in [("shop", true), ("other", false), ("", false)] {
            let schema = schema.as_bytes();
            assert_eq!(Query { schema, text }.mentions("shop", "orders"), mentioned);
        }
    }
}
