//! Decides how each statement is carried out, by having the server try it on an empty copy.

pub(super) mod constraint_names;
pub mod filler;
mod in_place;
pub mod mapping;
mod trial;
mod trial_keys;

use super::names::Owner;
use super::session::Session;
use super::session::user::UserSettings;
use super::syntax::quote_table;
use super::syntax::statement::{Action, Alter, Clause, Statement, StatementError};
use super::syntax::token::Dialect;
use super::table::foreign_key::{self, ForeignKeys};
use super::table::storage;
use super::table::{Column, Generated, TableDefinition, TablePlan, Way, catalog};
use super::{EngineError, Job, JobTask};
use crate::server_error;
use constraint_names::{in_own_names, on_names_of};
pub(super) use trial::definition_on_trial;
use trial_keys::TrialKeys;

/// Reads all statements of a job. Nothing is asked of the server.
///
/// # Errors
///
/// Permanent, with the statement's position, for what no task may be: two statements in one,
/// another schema, a table twice, a table renamed.
pub fn parse(job: &Job, user_sql_mode: &str) -> Result<Vec<(JobTask, Statement)>, EngineError> {
    let dialect = Dialect::of_sql_mode(user_sql_mode);
    let mut parsed: Vec<(JobTask, Statement)> = Vec::new();
    for task in &job.tasks {
        let statement =
            Statement::parse(&task.statement, dialect).map_err(|error| refused(task, &error))?;
        let table = statement.table().clone();
        if let Some(schema) = &table.schema
            && *schema != job.schema_name
        {
            return Err(EngineError::permanent(format!(
                "statement {} changes schema {schema}, the apply is for {}; submit an apply for \
                 each schema",
                task.number(),
                job.schema_name
            )));
        }
        let same = parsed
            .iter()
            .find(|(_, other)| other.table().table.to_lowercase() == table.table.to_lowercase());
        if let Some((other, _)) = same {
            return Err(EngineError::permanent(format!(
                "statements {} and {} both change table {}; write them as one statement",
                other.number(),
                task.number(),
                table.table
            )));
        }
        parsed.push((task.clone(), statement));
    }
    Ok(parsed)
}

fn refused(task: &JobTask, error: &StatementError) -> EngineError {
    EngineError::permanent(format!("statement {}: {error}", task.number()))
}

/// Decides the way of every statement. For [`Way::Copy`] the empty shadow is left behind, with
/// all its indexes; one of a former plan of the same epoch is dropped first, so that a resume
/// must use [`resume`] instead.
pub async fn plan(
    session: &mut Session,
    job: &Job,
    owner: &Owner,
) -> Result<Vec<TablePlan>, EngineError> {
    let user = UserSettings::of(session, job).await?;
    let mut plans = Vec::new();
    for (task, statement) in parse(job, &user.sql_mode)? {
        let planner = Planner {
            schema: &job.schema_name,
            owner,
            user: &user,
            tasks: &job.tasks,
            task: &task,
        };
        plans.push(planner.plan(session, &statement).await?);
    }
    Ok(plans)
}

/// A plan that was made by an earlier driver, with the names of the owner's epoch.
///
/// Definitions stay as they were planned: the shadow may lack keys that are built after the copy.
///
/// # Errors
///
/// Permanent if a shadow is gone.
pub async fn resume(
    session: &mut Session,
    owner: &Owner,
    former: &[TablePlan],
) -> Result<Vec<TablePlan>, EngineError> {
    let mut plans = former.to_vec();
    for plan in &mut plans {
        let Some(shadow) = &mut plan.shadow else {
            continue;
        };
        shadow.name = owner.shadow_of(&plan.task);
        let Some(id) = storage::table_id(session, &shadow.schema, &shadow.name).await? else {
            return Err(EngineError::table_gone(&shadow.schema, &shadow.name));
        };
        shadow.table_id = id;
    }
    Ok(plans)
}

struct Planner<'a> {
    schema: &'a str,
    owner: &'a Owner,
    user: &'a UserSettings,
    /// All of the change.
    tasks: &'a [JobTask],
    task: &'a JobTask,
}

impl Planner<'_> {
    async fn plan(
        &self,
        session: &mut Session,
        statement: &Statement,
    ) -> Result<TablePlan, EngineError> {
        match statement {
            Statement::Create(create) => {
                self.created(session, create).await?;
                let executable = create.on(self.schema, &create.table.table);
                Ok(self.at_cutover(Way::Create, None, Some(executable)))
            }
            Statement::Drop { table, if_exists } => {
                let original = catalog::table(session, self.schema, &table.table).await?;
                if original.is_none() && !if_exists {
                    return Err(self.missing(&table.table));
                }
                Ok(self.at_cutover(Way::Drop, original, None))
            }
            Statement::Alter(alter) => self.plan_alter(session, alter).await,
        }
    }

    async fn plan_alter(
        &self,
        session: &mut Session,
        alter: &Alter,
    ) -> Result<TablePlan, EngineError> {
        // Before it is tried: the server would lock the parent.
        let adds_key = |clause: &Clause| clause.action == Action::AddForeignKey;
        if alter.clauses.iter().any(adds_key) {
            return Err(foreign_key::not_added_online());
        }
        let original = self.original(session, &alter.table.table).await?;
        let keys = self.trial_keys(session, &original).await?;
        let plan = self.try_ways(session, alter, original, &keys).await;
        let removed = keys.remove(session).await;
        let plan = plan?;
        removed?;
        Ok(plan)
    }

    async fn try_ways(
        &self,
        session: &mut Session,
        alter: &Alter,
        original: TableDefinition,
        keys: &TrialKeys<'_>,
    ) -> Result<TablePlan, EngineError> {
        let table = &alter.table.table;
        let name = self.owner.shadow_of(self.task);
        self.empty_copy(session, &original, &name, keys).await?;
        let on_trial = on_names_of(alter, &original, None, &name, keys, self.dialect())?;

        if !has_room_for_instant(&original) {
            // The server would refuse INSTANT on the table itself, though not on its empty copy.
        } else if self
            .run_as_user(
                session,
                &on_trial.on(self.schema, &name, "ALGORITHM=INSTANT"),
            )
            .await?
            .is_ok()
            && !self.hides_its_effect(session, alter, &original).await?
        {
            session.drop_table(self.schema, &name).await?;
            let executable = alter.on(self.schema, table, "ALGORITHM=INSTANT");
            return Ok(self.at_cutover(Way::Instant, Some(original), Some(executable)));
        }
        if self
            .is_metadata_only(session, alter, &original, &on_trial, keys)
            .await?
        {
            session.drop_table(self.schema, &name).await?;
            let executable = alter.on(self.schema, table, in_place::TAIL);
            return Ok(self.at_cutover(Way::InPlaceMetadata, Some(original), Some(executable)));
        }
        // The trial becomes the shadow; it is made anew so that no trace of a try is in it.
        self.empty_copy(session, &original, &name, keys).await?;
        let statement = on_trial.on(self.schema, &name, "");
        if let Err(error) = self.run_as_user(session, &statement).await? {
            session.drop_table(self.schema, &name).await?;
            let said = in_own_names(&server_error::words(&error), &original, &name, keys)?;
            return Err(self.refused_by_server(&error, &said));
        }
        match self.finish_shadow(session, alter, original, keys).await {
            Ok(plan) => Ok(plan),
            Err(error) => {
                session.drop_table(self.schema, &name).await?;
                Err(error)
            }
        }
    }

    /// Whether values go and the definition, that of the trial now, shows nothing of it: then nobody could tell after a crash whether the
    /// statement was executed, and a second time it would take what was written since. A swap can be told.
    async fn hides_its_effect(
        &self,
        session: &mut Session,
        alter: &Alter,
        original: &TableDefinition,
    ) -> Result<bool, EngineError> {
        let takes_values = alter.dropped_columns().any(|name| {
            let is_it = |column: &&Column| column.name.to_lowercase() == name.to_lowercase();
            let column = original.columns.iter().find(is_it);
            column.is_some_and(|column| column.generated != Some(Generated::Virtual))
        });
        Ok(takes_values && self.shadow(session).await?.columns == original.columns)
    }

    /// Makes the altered, empty table one that rows can be copied into.
    async fn finish_shadow(
        &self,
        session: &mut Session,
        alter: &Alter,
        original: TableDefinition,
        keys: &TrialKeys<'_>,
    ) -> Result<TablePlan, EngineError> {
        let name = self.owner.shadow_of(self.task);
        let foreign_keys = keys.take_off(session, &name).await?;
        let shadow = self.shadow(session).await?;
        let carried = mapping::carried(alter, &original, &shadow)?;
        let fillers = filler::needed(&shadow, &carried, &self.user.sql_mode)?;
        filler::set(session, self.schema, &shadow.name, &fillers).await?;
        self.settle_expressions(session, &shadow).await?;
        let shadow = self.shadow(session).await?;
        constraint_names::fit_the_name(&original, &shadow)?;
        let key = mapping::copy_key(&original, &shadow, &carried)?;
        Ok(TablePlan {
            task: self.task.clone(),
            way: Way::Copy,
            original: Some(original),
            shadow: Some(shadow),
            carried,
            key: Some(key),
            executable: None,
            foreign_keys,
            guarded: Vec::new(),
        })
    }

    /// The server spells an expression anew with a later ALTER: `a > -5` is `-(5)` at first and `-5` then, `_latin1'x'` becomes
    /// `_utf8mb4'x'`. Building indexes would thus change the definition that the swap expects; so it is spelled anew here.
    async fn settle_expressions(
        &self,
        session: &mut Session,
        shadow: &TableDefinition,
    ) -> Result<(), EngineError> {
        if !constraint_names::has_expressions(shadow)? {
            return Ok(());
        }
        let table = shadow.quoted();
        session
            .run(&format!("ALTER TABLE {table} FORCE"))
            .await
            .map(drop)
            .map_err(EngineError::while_doing(format!(
                "settling the expressions of {table}"
            )))
    }

    fn at_cutover(
        &self,
        way: Way,
        original: Option<TableDefinition>,
        executable: Option<String>,
    ) -> TablePlan {
        TablePlan {
            task: self.task.clone(),
            way,
            original,
            shadow: None,
            carried: Vec::new(),
            key: None,
            executable,
            foreign_keys: ForeignKeys::default(),
            guarded: Vec::new(),
        }
    }

    async fn original(
        &self,
        session: &mut Session,
        table: &str,
    ) -> Result<TableDefinition, EngineError> {
        catalog::table(session, self.schema, table)
            .await?
            .ok_or_else(|| self.missing(table))
    }

    async fn shadow(&self, session: &mut Session) -> Result<TableDefinition, EngineError> {
        let name = self.owner.shadow_of(self.task);
        catalog::table(session, self.schema, &name)
            .await?
            .ok_or_else(|| EngineError::table_gone(self.schema, &name))
    }

    fn missing(&self, table: &str) -> EngineError {
        EngineError::permanent(format!(
            "statement {}: there is no table {}; correct the name, or leave the statement out",
            self.task.number(),
            quote_table(self.schema, table)
        ))
    }

    fn dialect(&self) -> Dialect {
        Dialect::of_sql_mode(&self.user.sql_mode)
    }
}

/// InnoDB counts the instant changes of a table and refuses one more at its limit. An empty copy starts at none.
fn has_room_for_instant(original: &TableDefinition) -> bool {
    original
        .row_versions
        .is_none_or(|versions| versions < storage::MAX_ROW_VERSIONS)
}
