//! One deployment: the way of each statement, tried on empty copies that are removed again.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::sync::watch;

use super::{Finding, NotLookedAt, Place, not_looked_at, room, twins};
use crate::config::Access;
use crate::engine::names::Owner;
use crate::engine::session::Session;
use crate::engine::session::user::UserSettings;
use crate::engine::state::artifact;
use crate::engine::table::storage::bytes_on_disk;
use crate::engine::table::{TablePlan, Way, catalog};
use crate::engine::{
    EngineError, Job, JobTask, LeaseHolder, LeaseLost, Orders, Progress, plan, preflight,
    revert_warnings, warnings,
};
use crate::server_error;

/// What would be submitted.
#[derive(Debug, Clone)]
pub struct Change {
    pub schema: String,
    pub statements: Vec<String>,
    /// The apply's `engine` object.
    pub engine: serde_json::Value,
}

/// What a look at a deployment came to.
#[derive(Debug, Default, Serialize)]
pub struct Examination {
    pub deployment: String,
    /// Nothing else is known where this is set.
    pub unreachable: Option<String>,
    /// Why the engine would refuse, with the next step.
    pub refusal: Option<String>,
    pub planned: Vec<Planned>,
    /// Set where the disk has too little room for the copies.
    pub room: Option<Finding>,
    /// What people should know before the swap, and what else if it is to be reverted.
    pub warnings: Vec<String>,
    pub revert_warnings: Vec<String>,
    /// Set where another deployment is on the same server: see [`super::note_twins`].
    pub address: Option<Finding>,
    /// What tells the server from all others.
    #[serde(skip)]
    pub server: Option<String>,
    #[serde(skip)]
    pub tables: Vec<TableText>,
}

/// One statement on one deployment.
#[derive(Debug, Serialize)]
pub struct Planned {
    pub statement: String,
    pub way: Way,
    pub way_in_words: &'static str,
    /// Rows and bytes of the table now, roughly: what a copy reads, and about what it needs on disk.
    pub rows: u64,
    pub bytes: u64,
}

/// A table as the deployment shows it; none where it isn't there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableText {
    pub table: String,
    pub create: Option<String>,
}

/// Looks at one deployment; leaves nothing behind.
pub async fn examine(place: &Place, access: &Access, change: &Change) -> Examination {
    let mut examination = Examination {
        deployment: place.deployment.clone(),
        ..Examination::default()
    };
    match look(place, access, change, &mut examination).await {
        Ok(()) => {}
        Err(NotLookedAt::Unreachable(why)) => examination.unreachable = Some(why),
        Err(NotLookedAt::Unsupported(server)) => examination.refusal = Some(server.to_string()),
    }
    examination
}

async fn look(
    place: &Place,
    access: &Access,
    change: &Change,
    examination: &mut Examination,
) -> Result<(), NotLookedAt> {
    let (mut session, owner) = place.session(access).await?;
    examination.server = twins::identity(&mut session).await;
    let mut job = change.job(&owner);
    job.schema_name = catalog::schema_name(&mut session, &job.schema_name)
        .await
        .map_err(not_looked_at)?;
    // Of one that was killed: nobody else looks for it.
    if let Err(error) = artifact::remove_abandoned(&mut session, &job.schema_name, &owner).await {
        tracing::info!(%error, "what an earlier preflight left stays for now");
    }
    let answer = plans(&mut session, &job, &owner, examination).await;
    if let Ok(plans) = &answer {
        examination.room = room::of_copies(place, &mut session, plans).await;
        examination.warnings = warnings(plans);
        examination
            .warnings
            .extend(rivals(&mut session, &job, &owner, plans).await?);
        examination.revert_warnings = revert_warnings(plans);
        for plan in plans {
            let planned = planned(&mut session, plan).await.map_err(not_looked_at)?;
            examination.planned.push(planned);
        }
    }
    artifact::remove_working(&mut session, &job.schema_name, &owner)
        .await
        .map_err(not_looked_at)?;
    session.close().await;
    examination.refusal = answer.err().map(|refusal| refusal.message());
    Ok(())
}

/// Two installations, as that of a fleet and that of `alter`, do not know of each other.
async fn rivals(
    session: &mut Session,
    job: &Job,
    owner: &Owner,
    plans: &[TablePlan],
) -> Result<Vec<String>, NotLookedAt> {
    let tables: Vec<&str> = plans
        .iter()
        .filter_map(|plan| plan.original.as_ref())
        .map(|table| table.name.as_str())
        .collect();
    let found =
        artifact::copied_by_others(session, &job.schema_name, &owner.installation, &tables).await;
    Ok(found
        .map_err(not_looked_at)?
        .iter()
        .map(|(table, artifact)| {
            format!(
                "a copy of table {table} is under way already (its checkpoint is {}), perhaps of another installation: whichever \
                 swaps first makes the other's copy fail; cancel one of them, or wait",
                artifact.quoted()
            )
        })
        .collect())
}

async fn plans(
    session: &mut Session,
    job: &Job,
    owner: &Owner,
    examination: &mut Examination,
) -> Result<Vec<TablePlan>, EngineError> {
    let user = UserSettings::of(session, job).await?;
    for (_, statement) in plan::parse(job, &user.sql_mode)? {
        let table = statement.table().table.clone();
        let create = match catalog::create_statement(session, &job.schema_name, &table).await {
            // No right to see it: the engine says so, and what to do.
            Err(error) if error.cause().is_some_and(server_error::is_denied) => None,
            create => create?,
        };
        examination.tables.push(TableText { table, create });
    }
    preflight::plan(session, job, owner).await
}

async fn planned(session: &mut Session, plan: &TablePlan) -> Result<Planned, EngineError> {
    let original = plan.original.as_ref();
    Ok(Planned {
        statement: plan.task.statement.clone(),
        way: plan.way,
        way_in_words: match plan.way {
            Way::Instant => "instant",
            Way::InPlaceMetadata => "in place, metadata only",
            Way::Copy => "copy while the application writes",
            Way::Create => "create",
            Way::Drop => "rename away, drop later",
        },
        rows: original.map_or(0, |table| table.estimated_rows),
        bytes: match original {
            Some(table) => bytes_on_disk(session, table).await?,
            None => 0,
        },
    })
}

impl Change {
    fn job(&self, owner: &Owner) -> Job {
        Job {
            installation: owner.installation.clone(),
            operation_id: owner.operation_id,
            lease_epoch: owner.epoch,
            schema_name: self.schema.clone(),
            tasks: (0..)
                .zip(&self.statements)
                .map(|(position, statement)| JobTask {
                    task_id: u64::from(position),
                    position,
                    statement: statement.clone(),
                })
                .collect(),
            options: self.engine.clone(),
            revert_window_seconds: 0,
            is_under_way: false,
        }
    }
}

/// Nobody else wants what a preflight makes: its names are its own.
struct Nobody(watch::Sender<Orders>);

pub(super) fn nobody() -> Arc<dyn LeaseHolder> {
    Arc::new(Nobody(watch::Sender::new(Orders::default())))
}

impl LeaseHolder for Nobody {
    fn orders(&self) -> watch::Receiver<Orders> {
        self.0.subscribe()
    }

    fn report(&self, _: Progress) {}

    fn confirm(&self) -> BoxFuture<'_, Result<(), LeaseLost>> {
        Box::pin(async { Ok(()) })
    }
}
