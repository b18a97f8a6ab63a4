//! The names of what the engine leaves on a deployment, and what is done with them.
//!
//! `_lk_<installation>_<operation>_<epoch>_<rest>`: a driver that takes over renames all of them to
//! its own epoch, so a late statement of the former one finds no table. The fence's own name has
//! no epoch, nor has that of a table that only waits to be dropped:
//! `_lk_<installation>_<operation>_drop<position>_<when>`.

use sqlx::Row;
use sqlx::mysql::MySqlConnection;

use crate::engine::EngineError;
use crate::engine::session::{Owner, Session};
use crate::engine::syntax::quote_table;
use crate::server_error;

/// What the names of all our tables begin with.
pub const PREFIX: &str = "_lk_";

/// What a table is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The shadow table of the task at this position, while it is filled.
    Shadow(u32),
    /// The original of the task at this position, after the swap.
    Old(u32),
    /// A table to try a statement on, empty and short-lived.
    Trial(u32),
    /// An empty copy of what the nth foreign key of the table at this position points at.
    Parent(u32, usize),
}

impl Owner {
    /// The table's name in this epoch.
    pub fn table(&self, role: Role) -> String {
        match role {
            Role::Shadow(position) => self.artifact(&format!("{position}_new")),
            Role::Old(position) => self.artifact(&format!("{position}_old")),
            Role::Trial(position) => self.artifact(&format!("{position}_trial")),
            Role::Parent(position, nth) => self.artifact(&format!("{position}_parent{nth}")),
        }
    }

    /// Any other artifact's name in this epoch.
    pub fn artifact(&self, rest: &str) -> String {
        format!("{}{}_{rest}", self.operation_prefix(), self.epoch)
    }

    /// The fence's name.
    pub fn fence(&self) -> String {
        format!("{}fence", self.operation_prefix())
    }

    /// The name of a table that waits to be dropped; `due` is `yyyymmddhhmmss`, UTC.
    fn holding(&self, position: u32, due: &str) -> String {
        format!("{}drop{position}_{due}", self.operation_prefix())
    }
}

/// A name of ours, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    pub schema: String,
    pub name: String,
    pub installation: String,
    pub operation_id: u64,
    pub kind: ArtifactKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactKind {
    Fence,
    /// Belongs to a driver of this epoch; the rest says what it is.
    Working {
        epoch: u64,
        rest: String,
    },
    /// Waits to be dropped, from `due` (`yyyymmddhhmmss`, UTC) on.
    Holding {
        position: u32,
        due: String,
    },
}

impl Artifact {
    /// `None` for a name that isn't one of ours.
    pub fn parse(schema: &str, name: &str) -> Option<Self> {
        let (installation, rest) = name.strip_prefix(PREFIX)?.split_once('_')?;
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if installation.len() != 8 || !installation.chars().all(hex) {
            return None;
        }
        let (operation, rest) = rest.split_once('_')?;
        let kind = if rest == "fence" {
            ArtifactKind::Fence
        } else if let Some(held) = rest.strip_prefix("drop") {
            let (position, due) = held.split_once('_')?;
            if due.len() != 14 || !due.chars().all(|c| c.is_ascii_digit()) {
                return None;
            }
            ArtifactKind::Holding {
                position: position.parse().ok()?,
                due: due.to_owned(),
            }
        } else {
            let (epoch, rest) = rest.split_once('_')?;
            ArtifactKind::Working {
                epoch: epoch.parse().ok()?,
                rest: rest.to_owned(),
            }
        };
        Some(Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
            installation: installation.to_owned(),
            operation_id: operation.parse().ok()?,
            kind,
        })
    }

    pub fn quoted(&self) -> String {
        quote_table(&self.schema, &self.name)
    }

    pub fn is_of(&self, owner: &Owner) -> bool {
        self.installation == owner.installation && self.operation_id == owner.operation_id
    }
}

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
    for artifact in of_operation(session, schema, owner).await? {
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
        }
    }
    if renames.is_empty() {
        return Ok(());
    }
    session
        .run(&format!("RENAME TABLE {}", renames.join(", ")))
        .await
        .map(drop)
        .map_err(EngineError::while_doing(
            "taking over the former driver's tables",
        ))
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
        crate::engine::fail_point::at("artifact.hold.before");
        session
            .run(&format!(
                "RENAME TABLE {} TO {}",
                artifact.quoted(),
                quote_table(schema, &name)
            ))
            .await
            .map_err(EngineError::while_doing("putting the old table aside"))?;
        crate::engine::fail_point::at("artifact.hold.after");
    }
    Ok(())
}

/// Drops the operation's working tables of the owner's epoch; for a cancel, and after a finish.
/// `keep` names artifacts by what follows the epoch. An old table is never among them: it holds
/// rows that the application wrote, and goes to its holding name first.
pub async fn remove_working(
    session: &mut Session,
    schema: &str,
    owner: &Owner,
    keep: impl Fn(&str) -> bool,
) -> Result<(), EngineError> {
    for artifact in of_operation(session, schema, owner).await? {
        let ArtifactKind::Working { epoch, rest } = &artifact.kind else {
            continue;
        };
        if *epoch != owner.epoch || rest.ends_with("_old") || keep(rest) {
            continue;
        }
        remove(session, &artifact).await?;
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
    for artifact in list(session.connection()).await? {
        let is_due = artifact.installation == installation
            && match &artifact.kind {
                ArtifactKind::Holding { due, .. } => *due <= now,
                ArtifactKind::Fence => fence_is_due(session, &artifact).await?,
                ArtifactKind::Working { .. } => false,
            };
        if is_due {
            remove(session, &artifact).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// A fence stays for a while after its operation's end.
async fn fence_is_due(session: &mut Session, fence: &Artifact) -> Result<bool, EngineError> {
    let due: Result<Option<i64>, sqlx::Error> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
        "SELECT COALESCE(f.remove_from <= UTC_TIMESTAMP(6), 0) FROM {} AS f WHERE f.id = 1",
        fence.quoted()
    )))
    .fetch_optional(session.connection())
    .await;
    match due {
        Ok(due) => Ok(due == Some(1)),
        // Removed meanwhile.
        Err(error) if server_error::number(&error) == Some(1146) => Ok(false),
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
                crate::engine::syntax::quote(&partition)
            ))
            .await
            .map_err(doing())?;
    }
    crate::engine::fail_point::at("artifact.remove.before");
    session
        .run(&format!("DROP TABLE IF EXISTS {}", artifact.quoted()))
        .await
        .map_err(doing())?;
    crate::engine::fail_point::at("artifact.remove.after");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_they_were_made_and_others_are_left_alone() {
        let owner = Owner {
            installation: "0a1b2c3d".into(),
            operation_id: 41,
            epoch: 5,
        };
        let kind = |name: &str| Artifact::parse("s", name).map(|a| a.kind);
        assert_eq!(kind(&owner.fence()), Some(ArtifactKind::Fence));
        assert_eq!(
            kind(&owner.table(Role::Shadow(2))),
            Some(ArtifactKind::Working {
                epoch: 5,
                rest: "2_new".into()
            })
        );
        assert_eq!(
            kind(&owner.holding(2, "20261122000000")),
            Some(ArtifactKind::Holding {
                position: 2,
                due: "20261122000000".into()
            })
        );
        for other in [
            "orders",
            "_lk_x",
            "_lk_0a1b2c3d_41",
            "_lk_0A1B2C3D_41_fence",
            "_lk_0a1b2c3d_x_fence",
            "_lk_0a1b2c3d_41_drop1_soon",
        ] {
            assert_eq!(kind(other), None, "{other}");
        }
    }

    #[test]
    fn the_longest_name_fits() {
        let owner = Owner {
            installation: "0a1b2c3d".into(),
            operation_id: 99_999_999_999,
            epoch: 99_999_999_999,
        };
        assert!(owner.table(Role::Trial(9999)).len() <= 64);
        assert!(owner.holding(9999, "20261122000000").len() <= 64);
    }
}
