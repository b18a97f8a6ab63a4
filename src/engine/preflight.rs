//! What is refused before a row is copied: with the reason, and what to do.

mod copied;
pub mod lossy;
mod moments;
pub mod privilege;
mod rehearsal;
pub mod room;
pub mod server_fit;
pub mod triggers;

use super::names::{Owner, PREFIX};
use super::options::Options;
use super::session::Session;
use super::session::user::UserSettings;
use super::syntax::quote_table;
use super::syntax::statement::Statement;
use super::syntax::token::{Dialect, tokens};
use super::table::dependents;
use super::table::foreign_key::ForeignKey;
use super::table::surroundings::Surroundings;
use super::table::{TablePlan, Way};
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
        if plan.way == Way::Copy {
            copied::check(session, job, owner, plan).await?;
            moments::check(session, user, plan).await?;
            lossy::check(session, &options.allow_lossy, plan).await?;
            rehearsal::check(session, owner, plan).await?;
        }
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
        let shadow = owner.shadow_of(&plan.task);
        session.drop_table(&job.schema_name, &shadow).await?;
    }
    Ok(())
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
