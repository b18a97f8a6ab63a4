//! Rows of our own tables that somebody else writes.
//!
//! What is verified must stay as it was: a row of the copy that a person, or a tool that is told to set servers right, changes
//! after that would go into use with the swap. The stream shows it. A transaction of ours changes the copy and, in the same
//! breath, the checkpoint beside it; one that changes the copy alone is not ours, in whichever epoch. Nor is a statement that
//! stands in the stream instead of rows.

use std::collections::HashMap;

use super::table_map::Names;
use crate::engine::names::{Artifact, ArtifactKind, CHECKPOINT, Owner};

/// A table of the operation.
#[derive(Debug, Clone)]
enum Own {
    /// Shadow or former table, by name.
    Copy(String),
    Checkpoint,
}

/// Follows the groups of one stream.
#[derive(Debug)]
pub struct Guard {
    owner: Owner,
    /// By the ids of this file.
    tables: HashMap<u64, Own>,
    /// A copy whose rows the group changes.
    copy: Option<String>,
    checkpoint: bool,
}

impl Guard {
    pub fn new(owner: &Owner) -> Self {
        Self {
            owner: owner.clone(),
            tables: HashMap::new(),
            copy: None,
            checkpoint: false,
        }
    }

    /// Another file, with ids of its own.
    pub fn file_begins(&mut self) {
        self.tables.clear();
    }

    pub fn group_begins(&mut self) {
        self.copy = None;
        self.checkpoint = false;
    }

    pub fn table_is_mapped(&mut self, names: &Names<'_>) {
        self.tables.remove(&names.table_id);
        let name = String::from_utf8_lossy(names.table);
        let artifact = Artifact::parse(&String::from_utf8_lossy(names.schema), &name);
        let Some(artifact) = artifact.filter(|artifact| artifact.is_of(&self.owner)) else {
            return;
        };
        let ArtifactKind::Working { rest, .. } = artifact.kind else {
            return;
        };
        let own = match rest.as_str() {
            CHECKPOINT => Own::Checkpoint,
            rest if rest.ends_with("_new") || rest.ends_with("_old") => {
                Own::Copy(name.into_owned())
            }
            _ => return,
        };
        self.tables.insert(names.table_id, own);
    }

    pub fn rows_follow(&mut self, table_id: u64) {
        match self.tables.get(&table_id) {
            Some(Own::Copy(name)) => self.copy = Some(name.clone()),
            Some(Own::Checkpoint) => self.checkpoint = true,
            None => {}
        }
    }

    /// What is wrong with a statement that changes data and names a table of the operation: our sessions write rows, where their
    /// account may say so. Its text is looked at as a whole: a name in a string counts, too.
    pub fn judgement_of(&self, statement: &[u8]) -> Option<String> {
        // Our names are ASCII, which every character set that a client may have spells alike.
        let text = String::from_utf8_lossy(statement).to_ascii_lowercase();
        let name = text
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .find(|word| word.starts_with(&self.owner.operation_prefix()))?;
        Some(by_others(name))
    }

    /// Whether both are names that a table of the operation has had, under one driver and another.
    pub fn is_same(&self, name: &str, other: &str) -> bool {
        let rest = |name| {
            let artifact = Artifact::parse("", name)?;
            match artifact.is_of(&self.owner).then_some(artifact.kind)? {
                ArtifactKind::Working { rest, .. } => Some(rest),
                ArtifactKind::Fence | ArtifactKind::Holding { .. } => None,
            }
        };
        rest(name).is_some_and(|one| rest(other) == Some(one))
    }

    /// What is wrong with the group that ends.
    pub fn judgement(&self) -> Option<String> {
        match &self.copy {
            Some(name) if !self.checkpoint => Some(by_others(name)),
            Some(_) | None => None,
        }
    }
}

fn by_others(name: &str) -> String {
    format!(
        "somebody else changed rows of {name}, which belongs to the change and must hold what the table holds and nothing \
         else; submit the change again"
    )
}
