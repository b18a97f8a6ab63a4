//! Whether the disk has room for the copies.
//!
//! No SQL tells how much of a disk is free. It is known where the server keeps its data in a folder that this machine has.

use std::path::Path;

use super::super::EngineError;
use super::super::session::Session;
use super::super::table::storage::bytes_on_disk;
use super::super::table::{TableDefinition, TablePlan, Way};
use super::server_fit::variable;

const MEGABYTE: u64 = 1_000_000;

/// What a change copies: about as much room as that is needed once more, until all is swapped.
pub struct Copies<'a> {
    pub tables: Vec<&'a TableDefinition>,
    pub megabytes: u64,
}

impl<'a> Copies<'a> {
    pub async fn of(session: &mut Session, plans: &'a [TablePlan]) -> Result<Self, EngineError> {
        let copied = plans.iter().filter(|plan| plan.way == Way::Copy);
        let tables: Vec<_> = copied.filter_map(|plan| plan.original.as_ref()).collect();
        let mut bytes = 0_u64;
        for table in &tables {
            bytes = bytes.saturating_add(bytes_on_disk(session, table).await?);
        }
        Ok(Self {
            tables,
            megabytes: bytes / MEGABYTE,
        })
    }

    pub fn in_words(&self) -> String {
        let names: Vec<&str> = self
            .tables
            .iter()
            .map(|table| table.name.as_str())
            .collect();
        match names.as_slice() {
            [one] => format!("table {one}"),
            several => format!("all of tables {}", several.join(", ")),
        }
    }
}

/// Refuses copies that the disk has no room for. Of what it has just room for people are told beforehand: the binlog grows, too.
pub(super) async fn check(session: &mut Session, plans: &[TablePlan]) -> Result<(), EngineError> {
    let Some(free) = free_here(session).await? else {
        return Ok(());
    };
    let copies = Copies::of(session, plans).await?;
    let needed = copies.megabytes;
    if free >= needed {
        return Ok(());
    }
    Err(EngineError::permanent(format!(
        "{free} MB are free on the disk of the data; {} has {needed} MB, and a copy needs as much again; make room, or, if a copy \
         is smaller by far, say so with the engine option allow_little_room",
        copies.in_words()
    )))
}

/// Megabytes, where it is certain that the server's data is on this machine.
async fn free_here(session: &mut Session) -> Result<Option<u64>, EngineError> {
    let folder = variable(session, "datadir").await?;
    let uuid = variable(session, "server_uuid").await?;
    let (Some(folder), Some(uuid)) = (folder, uuid) else {
        return Ok(None);
    };
    // The folder of a server in a container may well be here under the same name, and be another server's.
    let identity = std::fs::read_to_string(Path::new(&folder).join("auto.cnf"));
    let is_here = identity.is_ok_and(|identity| identity.contains(&uuid));
    Ok(is_here.then(|| free(&folder)).flatten())
}

/// Megabytes on the disk that a folder of this machine is on.
pub fn free(folder: &str) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize) / MEGABYTE)
}
