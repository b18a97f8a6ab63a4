//! Roles, and what each may do: `sql/grants.sql`, with the schema put in.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, MySqlConnection, Row as _};

use super::Report;
use super::database::{run, short_digest, text_literal};
use super::error::InstallError;
use super::objects::record_statement;
use super::set::Kind;
use crate::engine::syntax::quote;
use crate::server_error;

const GRANTS: &str = include_str!("../../sql/grants.sql");
/// The name under which the list is recorded.
pub(super) const GRANTS_NAME: &str = "grants";
const ROLES: [&str; 3] = ["reader", "operator", "driver"];
/// MySQL's limit for the name of an account.
const LONGEST_ACCOUNT: usize = 32;

/// One line of `sql/grants.sql`.
struct Grant {
    privilege: &'static str,
    kind: Kind,
    object: &'static str,
    roles: Vec<&'static str>,
}

impl Grant {
    /// As `SHOW GRANTS` has it, too.
    fn on(&self, schema: &str) -> String {
        let kind = if self.kind == Kind::Procedure {
            "PROCEDURE "
        } else {
            ""
        };
        format!("ON {kind}{}.{}", quote(schema), quote(self.object))
    }

    fn statement(&self, schema: &str) -> String {
        let roles: Vec<String> = self
            .roles
            .iter()
            .map(|role| account(schema, role))
            .collect();
        format!(
            "GRANT {} {} TO {}",
            self.privilege,
            self.on(schema),
            roles.join(", ")
        )
    }
}

fn account(schema: &str, role: &str) -> String {
    format!("{}@'%'", text_literal(&role_name(schema, role)))
}

/// `<schema>_<role>`; a long schema name is cut and told apart by a digest.
pub fn role_name(schema: &str, role: &str) -> String {
    let room = LONGEST_ACCOUNT - "_operator".len();
    if schema.chars().count() <= room {
        return format!("{schema}_{role}");
    }
    let start: String = schema.chars().take(room - 9).collect();
    format!("{start}_{}_{role}", short_digest(schema))
}

pub(super) fn create_role_statement(schema: &str) -> String {
    let roles = ROLES.map(|role| account(schema, role));
    format!("CREATE ROLE IF NOT EXISTS {}", roles.join(", "))
}

pub(super) fn grant_statements(schema: &str) -> Result<Vec<String>, InstallError> {
    Ok(grants()?
        .iter()
        .map(|grant| grant.statement(schema))
        .collect())
}

pub(super) fn record_grants_statement() -> String {
    let sha256 = hex::encode(Sha256::digest(GRANTS));
    record_statement(Kind::Data, &[(GRANTS_NAME, sha256)])
}

fn grants() -> Result<Vec<Grant>, InstallError> {
    let mut grants = Vec::new();
    for line in GRANTS.lines() {
        let line = line.trim().trim_end_matches(';');
        if line.is_empty() || line.starts_with("--") {
            continue;
        }
        let words: Vec<&str> = line
            .split([' ', ','])
            .filter(|word| !word.is_empty())
            .collect();
        let grant = match words.as_slice() {
            ["GRANT", "SELECT", "ON", object, "TO", roles @ ..] => Grant {
                privilege: "SELECT",
                kind: Kind::View,
                object,
                roles: roles.to_vec(),
            },
            [
                "GRANT",
                "EXECUTE",
                "ON",
                "PROCEDURE",
                object,
                "TO",
                roles @ ..,
            ] => Grant {
                privilege: "EXECUTE",
                kind: Kind::Procedure,
                object,
                roles: roles.to_vec(),
            },
            _ => return Err(InstallError::Set(format!("sql/grants.sql: {line}"))),
        };
        grants.push(grant);
    }
    Ok(grants)
}

/// Creates the roles and grants them what is theirs. Dropping a routine has dropped its grants.
///
/// An account that may not create roles installs all the same; the report says what is left to do.
pub(super) async fn grant(
    session: &mut MySqlConnection,
    schema: &str,
    replaced: &BTreeSet<(Kind, String)>,
    report: &mut Report,
) -> Result<(), InstallError> {
    let recorded: Option<String> = sqlx::query_scalar(
        "SELECT o.sha256 FROM installed_object AS o WHERE o.object_name = ? AND o.kind = 'data'",
    )
    .bind(GRANTS_NAME)
    .fetch_optional(&mut *session)
    .await?;
    let same = recorded.as_deref() == Some(hex::encode(Sha256::digest(GRANTS)).as_str());
    let missing = ungranted(session, schema).await?.unwrap_or_default();
    let all = !same || !missing.roles.is_empty();

    let mut statements = Vec::new();
    if all {
        statements.push(create_role_statement(schema));
    }
    for grant in grants()? {
        let object = (grant.kind, grant.object.to_owned());
        if all || missing.objects.contains(&object) || replaced.contains(&object) {
            statements.push(grant.statement(schema));
        }
    }
    for statement in statements {
        if let Err(source) = sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut *session)
            .await
        {
            if !is_refusal(&source) {
                return Err(source.into());
            }
            report.warnings.push(format!(
                "the roles {} are not complete: {source}; run `lockkeeper install` once more as an account \
                 that may create roles and grant, or grant by hand what the end of `lockkeeper install \
                 --print` shows",
                ROLES.map(|role| role_name(schema, role)).join(", ")
            ));
            return Ok(());
        }
    }
    if all {
        run(session, record_grants_statement()).await?;
    }
    Ok(())
}

/// What the roles lack of what is theirs.
#[derive(Default)]
pub(super) struct Ungranted {
    /// Names of those that are gone.
    pub roles: Vec<String>,
    /// Of the others.
    pub objects: BTreeSet<(Kind, String)>,
}

/// `None` where the account may not look.
pub(super) async fn ungranted(
    session: &mut MySqlConnection,
    schema: &str,
) -> Result<Option<Ungranted>, InstallError> {
    let mut held = BTreeMap::new();
    let mut roles = Vec::new();
    for role in ROLES {
        let statement = format!("SHOW GRANTS FOR {}", account(schema, role));
        let shown = sqlx::raw_sql(AssertSqlSafe(statement))
            .fetch_all(&mut *session)
            .await;
        let lines = match shown {
            Ok(rows) => rows
                .iter()
                .map(|row| row.try_get_unchecked::<String, _>(0))
                .collect::<Result<Vec<_>, _>>()?,
            // No such account.
            Err(error) if server_error::number(&error) == Some(1141) => {
                roles.push(role_name(schema, role));
                continue;
            }
            Err(error) if is_refusal(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        held.insert(role, lines.join("\n").to_lowercase());
    }
    let lacks = |grant: &Grant| {
        let on = format!("{} to ", grant.on(schema)).to_lowercase();
        let mut held = grant.roles.iter().filter_map(|role| held.get(role));
        held.any(|lines| !lines.contains(&on))
    };
    let grants = grants()?;
    let objects = grants.iter().filter(|grant| lacks(grant));
    Ok(Some(Ungranted {
        roles,
        objects: objects
            .map(|grant| (grant.kind, grant.object.to_owned()))
            .collect(),
    }))
}

/// The account lacks a right, as opposed to a fault.
fn is_refusal(error: &sqlx::Error) -> bool {
    server_error::is_denied(error) || matches!(server_error::number(error), Some(1045 | 1410))
}

#[cfg(test)]
mod tests {
    use super::super::set::objects;
    use super::*;

    #[test]
    fn every_public_object_is_granted_but_the_one_that_is_for_tests() {
        let public: BTreeSet<&str> = objects()
            .expect("an order")
            .iter()
            .filter(|object| matches!(object.kind, Kind::View | Kind::Procedure))
            .map(|object| object.name)
            .filter(|name| !name.starts_with('_') && *name != "operation_age")
            .collect();
        let granted: BTreeSet<&str> = grants()
            .expect("grants")
            .iter()
            .map(|grant| grant.object)
            .collect();
        assert_eq!(granted, public);
    }

    #[test]
    fn a_role_is_named_after_its_schema_within_the_limit_of_an_account() {
        assert_eq!(role_name("lockkeeper", "reader"), "lockkeeper_reader");
        let long = "a_schema_name_that_is_much_too_long_for_an_account";
        let names = ROLES.map(|role| role_name(long, role));
        assert!(
            names.iter().all(|name| name.len() <= LONGEST_ACCOUNT),
            "{names:?}"
        );
        assert_ne!(names[0], role_name(&format!("{long}r"), "reader"));
    }
}
