//! Reads a statement's tokens from left to right.

use std::ops::Range;

use super::{Action, Alter, Clause, Rest, StatementError, TableName, clause};
use crate::engine::syntax::token::Token;

/// Before the token that comes next.
pub(super) struct Cursor<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str, tokens: &'a [Token]) -> Self {
        Self {
            text,
            tokens,
            at: 0,
        }
    }

    pub fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    pub fn take_words(&mut self, words: &[&str]) -> bool {
        let there = words
            .iter()
            .enumerate()
            .all(|(i, word)| self.tokens.get(self.at + i).is_some_and(|t| t.is(word)));
        if there {
            self.at += words.len();
        }
        there
    }

    fn identifier(&mut self) -> Option<&'a Token> {
        let token = self.peek()?;
        token.identifier()?;
        self.at += 1;
        Some(token)
    }

    pub fn table_name(&mut self, after: &'static str) -> Result<TableName, StatementError> {
        let missing = StatementError::NoTable(after);
        let first = self.identifier().ok_or_else(|| missing.clone())?;
        if self.peek().is_some_and(|t| t.is_mark('.')) {
            self.at += 1;
            let second = self.identifier().ok_or(missing)?;
            return Ok(TableName {
                schema: Some(first.value.clone()),
                table: second.value.clone(),
            });
        }
        Ok(TableName {
            schema: None,
            table: first.value.clone(),
        })
    }

    /// The text of tokens `range`, comments between them included.
    pub fn slice(&self, range: Range<usize>) -> &'a str {
        match (
            self.tokens.get(range.start),
            self.tokens.get(range.end.wrapping_sub(1)),
        ) {
            (Some(first), Some(last)) if range.start < range.end => {
                &self.text[first.span.start..last.span.end]
            }
            _ => "",
        }
    }

    /// The rest, cut at its outer commas.
    pub fn clauses(&mut self) -> Result<Vec<Clause>, StatementError> {
        let mut clauses = Vec::new();
        let mut start = self.at;
        let mut depth = 0usize;
        for i in self.at..=self.tokens.len() {
            let ends = match self.tokens.get(i) {
                None => true,
                Some(t) if t.is_mark('(') => {
                    depth += 1;
                    false
                }
                Some(t) if t.is_mark(')') => {
                    depth = depth.saturating_sub(1);
                    false
                }
                // The names of DROP PARTITION a, b belong to one clause.
                Some(t) => t.is_mark(',') && depth == 0 && !self.lists_partitions(start),
            };
            if ends {
                let words = &self.tokens[start..i];
                clauses.extend(clause::read(self.slice(start..i), words)?);
                start = i + 1;
            }
        }
        self.at = self.tokens.len();
        Ok(clauses)
    }

    fn lists_partitions(&self, start: usize) -> bool {
        self.tokens
            .get(start + 1)
            .is_some_and(|t| t.is("PARTITION"))
            && self.tokens.get(start).is_some_and(|t| !t.is("ADD"))
    }

    /// `CREATE … INDEX` and `DROP INDEX` in the words of `ALTER TABLE`.
    pub fn index_statement(&mut self, verb: &str) -> Result<Option<Alter>, StatementError> {
        let kind = self.at;
        let _ = self.take_words(&["UNIQUE"])
            || self.take_words(&["FULLTEXT"])
            || self.take_words(&["SPATIAL"]);
        if !self.take_words(&["INDEX"]) {
            self.at = kind;
            return Ok(None);
        }
        let Some(on) = (self.at..self.tokens.len()).find(|i| self.tokens[*i].is("ON")) else {
            return Err(StatementError::NoTable("INDEX … ON"));
        };
        let head = self.slice(kind..on).to_owned();
        self.at = on + 1;
        let table = self.table_name("INDEX … ON")?;
        let mut end = self.tokens.len();
        // ALGORITHM and LOCK stand at the end, without commas.
        while let Some(i) = (self.at..end)
            .rev()
            .find(|i| self.tokens[*i].is("ALGORITHM") || self.tokens[*i].is("LOCK"))
        {
            if end - i > 3 {
                break;
            }
            end = i;
        }
        let tail = self.slice(self.at..end);
        let verb = if verb == "CREATE" { "ADD" } else { "DROP" };
        let text = format!("{verb} {head} {tail}").trim_end().to_owned();
        Ok(Some(Alter {
            table,
            clauses: vec![Clause {
                text,
                action: Action::Other,
                moves_column: false,
            }],
        }))
    }

    pub fn create_table(&mut self) -> Result<Rest, StatementError> {
        let if_not_exists = self.take_words(&["IF", "NOT", "EXISTS"]);
        let start = self.at;
        let table = self.table_name("CREATE TABLE")?;
        let before = self.text[..self.tokens[start].span.start].to_owned();
        let end = self.tokens[self.at - 1].span.end;
        let last = self.tokens.last().map_or(end, |t| t.span.end).max(end);
        let after = self.text[end..last].to_owned();
        let mut depth = 0usize;
        for (i, token) in self.tokens.iter().enumerate().skip(self.at) {
            if token.is_mark('(') {
                depth += 1;
            } else if token.is_mark(')') {
                depth = depth.saturating_sub(1);
            }
            let reads = ["SELECT", "TABLE", "WITH", "VALUES", "AS"]
                .iter()
                .any(|w| token.is(w));
            let opens = i == self.at + 1 && self.tokens[self.at].is_mark('(') && token.is("SELECT");
            if (reads && depth == 0 && !after_data_dictionary_word(self.tokens, i)) || opens {
                return Err(StatementError::Unsupported {
                    clause: "CREATE TABLE … SELECT".into(),
                    why: "fills a table; create it empty, then fill it by hand",
                });
            }
        }
        let opens = usize::from(self.peek().is_some_and(|t| t.is_mark('(')));
        let like = match self.tokens.get(self.at + opens..) {
            Some([like, _, dot, ..]) if like.is("LIKE") && dot.is_mark('.') => None,
            Some([like, name, ..]) if like.is("LIKE") => Some(name.span.start - end),
            Some(_) | None => None,
        };
        Ok(Rest {
            table,
            before,
            after,
            like,
            if_not_exists,
        })
    }
}

/// `STORAGE`-like table options may be followed by a word that else begins a query.
fn after_data_dictionary_word(tokens: &[Token], i: usize) -> bool {
    i > 0 && (tokens[i - 1].is_mark('=') || tokens[i - 1].is_mark('.'))
}
