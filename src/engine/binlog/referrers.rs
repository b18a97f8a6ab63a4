//! By which other names a statement can change a watched table.
//!
//! A session that has set `binlog_format` to STATEMENT or MIXED writes what it was told, not which rows came of that. The
//! table need not be in it: a view of the table is, a table whose trigger writes it, a function, a parent whose cascades
//! reach it. Which those are is asked when such a statement comes by, and again once DDL has.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::mysql::MySqlConnection;

use super::query::{Query, Spelling};
use super::rows::RowLayout;
use crate::engine::{EngineError, Target, session};

/// A statement of the binlog that changes data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    schema: Vec<u8>,
    text: Vec<u8>,
    spelling: Spelling,
}

impl Statement {
    pub fn of(query: &Query<'_>) -> Self {
        Self {
            schema: query.schema.to_owned(),
            text: query.text.to_owned(),
            spelling: query.spelling,
        }
    }
}

/// Something that is executed when its name is used.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
struct Referrer {
    schema: String,
    /// Of the view or routine; of a trigger, that of its table.
    name: String,
    /// `None` where this account may not see it.
    text: Option<String>,
}

/// Schema and name.
type Name = (String, String);
type Names = BTreeSet<Name>;

/// What leads to the watched tables.
pub struct Referrers {
    target: Target,
    watched: Names,
    /// The watched tables, and all that leads to them or did at an earlier look.
    known: Names,
    is_current: bool,
}

impl Referrers {
    pub fn new(target: &Target, layouts: &[Option<Arc<RowLayout>>]) -> Self {
        let watched = layouts.iter().flatten();
        let watched: Names = watched
            .map(|layout| (layout.schema().to_owned(), layout.table().to_owned()))
            .collect();
        Self {
            target: target.clone(),
            known: watched.clone(),
            watched,
            is_current: false,
        }
    }

    /// There may be others now.
    pub fn ddl_came(&mut self) {
        self.is_current = false;
    }

    /// # Errors
    ///
    /// Permanent if the statement may change a watched table; retryable if that can't be asked now.
    pub async fn check(&mut self, statement: &Statement) -> Result<(), EngineError> {
        if !self.is_current {
            let mut connection = session::connect(&self.target).await?;
            let referrers = referrers(&mut connection).await?;
            let parents = parents(&mut connection).await?;
            // Those of earlier looks stay: one may be gone since the statement was executed.
            self.known
                .extend(reaching(&self.watched, &referrers, &parents));
            self.is_current = true;
        }
        let query = Query {
            schema: &statement.schema,
            text: &statement.text,
            spelling: statement.spelling,
        };
        match first_named(&query, &self.known) {
            None => Ok(()),
            Some((schema, name)) => {
                let text = String::from_utf8_lossy(&statement.text);
                let text: String = text.chars().take(120).collect();
                Err(EngineError::permanent(format!(
                    "a session changed data with a statement in the binlog ('{text}'), not with rows, and \
                     by way of {schema}.{name} that may have changed the table; sessions must not set \
                     binlog_format while the table is changed; submit the change again"
                )))
            }
        }
    }
}

fn first_named<'a>(query: &Query<'_>, names: &'a Names) -> Option<&'a Name> {
    names
        .iter()
        .find(|(schema, name)| query.mentions(schema, name))
}

/// All names whose use may end at one of `watched`, those among them.
fn reaching(watched: &Names, referrers: &[Referrer], parents: &[(Name, Name)]) -> Names {
    let mut found = watched.clone();
    loop {
        let before = found.len();
        for referrer in referrers {
            let leads = match &referrer.text {
                None => true,
                Some(text) => {
                    let query = Query {
                        schema: referrer.schema.as_bytes(),
                        text: text.as_bytes(),
                        spelling: Spelling::Readable,
                    };
                    first_named(&query, &found).is_some()
                }
            };
            if leads {
                found.insert((referrer.schema.clone(), referrer.name.clone()));
            }
        }
        for (child, parent) in parents {
            if found.contains(child) {
                found.insert(parent.clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

async fn referrers(connection: &mut MySqlConnection) -> Result<Vec<Referrer>, EngineError> {
    sqlx::query_as(
        "SELECT CAST(v.TABLE_SCHEMA AS CHAR) AS `schema`, CAST(v.TABLE_NAME AS CHAR) AS `name`, \
                CAST(NULLIF(v.VIEW_DEFINITION, '') AS CHAR) AS `text` \
           FROM information_schema.VIEWS AS v WHERE v.TABLE_SCHEMA <> 'sys' \
          UNION ALL \
         SELECT CAST(t.EVENT_OBJECT_SCHEMA AS CHAR), CAST(t.EVENT_OBJECT_TABLE AS CHAR), \
                CAST(t.ACTION_STATEMENT AS CHAR) \
           FROM information_schema.TRIGGERS AS t WHERE t.EVENT_OBJECT_SCHEMA <> 'sys' \
          UNION ALL \
         SELECT CAST(r.ROUTINE_SCHEMA AS CHAR), CAST(r.ROUTINE_NAME AS CHAR), \
                CAST(r.ROUTINE_DEFINITION AS CHAR) \
           FROM information_schema.ROUTINES AS r WHERE r.ROUTINE_SCHEMA <> 'sys'",
    )
    .fetch_all(connection)
    .await
    .map_err(EngineError::while_doing(
        "looking for what leads to the table",
    ))
}

/// The child of each foreign key, and its parent.
async fn parents(connection: &mut MySqlConnection) -> Result<Vec<(Name, Name)>, EngineError> {
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT CAST(k.CONSTRAINT_SCHEMA AS CHAR), CAST(k.TABLE_NAME AS CHAR), \
                CAST(k.UNIQUE_CONSTRAINT_SCHEMA AS CHAR), CAST(k.REFERENCED_TABLE_NAME AS CHAR) \
           FROM information_schema.REFERENTIAL_CONSTRAINTS AS k",
    )
    .fetch_all(connection)
    .await
    .map_err(EngineError::while_doing(
        "looking for what leads to the table",
    ))?;
    Ok(rows
        .into_iter()
        .map(|(schema, table, parent_schema, parent)| ((schema, table), (parent_schema, parent)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(schema: &str, name: &str) -> Name {
        (schema.to_owned(), name.to_owned())
    }

    fn referrer(schema: &str, name: &str, text: Option<&str>) -> Referrer {
        Referrer {
            schema: schema.to_owned(),
            name: name.to_owned(),
            text: text.map(str::to_owned),
        }
    }

    #[test]
    fn a_road_leads_over_others_and_through_parents_but_not_from_another_schema() {
        let watched = Names::from([pair("s", "orders")]);
        let referrers = [
            referrer("s", "first", Some("BEGIN CALL second(); END")),
            referrer("s", "second", Some("UPDATE orders SET n = 1")),
            referrer("far", "third", Some("DELETE FROM s.`orders`")),
            referrer("far", "none", Some("DELETE FROM orders")),
            referrer("far", "unseen", None),
        ];
        let parents = [(pair("s", "orders"), pair("far", "customers"))];
        let found = reaching(&watched, &referrers, &parents);
        let expected = [
            pair("far", "customers"),
            pair("far", "third"),
            pair("far", "unseen"),
            pair("s", "first"),
            pair("s", "orders"),
            pair("s", "second"),
        ];
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    }
}
