//! What a task's statement names: its verb, its table, its clauses.
//!
//! Read from tokens, and only as far as is needed to try the same statement on another table.

mod clause;
mod cursor;

use std::ops::Range;

use super::token::{Dialect, TokenError, tokens};
use super::{quote, quote_table};
use cursor::Cursor;

/// A task's statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// `ALTER TABLE`, `CREATE INDEX`, `DROP INDEX`.
    Alter(Alter),
    /// `CREATE TABLE`.
    Create(Rest),
    /// `DROP TABLE` of one table.
    Drop { table: TableName, if_exists: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// As written; `None` means the apply's own schema.
    pub schema: Option<String>,
    pub table: String,
}

/// A statement around its table's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    pub table: TableName,
    before: String,
    after: String,
    /// Where in `after` the name of a table begins that this one is to be like, and that has no schema of its own.
    like: Option<usize>,
    pub if_not_exists: bool,
}

impl Rest {
    /// The same statement for another table of the apply's schema. A session of ours is in no schema, so it is named.
    pub fn on(&self, schema: &str, table: &str) -> String {
        let mut after = self.after.clone();
        if let Some(at) = self.like {
            after.insert_str(at, &format!("{}.", super::quote(schema)));
        }
        format!("{}{}{after}", self.before, quote_table(schema, table))
    }

    /// The tables that foreign keys of the new table point at, itself aside, as (schema, table): their definitions are
    /// locked while it is made.
    pub fn parents(&self, schema: &str, dialect: Dialect) -> Vec<(String, String)> {
        let mut parents = self.references(schema, dialect);
        parents.retain(|(_, parent)| *parent != self.table.table);
        parents
    }

    /// The same with itself.
    pub fn references(&self, schema: &str, dialect: Dialect) -> Vec<(String, String)> {
        let words = tokens(&self.after, dialect).unwrap_or_default();
        let references = words.iter().enumerate().filter(|(_, t)| t.is("REFERENCES"));
        let mut parents: Vec<(String, String)> = references
            .filter_map(|(at, _)| {
                let first = words.get(at + 1)?.identifier()?.to_owned();
                match words.get(at + 2).filter(|t| t.is_mark('.')) {
                    Some(_) => Some((first, words.get(at + 3)?.identifier()?.to_owned())),
                    None => Some((schema.to_owned(), first)),
                }
            })
            .collect();
        parents.sort_unstable();
        parents.dedup();
        parents
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alter {
    pub table: TableName,
    pub clauses: Vec<Clause>,
}

impl Alter {
    /// The statement for another table. `modifiers` (such as `ALGORITHM=INSTANT`) come first,
    /// because nothing may follow a partitioning clause.
    pub fn on(&self, schema: &str, table: &str, modifiers: &str) -> String {
        let mut parts = Vec::new();
        if !modifiers.is_empty() {
            parts.push(modifiers);
        }
        parts.extend(self.clauses.iter().map(|clause| clause.text.as_str()));
        format!(
            "ALTER TABLE {} {}",
            quote_table(schema, table),
            parts.join(", ")
        )
    }

    /// The columns that the statement gives a new name, as (old, new).
    pub fn renamed_columns(&self) -> impl Iterator<Item = (&str, &str)> {
        self.clauses
            .iter()
            .filter_map(|clause| match &clause.action {
                Action::RenameColumn { old, new } => Some((old.as_str(), new.as_str())),
                _ => None,
            })
    }

    /// The columns that the statement drops. One of the same name may be added in their place.
    pub fn dropped_columns(&self) -> impl Iterator<Item = &str> {
        self.clauses
            .iter()
            .filter_map(|clause| match &clause.action {
                Action::DropColumn { name } => Some(name.as_str()),
                _ => None,
            })
    }

    /// A copy whose clauses name constraints by `translate`; `None` leaves a name as it is.
    pub fn with_constraint_names(&self, translate: impl Fn(&str) -> Option<String>) -> Self {
        let mut copy = self.clone();
        for clause in &mut copy.clauses {
            if let Action::NamesConstraint { name, span } = &clause.action
                && let Some(other) = translate(name)
            {
                clause.text.replace_range(span.clone(), &quote(&other));
            }
        }
        copy
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    pub text: String,
    pub action: Action,
    /// Does it put a column elsewhere (`FIRST`, `AFTER`)?
    pub moves_column: bool,
}

/// What a clause does, as far as asking the server on an empty copy would not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `CHANGE old new …` or `RENAME COLUMN old TO new`.
    RenameColumn {
        old: String,
        new: String,
    },
    /// A clause that names an existing constraint, and where in the clause's text.
    NamesConstraint {
        name: String,
        span: Range<usize>,
    },
    /// `DROP [COLUMN] name`.
    DropColumn {
        name: String,
    },
    /// `ADD … FOREIGN KEY`, or a column with `REFERENCES`.
    AddForeignKey,
    /// `DROP PARTITION`: the copy's definition doesn't show that rows go.
    DropPartition,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("there is more than one statement in it; submit each as a task of its own")]
    SeveralStatements,
    #[error("it is empty")]
    Empty,
    #[error(
        "it begins with {0}, and a task is ALTER TABLE, CREATE INDEX, DROP INDEX, CREATE TABLE or DROP TABLE; correct its first \
         words"
    )]
    UnknownVerb(String),
    #[error("{0} is no task; {1}")]
    NoChange(&'static str, &'static str),
    #[error("no table's name was found after {0}")]
    NoTable(&'static str),
    #[error(
        "ALTER TABLE without a clause changes nothing; write what is to change after the table's name"
    )]
    NoClause,
    #[error("it drops several tables; submit one DROP TABLE for each")]
    SeveralTables,
    #[error("{clause} {why}")]
    Unsupported { clause: String, why: &'static str },
}

impl Statement {
    pub fn parse(text: &str, dialect: Dialect) -> Result<Self, StatementError> {
        let mut tokens = tokens(text, dialect)?;
        while tokens.last().is_some_and(|t| t.is_mark(';')) {
            tokens.pop();
        }
        if tokens.iter().any(|t| t.is_mark(';')) {
            return Err(StatementError::SeveralStatements);
        }
        let mut cursor = Cursor::new(text, &tokens);
        let Some(first) = cursor.peek() else {
            return Err(StatementError::Empty);
        };
        let verb = first.value.to_ascii_uppercase();
        if cursor.take_words(&["ALTER", "TABLE"]) {
            let table = cursor.table_name("ALTER TABLE")?;
            let clauses = cursor.clauses()?;
            if clauses.is_empty() {
                return Err(StatementError::NoClause);
            }
            return Ok(Self::Alter(Alter { table, clauses }));
        }
        if cursor.take_words(&["CREATE", "TABLE"]) {
            return cursor.create_table().map(Self::Create);
        }
        if cursor.take_words(&["DROP", "TABLE"]) {
            let if_exists = cursor.take_words(&["IF", "EXISTS"]);
            let table = cursor.table_name("DROP TABLE")?;
            if cursor.peek().is_some_and(|t| t.is_mark(',')) {
                return Err(StatementError::SeveralTables);
            }
            return Ok(Self::Drop { table, if_exists });
        }
        if (cursor.take_words(&["CREATE"]) || cursor.take_words(&["DROP"]))
            && let Some(alter) = cursor.index_statement(&verb)?
        {
            return Ok(Self::Alter(alter));
        }
        let no_change = [
            ("OPTIMIZE", "ALTER TABLE … FORCE rebuilds the table"),
            (
                "TRUNCATE",
                "empty the table by hand, or DROP and CREATE it in an apply",
            ),
            (
                "RENAME",
                "an apply keeps its tables' names; rename the table by hand",
            ),
            ("ANALYZE", "it needs no apply; run it on each server"),
        ];
        for (verb, why) in no_change {
            if cursor.take_words(&[verb]) {
                return Err(StatementError::NoChange(verb, why));
            }
        }
        let words = cursor.slice(0..tokens.len().min(2));
        Err(StatementError::UnknownVerb(words.to_owned()))
    }

    pub fn table(&self) -> &TableName {
        match self {
            Self::Alter(alter) => &alter.table,
            Self::Create(create) => &create.table,
            Self::Drop { table, .. } => table,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Statement, StatementError> {
        Statement::parse(text, Dialect::default())
    }

    fn on_x(text: &str) -> String {
        match parse(text).unwrap() {
            Statement::Alter(alter) => alter.on("s", "x", ""),
            Statement::Create(create) => create.on("s", "x"),
            Statement::Drop { .. } => String::new(),
        }
    }

    #[test]
    fn a_statement_is_the_same_on_another_table() {
        for (text, expected) in [
            (
                "ALTER TABLE t ADD c INT, DROP d;",
                "ALTER TABLE `s`.`x` ADD c INT, DROP d",
            ),
            (
                "alter table `a`.`t` add c int comment 't, x'",
                "ALTER TABLE `s`.`x` add c int comment 't, x'",
            ),
            (
                "ALTER TABLE t ADD c INT, ALGORITHM=COPY, LOCK=NONE",
                "ALTER TABLE `s`.`x` ADD c INT",
            ),
            (
                "ALTER TABLE t ADD c DECIMAL(3,1), DROP PARTITION a, b",
                "ALTER TABLE `s`.`x` ADD c DECIMAL(3,1), DROP PARTITION a, b",
            ),
            (
                "CREATE UNIQUE INDEX i USING BTREE ON t (a, b) COMMENT 'x' ALGORITHM=INPLACE LOCK NONE",
                "ALTER TABLE `s`.`x` ADD UNIQUE INDEX i USING BTREE (a, b) COMMENT 'x'",
            ),
            ("DROP INDEX i ON s.t", "ALTER TABLE `s`.`x` DROP INDEX i"),
            (
                "/* why */ CREATE TABLE IF NOT EXISTS t (a INT AS (1))",
                "/* why */ CREATE TABLE IF NOT EXISTS `s`.`x` (a INT AS (1))",
            ),
            (
                "CREATE TABLE t /* as */ LIKE u",
                "CREATE TABLE `s`.`x` /* as */ LIKE `s`.u",
            ),
            (
                "create table a.t ( like `u` )",
                "create table `s`.`x` ( like `s`.`u` )",
            ),
            ("CREATE TABLE t LIKE b.u", "CREATE TABLE `s`.`x` LIKE b.u"),
        ] {
            assert_eq!(on_x(text), expected);
        }
    }

    #[test]
    fn renames_of_columns_are_found_in_any_spelling() {
        let Statement::Alter(alter) = parse(
            "ALTER TABLE t CHANGE COLUMN `a``b` c INT DEFAULT 1, CHANGE d e INT, RENAME COLUMN f TO `g`, MODIFY h INT",
        ).unwrap() else { panic!() };
        assert_eq!(
            alter.renamed_columns().collect::<Vec<_>>(),
            [("a`b", "c"), ("d", "e"), ("f", "g")]
        );
    }

    #[test]
    fn what_is_not_the_change_of_one_table_is_refused() {
        for text in [
            "",
            "SELECT 1",
            "ALTER TABLE t ADD c INT; DROP TABLE t",
            "ALTER TABLE t RENAME TO u",
            "ALTER TABLE t RENAME AS u",
            "ALTER TABLE t RENAME u",
            "DROP TABLE a, b",
            "CREATE TABLE t SELECT 1",
            "CREATE TABLE t (SELECT 1)",
            "CREATE TABLE t AS TABLE u",
            "ALTER TABLE t TRUNCATE PARTITION p",
            "ALTER TABLE t DISCARD TABLESPACE",
            "RENAME TABLE a TO b",
            "TRUNCATE t",
            "ALTER VIEW v AS SELECT 1",
            "CREATE TEMPORARY TABLE t (a INT)",
            "ALTER TABLE t /*!80000 ADD c INT */",
            "DROP DATABASE s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mistyped_verb_is_shown_beside_what_is_expected() {
        let refused = parse("alter TABEL t ADD c INT").unwrap_err().to_string();
        assert!(
            refused.contains("alter TABEL") && refused.contains("a task is ALTER TABLE"),
            "{refused}"
        );
    }

    #[test]
    fn names_of_constraints_are_translated_where_they_stand() {
        let Statement::Alter(alter) =
            parse("ALTER TABLE t DROP CHECK pos, ALTER CONSTRAINT `neg` NOT ENFORCED").unwrap()
        else {
            panic!()
        };
        let other = alter.with_constraint_names(|name| (name == "neg").then(|| "x_chk_1".into()));
        assert_eq!(
            other.on("s", "x", ""),
            "ALTER TABLE `s`.`x` DROP CHECK pos, ALTER CONSTRAINT `x_chk_1` NOT ENFORCED"
        );
    }
}
