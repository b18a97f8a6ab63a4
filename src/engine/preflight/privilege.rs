//! Which privileges the account lacks, by name, with the GRANT that gives them.

use std::collections::BTreeSet;

use sqlx::Row;

use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::engine::syntax::quote;
use crate::engine::syntax::token::{Dialect, Token, tokens};
use crate::server_error;

/// Needed on the whole server: to read the stream, to see sessions and InnoDB's own tables.
const GLOBAL: [&str; 3] = ["REPLICATION SLAVE", "REPLICATION CLIENT", "PROCESS"];

/// Needed on the schema.
const ON_SCHEMA: [&str; 11] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "ALTER",
    "INDEX",
    "LOCK TABLES",
    "CREATE TEMPORARY TABLES",
    // Without it triggers are not shown, and would be lost.
    "TRIGGER",
];

/// Needed on the schemas that foreign keys point into.
const ON_PARENTS: [&str; 3] = ["SELECT", "LOCK TABLES", "REFERENCES"];

/// # Errors
///
/// Permanent, naming every missing privilege and the statements that grant them.
pub async fn check(
    session: &mut Session,
    schema: &str,
    kills_blockers: bool,
) -> Result<(), EngineError> {
    let held = Held::read_all(session, schema).await?;
    let mut global = held.missing_global();
    if kills_blockers && !held.global.contains("CONNECTION_ADMIN") && !held.global.contains("SUPER")
    {
        global.push("CONNECTION_ADMIN");
    }
    let sees_sessions = !kills_blockers || sees_sessions(session).await?;
    let mut missing = Vec::new();
    if !global.is_empty() {
        missing.push((global, "*".to_owned()));
    }
    missing.extend(held.missing(&ON_SCHEMA, schema));
    if !sees_sessions {
        missing.push((vec!["SELECT"], "performance_schema".to_owned()));
    }
    refuse(session, &missing).await
}

/// Whether the account can find out who blocks a swap. No row is read: the right to is what matters.
async fn sees_sessions(session: &mut Session) -> Result<bool, EngineError> {
    let query =
        "SELECT 1 FROM performance_schema.threads, performance_schema.metadata_locks LIMIT 0";
    match session.rows(query).await {
        Ok(_) => Ok(true),
        Err(error) if server_error::is_denied(&error) => Ok(false),
        Err(error) => Err(EngineError::while_doing("reading privileges")(error)),
    }
}

/// The same for what is needed on the whole server, whatever the schema.
pub async fn check_global(session: &mut Session) -> Result<(), EngineError> {
    let missing = Held::read_all(session, "").await?.missing_global();
    if missing.is_empty() {
        return Ok(());
    }
    refuse(session, &[(missing, "*".to_owned())]).await
}

/// The same for the parents of a table with foreign keys, which is in `child`.
pub async fn check_parents(
    session: &mut Session,
    child: &str,
    schemas: impl Iterator<Item = &str>,
) -> Result<(), EngineError> {
    let schemas: BTreeSet<&str> = schemas.collect();
    let mut missing = Vec::new();
    for &schema in &schemas {
        let held = Held::read_all(session, schema).await?;
        missing.extend(held.missing(&ON_PARENTS, schema));
    }
    // The way is tried on stand-ins for the parents, which are made there.
    if !schemas.is_empty() && !schemas.contains(child) {
        let held = Held::read_all(session, child).await?;
        missing.extend(held.missing(&["REFERENCES"], child));
    }
    refuse(session, &missing).await
}

/// `missing`: privileges, and what they are needed on.
async fn refuse(session: &mut Session, missing: &[(Vec<&str>, String)]) -> Result<(), EngineError> {
    if missing.is_empty() {
        return Ok(());
    }
    let account = account(session).await?;
    let grants: Vec<String> = missing
        .iter()
        .map(|(names, on)| format!("GRANT {} ON {on}.* TO {account}", names.join(", ")))
        .collect();
    Err(EngineError::permanent(format!(
        "privileges are missing; run {}",
        grants.join("; ")
    )))
}

/// The account as a GRANT names it.
pub async fn account(session: &mut Session) -> Result<String, EngineError> {
    let doing = || EngineError::while_doing("reading the account's name");
    let rows = session
        .rows("SELECT CURRENT_USER()")
        .await
        .map_err(doing())?;
    let account: String = rows
        .first()
        .map_or(Ok(String::new()), |row| row.try_get_unchecked(0))
        .map_err(doing())?;
    Ok(match account.rsplit_once('@') {
        Some((user, host)) => format!("{}@{}", quote(user), quote(host)),
        None => quote(&account),
    })
}

/// What `SHOW GRANTS` lists, as far as it concerns one schema.
#[derive(Debug, Default)]
struct Held {
    global: BTreeSet<String>,
    /// Of each pattern that the schema matches, with how exact it is.
    patterns: Vec<(usize, BTreeSet<String>)>,
    has_roles: bool,
    /// Taken away from the schema again (`partial_revokes`).
    revoked: BTreeSet<String>,
}

impl Held {
    async fn read_all(session: &mut Session, schema: &str) -> Result<Self, EngineError> {
        let doing = || EngineError::while_doing("reading the account's privileges");
        let mut held = Self::default();
        // Roles that are active are in the answer.
        for row in session.rows("SHOW GRANTS").await.map_err(doing())? {
            let line: String = row.try_get_unchecked(0).map_err(doing())?;
            held.read(&line, schema);
        }
        Ok(held)
    }

    fn missing_global(&self) -> Vec<&'static str> {
        let missing = GLOBAL.into_iter().filter(|p| !self.global.contains(*p));
        missing.collect()
    }

    /// What of `needed` is not held on the schema, and the schema as a grant names it.
    fn missing<'a>(&self, needed: &[&'a str], schema: &str) -> Option<(Vec<&'a str>, String)> {
        let on_schema = self.on_schema();
        let missing: Vec<&str> = needed
            .iter()
            .copied()
            .filter(|p| {
                let granted = self.global.contains(*p) && !self.revoked.contains(*p);
                !granted && !on_schema.contains(*p)
            })
            .collect();
        (!missing.is_empty()).then(|| (missing, quote(schema)))
    }

    /// The server goes by the most exact pattern alone, and by all of them where there are roles.
    fn on_schema(&self) -> BTreeSet<&str> {
        let most_exact = self.patterns.iter().map(|(exact, _)| *exact).max();
        let valid = self
            .patterns
            .iter()
            .filter(|(exact, _)| self.has_roles || Some(*exact) == most_exact);
        valid
            .flat_map(|(_, names)| names.iter().map(String::as_str))
            .collect()
    }

    fn read(&mut self, line: &str, schema: &str) {
        let Ok(tokens) = tokens(line, Dialect::default()) else {
            return;
        };
        let Some(first) = tokens.first() else { return };
        let Some(on) = tokens.iter().position(|t| t.is("ON")) else {
            self.has_roles = true;
            return;
        };
        let names = privileges(&tokens[1..on]);
        let level = &tokens[on + 1..];
        let everywhere = level.first().is_some_and(|t| t.is_mark('*'));
        let here = level
            .first()
            .and_then(Token::identifier)
            .filter(|pattern| matches(pattern, schema))
            .filter(|_| level.get(2).is_some_and(|t| t.is_mark('*')));
        match (first.is("REVOKE"), everywhere, here) {
            (true, false, Some(_)) => self.revoked.extend(names),
            (false, true, _) => self.global.extend(names),
            (false, false, Some(pattern)) => self.patterns.push((exactness(pattern), names)),
            _ => {}
        }
    }
}

/// How the server ranks patterns: by where their first wildcard is, best if there is none.
fn exactness(pattern: &str) -> usize {
    let mut escaped = false;
    let wildcard = pattern.chars().position(|c| {
        let is_wildcard = !escaped && matches!(c, '%' | '_');
        escaped = !escaped && c == '\\';
        is_wildcard
    });
    wildcard.unwrap_or(usize::MAX)
}

/// The names between GRANT and ON. `ALL PRIVILEGES` is spelled out.
fn privileges(tokens: &[Token]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for words in tokens.split(|t| t.is_mark(',')) {
        let name = words
            .iter()
            .map(|t| t.value.to_ascii_uppercase())
            .collect::<Vec<_>>()
            .join(" ");
        // Not ALLOW_NONEXISTENT_DEFINER.
        if matches!(name.as_str(), "ALL" | "ALL PRIVILEGES") {
            let all = GLOBAL.into_iter().chain(ON_SCHEMA).chain(ON_PARENTS);
            names.extend(all.map(str::to_owned));
            names.insert("CONNECTION_ADMIN".to_owned());
        }
        names.insert(name);
    }
    names
}

/// A schema in a grant is a pattern: `%` and `_` stand for others unless a backslash says not.
fn matches(pattern: &str, schema: &str) -> bool {
    fn go(pattern: &[char], text: &[char]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some('%'), _) => {
                go(&pattern[1..], text) || (!text.is_empty() && go(pattern, &text[1..]))
            }
            (Some('_'), Some(_)) => go(&pattern[1..], &text[1..]),
            (Some('\\'), _) if pattern.len() > 1 => {
                text.first() == Some(&pattern[1]) && go(&pattern[2..], &text[1..])
            }
            (Some(p), Some(t)) => p == t && go(&pattern[1..], &text[1..]),
            _ => false,
        }
    }
    let letters = |s: &str| s.chars().collect::<Vec<_>>();
    go(&letters(pattern), &letters(schema))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read_for_the_schema_they_concern() {
        let mut held = Held::default();
        for line in [
            "GRANT PROCESS, REPLICATION SLAVE ON *.* TO `a`@`%`",
            "GRANT ALLOW_NONEXISTENT_DEFINER ON *.* TO `a`@`%`",
            "GRANT INSERT ON `shop%`.* TO `a`@`%`",
            "GRANT SELECT, CREATE TEMPORARY TABLES ON `shop\\_1`.* TO `a`@`%`",
            "GRANT INSERT ON `shop_1`.* TO `a`@`%`",
            "GRANT DELETE ON `other`.* TO `a`@`%`",
            "GRANT UPDATE ON `shop_1`.`t` TO `a`@`%`",
            "REVOKE DROP ON `shop_1`.* FROM `a`@`%`",
        ] {
            held.read(line, "shop_1");
        }
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join("|");
        assert_eq!(
            list(&held.global),
            "ALLOW_NONEXISTENT_DEFINER|PROCESS|REPLICATION SLAVE"
        );
        let on_schema = |held: &Held| held.on_schema().into_iter().collect::<Vec<_>>().join("|");
        assert_eq!(on_schema(&held), "CREATE TEMPORARY TABLES|SELECT");
        assert_eq!(list(&held.revoked), "DROP");
        held.read("GRANT `role`@`%` TO `a`@`%`", "shop_1");
        assert_eq!(on_schema(&held), "CREATE TEMPORARY TABLES|INSERT|SELECT");
    }

    #[test]
    fn patterns_match_as_the_server_matches_them() {
        assert!(matches("a%", "abc") && matches("a_c", "abc") && matches("a\\_c", "a_c"));
        assert!(!matches("a\\_c", "abc") && !matches("a", "ab") && !matches("ab", "a"));
    }
}
