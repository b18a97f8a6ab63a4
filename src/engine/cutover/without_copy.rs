//! A statement without a copy, executed at the cutover, once.
//!
//! What the definition is before and what it will be after are written down first, so that a
//! crash between the statement and its record is settled by looking at the table.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::lock::{ANSWER_MARGIN, blocked_by, unless_it_waits};
use crate::engine::context::lease_is_lost;
use crate::engine::preflight::triggers;
use crate::engine::session::user::UserSettings;
use crate::engine::session::{Session, Sessions, end_session};
use crate::engine::state::artifact;
use crate::engine::state::fence::{StepRecord, SwapRecord};
use crate::engine::syntax::create_text::ElementKind;
use crate::engine::syntax::statement::Statement;
use crate::engine::syntax::token::Dialect;
use crate::engine::syntax::{quote, quote_table};
use crate::engine::table::dependents;
use crate::engine::table::foreign_key::{self, ForeignKey};
use crate::engine::table::surroundings::Surroundings;
use crate::engine::table::{TablePlan, Way, catalog, create_text, storage};
use crate::engine::{EngineError, ErrorKind, Operation, Progress, fail_point, plan};
use crate::server_error;

/// How long a session of ours may be silent that holds no lock, as from its beginning.
const PATIENT: &str = "SET SESSION wait_timeout = 86400";

pub(crate) struct Step<'a> {
    pub operation: &'a Operation,
    pub plan: &'a TablePlan,
    pub user: &'a UserSettings,
}

pub(crate) fn changed_by_others(schema: &str, table: &str) -> EngineError {
    EngineError::permanent(format!(
        "{} was changed by somebody else since the operation began; submit the change again",
        quote_table(schema, table)
    ))
}

/// Of a definition, whatever its foreign keys point at: those of an empty copy point at empty copies.
fn digest(create_statement: &str) -> Result<String, EngineError> {
    let mut text = create_text(create_statement)?;
    let keys = ForeignKey::of(&text, "")?;
    let mut keys: Vec<String> = keys.iter().map(|key| key.body("")).collect();
    keys.sort_unstable();
    text.elements
        .retain(|element| element.kind != ElementKind::ForeignKey);
    let whole = format!("{}\n{}", text.meaning(), keys.join("\n"));
    Ok(hex::encode(Sha256::digest(whole)))
}

impl Step<'_> {
    /// Executes the statement unless the record or the table shows that it was executed.
    pub async fn execute(
        &self,
        session: &mut Session,
        record: &mut SwapRecord,
    ) -> Result<(), EngineError> {
        let position = self.plan.task.position;
        let known = record
            .steps
            .iter()
            .position(|step| step.position == position);
        let index = match known {
            Some(index) => index,
            None => {
                let step = self.look_ahead(session).await?;
                record.steps.push(step);
                self.operation.fence.write_swap(session, record).await?;
                record.steps.len() - 1
            }
        };
        if !record.steps[index].done {
            if !self.has_happened(session, &record.steps[index]).await? {
                self.run(session, &record.steps[index]).await?;
            }
            if self.plan.way == Way::Drop {
                self.let_go(session).await?;
            }
            record.steps[index].done = true;
            self.operation.fence.write_swap(session, record).await?;
        }
        Ok(())
    }

    fn schema(&self) -> &str {
        self.operation.fence.schema()
    }

    fn statement(&self) -> Result<Statement, EngineError> {
        let dialect = Dialect::of_sql_mode(&self.user.sql_mode);
        Statement::parse(&self.plan.task.statement, dialect).map_err(|error| {
            EngineError::permanent(format!("statement {}: {error}", self.plan.task.number()))
        })
    }

    /// The table's own name.
    fn table(&self) -> Result<String, EngineError> {
        Ok(self.statement()?.table().table.clone())
    }

    /// What the definition is, and what the statement will make of it.
    async fn look_ahead(&self, session: &mut Session) -> Result<StepRecord, EngineError> {
        let table = self.table()?;
        let before = catalog::create_statement(session, self.schema(), &table).await?;
        let after = match self.plan.way {
            Way::Instant | Way::InPlaceMetadata | Way::Create => plan::definition_on_trial(
                session,
                &self.operation.job,
                self.operation.fence.owner(),
                self.user,
                self.plan,
            )
            .await?
            .map(|table| table.create_statement),
            Way::Drop | Way::Copy => None,
        };
        Ok(StepRecord {
            position: self.plan.task.position,
            before: before.as_deref().map(digest).transpose()?,
            after: after.as_deref().map(digest).transpose()?,
            done: false,
        })
    }

    /// Does the table look as after the statement, or at least not as before it?
    pub async fn may_have_happened(
        &self,
        session: &mut Session,
        step: &StepRecord,
    ) -> Result<bool, EngineError> {
        match self.has_happened(session, step).await {
            Err(error) if error.kind() == ErrorKind::Permanent => Ok(true),
            answer => answer,
        }
    }

    /// Does the table look as after the statement?
    async fn has_happened(
        &self,
        session: &mut Session,
        step: &StepRecord,
    ) -> Result<bool, EngineError> {
        let table = self.table()?;
        if self.plan.way == Way::Drop {
            return match step.before {
                None => Ok(true),
                Some(_) => Ok(self.held(session).await?.is_some()),
            };
        }
        let now = catalog::create_statement(session, self.schema(), &table).await?;
        let now = now.as_deref().map(digest).transpose()?;
        if now == step.before {
            // Where nothing changes, nothing is lost by executing it again; a CREATE TABLE IF NOT EXISTS
            // of a table that is there has nothing to do. Without these words it is refused then: somebody else made that table.
            let may_be_there =
                matches!(self.statement()?, Statement::Create(create) if create.if_not_exists);
            return Ok(may_be_there && now.is_some());
        }
        if now == step.after || step.after.is_none() {
            return Ok(true);
        }
        Err(changed_by_others(self.schema(), &table))
    }

    async fn held(&self, session: &mut Session) -> Result<Option<String>, EngineError> {
        let (owner, position) = (self.operation.fence.owner(), self.plan.task.position);
        artifact::held(session, self.schema(), owner, position).await
    }

    /// Takes from a dropped table, in its holding name, what DROP TABLE would have ended at once: foreign keys would hold back
    /// deletes of their parents, and names that are unique in a schema could not be used again.
    async fn let_go(&self, session: &mut Session) -> Result<(), EngineError> {
        let Some(table) = self.held(session).await? else {
            return Ok(());
        };
        let (started, mut attempts) = (Instant::now(), 0u32);
        loop {
            match self.drop_parts(session, &table).await {
                Err(error) if error.kind() == ErrorKind::Retryable => {
                    self.pause(&mut attempts, started, &error.message()).await?;
                }
                answer => return answer,
            }
        }
    }

    async fn drop_parts(&self, session: &mut Session, table: &str) -> Result<(), EngineError> {
        let schema = self.schema();
        foreign_key::drop_all(session, schema, table).await?;
        let Some(around) = Surroundings::of(session, schema, table).await? else {
            return Ok(());
        };
        let checks = around.checks.iter();
        let mut statements: Vec<String> = checks
            // The others were renamed with the table.
            .filter(|name| !name.starts_with(table))
            .map(|name| {
                format!(
                    "ALTER TABLE {} DROP CHECK {}",
                    quote_table(schema, table),
                    quote(name)
                )
            })
            .collect();
        let triggers = around.triggers.iter();
        statements.extend(
            triggers.map(|name| format!("DROP TRIGGER IF EXISTS {}", quote_table(schema, name))),
        );
        for statement in statements {
            fail_point::at("step.part.before");
            let doing = EngineError::while_doing(format!("taking its parts from {table}"));
            session.run(&statement).await.map_err(doing)?;
        }
        Ok(())
    }

    /// What has come to the table since the plan was made, and would be broken by the statement, which the server lets pass.
    async fn refuse_what_came(&self, session: &mut Session) -> Result<(), EngineError> {
        let number = self.plan.task.number();
        let table = self.table()?;
        let Some(around) = Surroundings::of(session, self.schema(), &table).await? else {
            return Ok(());
        };
        if self.plan.way == Way::Drop {
            return dependents::refuse_children(number, (self.schema(), &table), &around);
        }
        let (Some(before), false) = (&self.plan.original, around.triggers.is_empty()) else {
            return Ok(());
        };
        let (owner, user) = (self.operation.fence.owner(), self.user);
        let after =
            plan::definition_on_trial(session, &self.operation.job, owner, user, self.plan).await?;
        match after {
            Some(after) => triggers::check(session, number, before, &after).await,
            None => Ok(()),
        }
    }

    /// What is to be run; nothing where the table that is dropped is gone.
    async fn statement_to_run(&self, session: &mut Session) -> Result<Option<String>, EngineError> {
        if self.plan.way == Way::Drop {
            let table = self.table()?;
            if !storage::exists(session, self.schema(), &table).await? {
                return Ok(None);
            }
            let holding = artifact::holding_name(
                session,
                self.operation.fence.owner(),
                self.plan.task.position,
                self.operation.options.hold_old_table_seconds,
            )
            .await?;
            return Ok(Some(format!(
                "RENAME TABLE {} TO {}",
                quote_table(self.schema(), &table),
                quote_table(self.schema(), &holding)
            )));
        }
        match &self.plan.executable {
            Some(executable) => Ok(Some(executable.clone())),
            None => Err(EngineError::permanent(format!(
                "statement {} has nothing to execute; this is a defect of lockkeeper; report it",
                self.plan.task.number()
            ))),
        }
    }

    /// Runs the statement as soon as nobody is in its way.
    async fn run(&self, session: &mut Session, step: &StepRecord) -> Result<(), EngineError> {
        let Some(statement) = self.statement_to_run(session).await? else {
            return Ok(());
        };
        let mut helper = self.operation.sessions.open().await?;
        let limit = self.operation.options.cutover_lock_wait();
        let started = Instant::now();
        let mut attempts = 0u32;
        loop {
            self.operation.sessions.confirm().await?;
            self.operation.fence.check(session).await?;
            self.refuse_what_came(session).await?;
            if let Some(reason) = self.blocked_by(&mut helper).await? {
                self.pause(&mut attempts, started, &reason).await?;
                continue;
            }
            session
                .set_lock_waits(limit, limit)
                .await
                .map_err(EngineError::while_doing("setting a lock's limit"))?;
            fail_point::at("step.execute.before");
            let id = session.id();
            let answer = match self.plan.way {
                Way::Drop => self.put_away(session, &mut helper, &statement).await?,
                Way::Instant | Way::InPlaceMetadata | Way::Create | Way::Copy => {
                    let run = self.user.run(session, &statement);
                    unless_it_waits(limit, &mut helper, id, run).await
                }
            };
            fail_point::at("step.execute.after");
            let has_happened = match answer {
                Ok(()) => true,
                Err(error) => self.failed(session, &mut helper, step, error).await?,
            };
            if has_happened {
                break;
            }
            self.pause(&mut attempts, started, "the table is in use")
                .await?;
        }
        helper.close().await;
        Ok(())
    }

    /// The statement was answered with an error. Has it happened all the same? If not, it may be run again.
    async fn failed(
        &self,
        session: &mut Session,
        helper: &mut Session,
        step: &StepRecord,
        error: sqlx::Error,
    ) -> Result<bool, EngineError> {
        let number = server_error::number(&error);
        let doing = format!("executing statement {}", self.plan.task.number());
        let error = EngineError::while_doing(doing)(error);
        match number {
            // A statement that gives way to others, as the swap does.
            Some(1205 | 1213) => Ok(false),
            // Interrupted, perhaps just behind the statement, and then the session has the user's settings still.
            Some(1317) => {
                self.operation.sessions.replace(session, &error).await?;
                self.has_happened(session, step).await
            }
            Some(_) => Err(error),
            // Nobody looks at the table as long as the server may still carry it out.
            None => {
                end_session(helper, session.id()).await?;
                Err(error)
            }
        }
    }

    /// Renames a table away under its lock: what would point at it can't come between the look and the RENAME. Answers what the server
    /// says.
    async fn put_away(
        &self,
        session: &mut Session,
        helper: &mut Session,
        rename: &str,
    ) -> Result<Result<(), sqlx::Error>, EngineError> {
        let limit = self.operation.options.cutover_lock_wait();
        let tables = self.tables(helper).await?;
        let locks: Vec<String> = tables
            .iter()
            .map(|(schema, table)| format!("{} WRITE", quote_table(schema, table)))
            .collect();
        // A driver that is frozen under the lock is ended by the server.
        let silence = (limit + ANSWER_MARGIN).as_secs() + 1;
        let lock = format!(
            "SET SESSION wait_timeout = {silence}; LOCK TABLES {}",
            locks.join(", ")
        );
        let id = session.id();
        if let Err(error) = unless_it_waits(limit, helper, id, session.run(&lock)).await {
            // It holds nothing, and pauses for longer than that. One that was interrupted is not used again.
            if server_error::number(&error).is_some_and(|number| number != 1317) {
                session
                    .run(PATIENT)
                    .await
                    .map_err(EngineError::while_doing("giving way to others"))?;
            }
            return Ok(Err(error));
        }
        let looked = self.refuse_what_came(helper).await;
        let rename = match &looked {
            Ok(()) => format!("{rename}; "),
            Err(_) => String::new(),
        };
        let unlock = format!("UNLOCK TABLES; {PATIENT}");
        let answer = session.run(&format!("{rename}{unlock}")).await.map(drop);
        if let Err(error) = &answer
            && server_error::number(error).is_some()
        {
            // A statement that is refused keeps those behind it from being executed.
            let unlocked = session.run(&unlock).await;
            unlocked.map_err(EngineError::while_doing("unlocking a table"))?;
        }
        looked.map(|()| answer)
    }

    /// A session that has used the table for long makes everybody else wait behind us.
    async fn blocked_by(&self, helper: &mut Session) -> Result<Option<String>, EngineError> {
        let tables = self.tables(helper).await?;
        let tables: Vec<(&str, &str)> = tables.iter().map(|(s, t)| (&**s, &**t)).collect();
        blocked_by(&self.operation.options, helper, &tables).await
    }

    /// What the statement locks.
    async fn tables(&self, helper: &mut Session) -> Result<Vec<(String, String)>, EngineError> {
        let mut tables = match self.statement()? {
            // There is no such table yet.
            Statement::Create(create) => {
                let dialect = Dialect::of_sql_mode(&self.user.sql_mode);
                create.parents(self.schema(), dialect)
            }
            statement => vec![(self.schema().to_owned(), statement.table().table.clone())],
        };
        if self.plan.way == Way::Drop {
            // Its keys are dropped with it.
            let keys = ForeignKey::of_table(helper, self.schema(), &self.table()?).await?;
            tables.extend(
                keys.into_iter()
                    .map(|key| (key.parent_schema, key.parent_table)),
            );
            tables.sort();
            tables.dedup();
        }
        Ok(tables)
    }

    async fn pause(
        &self,
        attempts: &mut u32,
        started: Instant,
        reason: &str,
    ) -> Result<(), EngineError> {
        *attempts += 1;
        let number = self.plan.task.number();
        if started.elapsed() > self.operation.options.cutover_give_up_after() {
            return Err(EngineError::retryable(format!(
                "statement {number} gave way {attempts} times, last because {reason}; it is \
                 tried again"
            )));
        }
        self.operation.sessions.lease().report(Progress {
            phase: "cutover".into(),
            throttled_by: Some(reason.to_owned()),
            ..Progress::default()
        });
        orders_allow(&self.operation.sessions)?;
        tokio::time::sleep(Duration::from_millis(100 << (*attempts).min(6))).await;
        Ok(())
    }
}

/// Between two attempts: is the lease still ours, and the driver not on its way out?
pub(crate) fn orders_allow(sessions: &Sessions) -> Result<(), EngineError> {
    let orders = *sessions.lease().orders().borrow();
    if orders.lost {
        return Err(lease_is_lost());
    }
    if orders.shutdown {
        return Err(EngineError::retryable(
            "the driver is shutting down; the cutover is tried again by another",
        ));
    }
    Ok(())
}
