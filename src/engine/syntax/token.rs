//! Cuts a statement into tokens the way the server's own lexer does.
//!
//! The engine never decides by text what a statement does: it asks the server. Tokens serve
//! what the server can't tell: which table a statement names, so that the same statement can
//! be tried on a copy of it, and which column became which where two change names at once.

use std::ops::Range;

/// The parts of `sql_mode` that change where a token ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dialect {
    /// `"a"` is an identifier, not a string.
    pub ansi_quotes: bool,
    /// A backslash in a string is a backslash.
    pub no_backslash_escapes: bool,
    /// `/*!80000 … */` is read as if its marks were spaces: for text that the server made.
    /// Else it is refused: what it means depends on the server's version.
    pub reads_executable_comments: bool,
}

impl Dialect {
    /// The dialect of `SHOW CREATE TABLE` in sessions of ours.
    pub const OF_THE_SERVER: Self = Self {
        ansi_quotes: false,
        no_backslash_escapes: false,
        reads_executable_comments: true,
    };

    /// The dialect that a session with this `sql_mode` reads.
    pub fn of_sql_mode(sql_mode: &str) -> Self {
        let has = |wanted: &str| {
            sql_mode
                .split(',')
                .any(|mode| mode.trim().eq_ignore_ascii_case(wanted))
        };
        Self {
            ansi_quotes: has("ANSI_QUOTES") || has("ANSI"),
            no_backslash_escapes: has("NO_BACKSLASH_ESCAPES"),
            reads_executable_comments: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A keyword or an identifier without quotes, or a number.
    Word,
    /// An identifier in quotes; [`Token::value`] is without them.
    Quoted,
    /// A string; [`Token::value`] is the text between its quotes, escapes as written.
    Text,
    /// One character of punctuation.
    Mark,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub value: String,
    /// Where it stands in the statement, in bytes.
    pub span: Range<usize>,
}

impl Token {
    /// Is it this keyword, without quotes?
    pub fn is(&self, keyword: &str) -> bool {
        self.kind == TokenKind::Word && self.value.eq_ignore_ascii_case(keyword)
    }

    pub fn is_mark(&self, mark: char) -> bool {
        self.kind == TokenKind::Mark && self.value.chars().eq([mark])
    }

    /// The identifier it is, if it can be one.
    pub fn identifier(&self) -> Option<&str> {
        match self.kind {
            TokenKind::Word | TokenKind::Quoted => Some(&self.value),
            TokenKind::Text | TokenKind::Mark => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the quote {quote} at byte {at} is never closed")]
    Unclosed { quote: char, at: usize },
    #[error("the comment at byte {at} is never closed")]
    UnclosedComment { at: usize },
    #[error(
        "the comment at byte {at} is one that the server executes; write its content into the statement"
    )]
    ExecutableComment { at: usize },
}

/// All tokens of `text`; comments are left out.
///
/// # Errors
///
/// What is never closed, and comments that the server executes, unless the dialect reads them.
pub fn tokens(text: &str, dialect: Dialect) -> Result<Vec<Token>, TokenError> {
    let mut found = Vec::new();
    let mut executing = false;
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let tail = &text[at..];
        if is_space(c) {
            continue;
        }
        if c == '#' || is_dash_comment(tail) {
            while rest.next_if(|(_, c)| *c != '\n').is_some() {}
            continue;
        }
        if let Some(comment) = tail.strip_prefix("/*") {
            if comment.starts_with('!') && dialect.reads_executable_comments {
                rest.nth(1);
                while rest.next_if(|(_, c)| c.is_ascii_digit()).is_some() {}
                executing = true;
                continue;
            }
            if comment.starts_with('!') {
                return Err(TokenError::ExecutableComment { at });
            }
            let length = comment
                .find("*/")
                .ok_or(TokenError::UnclosedComment { at })?;
            let end = at + 2 + length + 2;
            while rest.next_if(|(i, _)| *i < end).is_some() {}
            continue;
        }
        if executing && tail.starts_with("*/") {
            rest.next();
            executing = false;
            continue;
        }
        let quoted = match c {
            '`' => Some(TokenKind::Quoted),
            '"' if dialect.ansi_quotes => Some(TokenKind::Quoted),
            '"' | '\'' => Some(TokenKind::Text),
            _ => None,
        };
        if let Some(kind) = quoted {
            let escapes = kind == TokenKind::Text && !dialect.no_backslash_escapes;
            let mut value = String::new();
            let end = loop {
                match rest.next() {
                    None => return Err(TokenError::Unclosed { quote: c, at }),
                    Some((_, '\\')) if escapes => {
                        value.push('\\');
                        match rest.next() {
                            None => return Err(TokenError::Unclosed { quote: c, at }),
                            Some((_, escaped)) => value.push(escaped),
                        }
                    }
                    Some((i, inner)) if inner == c => {
                        // A doubled quote is one quote inside.
                        if rest.next_if(|(_, next)| *next == c).is_none() {
                            break i + c.len_utf8();
                        }
                        value.push(c);
                    }
                    Some((_, inner)) => value.push(inner),
                }
            };
            found.push(Token {
                kind,
                value,
                span: at..end,
            });
            continue;
        }
        if is_word(c) {
            let mut end = at + c.len_utf8();
            while let Some((i, inner)) = rest.next_if(|(_, next)| is_word(*next)) {
                end = i + inner.len_utf8();
            }
            found.push(Token {
                kind: TokenKind::Word,
                value: text[at..end].to_owned(),
                span: at..end,
            });
            continue;
        }
        found.push(Token {
            kind: TokenKind::Mark,
            value: c.to_string(),
            span: at..at + c.len_utf8(),
        });
    }
    Ok(found)
}

/// `--` starts a comment only before a space, a control character or the end.
fn is_dash_comment(tail: &str) -> bool {
    tail.strip_prefix("--").is_some_and(|after| {
        after
            .chars()
            .next()
            .is_none_or(|c| is_space(c) || c.is_ascii_control())
    })
}

/// Space to the server: a no-break space is part of a name.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b' || c == '\0'
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str, dialect: Dialect) -> Vec<String> {
        tokens(text, dialect)
            .unwrap()
            .into_iter()
            .map(|t| t.value)
            .collect()
    }

    #[test]
    fn comments_quotes_and_escapes_are_read_as_the_server_reads_them() {
        let plain = Dialect::default();
        assert_eq!(values("a--b", plain), ["a", "-", "-", "b"]);
        assert_eq!(
            values("a -- b\nc # d\ne /* f */g", plain),
            ["a", "c", "e", "g"]
        );
        assert_eq!(
            values("`a``b` 'it''s' 'a\\'b'", plain),
            ["a`b", "it's", "a\\'b"]
        );
        assert_eq!(
            values(
                "'a\\' b",
                Dialect {
                    no_backslash_escapes: true,
                    ..plain
                }
            ),
            ["a\\", "b"]
        );
        assert_eq!(tokens("\"a\"", plain).unwrap()[0].kind, TokenKind::Text);
        let ansi = Dialect {
            ansi_quotes: true,
            ..plain
        };
        assert_eq!(tokens("\"a\"", ansi).unwrap()[0].kind, TokenKind::Quoted);
        assert_eq!(values("größe.t", plain), ["größe", ".", "t"]);
    }

    #[test]
    fn what_never_closes_is_an_error() {
        for text in ["'a", "`a", "/* a", "'a\\'", "/*!80000 a */"] {
            assert!(tokens(text, Dialect::default()).is_err(), "{text}");
        }
    }
}
