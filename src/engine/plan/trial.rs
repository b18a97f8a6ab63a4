//! A statement is tried on an empty table of ours: what it makes there, and what the server says against it.

use super::constraint_names::{self, in_own_names, on_names_of};
use super::trial_keys::TrialKeys;
use super::{Planner, refused};
use crate::engine::error::server_error_kind;
use crate::engine::names::{Owner, Role};
use crate::engine::session::user::UserSettings;
use crate::engine::session::{SHORT_LOCK_WAIT, Session, blocker};
use crate::engine::syntax::quote_table;
use crate::engine::syntax::statement::{Alter, Rest, Statement};
use crate::engine::syntax::token::Dialect;
use crate::engine::table::{TableDefinition, TablePlan, catalog};
use crate::engine::{EngineError, ErrorKind, Job, JobTask, fail_point};
use crate::server_error;

/// What a statement makes of its table, tried on an empty one.
pub(in crate::engine) async fn definition_on_trial(
    session: &mut Session,
    job: &Job,
    owner: &Owner,
    user: &UserSettings,
    planned: &TablePlan,
) -> Result<Option<TableDefinition>, EngineError> {
    let planner = Planner {
        schema: &job.schema_name,
        owner,
        user,
        tasks: &job.tasks,
        task: &planned.task,
    };
    let statement = Statement::parse(
        &planned.task.statement,
        Dialect::of_sql_mode(&user.sql_mode),
    )
    .map_err(|error| refused(&planned.task, &error))?;
    let trial = owner.table(Role::Trial(planned.task.position));
    match &statement {
        Statement::Create(create) => planner.created(session, create).await,
        Statement::Alter(alter) => {
            let original = planner.original(session, &alter.table.table).await?;
            let keys = planner.trial_keys(session, &original).await?;
            let altered = planner
                .altered(
                    session,
                    alter,
                    &original,
                    planned.shadow.as_ref(),
                    &keys,
                    &trial,
                )
                .await;
            keys.remove(session).await?;
            altered
        }
        Statement::Drop { .. } => Ok(None),
    }
}

impl Planner<'_> {
    /// Makes `name` an empty table like `original`.
    pub(super) async fn empty_copy(
        &self,
        session: &mut Session,
        original: &TableDefinition,
        name: &str,
        keys: &TrialKeys<'_>,
    ) -> Result<(), EngineError> {
        session.drop_table(self.schema, name).await?;
        fail_point::at("plan.create_shadow.before");
        session
            .run(&format!(
                "CREATE TABLE {} LIKE {}",
                quote_table(self.schema, name),
                original.quoted()
            ))
            .await
            .map_err(EngineError::while_doing(format!(
                "making an empty copy of {}",
                original.quoted()
            )))?;
        fail_point::at("plan.create_shadow.after");
        constraint_names::name_checks(session, original, name).await?;
        keys.add(session, original, name).await
    }

    /// What the statement makes of an empty copy, which is dropped.
    async fn altered(
        &self,
        session: &mut Session,
        alter: &Alter,
        original: &TableDefinition,
        shadow: Option<&TableDefinition>,
        keys: &TrialKeys<'_>,
        trial: &str,
    ) -> Result<Option<TableDefinition>, EngineError> {
        self.empty_copy(session, original, trial, keys).await?;
        let on_trial = on_names_of(alter, original, shadow, trial, keys, self.dialect())?;
        let own = |text: &str| in_own_names(text, original, trial, keys);
        self.made_by(session, &on_trial.on(self.schema, trial, ""), trial, own)
            .await
    }

    /// What a CREATE TABLE makes, tried under another name.
    pub(super) async fn created(
        &self,
        session: &mut Session,
        create: &Rest,
    ) -> Result<Option<TableDefinition>, EngineError> {
        let trial = self.owner.table(Role::Trial(self.task.position));
        let references = create.references(self.schema, self.dialect());
        let coming = self.created_till_here();
        let is_coming = |(schema, table): &(String, String)| {
            schema == self.schema && coming.iter().any(|one| one == table)
        };
        let (coming, parents): (Vec<_>, Vec<_>) = references.into_iter().partition(is_coming);
        let tables: Vec<(&str, &str)> = parents.iter().map(|(s, t)| (&**s, &**t)).collect();
        // Whoever comes to a parent meanwhile waits behind us, and we behind whoever has used it for long.
        let blockers = blocker::holding(session, &tables, SHORT_LOCK_WAIT).await?;
        if let Some(blocker) = blockers.first() {
            return Err(EngineError::retryable(format!(
                "statement {} has to lock the parents of its foreign keys for a moment, and {}; it is tried again",
                self.task.number(),
                blocker.describe()
            )));
        }
        let on_trial = create.on(self.schema, &trial);
        let own = |text: &str| Ok(text.replace(&trial, &create.table.table));
        let user = UserSettings {
            // What is not there yet can't be looked up.
            foreign_key_checks: self.user.foreign_key_checks && coming.is_empty(),
            ..self.user.clone()
        };
        let planner = Planner {
            user: &user,
            ..*self
        };
        session
            .with_short_lock_waits(async |session| {
                session.drop_table(self.schema, &trial).await?;
                planner.made_by(session, &on_trial, &trial, own).await
            })
            .await
    }

    /// The tables that this statement and those before it create.
    fn created_till_here(&self) -> Vec<String> {
        let till_here = |task: &&JobTask| task.position <= self.task.position;
        let created =
            self.tasks.iter().filter(till_here).filter_map(|task| {
                match Statement::parse(&task.statement, self.dialect()) {
                    Ok(Statement::Create(create)) => Some(create.table.table),
                    Ok(Statement::Alter(_) | Statement::Drop { .. }) | Err(_) => None,
                }
            });
        created.collect()
    }

    async fn made_by(
        &self,
        session: &mut Session,
        statement: &str,
        trial: &str,
        in_own_names: impl Fn(&str) -> Result<String, EngineError>,
    ) -> Result<Option<TableDefinition>, EngineError> {
        if let Err(error) = self.run_as_user(session, statement).await? {
            let said = in_own_names(&server_error::words(&error))?;
            return Err(self.refused_by_server(&error, &said));
        }
        let made = catalog::table(session, self.schema, trial).await?;
        session.drop_table(self.schema, trial).await?;
        Ok(made)
    }

    pub(super) async fn trial_keys(
        &self,
        session: &mut Session,
        original: &TableDefinition,
    ) -> Result<TrialKeys<'_>, EngineError> {
        TrialKeys::make(
            session,
            self.schema,
            self.owner,
            self.task.position,
            original,
        )
        .await
    }

    /// Runs the user's statement under the user's settings. The inner error is the server's
    /// answer to the statement; the outer one is a session that broke.
    pub(super) async fn run_as_user(
        &self,
        session: &mut Session,
        statement: &str,
    ) -> Result<Result<(), sqlx::Error>, EngineError> {
        match self.user.run(session, statement).await {
            Err(error) if server_error_kind(&error) == ErrorKind::Retryable => Err(
                EngineError::while_doing("trying the statement on an empty copy")(error),
            ),
            answer => Ok(answer),
        }
    }

    /// `said` is what the server says, in the names that people gave.
    pub(super) fn refused_by_server(&self, error: &sqlx::Error, said: &str) -> EngineError {
        let number = server_error::number(error).unwrap_or_default();
        // A default that only an older, laxer sql_mode took.
        let way_out = match number {
            1067 => "; the engine option sql_mode says under which one the statement is read",
            1298 => "; the engine option time_zone takes what the server's variable takes",
            // Each row would get another value, here and on a replica.
            1674 => {
                "; such a default can't be given to rows that are there: add the column without it, fill it, and then set \
                 the default in an apply of its own, by ALTER TABLE … ALTER COLUMN … SET DEFAULT (…)"
            }
            _ => "",
        };
        EngineError::permanent(format!(
            "the server refuses statement {}: {said} ({number}){way_out}",
            self.task.number()
        ))
    }
}
