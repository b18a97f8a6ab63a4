//! The names of what the engine has on a deployment: sessions and tables, and whose they are.
//!
//! `_lk_<installation>_<operation>_<epoch>_<rest>`: a driver that takes over renames all tables to
//! its own epoch, so a late statement of the former one finds no table. The fence's own name has
//! no epoch, nor has that of a table that only waits to be dropped:
//! `_lk_<installation>_<operation>_drop<position>_<when>`.

use super::JobTask;
use super::syntax::quote_table;

/// What the names of all our tables begin with.
pub const PREFIX: &str = "_lk_";

/// What the name of the checkpoint's table ends in.
pub const CHECKPOINT: &str = "checkpoint";

/// Who holds a session or an artifact: an operation of an installation, in one lease epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Eight hex digits.
    pub installation: String,
    pub operation_id: u64,
    pub epoch: u64,
}

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
    /// What all names of the operation begin with, `_` at the end included.
    pub fn operation_prefix(&self) -> String {
        format!("{PREFIX}{}_{}_", self.installation, self.operation_id)
    }

    /// What the named locks of the operation's sessions begin with in `epoch`; a number follows.
    pub fn sessions_prefix(&self, epoch: u64) -> String {
        format!("{}{epoch}_s", self.operation_prefix())
    }

    /// The epoch in the named lock of a session of the operation; `None` for any other lock.
    pub fn epoch_of_session(&self, name: &str) -> Option<u64> {
        let rest = name.strip_prefix(&self.operation_prefix())?;
        rest.split_once("_s")?.0.parse().ok()
    }

    /// The table's name in this epoch.
    pub fn table(&self, role: Role) -> String {
        match role {
            Role::Shadow(position) => self.artifact(&format!("{position}_new")),
            Role::Old(position) => self.artifact(&format!("{position}_old")),
            Role::Trial(position) => self.artifact(&format!("{position}_trial")),
            Role::Parent(position, nth) => self.artifact(&format!("{position}_parent{nth}")),
        }
    }

    /// The copy of a task's table.
    pub fn shadow_of(&self, task: &JobTask) -> String {
        self.table(Role::Shadow(task.position))
    }

    /// The table that a task's copy has replaced.
    pub fn old_of(&self, task: &JobTask) -> String {
        self.table(Role::Old(task.position))
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
    pub fn holding(&self, position: u32, due: &str) -> String {
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

/// `yyyymmddhhmmss` as people write it.
pub fn moment(due: &str) -> String {
    let part = |from, to| due.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{} {}:{}:{}",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14)
    )
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

    #[test]
    fn a_moment_is_written_as_people_do() {
        assert_eq!(moment("20261123012622"), "2026-11-23 01:26:22");
    }
}
