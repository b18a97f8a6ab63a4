//! `SHOW CREATE TABLE`, cut into its parts.
//!
//! The catalogue's views leave out how a key or a constraint is spelled, and this text is what
//! the server itself would execute. It is also what two tables are compared by.

use super::token::{Dialect, Token, TokenError, tokens};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementKind {
    Column,
    Key,
    ForeignKey,
    Check,
}

/// A column, key or constraint, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    pub kind: ElementKind,
    /// The column's, key's (`PRIMARY` for the primary one) or constraint's name.
    pub name: String,
    pub text: String,
    /// The text without the name of its constraint.
    unnamed: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateText {
    pub elements: Vec<Element>,
    /// What follows the closing parenthesis: options and partitions.
    pub options: String,
    /// The counter, where the server shows one.
    pub auto_increment: Option<u64>,
}

impl CreateText {
    /// # Errors
    ///
    /// Only for text that no server makes.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let tokens = tokens(text, Dialect::OF_THE_SERVER)?;
        let mut elements = Vec::new();
        let mut depth = 0usize;
        let mut start = None;
        let mut first = 0;
        for (i, token) in tokens.iter().enumerate() {
            if token.is_mark('(') {
                depth += 1;
                if depth == 1 {
                    start = Some(token.span.end);
                    first = i + 1;
                }
            }
            let closes = token.is_mark(')') && depth == 1;
            if let Some(from) = start
                && depth == 1
                && (closes || token.is_mark(','))
            {
                elements.push(element(&text[from..token.span.start], &tokens[first..i]));
                start = Some(token.span.end);
                first = i + 1;
            }
            if closes {
                let (options, auto_increment) = options(text, &tokens[i + 1..], token.span.end);
                return Ok(Self {
                    elements,
                    options,
                    auto_increment,
                });
            }
            if token.is_mark(')') {
                depth = depth.saturating_sub(1);
            }
        }
        Ok(Self {
            elements,
            options: String::new(),
            auto_increment: None,
        })
    }

    pub fn of_kind(&self, kind: ElementKind) -> impl Iterator<Item = &Element> {
        self.elements.iter().filter(move |e| e.kind == kind)
    }

    /// What the table is, apart from its own name, its counter and its constraints' names.
    pub fn meaning(&self) -> String {
        let mut others = Vec::new();
        let mut lines = Vec::new();
        for element in &self.elements {
            match element.kind {
                ElementKind::Column => lines.push(element.text.as_str()),
                ElementKind::Key | ElementKind::ForeignKey | ElementKind::Check => {
                    others.push(element.unnamed.as_str());
                }
            }
        }
        // The server lists constraints by name, and the names differ; keys that were added
        // later stand elsewhere.
        others.sort_unstable();
        lines.extend(others);
        lines.push(&self.options);
        lines.join("\n")
    }
}

impl Element {
    /// The constraint without its name: what it says.
    pub fn without_name(&self) -> &str {
        &self.unnamed
    }
}

fn element(text: &str, tokens: &[Token]) -> Element {
    let text = text.trim().to_owned();
    let name_at = |i: usize| {
        tokens
            .get(i)
            .and_then(Token::identifier)
            .unwrap_or_default()
            .to_owned()
    };
    let starts = |words: &[&str]| {
        words
            .iter()
            .enumerate()
            .all(|(i, word)| tokens.get(i).is_some_and(|t| t.is(word)))
    };
    let (kind, name) = if starts(&["PRIMARY", "KEY"]) {
        (ElementKind::Key, "PRIMARY".to_owned())
    } else if starts(&["KEY"]) {
        (ElementKind::Key, name_at(1))
    } else if starts(&["UNIQUE", "KEY"])
        || starts(&["FULLTEXT", "KEY"])
        || starts(&["SPATIAL", "KEY"])
    {
        (ElementKind::Key, name_at(2))
    } else if starts(&["CONSTRAINT"]) {
        let kind = if tokens.get(2).is_some_and(|t| t.is("FOREIGN")) {
            ElementKind::ForeignKey
        } else {
            ElementKind::Check
        };
        (kind, name_at(1))
    } else {
        (ElementKind::Column, name_at(0))
    };
    let unnamed = match (kind, tokens.first(), tokens.get(2)) {
        (ElementKind::ForeignKey | ElementKind::Check, Some(first), Some(third)) => {
            text[third.span.start - first.span.start..].to_owned()
        }
        _ => text.clone(),
    };
    Element {
        kind,
        name,
        text,
        unnamed,
    }
}

/// The options without `AUTO_INCREMENT=n`, which is data, and that number.
fn options(text: &str, tokens: &[Token], from: usize) -> (String, Option<u64>) {
    let counter = tokens
        .windows(3)
        .find(|three| three[0].is("AUTO_INCREMENT") && three[1].is_mark('='));
    match counter {
        Some(three) => (
            format!(
                "{} {}",
                text[from..three[0].span.start].trim(),
                text[three[2].span.end..].trim()
            ),
            three[2].value.parse().ok(),
        ),
        None => (text[from..].trim().to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "CREATE TABLE `a` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  `b` enum('x,(','y') DEFAULT NULL COMMENT ')',\n  \
        PRIMARY KEY (`id`),\n  UNIQUE KEY `u` (`b`,`id` DESC) /*!80000 INVISIBLE */,\n  KEY `f` ((`id` + 1)),\n  \
        CONSTRAINT `pos` CHECK ((`id` > 0))\n) ENGINE=InnoDB AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4\n\
        /*!50100 PARTITION BY HASH (`id`)\nPARTITIONS 4 */";

    #[test]
    fn the_parts_are_as_the_server_wrote_them() {
        let parts = CreateText::parse(TEXT).unwrap();
        let names: Vec<_> = parts
            .elements
            .iter()
            .map(|e| (e.kind, e.name.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                (ElementKind::Column, "id"),
                (ElementKind::Column, "b"),
                (ElementKind::Key, "PRIMARY"),
                (ElementKind::Key, "u"),
                (ElementKind::Key, "f"),
                (ElementKind::Check, "pos"),
            ]
        );
        assert_eq!(
            parts.elements[3].text,
            "UNIQUE KEY `u` (`b`,`id` DESC) /*!80000 INVISIBLE */"
        );
        assert!(parts.options.ends_with("PARTITIONS 4 */"));
    }

    #[test]
    fn names_of_constraints_and_the_counter_are_not_its_meaning() {
        let same = TEXT
            .replace("`pos`", "`a_chk_1`")
            .replace("AUTO_INCREMENT=7", "AUTO_INCREMENT=9")
            .replace("TABLE `a`", "TABLE `z`");
        let meaning = |text: &str| CreateText::parse(text).unwrap().meaning();
        assert_eq!(meaning(TEXT), meaning(&same));
        assert_ne!(
            meaning(TEXT),
            meaning(&TEXT.replace("`id` > 0", "`id` > 1"))
        );
    }
}
