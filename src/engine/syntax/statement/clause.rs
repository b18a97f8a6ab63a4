//! One clause of an `ALTER TABLE`: whether a task may have it, and what it does.

use super::{Action, Clause, StatementError};
use crate::engine::syntax::token::Token;

/// The clause of these tokens; `None` for one that chooses an algorithm, which is the engine's choice.
pub(super) fn read(text: &str, tokens: &[Token]) -> Result<Option<Clause>, StatementError> {
    let words = Words(tokens);
    if words.only_choose_an_algorithm() {
        return Ok(None);
    }
    if let Some(why) = words.refusal() {
        let clause = tokens.iter().take(2).map(|t| t.value.to_ascii_uppercase());
        return Err(StatementError::Unsupported {
            clause: clause.collect::<Vec<_>>().join(" "),
            why,
        });
    }
    Ok(Some(Clause {
        text: text.to_owned(),
        action: words.action(),
        moves_column: tokens.iter().any(|t| t.is("FIRST") || t.is("AFTER")),
    }))
}

/// First words of clauses that leave a table's definition as it is.
const NO_DEFINITION: [&str; 12] = [
    "DISCARD",
    "IMPORT",
    "EXCHANGE",
    "TRUNCATE",
    "ANALYZE",
    "CHECK",
    "OPTIMIZE",
    "REPAIR",
    "REBUILD",
    "UPGRADE",
    "SECONDARY_LOAD",
    "SECONDARY_UNLOAD",
];

/// Second words after `DROP`, of what is no column. All are reserved, so that no column's name can stand there.
const NO_COLUMN: [&str; 6] = ["INDEX", "KEY", "PRIMARY", "CHECK", "CONSTRAINT", "FOREIGN"];

struct Words<'a>(&'a [Token]);

impl Words<'_> {
    /// Whether one of `words` stands at this place.
    fn has(&self, at: usize, words: &[&str]) -> bool {
        let token = self.0.get(at);
        token.is_some_and(|t| words.iter().any(|word| t.is(word)))
    }

    fn name(&self, at: usize) -> Option<String> {
        let token = self.0.get(at)?;
        token.identifier().map(str::to_owned)
    }

    fn only_choose_an_algorithm(&self) -> bool {
        let has_mark = self.0.get(1).is_some_and(|t| t.is_mark('='));
        let length = if has_mark { 3 } else { 2 };
        self.has(0, &["ALGORITHM", "LOCK"]) && self.0.len() <= length
    }

    /// Why no task may have the clause.
    fn refusal(&self) -> Option<&'static str> {
        if self.has(0, &["ALGORITHM", "LOCK"]) {
            Some("stands before another clause; leave it out, the engine chooses")
        } else if self.has(0, &["RENAME"]) && !self.has(1, &["COLUMN", "INDEX", "KEY"]) {
            Some("renames the table; an apply keeps its tables' names")
        } else if self.has(0, &NO_DEFINITION) {
            Some("changes no definition; run it by hand")
        } else if self.has(0, &["ORDER"]) && self.has(1, &["BY"]) {
            Some("has no lasting effect on an InnoDB table; leave it out")
        } else {
            None
        }
    }

    fn action(&self) -> Action {
        let renames = |old: usize, new: usize| {
            let names = self.name(old).zip(self.name(new));
            names.map(|(old, new)| Action::RenameColumn { old, new })
        };
        let drops = |at: usize| self.name(at).map(|name| Action::DropColumn { name });
        let action = if self.has(0, &["CHANGE"]) {
            let old = if self.has(1, &["COLUMN"]) { 2 } else { 1 };
            renames(old, old + 1)
        } else if self.has(0, &["RENAME"]) && self.has(1, &["COLUMN"]) {
            renames(2, 4)
        } else if self.has(0, &["DROP"]) && self.has(1, &["PARTITION"]) {
            Some(Action::DropPartition)
        } else if self.has(0, &["DROP"]) && self.has(1, &["COLUMN"]) {
            drops(2)
        } else if self.has(0, &["DROP"]) && !self.has(1, &NO_COLUMN) {
            drops(1)
        } else if self.has(0, &["DROP", "ALTER"])
            && self.has(1, &["CHECK", "CONSTRAINT", "FOREIGN"])
        {
            self.constraint(if self.has(1, &["FOREIGN"]) { 3 } else { 2 })
        } else if self.0.iter().any(|t| t.is("REFERENCES")) {
            Some(Action::AddForeignKey)
        } else {
            None
        };
        action.unwrap_or(Action::Other)
    }

    /// The constraint that is named at this place.
    fn constraint(&self, at: usize) -> Option<Action> {
        let (first, named) = (self.0.first()?, self.0.get(at)?);
        let start = first.span.start;
        Some(Action::NamesConstraint {
            name: self.name(at)?,
            span: named.span.start - start..named.span.end - start,
        })
    }
}
