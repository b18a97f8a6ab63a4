//! Events put together to transactions: checks each event, knows where a group begins and ends,
//! and stops at whatever it cannot carry.

mod kind;
mod tables;

use std::collections::HashMap;
use std::sync::Arc;

use mysql_async::binlog::BinlogChecksumAlg;
use mysql_async::binlog::events::{Event, GtidEvent};

use super::capture::{Ended, Fate};
use super::cursor::{Cursor, Malformed};
use super::gtid::Gtid;
use super::guard::Guard;
use super::query::{self, Meaning, Spelling};
use super::referrers::Statement;
use super::rows::{self, Change, RowLayout, RowsKind};
use super::table_map::TableMap;
use super::xid::Xid;
use crate::engine::EngineError;
use crate::engine::names::Owner;
use crate::server_version::Version;

/// Before this version an XA transaction whose session was gone could be in the binlog as committed, and its GTID as
/// executed, before its rows were there to be read; and a crash could leave the two apart.
const XA_COMMITS_IN_ORDER: Version = Version(8, 0, 30);

/// What an event came to.
#[derive(Debug)]
pub enum Step {
    More,
    /// A change of data that names no watched table, and may lead to one.
    Statement(Statement),
    /// With what [`super::capture::Captured::suspicious`] has.
    End(Ended, Option<String>),
}

/// Follows one stream from its beginning.
pub struct Assembler {
    layouts: Vec<Option<Arc<RowLayout>>>,
    guard: Guard,
    /// Table ids of this file, with the table's index where it is watched.
    maps: HashMap<u64, Option<(usize, TableMap)>>,
    file: Arc<str>,
    offset: u64,
    gtid: Option<Gtid>,
    committed_at: u64,
    /// Between the beginning of a group and its end.
    in_group: bool,
    /// The group has a BEGIN, so that it ends with a COMMIT, a ROLLBACK or an XID alone.
    begun: bool,
    /// Rows of a watched table were seen in this group.
    touched: bool,
    /// The group changes tables that are not our own.
    by_others: bool,
    /// The group is an XA transaction: only its end tells whether its rows count.
    in_xa: bool,
    /// The version of the server that wrote this file.
    writer: Option<Version>,
    /// Bytes of a compressed payload that are still to come, event by event.
    payload_left: Option<u64>,
}

impl Assembler {
    pub fn new(layouts: &[Option<Arc<RowLayout>>], owner: &Owner, file: &str, offset: u64) -> Self {
        Self {
            guard: Guard::new(owner),
            layouts: layouts.to_vec(),
            maps: HashMap::new(),
            file: file.into(),
            offset,
            gtid: None,
            committed_at: 0,
            in_group: false,
            begun: false,
            touched: false,
            by_others: false,
            in_xa: false,
            writer: None,
            payload_left: None,
        }
    }

    fn watched(&self) -> impl Iterator<Item = &RowLayout> {
        self.layouts.iter().flatten().map(Arc::as_ref)
    }

    /// The identifier of the transaction that is being read.
    pub fn gtid(&self) -> Option<&Gtid> {
        self.gtid.as_ref()
    }

    /// Whether the rows of this group wait for its end.
    pub fn in_xa(&self) -> bool {
        self.in_xa
    }

    /// Takes the next event; changes of watched tables go to `on_change`.
    ///
    /// # Errors
    ///
    /// Whatever cannot be carried ends the run: passing over it would lose a write.
    pub fn event(
        &mut self,
        event: &Event,
        on_change: impl FnMut(Change),
    ) -> Result<Step, EngineError> {
        let header = event.header();
        let event_type = header.event_type_raw();
        let inside = self.payload_left.is_some_and(|left| left > 0);
        if inside && kind::is_outer(event_type) {
            return Err(EngineError::retryable(format!(
                "the compressed transaction before {}:{} of the binlog does not decompress to its \
                 stated size",
                self.file, self.offset
            )));
        }
        if inside {
            let left = self.payload_left.unwrap_or(0);
            self.payload_left = Some(left.saturating_sub(u64::from(header.event_size())));
        } else {
            if self.payload_left.is_none() || event_type != kind::TRANSACTION_PAYLOAD {
                self.check_sum(event)?;
            }
            self.advance(
                header.log_pos(),
                header.event_size(),
                header.flags_raw(),
                event_type,
            );
        }
        if self.committed_at == 0 || !self.in_group {
            self.committed_at = u64::from(header.timestamp()) * 1_000_000;
        }
        self.dispatch(event, event_type, header.flags_raw(), on_change)
            .map_err(|error| self.in_context(error))
    }

    fn in_context(&self, error: Trouble) -> EngineError {
        let place = format!("{}:{}", self.file, self.offset);
        match error {
            Trouble::Malformed(error) => EngineError::retryable(format!(
                "an event at {place} of the binlog could not be read ({error})"
            )),
            Trouble::Rows(rows::RowsError::Malformed(error)) => EngineError::retryable(format!(
                "rows at {place} of the binlog could not be read ({error})"
            )),
            Trouble::Rows(error) => EngineError::permanent(format!("{error} (binlog {place})")),
            Trouble::Refused(text) => EngineError::permanent(format!("{text} (binlog {place})")),
        }
    }

    fn check_sum(&self, event: &Event) -> Result<(), EngineError> {
        let Ok(Some(algorithm)) = event.footer().get_checksum_alg() else {
            return Ok(());
        };
        let Some(stored) = event.checksum() else {
            return Ok(());
        };
        let is_format = event.header().event_type_raw() == kind::FORMAT_DESCRIPTION;
        if algorithm != BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_CRC32 && !is_format {
            return Ok(());
        }
        if algorithm == BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_OFF {
            return Ok(());
        }
        let counted = event.calc_checksum(algorithm);
        if counted == u32::from_le_bytes(stored) {
            return Ok(());
        }
        Err(EngineError::retryable(format!(
            "an event of type {} at {}:{} of the binlog has a wrong checksum; it was damaged on \
             disk or on the way",
            event.header().event_type_raw(),
            self.file,
            self.offset
        )))
    }

    /// The header holds 32 bits of the next position; a file may hold more.
    fn advance(&mut self, log_pos: u32, size: u32, flags: u16, event_type: u8) {
        let made_up = flags & kind::ARTIFICIAL_FLAG != 0
            || log_pos == 0
            || matches!(event_type, kind::HEARTBEAT | kind::HEARTBEAT_V2);
        if made_up {
            return;
        }
        let mut next = self.offset & !0xffff_ffff | u64::from(log_pos);
        if next < self.offset && self.offset - next > u64::from(size) {
            next += 1 << 32;
        }
        self.offset = next;
    }

    fn dispatch(
        &mut self,
        event: &Event,
        event_type: u8,
        flags: u16,
        on_change: impl FnMut(Change),
    ) -> Result<Step, Trouble> {
        let data = event.data();
        match event_type {
            kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED => self.begin(event)?,
            kind::QUERY => return self.query(data),
            kind::XID => return self.end(Fate::Committed, None),
            kind::XA_PREPARE => return self.xa_prepare(data),
            kind::TABLE_MAP => self.table_map(data)?,
            kind::WRITE_ROWS => self.rows(RowsKind::Write, data, true, on_change)?,
            kind::UPDATE_ROWS => self.rows(RowsKind::Update, data, true, on_change)?,
            kind::DELETE_ROWS => self.rows(RowsKind::Delete, data, true, on_change)?,
            kind::WRITE_ROWS_V1 => self.rows(RowsKind::Write, data, false, on_change)?,
            kind::UPDATE_ROWS_V1 => self.rows(RowsKind::Update, data, false, on_change)?,
            kind::DELETE_ROWS_V1 => self.rows(RowsKind::Delete, data, false, on_change)?,
            kind::PARTIAL_UPDATE_ROWS => self.partial_rows(data)?,
            kind::TRANSACTION_PAYLOAD => self.payload(data)?,
            kind::ROTATE => self.rotate(data)?,
            kind::FORMAT_DESCRIPTION => {
                self.maps.clear();
                self.guard.file_begins();
                let version = data.get(2..52).unwrap_or_default();
                self.writer = Version::of(&String::from_utf8_lossy(version));
            }
            kind::INCIDENT => {
                return Err(Trouble::Refused(
                    "the binlog records an incident: writes may be missing from it; cancel and \
                     start again"
                        .into(),
                ));
            }
            kind::EXECUTE_LOAD_QUERY => {
                let query = query::read_load(data).map_err(Trouble::Malformed)?;
                self.refuse_of_ours(&query)?;
                let mut watched = self.watched();
                if watched.any(|l| query.mentions(l.schema(), l.table())) {
                    return Err(statement_format(b"LOAD DATA", query.spelling));
                }
                return Ok(Step::Statement(Statement::of(&query)));
            }
            // They tell replicas what a statement needs; the statement itself follows.
            kind::INTVAR
            | kind::RAND
            | kind::USER_VAR
            | kind::BEGIN_LOAD_QUERY
            | kind::APPEND_BLOCK
            | kind::DELETE_FILE
            | kind::ROWS_QUERY => {}
            // Ends of files and signs of life.
            kind::STOP | kind::HEARTBEAT | kind::HEARTBEAT_V2 | kind::PREVIOUS_GTIDS => {}
            // Group Replication's own.
            kind::TRANSACTION_CONTEXT | kind::VIEW_CHANGE | kind::IGNORABLE => {}
            other if flags & kind::IGNORABLE_FLAG != 0 => {
                tracing::trace!(event_type = other, "an ignorable event was passed over");
            }
            other => {
                return Err(Trouble::Refused(format!(
                    "the binlog holds an event of unknown type {other}; this version cannot tell \
                     whether it changes the table"
                )));
            }
        }
        Ok(Step::More)
    }

    fn begin(&mut self, event: &Event) -> Result<(), Trouble> {
        self.begins_anew();
        self.gtid = None;
        let gtid: GtidEvent = event
            .read_event()
            .map_err(|e| Trouble::Malformed(Malformed::new(e.to_string())))?;
        if event.header().event_type_raw() != kind::ANONYMOUS_GTID {
            let tag = gtid.tag().map(ToString::to_string).unwrap_or_default();
            self.gtid = Some(Gtid::new(gtid.sid(), &tag, gtid.gno()));
        }
        self.committed_at = gtid.immediate_commit_timestamp();
        self.in_group = self.committed_at > 0;
        Ok(())
    }

    fn end(&mut self, fate: Fate, suspicious: Option<String>) -> Result<Step, Trouble> {
        if let Some(text) = self.guard.judgement() {
            return Err(Trouble::Refused(text));
        }
        let ended = Ended {
            fate,
            gtid: self.gtid.take(),
            file: Arc::clone(&self.file),
            offset: self.offset,
            committed_at: self.committed_at,
            by_others: self.by_others,
            by_statement: !self.begun,
        };
        self.begins_anew();
        Ok(Step::End(ended, suspicious))
    }

    fn begins_anew(&mut self) {
        self.guard.group_begins();
        self.in_group = false;
        self.begun = false;
        self.touched = false;
        self.by_others = false;
        self.in_xa = false;
        self.payload_left = None;
        // Ids only grow; a server that opens many tables would fill the memory. Rows follow in the group that maps their table.
        if self.maps.len() > 4096 {
            self.maps.clear();
        }
    }

    fn query(&mut self, data: &[u8]) -> Result<Step, Trouble> {
        let query = query::read(data).map_err(Trouble::Malformed)?;
        let text = || {
            let text = String::from_utf8_lossy(query.text);
            text.chars().take(120).collect::<String>()
        };
        let named = || {
            self.watched()
                .any(|l| query.mentions(l.schema(), l.table()))
        };
        let meaning = query.meaning();
        if meaning == Meaning::Data {
            self.refuse_of_ours(&query)?;
        }
        match meaning {
            Meaning::Begin => {
                self.in_group = true;
                self.begun = true;
                self.in_xa = query
                    .text
                    .trim_ascii_start()
                    .to_ascii_uppercase()
                    .starts_with(b"XA");
                Ok(Step::More)
            }
            Meaning::Commit => self.end(Fate::Committed, None),
            Meaning::Nothing | Meaning::XaEnd => Ok(Step::More),
            meaning @ (Meaning::XaCommit | Meaning::XaRollback) => {
                if self.touched {
                    return Err(Trouble::Refused(format!(
                        "'{}' ends a group that holds rows of the table, which is not known to \
                         happen",
                        text()
                    )));
                }
                let xid = Xid::of_statement(query.text).map_err(Trouble::Malformed)?;
                let fate = match meaning {
                    Meaning::XaCommit => Fate::CommitsPrepared(xid),
                    _ => Fate::RollsPreparedBack(xid),
                };
                self.end(fate, None)
            }
            Meaning::Rollback | Meaning::RollbackTo if self.touched => Err(Trouble::Refused(
                "a transaction that wrote the table and one without transactions was rolled back \
                 in part; its rows in the binlog cannot be told apart"
                    .into(),
            )),
            Meaning::Rollback => self.end(Fate::Committed, None),
            Meaning::RollbackTo => Ok(Step::More),
            Meaning::Data if named() => Err(statement_format(query.text, query.spelling)),
            Meaning::Data if query.empties_one_table() => Ok(Step::More),
            Meaning::Data => Ok(Step::Statement(Statement::of(&query))),
            Meaning::Temporary if self.begun => Ok(Step::More),
            Meaning::Temporary => self.end(Fate::Committed, None),
            // DDL ends the transaction before it, so this is something that this version doesn't know,
            // and what it did to which table can't be told.
            Meaning::Other if self.begun => Err(Trouble::Refused(format!(
                "the binlog holds '{}' inside a transaction, and it can't be told what that does \
                 to the table; submit the change again when nobody does that",
                text()
            ))),
            Meaning::Other
                if self
                    .watched()
                    .any(|l| query.takes_away(l.schema(), l.table())) =>
            {
                Err(Trouble::Refused(format!(
                    "the table was renamed, dropped or emptied, a column of it dropped, or rows of a partition or file exchanged for \
                     its own, by somebody else ('{}'); submit the change again",
                    text()
                )))
            }
            Meaning::Other if self.copy_taken_by(&query).is_some() => {
                let copy = self.copy_taken_by(&query).unwrap_or_default();
                Err(Trouble::Refused(format!(
                    "the table {copy} is gone: somebody dropped or renamed it, or emptied it or a column of it ('{}'); submit the \
                     change again",
                    text()
                )))
            }
            Meaning::Other => {
                let suspicious = named().then(text);
                self.end(Fate::Committed, suspicious)
            }
        }
    }

    fn refuse_of_ours(&self, query: &query::Query<'_>) -> Result<(), Trouble> {
        let judgement = self.guard.judgement_of(query.text);
        judgement.map_or(Ok(()), |text| Err(Trouble::Refused(text)))
    }

    /// Which of the copies the statement takes the rows away from.
    fn copy_taken_by(&self, query: &query::Query<'_>) -> Option<&str> {
        let is_original = |name: &str| self.watched().any(|l| l.table() == name);
        let copies = self.watched().filter_map(|l| Some((l.schema(), l.copy()?)));
        // Whatever its name was: a former driver's had another epoch in it.
        let mut taken = copies.filter(|(schema, copy)| {
            query.takes_own(schema, |name| self.guard.is_same(name, copy), is_original)
        });
        taken.next().map(|(_, copy)| copy)
    }

    fn xa_prepare(&mut self, data: &[u8]) -> Result<Step, Trouble> {
        let (one_phase, xid) = Xid::of_prepare(data).map_err(Trouble::Malformed)?;
        if one_phase {
            return self.end(Fate::Committed, None);
        }
        if self.touched && self.writer.is_none_or(|v| v < XA_COMMITS_IN_ORDER) {
            return Err(Trouble::Refused(format!(
                "XA transaction {xid} wrote the table, and before 8.0.30 a server may say that such \
                 a one is committed before its rows are; upgrade it, or keep XA transactions off \
                 the table while it is changed"
            )));
        }
        self.end(Fate::Prepared(xid), None)
    }

    /// The stream decompresses by itself, but hands out nothing at all for what it cannot
    /// decompress: so the sizes of the events inside are counted down, see [`Assembler::event`].
    fn payload(&mut self, data: &[u8]) -> Result<(), Trouble> {
        let mut c = Cursor::new(data);
        let mut size = None;
        loop {
            let field = c.length_encoded().map_err(Trouble::Malformed)?;
            if field == 0 {
                break;
            }
            let length = c.length_encoded().map_err(Trouble::Malformed)? as usize;
            let mut value = Cursor::new(c.bytes(length).map_err(Trouble::Malformed)?);
            if field == 3 {
                size = Some(value.length_encoded().map_err(Trouble::Malformed)?);
            }
        }
        self.payload_left = size;
        if size.is_none() {
            return Err(Trouble::Malformed(Malformed::new(
                "a compressed payload of no size",
            )));
        }
        Ok(())
    }

    fn rotate(&mut self, data: &[u8]) -> Result<(), Trouble> {
        let mut c = Cursor::new(data);
        self.offset = c.u64().map_err(Trouble::Malformed)?;
        self.file = String::from_utf8_lossy(c.rest()).into();
        Ok(())
    }
}

/// What is wrong with an event.
enum Trouble {
    Malformed(Malformed),
    Rows(rows::RowsError),
    Refused(String),
}

/// Of the statement no more than what it is: its values are the application's, and nobody else's.
fn statement_format(text: &[u8], spelling: Spelling) -> Trouble {
    let text = String::from_utf8_lossy(text);
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    let words: String = words.join(" ").chars().take(80).collect();
    let how = match spelling {
        Spelling::Readable => "changed",
        Spelling::Foreign => "may have changed (in a character set that hides the table's name)",
    };
    Trouble::Refused(format!(
        "a session {how} the table with a statement in the binlog ('{words} …'), not with rows; \
         sessions must not set binlog_format while the table is changed"
    ))
}

#[cfg(test)]
mod tests;
