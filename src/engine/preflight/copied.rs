//! What a table that is copied may not be, nor become.

use super::{privilege, server_fit};
use crate::engine::conversion::key_order::not_comparable;
use crate::engine::conversion::staging::{Extras, Staging};
use crate::engine::names::Owner;
use crate::engine::session::Session;
use crate::engine::syntax::token::{Dialect, tokens};
use crate::engine::table::surroundings::Surroundings;
use crate::engine::table::{Copied, KeyKind, TableDefinition, TablePlan};
use crate::engine::{EngineError, Job};

/// # Errors
///
/// Permanent, with reason and remedy.
pub(super) async fn check(
    session: &mut Session,
    job: &Job,
    owner: &Owner,
    plan: &TablePlan,
) -> Result<(), EngineError> {
    let Copied {
        original, shadow, ..
    } = plan.copied()?;
    if let Some(reason) = not_comparable(plan) {
        return Err(EngineError::permanent(reason));
    }
    let around = Surroundings::of(session, &job.schema_name, &original.name).await?;
    if let Some(around) = around {
        can_be_copied(&original.quoted(), &around)?;
        can_be_made_again(original)?;
    }
    let around = Surroundings::of(session, &job.schema_name, &shadow.name).await?;
    becomes(&original.quoted(), around.as_ref())?;
    if !plan.foreign_keys.is_empty() {
        child(session, job, plan).await?;
    }
    numbers_documents(plan)?;
    can_be_staged(session, owner, plan).await
}

/// What only a copy can't do.
fn can_be_copied(table: &str, around: &Surroundings) -> Result<(), EngineError> {
    if !around.engine.eq_ignore_ascii_case("InnoDB") {
        return Err(EngineError::permanent(format!(
            "{table} is a {} table, and a copy needs transactions; ALTER TABLE … ENGINE=InnoDB \
             by hand, with writes stopped",
            around.engine
        )));
    }
    if !around.triggers.is_empty() {
        return Err(EngineError::permanent(format!(
            "{table} has triggers ({}), which would stay with the old table; drop them, or do \
             their work elsewhere, during the change",
            around.triggers.join(", ")
        )));
    }
    if let Some(key) = around.referenced_by.first() {
        return Err(EngineError::permanent(format!(
            "foreign key {} of {}.{} points at {table} and would follow the old table; drop it \
             for the time of the change",
            key.name, key.child_schema, key.child_table
        )));
    }
    Ok(())
}

/// `CREATE TABLE … LIKE` leaves out where a table's files are.
fn can_be_made_again(original: &TableDefinition) -> Result<(), EngineError> {
    let text = original.text()?.options;
    let words = tokens(&text, Dialect::OF_THE_SERVER).unwrap_or_default();
    for word in ["DATA DIRECTORY", "SECONDARY_ENGINE"] {
        let parts: Vec<&str> = word.split(' ').collect();
        let is_there = words
            .windows(parts.len())
            .any(|found| found.iter().zip(&parts).all(|(found, part)| found.is(part)));
        if is_there {
            return Err(EngineError::permanent(format!(
                "{} has {word}, which a copy would not have; take it away first",
                original.quoted()
            )));
        }
    }
    Ok(())
}

/// InnoDB wants the numbers of a full text's documents to grow with each row that is written. A copy brings rows in another
/// order, and the stream writes a row anew under its old number.
fn numbers_documents(plan: &TablePlan) -> Result<(), EngineError> {
    let Copied {
        original, shadow, ..
    } = plan.copied()?;
    let numbers = |name: &str| name.eq_ignore_ascii_case("FTS_DOC_ID");
    let full_text = shadow.keys.iter().find(|key| key.kind == KeyKind::FullText);
    match full_text {
        Some(key) if shadow.columns.iter().any(|c| numbers(&c.name)) => {
            Err(EngineError::permanent(format!(
                "{} numbers the documents of full-text key {} in a column FTS_DOC_ID of its own, and \
                 rows of a copy don't come in that order; drop the column in the same statement, so that \
                 the server numbers them, or drop the full-text key for the time of the change",
                original.quoted(),
                key.name
            )))
        }
        Some(_) | None => Ok(()),
    }
}

/// The table through which changes go has a few bytes more in a row than the original: those may be too many.
async fn can_be_staged(
    session: &mut Session,
    owner: &Owner,
    plan: &TablePlan,
) -> Result<(), EngineError> {
    let Copied { original, .. } = plan.copied()?;
    let staging = Staging::of_plan(plan, &owner.artifact("stage_trial"), &Extras::default())?;
    let mut answer = Ok(());
    for create in &staging.create {
        answer = answer.and(session.run(create).await.map(drop));
    }
    session
        .run(&staging.remove)
        .await
        .map_err(EngineError::while_doing("removing an empty staging table"))?;
    answer.map_err(EngineError::while_doing(format!(
        "making the table through which the changes of {} would go",
        original.quoted()
    )))
}

/// What the changed table must be to be filled by parts, each of them whole or not there.
fn becomes(table: &str, shadow: Option<&Surroundings>) -> Result<(), EngineError> {
    match shadow {
        Some(shadow) if !shadow.engine.eq_ignore_ascii_case("InnoDB") => {
            Err(EngineError::permanent(format!(
                "{table} would become a {} table, and a copy needs transactions; ALTER TABLE … ENGINE={} by \
                 hand, with writes stopped",
                shadow.engine, shadow.engine
            )))
        }
        Some(_) | None => Ok(()),
    }
}

/// What a table with foreign keys needs, so that each change of its rows is seen and its keys can
/// be handed over.
async fn child(session: &mut Session, job: &Job, plan: &TablePlan) -> Result<(), EngineError> {
    let (table, keys) = (plan.copied()?.original.quoted(), &plan.foreign_keys);
    let first = keys.former.first();
    let first = first.map_or("", |key| &key.name);
    // Before 9.6 there is no such variable: InnoDB cascades, below the binlog.
    if server_fit::variable(session, "innodb_native_foreign_keys")
        .await?
        .as_deref()
        != Some("0")
    {
        return Err(EngineError::permanent(format!(
            "{table} has foreign key {first}, whose cascades this server makes inside InnoDB and does not \
             write to the binlog; drop it for the time of the change, or change the table on \
             MySQL 9.6 or later with innodb_native_foreign_keys = OFF"
        )));
    }
    let gone = keys
        .former
        .iter()
        .find(|former| keys.changed.iter().all(|key| key.name != former.name));
    if let (Some(gone), true) = (gone, job.revert_window_seconds > 0) {
        return Err(EngineError::permanent(format!(
            "statement {}: foreign key {} is dropped, and rows that are written without it could \
             not be reverted; drop it in an apply of its own, or submit without a revert window",
            plan.task.number(),
            gone.name
        )));
    }
    let parents = keys.parents().map(|(schema, _)| schema);
    privilege::check_parents(session, &job.schema_name, parents).await
}
