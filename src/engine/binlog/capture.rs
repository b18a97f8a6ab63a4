//! The stream from the server: connected, checked, cut into transactions, reconnected.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, OptsBuilder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::gtid::{Gtid, Position};
use super::referrers::Referrers;
use super::rows::{Change, RowLayout};
use super::transaction::{Assembler, Step};
use super::xid::Xid;
use crate::config::{TlsMode, watch_connections};
use crate::engine::error::NOT_LET_IN;
use crate::engine::names::Owner;
use crate::engine::{EngineError, Target};
use crate::server_error;

/// Decoded changes that wait for the applier take no more than this.
const QUEUE_BYTES: usize = 8 << 20;

/// Changes are handed on in parts of about this size, however large the transaction.
const PART_BYTES: usize = 128 << 10;

/// An idle server sends something this often; silence for longer means a dead connection.
const HEARTBEAT: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_secs(10);

/// What is told of such a one begins with this: the view `health` knows it by these words.
const SILENT: &str = "the deployment does not answer";

/// Connecting takes no longer than this.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// A user variable of a capture's session. The server shows those of every thread, and that of a stream of binlogs has neither
/// connection attributes nor a statement by which others could tell it from a replica's.
pub const STREAM_MARK: &str = "lockkeeper_stream";

/// A stream that breaks this often in a row is given up.
const ATTEMPTS: u32 = 8;

/// For each table of the change, how its rows are read; `None` where they are not.
pub type Layouts = Vec<Option<Arc<RowLayout>>>;

/// Part of a transaction, or its end.
#[derive(Debug)]
pub struct Captured {
    pub changes: Vec<Change>,
    /// Of the transaction that the changes belong to.
    pub gtid: Option<Gtid>,
    /// Only the transaction's end tells whether the changes count.
    pub undecided: bool,
    pub end: Option<Ended>,
    /// A statement that names a watched table and is no row change: look whether the table is
    /// still the same.
    pub suspicious: Option<String>,
    /// Room in the queue, given back when this is dropped.
    _room: Option<OwnedSemaphorePermit>,
}

/// What the end of a group says of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Those of the group count.
    Committed,
    /// Those of the group count once the transaction is committed under its name.
    Prepared(Xid),
    /// Those that were prepared under this name count now.
    CommitsPrepared(Xid),
    /// Those that were prepared under this name never will.
    RollsPreparedBack(Xid),
}

/// The end of a transaction.
#[derive(Debug, Clone)]
pub struct Ended {
    pub fate: Fate,
    pub gtid: Option<Gtid>,
    pub file: Arc<str>,
    pub offset: u64,
    /// Microseconds since 1970, by the server's clock.
    pub committed_at: u64,
    /// Tables that are not our own were changed.
    pub by_others: bool,
    /// The whole group is one statement: DDL, or administration.
    pub by_statement: bool,
}

/// A running capture. Dropping it ends the stream.
pub struct Capture {
    pub receiver: mpsc::Receiver<Result<Captured, EngineError>>,
    /// Cancelled where the stream is given up, for those who may not get to its last word.
    pub broken: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Capture {
    /// Streams everything after `from`; changes of the tables in `layouts` are decoded. Rows of `owner`'s tables that somebody
    /// else writes end it.
    /// `tell` hears why nothing comes, and `None` when something comes again.
    pub fn start(
        target: Target,
        owner: Owner,
        layouts: Layouts,
        from: Position,
        tell: impl Fn(Option<String>) + Send + Sync + 'static,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(1024);
        let referrers = Referrers::new(&target, &layouts);
        let broken = CancellationToken::new();
        let breaks = broken.clone();
        let capture = async move {
            let mut reader = Reader {
                target,
                owner,
                layouts,
                position: from,
                referrers,
                sender,
                room: Arc::new(Semaphore::new(QUEUE_BYTES)),
                tell: Box::new(tell),
                is_broken: false,
            };
            // A panic in a decoder of others must end as an error, not as silence: see `run`.
            if let Err(error) = reader.run().await {
                breaks.cancel();
                let _ = reader.sender.send(Err(error)).await;
            }
        };
        let task = tokio::spawn(capture.in_current_span());
        Self {
            receiver,
            broken,
            task,
        }
    }
}

struct Reader {
    target: Target,
    owner: Owner,
    layouts: Layouts,
    /// After the last transaction that was handed on as a whole.
    position: Position,
    referrers: Referrers,
    sender: mpsc::Sender<Result<Captured, EngineError>>,
    room: Arc<Semaphore>,
    tell: Box<dyn Fn(Option<String>) + Send + Sync>,
    /// That was told.
    is_broken: bool,
}

/// Why a stream ended.
enum Broken {
    /// Connect again where it stopped.
    Connection(String),
    /// The same; but if it stays so, this is why.
    Unreadable(EngineError),
    /// Nobody listens any more.
    Unwanted,
    Fatal(EngineError),
}

impl From<EngineError> for Broken {
    fn from(error: EngineError) -> Self {
        Self::Fatal(error)
    }
}

impl Reader {
    async fn run(&mut self) -> Result<(), EngineError> {
        let mut failures = 0;
        loop {
            let before = self.position.clone();
            // A large event comes as a whole or not at all, and on a slow road the heartbeats wait behind it.
            let silence = SILENCE * (1 << failures.min(3));
            let Err(broken) = self.stream(silence).await else {
                return Ok(());
            };
            let (why, last_word) = match broken {
                Broken::Unwanted => return Ok(()),
                Broken::Fatal(error) => return Err(error),
                Broken::Connection(why) => (why, None),
                Broken::Unreadable(error) => (error.message(), Some(error)),
            };
            failures = match self.position == before {
                true => failures + 1,
                false => 1,
            };
            if failures > ATTEMPTS {
                let broke = format!("the binlog stream broke {failures} times in a row: {why}");
                return Err(last_word.unwrap_or_else(|| EngineError::retryable(broke)));
            }
            self.is_broken = true;
            (self.tell)(Some(format!(
                "{SILENT} the binlog stream ({why}), which is opened again and again"
            )));
            // It is told when it begins; whether a server is gone is told by others, too.
            match failures {
                1 => tracing::warn!(%why, "the binlog stream broke; connecting again"),
                _ => tracing::debug!(%why, failures, "the binlog stream is still broken"),
            }
            tokio::time::sleep(Duration::from_millis(100) * failures * failures).await;
        }
    }

    async fn stream(&mut self, silence: Duration) -> Result<(), Broken> {
        let connecting = tokio::time::timeout(CONNECT_LIMIT, self.connect()).await;
        let mut stream = connecting.unwrap_or_else(|_| {
            let why = format!("no connection in {CONNECT_LIMIT:?}");
            Err(Broken::Connection(why))
        })?;
        let mut assembler = Assembler::new(
            &self.layouts,
            &self.owner,
            &self.position.file,
            self.position.offset,
        );
        let mut part = Part::default();
        loop {
            let event = match tokio::time::timeout(silence, stream.next()).await {
                Err(_) => return Err(Broken::Connection(format!("silent for {silence:?}"))),
                Ok(None) => return Err(Broken::Connection("the server ended the stream".into())),
                Ok(Some(Err(error))) => return Err(stream_error(error)),
                Ok(Some(Ok(event))) => event,
            };
            if std::mem::take(&mut self.is_broken) {
                (self.tell)(None);
            }
            let step = assembler.event(&event, |change| part.add(change))?;
            drop(event);
            part.undecided = assembler.in_xa();
            match step {
                Step::More => {
                    if part.bytes >= PART_BYTES {
                        self.send(&mut part, assembler.gtid().cloned(), None, None)
                            .await?;
                    }
                }
                Step::Statement(statement) => self.referrers.check(&statement).await?,
                Step::End(ended, suspicious) => {
                    if ended.by_statement {
                        self.referrers.ddl_came();
                    }
                    if let (Some(set), Some(gtid)) = (&mut self.position.gtid_set, &ended.gtid) {
                        set.insert(gtid);
                    }
                    self.position.file = ended.file.to_string();
                    self.position.offset = ended.offset;
                    self.send(&mut part, ended.gtid.clone(), Some(ended), suspicious)
                        .await?;
                }
            }
        }
    }

    async fn send(
        &self,
        part: &mut Part,
        gtid: Option<Gtid>,
        end: Option<Ended>,
        suspicious: Option<String>,
    ) -> Result<(), Broken> {
        let part = std::mem::take(part);
        let room = match u32::try_from(part.bytes.min(QUEUE_BYTES)).unwrap_or(0) {
            0 => None,
            wanted => match Arc::clone(&self.room).acquire_many_owned(wanted).await {
                Ok(permit) => Some(permit),
                Err(_) => return Err(Broken::Unwanted),
            },
        };
        let captured = Captured {
            changes: part.changes,
            gtid,
            undecided: part.undecided,
            end,
            suspicious,
            _room: room,
        };
        self.sender
            .send(Ok(captured))
            .await
            .map_err(|_| Broken::Unwanted)
    }

    async fn connect(&self) -> Result<BinlogStream, Broken> {
        let mut conn = connect(&self.target).await.map_err(stream_error)?;
        let nanoseconds = HEARTBEAT.as_nanos();
        // As long as indexes are built nothing is read, and a reader that the server ended would no longer hold its binlogs: the server
        // may wait for a day. A host that is gone it notices by TCP's own keepalive.
        conn.query_drop(format!(
            "SET @master_heartbeat_period = {nanoseconds}, @source_heartbeat_period = {nanoseconds}, \
             @source_binlog_checksum = 'ALL', @slave_uuid = UUID(), @replica_uuid = @slave_uuid, \
             @{STREAM_MARK} = TRUE, \
             net_write_timeout = 86400, net_read_timeout = 600"
        ))
        .await
        .map_err(stream_error)?;
        // Any number that no replica is likely to have; two with one number end each other.
        let server_id = rand::random_range(1_u32 << 31..u32::MAX);
        let mut request = BinlogStreamRequest::new(server_id);
        match &self.position.gtid_set {
            Some(set) => {
                let sids = set
                    .sids()
                    .map_err(|e| Broken::Fatal(EngineError::permanent(e.to_string())))?;
                request = request.with_gtid().with_gtid_set(sids);
            }
            None => {
                if self.position.offset > u64::from(u32::MAX) {
                    return Err(Broken::Fatal(EngineError::permanent(format!(
                        "the position {}:{} is beyond 4 GiB and cannot be asked for; turn on \
                         gtid_mode, or cancel and start again",
                        self.position.file, self.position.offset
                    ))));
                }
                request = request
                    .with_filename(self.position.file.as_bytes())
                    .with_pos(self.position.offset);
            }
        }
        conn.get_binlog_stream(request).await.map_err(stream_error)
    }
}

#[derive(Default)]
struct Part {
    changes: Vec<Change>,
    bytes: usize,
    undecided: bool,
}

impl Part {
    fn add(&mut self, change: Change) {
        self.bytes += change.bytes();
        self.changes.push(change);
    }
}

/// What the server says where it has too few files or too little memory at the moment; and of a file that somebody removed.
const AT_THE_MOMENT: [&str; 3] = [
    "Could not open log file",
    "I/O error reading",
    "memory allocation failed",
];

fn stream_error(error: mysql_async::Error) -> Broken {
    match &error {
        mysql_async::Error::Server(server) => match server.code {
            // Only ON gives every transaction an id by which a stream finds its place.
            1236 if server.message.contains("anonymous transaction") => {
                Broken::Fatal(EngineError::permanent(format!(
                    "a transaction has no GTID, and the copy's place in the binlog is one ({}); SET gtid_mode back to ON, cancel \
                     and start again",
                    server.message
                )))
            }
            // Asked for what the server no longer has, or never had.
            1236 | 3683 => {
                let gone = EngineError::permanent(format!(
                    "the binlog position of the checkpoint is gone or unreadable ({}); changes since \
                     then are lost to the copy: cancel and start again, and keep binlogs longer",
                    server.message
                ));
                // Under the same number: what may be otherwise the next time.
                match AT_THE_MOMENT
                    .iter()
                    .any(|words| server.message.contains(words))
                {
                    true => Broken::Unreadable(gone),
                    false => Broken::Fatal(gone),
                }
            }
            // Access denied: somebody may be changing the password.
            number if server_error::means_not_let_in(number) => {
                Broken::Fatal(EngineError::retryable(format!(
                    "the binlog cannot be read: {}{NOT_LET_IN}",
                    server.message
                )))
            }
            // Missing privilege.
            1044 | 1142 | 1227 => Broken::Fatal(EngineError::permanent(format!(
                "the binlog cannot be read: {}; grant REPLICATION SLAVE",
                server.message
            ))),
            _ => Broken::Connection(error.to_string()),
        },
        mysql_async::Error::Io(mysql_async::IoError::Io(broken)) => {
            Broken::Connection(server_error::broken_off(broken))
        }
        mysql_async::Error::Driver(_)
        | mysql_async::Error::Io(_)
        | mysql_async::Error::Other(_)
        | mysql_async::Error::Url(_) => Broken::Connection(error.to_string()),
    }
}

/// What the server itself sends at most to a replica.
const LARGEST_PACKET: usize = 1 << 30;

async fn connect(target: &Target) -> Result<Conn, mysql_async::Error> {
    let plain = OptsBuilder::default()
        .ip_or_hostname(target.host.clone())
        .tcp_port(target.port)
        .user(Some(target.user.clone()))
        .pass(Some(target.password.expose()))
        .prefer_socket(false)
        .tcp_nodelay(true)
        // The server's own variable is no limit for what it streams: an update's event has both images of a row.
        .max_allowed_packet(Some(LARGEST_PACKET));
    let protected = plain.clone().ssl_opts(target.tls.mysql_async());
    let connected =
        match Conn::new(protected).await {
            Err(mysql_async::Error::Driver(
                mysql_async::DriverError::NoClientSslFlagFromServer,
            )) if target.tls.mode == TlsMode::Preferred => Conn::new(plain).await,
            other => other,
        };
    watch_connections();
    connected
}

#[cfg(test)]
mod tests {
    use super::{Broken, stream_error};

    #[test]
    fn a_server_that_lacks_something_at_the_moment_is_asked_again() {
        let is_final = |message: &str| {
            let said = mysql_async::ServerError {
                code: 1236,
                message: message.into(),
                state: "HY000".into(),
            };
            matches!(stream_error(said.into()), Broken::Fatal(_))
        };
        assert!(!is_final("Could not open log file"));
        assert!(!is_final("memory allocation failed reading log event"));
        assert!(is_final(
            "Could not find first log file name in binary log index file"
        ));
        assert!(is_final("anything that is not known"));
    }

    #[test]
    fn health_knows_a_silent_deployment_by_our_words() {
        let health = include_str!("../../../sql/views/health.sql");
        let known = format!("LIKE '{}%'", super::SILENT);
        assert!(health.contains(&known), "{known}");
    }
}
