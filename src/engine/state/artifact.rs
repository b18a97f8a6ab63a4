//! What is done with the tables that the engine leaves on a deployment: found again by their names, taken over, put aside, dropped.

use std::time::{Duration, Instant};

use sqlx::Row;
use sqlx::mysql::MySqlConnection;

use crate::engine::names::{Artifact, ArtifactKind, CHECKPOINT, Owner};
use crate::engine::session::{Session, blocker, registered};
use crate::engine::syntax::{quote, quote_table};
use crate::engine::table::foreign_key::ForeignKey;
use crate::engine::{EngineError, fail_point};
use crate::server_error;

/// Everything of any installation that is left on a deployment, in all schemas.
pub async fn list(connection: &mut MySqlConnection) -> Result<Vec<Artifact>, EngineError> {
    named(connection, None).await
}

async fn named(
    connection: &mut MySqlConnection,
    schema: Option<&str>,
) -> Result<Vec<Artifact>, EngineError> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT CAST(t.TABLE_SCHEMA AS CHAR), CAST(t.TABLE_NAME AS CHAR) \
           FROM information_schema.TABLES AS t \
          WHERE t.TABLE_NAME LIKE '|_lk|_%' ESCAPE '|' AND t.TABLE_TYPE = 'BASE TABLE' \
            AND t.TABLE_SCHEMA = COALESCE(?, t.TABLE_SCHEMA) \
          ORDER BY t.TABLE_SCHEMA, t.TABLE_NAME",
    )
    .bind(schema)
    .fetch_all(connection)
    .await
    .map_err(EngineError::while_doing("listing what is left over"))?;
    Ok(rows
        .iter()
        .filter_map(|(schema, name)| Artifact::parse(schema, name))
        .collect())
}

/// Which of the tables another installation copies, by its checkpoints.
pub async fn copied_by_others(
    session: &mut Session,
    schema: &str,
    installation: &str,
    tables: &[&str],
) -> Result<Vec<(String, Artifact)>, EngineError> {
    let mut found = Vec::new();
    for artifact in named(session.connection(), Some(schema)).await? {
        let is_checkpoint =
            matches!(&artifact.kind, ArtifactKind::Working { rest, .. } if rest == CHECKPOINT);
        if artifact.installation == installation || !is_checkpoint {
            continue;
        }
        // Whatever its format: of one that can't be read nothing is said.
        let names: Result<Option<Vec<String>>, sqlx::Error> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT JSON_EXTRACT(c.value, '$.plans[*].original.name') FROM {} AS c WHERE c.name = 'head'",
            artifact.quoted()
        )))
        .fetch_optional(session.connection())
        .await
        .map(|names: Option<Option<sqlx::types::Json<Vec<String>>>>| names.flatten().map(|names| names.0));
        let names = names.ok().flatten().unwrap_or_default();
        let ours = names
            .into_iter()
            .filter(|name| tables.contains(&name.as_str()));
        found.extend(ours.map(|name| (name, artifact.clone())));
    }
    Ok(found)
}

/// What the operation has in the schema, fence included.
pub async fn of_operation(
    session: &mut Session,
    schema: &str,
    owner: &Owner,
) -> Result<Vec<Artifact>, EngineError> {
    let mut found = named(session.connection(), Some(schema)).await?;
    found.retain(|artifact| artifact.is_of(owner));
    Ok(found)
}

/// Gives every artifact of a former epoch a name of the owner's epoch, all in one statement.
pub(crate) async fn take_over(
    session: &mut Session,
    schema: &str,
    owner: &Owner,
) -> Result<(), EngineError> {
    let mut renames = Vec::new();
    let mut names = Vec::new();
    let found = of_operation(session, schema, owner).await?;
    for artifact in &found {
        let ArtifactKind::Working { epoch, rest } = &artifact.kind else {
            continue;
        };
        if *epoch > owner.epoch {
            return Err(EngineError::LeaseLost(format!(
                "{} is of a later epoch than this driver's, {}",
                artifact.quoted(),
                owner.epoch
            )));
        }
        if *epoch < owner.epoch {
            renames.push(format!(
                "{} TO {}",
                artifact.quoted(),
                quote_table(schema, &owner.artifact(rest))
            ));
            names.push(artifact.name.as_str());
        }
    }
    if renames.is_empty() {
        return Ok(());
    }
    let rename = format!("RENAME TABLE {}", renames.join(", "));
    let doing = "taking over the former driver's tables";
    beside_parents(session, schema, &names, &rename, doing).await
}

/// How long another's use of a parent is waited out.
const LONGEST_WAIT_FOR_PARENTS: Duration = Duration::from_secs(20);

/// Runs a statement on tables of ours. Where keys of theirs point at tables of the application, as those of a trial that was cut short do, it
/// locks those too, and everybody else would wait behind it: they are waited for without a lock, and for the lock itself only shortly.
async fn beside_parents(
    session: &mut Session,
    schema: &str,
    names: &[&str],
    statement: &str,
    doing: &'static str,
) -> Result<(), EngineError> {
    let mut parents = Vec::new();
    for name in names {
        let keys = ForeignKey::of_table(session, schema, name).await?;
        parents.extend(
            keys.into_iter()
                .map(|key| (key.parent_schema, key.parent_table)),
        );
    }
    if parents.is_empty() {
        let done = session.run(statement).await.map(drop);
        return done.map_err(EngineError::while_doing(doing));
    }
    let parents: Vec<(&str, &str)> = parents.iter().map(|(s, t)| (&**s, &**t)).collect();
    let started = Instant::now();
    let when_they_are_free = async |session: &mut Session| {
        loop {
            let blockers = blocker::holding(session, &parents, Duration::from_millis(500)).await?;
            let is_late = started.elapsed() > LONGEST_WAIT_FOR_PARENTS;
            match blockers.first() {
                Some(blocker) if is_late => {
                    let why = blocker.describe();
                    return Err(EngineError::retryable(format!("{doing}: {why}")));
                }
                Some(_) => {}
                None => match session.run(statement).await {
                    Err(error) if server_error::number(&error) == Some(1205) && !is_late => {}
                    done => return done.map(drop).map_err(EngineError::while_doing(doing)),
                },
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    session.with_short_lock_waits(when_they_are_free).await
}

/// The holding name of a table that may be dropped `after_seconds` from now, by the server's clock.
pub async fn holding_name(
    session: &mut Session,
    owner: &Owner,
    position: u32,
    after_seconds: u64,
) -> Result<String, EngineError> {
    let due: String = sqlx::query_scalar(
        "SELECT DATE_FORMAT(UTC_TIMESTAMP() + INTERVAL ? SECOND, '%Y%m%d%H%i%s')",
    )
    .bind(after_seconds)
    .fetch_one(session.connection())
    .await
    .map_err(EngineError::while_doing("asking for the server's time"))?;
    Ok(owner.holding(position, &due))
}

/// The holding name of the table of the task at this position, where it has got one.
pub async fn held(
    session: &mut Session,
    schema: &str,
    owner: &Owner,
    position: u32,
) -> Result<Option<String>, EngineError> {
    let found = of_operation(session, schema, owner).await?;
    let held = found.into_iter().find(|artifact| {
        matches!(artifact.kind, ArtifactKind::Holding { position: p, .. } if p == position)
    });
    Ok(held.map(|artifact| artifact.name))
}

/// Renames the operation's tables that end in `suffix` into their holding names: the old ones
/// after a revert window, the new ones after a revert.
pub async fn hold_tables(
    session: &mut Session,
    schema: &str,
    owner: &Owner,
    suffix: &str,
    after_seconds: u64,
) -> Result<(), EngineError> {
    for artifact in of_operation(session, schema, owner).await? {
        let ArtifactKind::Working { epoch, rest } = &artifact.kind else {
            continue;
        };
        let Some(position) = rest.strip_suffix(suffix).and_then(|p| p.parse().ok()) else {
            continue;
        };
        if *epoch != owner.epoch {
            continue;
        }
        let name = holding_name(session, owner, position, after_seconds).await?;
        fail_point::at("artifact.hold.before");
        put_aside(session, &artifact, &name).await?;
        fail_point::at("artifact.hold.after");
    }
    Ok(())
}

async fn put_aside(
    session: &mut Session,
    artifact: &Artifact,
    name: &str,
) -> Result<(), EngineError> {
    session
        .run(&format!(
            "RENAME TABLE {} TO {}",
            artifact.quoted(),
            quote_table(&artifact.schema, name)
        ))
        .await
        .map(drop)
        .map_err(EngineError::while_doing("putting the old table aside"))
}

/// Drops the operation's working tables of the owner's epoch; for a cancel, and after a finish.
/// An old table is never among them: it holds rows that the application wrote, and goes to its
/// holding name first.
pub async fn remove_working(
    session: &mut Session,
    schema: &str,
    owner: &Owner,
) -> Result<(), EngineError> {
    for artifact in of_operation(session, schema, owner).await? {
        let ArtifactKind::Working { epoch, rest } = &artifact.kind else {
            continue;
        };
        if *epoch != owner.epoch || rest.ends_with("_old") {
            continue;
        }
        remove(session, &artifact).await?;
    }
    Ok(())
}

/// Drops what is left in the schema of the owner's installation and of an operation whose driver is gone: none of its sessions
/// is there, and each is registered before anything is made. For what has no successor, as a preflight.
pub async fn remove_abandoned(
    session: &mut Session,
    schema: &str,
    owner: &Owner,
) -> Result<(), EngineError> {
    let mut owners: Vec<Owner> = Vec::new();
    for artifact in named(session.connection(), Some(schema)).await? {
        let ArtifactKind::Working { epoch, .. } = artifact.kind else {
            continue;
        };
        let left_by = Owner {
            operation_id: artifact.operation_id,
            epoch,
            ..owner.clone()
        };
        if artifact.installation == owner.installation
            && left_by != *owner
            && !owners.contains(&left_by)
        {
            owners.push(left_by);
        }
    }
    for left_by in owners {
        let sessions = registered(session, &left_by.sessions_prefix(left_by.epoch)).await?;
        if sessions.is_empty() {
            remove_working(session, schema, &left_by).await?;
        }
    }
    Ok(())
}

/// Drops what has waited long enough, of this installation alone, in all schemas. Returns how
/// many tables were dropped.
pub async fn remove_due(session: &mut Session, installation: &str) -> Result<usize, EngineError> {
    let now: String = sqlx::query_scalar("SELECT DATE_FORMAT(UTC_TIMESTAMP(), '%Y%m%d%H%i%s')")
        .fetch_one(session.connection())
        .await
        .map_err(EngineError::while_doing("asking for the server's time"))?;
    let mut removed = 0;
    let mut failed = end_finished(session, installation).await?;
    let all = list(session.connection()).await?;
    for artifact in &all {
        // A fence tells that its operation was finished, as long as anything of it is left.
        let has_more = || {
            let mut others = all.iter().filter(|one| one.schema == artifact.schema);
            others.any(|one| {
                one.installation == installation
                    && one.operation_id == artifact.operation_id
                    && matches!(one.kind, ArtifactKind::Working { .. })
            })
        };
        let is_due = artifact.installation == installation
            && match &artifact.kind {
                ArtifactKind::Holding { due, .. } => *due <= now,
                ArtifactKind::Fence if has_more() => false,
                ArtifactKind::Fence => fence_due(session.connection(), artifact)
                    .await?
                    .is_some_and(|due| due <= now),
                ArtifactKind::Working { .. } => false,
            };
        if is_due {
            match remove(session, artifact).await {
                Ok(()) => removed += 1,
                // One that is in use, or that this account may not drop, does not keep the others.
                Err(error) if error.server_number().is_some() => {
                    failed.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
    }
    failed.map_or(Ok(removed), Err)
}

/// Does what is left to do of finished operations, whose driver was killed meanwhile, or met an old table that somebody else had
/// open: that one goes to its holding name, the rest is dropped. The first that could not be done is returned.
async fn end_finished(
    session: &mut Session,
    installation: &str,
) -> Result<Option<EngineError>, EngineError> {
    let mut failed = None;
    let all = list(session.connection()).await?;
    let ours = |artifact: &&Artifact| artifact.installation == installation;
    for fence in all.iter().filter(ours) {
        let ArtifactKind::Fence = fence.kind else {
            continue;
        };
        let left: Vec<(&Artifact, u64, &str)> = all
            .iter()
            .filter(|one| one.installation == installation && one.schema == fence.schema)
            .filter(|one| one.operation_id == fence.operation_id)
            .filter_map(|one| match &one.kind {
                ArtifactKind::Working { epoch, rest } => Some((one, *epoch, rest.as_str())),
                ArtifactKind::Fence | ArtifactKind::Holding { .. } => None,
            })
            .collect();
        if left.is_empty() {
            continue;
        }
        let Some(due) = fence_due(session.connection(), fence).await? else {
            continue;
        };
        for (artifact, epoch, rest) in left {
            let owner = Owner {
                installation: installation.to_owned(),
                operation_id: artifact.operation_id,
                epoch,
            };
            if !registered(session, &owner.sessions_prefix(epoch))
                .await?
                .is_empty()
            {
                continue;
            }
            // After a way back the changed table is the one that holds what the application wrote.
            let table = rest.strip_suffix("_old").or(rest.strip_suffix("_new"));
            let position = table.and_then(|position| position.parse().ok());
            let done = match position {
                Some(position) => {
                    put_aside(session, artifact, &owner.holding(position, &due)).await
                }
                None => remove(session, artifact).await,
            };
            match done {
                Err(error) if error.server_number().is_some() => {
                    failed.get_or_insert(error);
                }
                done => done?,
            }
        }
    }
    Ok(failed)
}

/// From when on (`yyyymmddhhmmss`, UTC) a fence may go: it stays for a while after its operation's end. `None` before that, and
/// where it is gone.
pub async fn fence_due(
    connection: &mut MySqlConnection,
    fence: &Artifact,
) -> Result<Option<String>, EngineError> {
    let due: Result<Option<Option<String>>, sqlx::Error> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT DATE_FORMAT(f.remove_from, '%Y%m%d%H%i%s') FROM {} AS f WHERE f.id = 1",
            fence.quoted()
        )))
        .fetch_optional(connection)
        .await;
    match due {
        Ok(due) => Ok(due.flatten()),
        Err(error) if server_error::number(&error) == Some(1146) => Ok(None),
        Err(error) => Err(EngineError::while_doing(format!(
            "reading {}",
            fence.quoted()
        ))(error)),
    }
}

/// Drops a table in steps: partition by partition, so that no single statement frees all of it.
async fn remove(session: &mut Session, artifact: &Artifact) -> Result<(), EngineError> {
    let doing = || EngineError::while_doing(format!("removing {}", artifact.quoted()));
    let rows = sqlx::query(
        "SELECT CAST(p.PARTITION_NAME AS CHAR) FROM information_schema.PARTITIONS AS p \
          WHERE p.TABLE_SCHEMA = ? AND p.TABLE_NAME = ? AND p.PARTITION_NAME IS NOT NULL \
            AND p.PARTITION_METHOD REGEXP '^(RANGE|LIST)' \
          GROUP BY p.PARTITION_NAME ORDER BY MIN(p.PARTITION_ORDINAL_POSITION)",
    )
    .bind(&artifact.schema)
    .bind(&artifact.name)
    .fetch_all(session.connection())
    .await
    .map_err(doing())?;
    for row in rows.iter().skip(1) {
        let partition: String = row.try_get_unchecked(0).map_err(doing())?;
        session
            .run(&format!(
                "ALTER TABLE {} DROP PARTITION {}",
                artifact.quoted(),
                quote(&partition)
            ))
            .await
            .map_err(doing())?;
    }
    fail_point::at("artifact.remove.before");
    // Whose foreign keys have come to point at it would be broken for good: then the server refuses.
    let drop = format!(
        "SET SESSION foreign_key_checks = 1; DROP TABLE IF EXISTS {}",
        artifact.quoted()
    );
    let names = [artifact.name.as_str()];
    let dropped = beside_parents(
        session,
        &artifact.schema,
        &names,
        &drop,
        "removing what is left",
    )
    .await;
    session
        .run("SET SESSION foreign_key_checks = 0")
        .await
        .map_err(doing())?;
    dropped?;
    fail_point::at("artifact.remove.after");
    Ok(())
}
