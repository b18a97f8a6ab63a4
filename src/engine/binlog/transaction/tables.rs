//! Table maps, and the rows of watched tables.

use super::{Assembler, Trouble};
use crate::engine::binlog::cursor::{Cursor, Malformed};
use crate::engine::binlog::rows::{self, Change, RowsKind};
use crate::engine::binlog::table_map;
use crate::engine::names::PREFIX;

/// Of a rows event: whatever foreign keys made of the change is in rows events, too.
const CASCADES_ARE_LOGGED: u64 = 0x10;

impl Assembler {
    pub(super) fn table_map(&mut self, data: &[u8]) -> Result<(), Trouble> {
        let names = table_map::names(data).map_err(Trouble::Malformed)?;
        self.by_others |= !names.table.starts_with(PREFIX.as_bytes());
        self.guard.table_is_mapped(&names);
        let watched = self.layouts.iter().position(|layout| {
            layout
                .as_ref()
                .is_some_and(|l| l.is_of(names.schema, names.table))
        });
        let entry = match watched {
            None => None,
            Some(index) => {
                // Whether it fits is asked when rows follow: under LOCK TABLES every locked
                // table is mapped, changed or not, and so is the former self of the table in
                // the last batch before a swap.
                Some((index, table_map::read(data).map_err(Trouble::Malformed)?))
            }
        };
        self.maps.insert(names.table_id, entry);
        Ok(())
    }

    pub(super) fn rows(
        &mut self,
        kind: RowsKind,
        data: &[u8],
        with_extra: bool,
        on_change: impl FnMut(Change),
    ) -> Result<(), Trouble> {
        let mut c = Cursor::new(data);
        let id = c.uint(6).map_err(Trouble::Malformed)?;
        let flags = c.uint(2).map_err(Trouble::Malformed)?;
        self.guard.rows_follow(id);
        let Some(entry) = self.maps.get(&id) else {
            // The last event of a statement may name a dummy table without rows.
            if id == 0x00ff_ffff {
                return Ok(());
            }
            return Err(Trouble::Malformed(Malformed::new(format!(
                "rows of table {id}, unmapped"
            ))));
        };
        self.check_cascades(flags)?;
        let Some((table, map)) = entry else {
            return Ok(());
        };
        let Some(layout) = &self.layouts[*table] else {
            return Ok(());
        };
        layout.check(map).map_err(Trouble::Rows)?;
        if with_extra {
            let length = usize::from(c.u16().map_err(Trouble::Malformed)?);
            c.bytes(length.saturating_sub(2))
                .map_err(Trouble::Malformed)?;
        }
        rows::decode(kind, *table, layout, map, c.rest(), on_change).map_err(Trouble::Rows)?;
        self.touched = true;
        Ok(())
    }

    /// A replication channel from a server whose storage engine cascades has its changes made
    /// here in the same way, whatever this server's own setting is; and which table's rows lead to
    /// which others' is not seen from here.
    fn check_cascades(&self, flags: u64) -> Result<(), Trouble> {
        let child = self.watched().find(|layout| layout.is_child());
        match child {
            Some(child) if flags & CASCADES_ARE_LOGGED == 0 => Err(Trouble::Refused(format!(
                "rows were written whose cascades are made inside the storage engine and are not in the \
                 binlog; they may have changed {}: start again when neither this server nor one \
                 that it replicates from has innodb_native_foreign_keys on",
                child.table_name()
            ))),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn partial_rows(&mut self, data: &[u8]) -> Result<(), Trouble> {
        let mut c = Cursor::new(data);
        let id = c.uint(6).map_err(Trouble::Malformed)?;
        self.guard.rows_follow(id);
        self.check_cascades(c.uint(2).map_err(Trouble::Malformed)?)?;
        match self.maps.get(&id) {
            Some(Some((index, _))) => Err(Trouble::Refused(format!(
                "a session wrote {} with partial JSON values; sessions must not set \
                 binlog_row_value_options while the table is changed",
                self.layouts[*index]
                    .as_ref()
                    .map(|l| l.table_name())
                    .unwrap_or_default()
            ))),
            Some(None) | None => Ok(()),
        }
    }
}
