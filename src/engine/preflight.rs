//! What is refused before a row is copied: with the reason, and what to do.

pub mod lossy;
mod moments;
pub mod privilege;
mod rehearsal;
pub mod room;
pub mod server_fit;
pub mod triggers;

use super::conversion::key_order::not_comparable;
use super::conversion::staging::{Extras, Staging};
use super::names::{Owner, PREFIX, Role};
use super::options::Options;
use super::session::Session;
use super::session::user::UserSettings;
use super::syntax::quote_table;
use super::syntax::statement::Statement;
use super::syntax::token::{Dialect, tokens};
use super::table::dependents;
use super::table::foreign_key::ForeignKey;
use super::table::surroundings::Surroundings;
use super::table::{Copied, KeyKind, TableDefinition, TablePlan, Way};
use super::{EngineError, Job, JobTask, plan};
use crate::server_error;

/// Checks the server, the account and the tables, decides the way of each statement, and checks
/// what each way needs. Leaves the empty shadows of copies behind, and nothing if it refuses.
///
/// # Errors
///
/// Permanent, with reason and remedy; retryable if the server is read-only now.
pub async fn plan(
    session: &mut Session,
    job: &Job,
    owner: &Owner,
) -> Result<Vec<TablePlan>, EngineError> {
    let options = Options::read(&job.options)?;
    server_fit::check_server(session).await?;
    server_fit::check_schema(session, &job.schema_name).await?;
    privilege::check(
        session,
        &job.schema_name,
        options.kill_blockers_after_seconds.is_some(),
    )
    .await?;
    if let Some(query) = &options.throttle.query {
        throttle_query(session, query).await?;
    }
    let user = UserSettings::of(session, job).await?;
    let parsed = plan::parse(job, &user.sql_mode)?;
    for (task, statement) in &parsed {
        let table = &statement.table().table;
        if table.to_ascii_lowercase().starts_with(PREFIX) {
            return Err(EngineError::permanent(format!(
                "statement {}: {} has a name of Lockkeeper's own; what is left over `lockkeeper doctor --all` tells of",
                task.number(),
                quote_table(&job.schema_name, table)
            )));
        }
        let around = Surroundings::of(session, &job.schema_name, table).await?;
        if let Some(around) = around {
            any_way(job, task.number(), statement, &around)?;
        }
    }
    let mut plans = match plan::plan(session, job, owner).await {
        Ok(plans) => plans,
        Err(error) => {
            // The server names one right at a time, and none of them as a GRANT.
            if error.server_number() == Some(1142) {
                for (_, statement) in &parsed {
                    let table = &statement.table().table;
                    let keys = ForeignKey::of_table(session, &job.schema_name, table).await?;
                    let parents = keys.iter().map(|key| key.parent_schema.as_str());
                    privilege::check_parents(session, &job.schema_name, parents).await?;
                }
            }
            return Err(error);
        }
    };
    let fit = match children_come_later(job, &parsed, &plans, &user) {
        Ok(()) => for_their_ways(session, job, owner, &options, &user, &plans).await,
        refused => refused,
    };
    match fit {
        Ok(()) => {
            for plan in &mut plans {
                plan.guarded = lossy::guarded(&options.allow_lossy, plan);
            }
            Ok(plans)
        }
        Err(refusal) => {
            drop_shadows(session, job, owner, &plans).await?;
            Err(refusal)
        }
    }
}

/// A table that an earlier statement creates with a foreign key to one that is copied would point at the old table.
fn children_come_later(
    job: &Job,
    parsed: &[(JobTask, Statement)],
    plans: &[TablePlan],
    user: &UserSettings,
) -> Result<(), EngineError> {
    let dialect = Dialect::of_sql_mode(&user.sql_mode);
    for (task, statement) in parsed {
        let Statement::Create(create) = statement else {
            continue;
        };
        for (schema, parent) in create.parents(&job.schema_name, dialect) {
            let copy = plans.iter().find(|plan| {
                let is_parent = plan
                    .original
                    .as_ref()
                    .is_some_and(|o| o.schema == schema && o.name == parent);
                is_parent && plan.way == Way::Copy && plan.task.position > task.position
            });
            if let Some(copy) = copy {
                return Err(EngineError::permanent(format!(
                    "statement {} creates a foreign key to {}, which statement {} copies: the key would follow the old table; \
                     put it behind that one",
                    task.number(),
                    quote_table(&schema, &parent),
                    copy.task.number()
                )));
            }
        }
    }
    Ok(())
}

/// One that the server does not take would stop the copy for good.
async fn throttle_query(session: &mut Session, query: &str) -> Result<(), EngineError> {
    let words = tokens(query, Dialect::of_sql_mode("")).map_err(|error| {
        EngineError::permanent(format!(
            "the engine option throttle.query is refused: {error}"
        ))
    })?;
    let ends = words.iter().position(|word| word.is_mark(';'));
    if ends.is_some_and(|at| at + 1 < words.len()) {
        return Err(EngineError::permanent(
            "the engine option throttle.query is refused: there is more than one statement in it; one SELECT is enough",
        ));
    }
    let doing = || EngineError::while_doing("trying the throttle's query");
    let begin = "SET SESSION max_execution_time = 3000; START TRANSACTION READ ONLY";
    session.run(begin).await.map_err(doing())?;
    let answer = session.rows(query).await;
    let end = "ROLLBACK; SET SESSION max_execution_time = 0";
    session.run(end).await.map_err(doing())?;
    let Err(error) = answer else { return Ok(()) };
    match server_error::number(&error) {
        // It took too long this time.
        None | Some(3024) => Ok(()),
        Some(number) => Err(EngineError::permanent(format!(
            "the engine option throttle.query is refused: {} ({number}); correct it, and name tables with their schemas",
            server_error::words(&error)
        ))),
    }
}

async fn for_their_ways(
    session: &mut Session,
    job: &Job,
    owner: &Owner,
    options: &Options,
    user: &UserSettings,
    plans: &[TablePlan],
) -> Result<(), EngineError> {
    if plans.iter().any(|plan| plan.way == Way::Copy) {
        server_fit::check_binlog(session).await?;
        server_fit::check_filters(session, &job.schema_name).await?;
        if !options.allow_little_room {
            room::check(session, plans).await?;
        }
    }
    for plan in plans {
        if let (Way::Instant | Way::InPlaceMetadata, Some(before)) = (plan.way, &plan.original) {
            let after = plan::definition_on_trial(session, job, owner, user, plan).await?;
            if let Some(after) = after {
                triggers::check(session, plan.task.number(), before, &after).await?;
            }
        }
        if plan.way != Way::Copy {
            continue;
        }
        let Copied {
            original, shadow, ..
        } = plan.copied()?;
        if let Some(reason) = not_comparable(plan) {
            return Err(EngineError::permanent(reason));
        }
        let around = Surroundings::of(session, &job.schema_name, &original.name).await?;
        if let Some(around) = around {
            copied(&original.quoted(), &around)?;
            can_be_made_again(original)?;
        }
        let around = Surroundings::of(session, &job.schema_name, &shadow.name).await?;
        becomes(&original.quoted(), around.as_ref())?;
        if !plan.foreign_keys.is_empty() {
            child(session, job, plan).await?;
        }
        numbers_documents(plan)?;
        can_be_staged(session, owner, plan).await?;
        moments::check(session, user, plan).await?;
        lossy::check(session, &options.allow_lossy, plan).await?;
        rehearsal::check(session, owner, plan).await?;
    }
    Ok(())
}

async fn drop_shadows(
    session: &mut Session,
    job: &Job,
    owner: &Owner,
    plans: &[TablePlan],
) -> Result<(), EngineError> {
    for plan in plans.iter().filter(|plan| plan.way == Way::Copy) {
        let shadow = owner.table(Role::Shadow(plan.task.position));
        session.drop_table(&job.schema_name, &shadow).await?;
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

/// What no way can do.
fn any_way(
    job: &Job,
    number: u32,
    statement: &Statement,
    around: &Surroundings,
) -> Result<(), EngineError> {
    let table = quote_table(&job.schema_name, &statement.table().table);
    if around.table_type != "BASE TABLE" {
        return Err(EngineError::permanent(format!(
            "statement {number}: {table} is a {}, not a table",
            around.table_type
        )));
    }
    match statement {
        Statement::Create(create) if !create.if_not_exists => {
            return Err(EngineError::permanent(format!(
                "statement {number}: {table} exists already; drop it in an apply before, or \
                 leave the statement out"
            )));
        }
        Statement::Drop { .. } => {
            let name = &statement.table().table;
            dependents::refuse_children(number, (&job.schema_name, name), around)?;
        }
        Statement::Create(_) | Statement::Alter(_) => {}
    }
    Ok(())
}

/// What only a copy can't do.
fn copied(table: &str, around: &Surroundings) -> Result<(), EngineError> {
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
