//! What a query event means for the stream: where a transaction ends, and what may touch a table.

use super::cursor::{Cursor, Malformed};
use crate::engine::names::PREFIX;
use crate::engine::syntax::token::{Dialect, Token, TokenKind, tokens};

/// A query event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query<'a> {
    /// In UTF-8, whatever the text is in.
    pub schema: &'a [u8],
    pub text: &'a [u8],
    pub spelling: Spelling,
}

/// How a statement's text spells names. The server writes most statements down as the client sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// As UTF-8 does.
    Readable,
    /// In another character set: what is no ASCII is spelled with other bytes.
    Foreign,
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
    read_behind(data, 0)
}

/// Reads the body of the event of a `LOAD DATA`, which has the numbers of its file before the rest.
pub fn read_load(data: &[u8]) -> Result<Query<'_>, Malformed> {
    read_behind(data, 13)
}

fn read_behind(data: &[u8], more_numbers: usize) -> Result<Query<'_>, Malformed> {
    let mut c = Cursor::new(data);
    c.bytes(8)?;
    let schema_length = usize::from(c.u8()?);
    c.bytes(2)?;
    let status_length = usize::from(c.u16()?);
    c.bytes(more_numbers)?;
    let status = c.bytes(status_length)?;
    let schema = c.bytes(schema_length)?;
    c.bytes(1)?;
    let text = c.rest();
    let is_readable = match client_collation(status) {
        // Every character set that a client may have spells ASCII as ASCII.
        _ if text.is_ascii() => true,
        Some(collation) => is_read_as_utf8(collation),
        None => std::str::from_utf8(text).is_ok(),
    };
    let spelling = match is_readable {
        true => Spelling::Readable,
        false => Spelling::Foreign,
    };
    Ok(Query {
        schema,
        text,
        spelling,
    })
}

/// The number of `character_set_client`, out of what the event says of the session. What comes before it is passed over by its length.
fn client_collation(status: &[u8]) -> Option<u16> {
    let mut c = Cursor::new(status);
    loop {
        let length = match c.u8().ok()? {
            // Flags.
            0 => 4,
            // sql_mode.
            1 => 8,
            // The catalog.
            6 => usize::from(c.u8().ok()?),
            // The steps of AUTO_INCREMENT.
            3 => 4,
            4 => return c.u16().ok(),
            // Nothing else is written before it.
            _ => return None,
        };
        c.bytes(length).ok()?;
    }
}

/// Of ascii, binary, utf8mb3 and utf8mb4: all numbers past a byte are of the latter.
fn is_read_as_utf8(collation: u16) -> bool {
    matches!(collation, 11 | 65 | 63 | 33 | 76 | 83 | 192..=215 | 223 | 45 | 46 | 224..=247 | 255..)
}

/// What else `ALTER TABLE … DROP` may drop. All are words that no column is called by without quotes.
const NO_COLUMN: [&str; 8] = [
    "CHECK",
    "CONSTRAINT",
    "DEFAULT",
    "FOREIGN",
    "INDEX",
    "KEY",
    "PARTITION",
    "PRIMARY",
];

impl Query<'_> {
    pub fn meaning(&self) -> Meaning {
        let mut words = words(self.text).map(|w| w.to_ascii_uppercase());
        let mut next = || words.next().unwrap_or_default();
        match next().as_slice() {
            b"BEGIN" | b"START" => Meaning::Begin,
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
        (default == schema.to_lowercase() || self.may_name(schema)) && self.may_name(table)
    }

    /// Whether the text has `name` as a whole word, or may have it in a spelling that can't be read here.
    pub fn may_name(&self, name: &str) -> bool {
        let is_hidden = self.spelling == Spelling::Foreign && !name.is_ascii();
        is_hidden || self.names(name)
    }

    /// Whether the statement gives `schema`.`table` another name, takes its rows away, or gives it others: those of another table,
    /// partition or file. Or takes the values of a column away, which may be there again afterwards, empty.
    /// It may be undone before anybody looks, and then the table is as it was, but for what was written meanwhile. A swap is known
    /// by the name that it gives.
    pub fn takes_away(&self, schema: &str, table: &str) -> bool {
        let text = String::from_utf8_lossy(self.text);
        let Ok(tokens) = tokens(&text, Dialect::OF_THE_SERVER) else {
            return false;
        };
        let default = String::from_utf8_lossy(self.schema);
        let names = Names {
            tokens: &tokens,
            default: &default,
        };
        let is_it = |(of, name): (&str, &str)| {
            of.to_lowercase() == schema.to_lowercase()
                && name.to_lowercase() == table.to_lowercase()
        };
        let is_left = |to: Option<((&str, &str), usize)>| {
            to.is_some_and(|((_, name), _)| !name.starts_with(PREFIX))
        };
        if names.is(0, &["RENAME"]) && names.is(1, &["TABLE", "TABLES"]) {
            let mut at = 2;
            while let Some((from, next)) = names.at(at) {
                let to = names.at(next + 1);
                if is_it(from) && is_left(to) {
                    return true;
                }
                // `, c TO d`
                at = to.map_or(usize::MAX, |(_, next)| next + 1);
            }
            return false;
        }
        if names.is(0, &["TRUNCATE"]) {
            let at = 1 + usize::from(names.is(1, &["TABLE"]));
            return names.at(at).is_some_and(|(emptied, _)| is_it(emptied));
        }
        if names.is(0, &["DROP"]) && names.is(1, &["TABLE", "TABLES"]) {
            let mut at = if names.is(2, &["IF"]) { 4 } else { 2 };
            while let Some((dropped, next)) = names.at(at) {
                if is_it(dropped) {
                    return true;
                }
                // `, b`
                at = next + 1;
            }
            return false;
        }
        if !(names.is(0, &["ALTER"]) && names.is(1, &["TABLE"])) {
            return false;
        }
        let Some((altered, next)) = names.at(2) else {
            return false;
        };
        (next..tokens.len()).any(|at| {
            if names.is(at, &["RENAME"]) && !names.is(at + 1, &["COLUMN", "INDEX", "KEY"]) {
                let to = at + 1 + usize::from(names.is(at + 1, &["TO", "AS"]));
                return is_it(altered) && is_left(names.at(to));
            }
            let of_a_partition = names.is(at + 1, &["PARTITION"]);
            let drops_column = names.is(at, &["DROP"]) && !names.is(at + 1, &NO_COLUMN);
            if drops_column
                || (names.is(at, &["IMPORT"])
                    && (of_a_partition || names.is(at + 1, &["TABLESPACE"])))
                || (names.is(at, &["TRUNCATE"]) && of_a_partition)
            {
                return is_it(altered);
            }
            let is_exchange = names.is(at, &["EXCHANGE"]) && names.is(at + 1, &["PARTITION"]);
            let other = names.at(at + 5).map(|(other, _)| other);
            is_exchange && (is_it(altered) || other.is_some_and(is_it))
        })
    }

    /// Whether the statement takes the rows of one of our own tables away, or the table itself, which its owner does only when no
    /// stream is read any more, or to give it the application's name.
    pub fn takes_own(
        &self,
        schema: &str,
        is_own: impl Fn(&str) -> bool,
        is_original: impl Fn(&str) -> bool,
    ) -> bool {
        let text = String::from_utf8_lossy(self.text);
        let Ok(tokens) = tokens(&text, Dialect::OF_THE_SERVER) else {
            return false;
        };
        let is_a_swap = tokens.first().is_some_and(|token| token.is("RENAME"))
            && tokens
                .windows(2)
                .any(|two| two[0].is("TO") && is_original(&two[1].value));
        let mut own = tokens.iter().filter(|token| is_own(&token.value));
        !is_a_swap && own.any(|token| self.takes_away(schema, &token.value))
    }

    /// Whether the text, read as UTF-8, has `name` as a whole word.
    fn names(&self, name: &str) -> bool {
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

/// The tables that a statement names.
struct Names<'a> {
    tokens: &'a [Token],
    /// The session's schema.
    default: &'a str,
}

impl<'a> Names<'a> {
    fn is(&self, at: usize, words: &[&str]) -> bool {
        let token = self.tokens.get(at);
        token.is_some_and(|token| words.iter().any(|word| token.is(word)))
    }

    /// The schema and the name of a table, and what follows. Under ANSI_QUOTES a name looks like a text.
    fn at(&self, at: usize) -> Option<((&'a str, &'a str), usize)> {
        let name = |at: usize| {
            let token = self.tokens.get(at)?;
            (token.kind != TokenKind::Mark).then_some(token.value.as_str())
        };
        let first = name(at)?;
        let has_schema = self.tokens.get(at + 1).is_some_and(|t| t.is_mark('.'));
        match has_schema {
            true => Some(((first, name(at + 2)?), at + 3)),
            false => Some(((self.default, first), at + 1)),
        }
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

    fn query<'a>(schema: &'a str, text: &'a str) -> Query<'a> {
        Query {
            schema: schema.as_bytes(),
            text: text.as_bytes(),
            spelling: Spelling::Readable,
        }
    }

    fn meaning(text: &str) -> Meaning {
        query("s", text).meaning()
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
            assert_eq!(query("s", text).empties_one_table(), known);
        }
    }

    #[test]
    fn a_table_that_is_given_another_name_or_other_rows_is_noticed() {
        for (text, taken) in [
            ("RENAME TABLE orders TO x", true),
            ("rename tables a TO b, `Orders` TO x", true),
            ("RENAME TABLE x TO orders", false),
            ("RENAME TABLE other.orders TO x", false),
            ("RENAME TABLE shop.orders TO other.orders", true),
            (
                "RENAME TABLE orders TO _lk_1_old, _lk_1_new TO orders",
                false,
            ),
            ("ALTER TABLE orders RENAME x", true),
            ("ALTER TABLE orders ADD a INT, RENAME AS shop.x", true),
            (
                "ALTER TABLE orders RENAME COLUMN a TO b, RENAME KEY c TO d",
                false,
            ),
            ("ALTER TABLE \"orders\" /* why */ RENAME TO x", true),
            ("ALTER TABLE x RENAME TO orders", false),
            ("ALTER TABLE orders EXCHANGE PARTITION p WITH TABLE x", true),
            (
                "ALTER TABLE x EXCHANGE PARTITION p WITH TABLE shop.orders",
                true,
            ),
            ("ALTER TABLE x EXCHANGE PARTITION p WITH TABLE y", false),
            ("ALTER TABLE orders IMPORT TABLESPACE", true),
            ("ANALYZE TABLE orders", false),
            ("TRUNCATE TABLE orders", true),
            ("truncate shop.`orders`", true),
            ("TRUNCATE TABLE x", false),
            ("ALTER TABLE orders TRUNCATE PARTITION p", true),
            ("ALTER TABLE orders DROP note, ADD note INT", true),
            ("ALTER TABLE shop.orders ADD a INT, DROP COLUMN `key`", true),
            ("ALTER TABLE x DROP COLUMN orders", false),
            (
                "ALTER TABLE orders ALTER a DROP DEFAULT, DROP KEY b, DROP PRIMARY KEY, DROP CHECK c, ADD `drop` INT",
                false,
            ),
            ("DROP TABLE x, orders", true),
            (
                "DROP TABLE IF EXISTS `shop`.`orders` /* generated by server */",
                true,
            ),
            ("DROP TABLE other.orders", false),
        ] {
            let query = query("shop", text);
            assert_eq!(query.takes_away("shop", "orders"), taken, "{text}");
        }
    }

    #[test]
    fn a_name_is_found_as_a_whole_word_only() {
        let q = |text: &'static str| query("S", text);
        assert!(q("ALTER TABLE `Orders` ADD a INT").mentions("s", "orders"));
        assert!(!q("ALTER TABLE `_lk_1_orders` ADD a INT").mentions("s", "orders"));
        assert!(q("RENAME TABLE a.orders TO b").mentions("a", "orders"));
    }

    #[test]
    fn a_table_of_the_same_name_in_another_schema_is_another_table() {
        let text = "ALTER TABLE orders ADD a INT";
        for (schema, mentioned) in [("shop", true), ("other", false), ("", false)] {
            assert_eq!(query(schema, text).mentions("shop", "orders"), mentioned);
        }
    }

    /// As the server writes it; `collation` is that of the client.
    fn body(collation: Option<u16>, more_numbers: usize, schema: &str, text: &[u8]) -> Vec<u8> {
        let mut status = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        status.extend(b"\x06\x03std\x03\x02\0\x01\0");
        if let Some(collation) = collation {
            status.push(4);
            status.extend(collation.to_le_bytes());
            status.extend([8, 0, 8, 0]);
        }
        status.extend(b"\x05\x06SYSTEM\x0c\x01s\0");
        let mut body = vec![0; 8];
        body.push(u8::try_from(schema.len()).unwrap());
        body.extend([0, 0]);
        body.extend(u16::try_from(status.len()).unwrap().to_le_bytes());
        body.extend(vec![0xff; more_numbers]);
        body.extend(status);
        body.extend(schema.as_bytes());
        body.push(0);
        body.extend(text);
        body
    }

    #[test]
    fn a_name_may_be_in_a_text_of_another_character_set_in_whatever_spelling() {
        const LATIN1: u16 = 8;
        const GBK: u16 = 28;
        let latin1 = b"TRUNCATE gr\xf6\xdfe".as_slice();
        for (collation, text, table, mentioned) in [
            (Some(LATIN1), latin1, "größe", true),
            (Some(LATIN1), "TRUNCATE größe".as_bytes(), "grÃ¶ÃŸe", true),
            (Some(GBK), "TRUNCATE größe".as_bytes(), "gr枚脽e", true),
            (None, latin1, "größe", true),
            // What is ASCII is so everywhere.
            (Some(LATIN1), b"TRUNCATE orders", "größe", false),
            (Some(LATIN1), latin1, "orders", false),
            (
                Some(LATIN1),
                b"INSERT orders VALUES ('\xf6')",
                "orders",
                true,
            ),
            // utf8mb4, of 8.0 and before, and bytes that are no character of it.
            (Some(255), "TRUNCATE größe".as_bytes(), "größe", true),
            (Some(45), "TRUNCATE grüße".as_bytes(), "größe", false),
            (Some(255), b"DO _binary'\xff'", "größe", false),
        ] {
            let body = body(collation, 0, "shop", text);
            let query = read(&body).unwrap();
            assert_eq!((query.schema, query.text), (b"shop".as_slice(), text));
            assert_eq!(query.mentions("shop", table), mentioned, "{query:?}");
            assert!(!query.mentions("other", table), "{query:?}");
        }
        let body = body(Some(LATIN1), 13, "Läden", latin1);
        let query = read_load(&body).unwrap();
        assert_eq!(query.text, latin1);
        assert!(query.mentions("läden", "größe"));
        assert!(query.mentions("Größen", "größe"));
    }
}
