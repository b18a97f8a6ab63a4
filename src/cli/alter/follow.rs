//! The driver of this process, and what is shown while it works.

use std::pin::Pin;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::super::connect::{PATIENCE, Parameter, Session, hex_literal, no_apply};
use super::super::drive::CONCURRENCY;
use super::super::{CliError, Global, log};
use super::outcome;
use super::screen::Screen;
use crate::config::Access;
use crate::drive::{self, DriveError, DriveOptions};
use crate::progress::Operation;

const LOOK: Duration = Duration::from_millis(500);
/// A look that takes longer is given up, and its session with it.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The server notices at once that a killed process is gone, but may be busy with its last statement.
const LOCK_SECONDS: u64 = 2;

/// So long after Ctrl-C everything may take to end in order. A server whose disk is full commits nothing, neither a checkpoint nor
/// the end of a lease, for as long as it is full.
pub(super) const ENDING: Duration = Duration::from_secs(10);

/// What is to be driven to its end.
pub(super) struct Job<'a> {
    pub global: &'a Global,
    pub access: &'a Access,
    pub apply: u64,
    pub deployment: &'a str,
    pub is_resumed: bool,
    /// How long the server may say nothing.
    pub wait_for_server: Duration,
}

pub(super) async fn run(
    job: &Job<'_>,
    mut session: Session,
    end: CancellationToken,
) -> Result<(), CliError> {
    let late = drive::is_late(end.clone(), ENDING);
    tokio::pin!(late);
    let mut screen = Screen::new(&format!("apply {}", job.apply), job.global.json);
    let is_alone = tokio::select! {
        is_alone = begin(job, &mut session, &screen) => is_alone?,
        () = &mut late => {
            screen.finish();
            return unfinished(job, true).await;
        }
    };
    let control = session.settings().clone();
    let settings = control.clone();
    let (options, told) = (options(job), end.clone());
    let driver = tokio::spawn(async move { drive::drive(&control, options, told).await });
    let mut looking = Looking {
        job,
        session: Some(session),
        state: String::new(),
        is_over: false,
        is_alone,
        silent_since: None,
    };
    let ended = until_it_ends(&mut looking, &mut screen, driver, end, late.as_mut()).await;
    screen.finish();
    match ended {
        Ended::Driver(ended) => ended
            .map_err(CliError::failed)?
            .map_err(|error| CliError::drive(&settings, error))?,
        // Of the change nothing is left to do: the driver drops what is due, which the next one on this server tries again.
        Ended::Late if looking.is_over => {}
        Ended::Late => return unfinished(job, looking.is_alone).await,
    }
    let (is_over, is_alone) = (looking.is_over, looking.is_alone);
    let telling = async {
        let mut session = looking.answering().await?;
        outcome::tell(job, &mut session, is_alone).await
    };
    if is_over {
        return telling.await;
    }
    in_time(job, telling).await
}

/// Says what is begun; whether no other `alter` works on it.
async fn begin(job: &Job<'_>, session: &mut Session, screen: &Screen) -> Result<bool, CliError> {
    let verb = if job.is_resumed { "resumed" } else { "begun" };
    screen.note(&format!(
        "Apply {} is {verb} on {}. Ctrl-C interrupts it; the same command resumes it.",
        job.apply, job.deployment
    ));
    let is_alone = is_alone(session, job.apply, LOCK_SECONDS).await?;
    if !is_alone {
        screen.note(
            "Another `lockkeeper alter` works on it; this one looks on, and takes over if that one ends.",
        );
    } else if job.is_resumed {
        free(session, job.apply).await?;
    }
    if let Some(others) = others(session, job).await? {
        screen.note(&format!(
            "{others} of this server is not settled either: as long as this command runs, it drives that, too."
        ));
    }
    Ok(is_alone)
}

/// The beginning of the names of all drivers that an `alter` of this apply ever had.
fn prefix(apply: u64) -> String {
    format!("alter-{apply}-")
}

fn options(job: &Job<'_>) -> DriveOptions {
    DriveOptions {
        name: drive::unique_name(&prefix(job.apply)),
        scope: Some(serde_json::json!({ "deployments": [job.deployment] })),
        concurrency: CONCURRENCY.into(),
        access: job.access.clone(),
        until_idle: false,
        end_within: drive::END_WITHIN,
    }
}

/// What ended the work.
enum Ended {
    Driver(Result<Result<(), DriveError>, JoinError>),
    /// The driver was told to end, and has not done so in time.
    Late,
}

/// Shows how far it is until the driver has ended; tells it to end when there is nothing more to do.
async fn until_it_ends(
    looking: &mut Looking<'_>,
    screen: &mut Screen,
    mut driver: JoinHandle<Result<(), DriveError>>,
    end: CancellationToken,
    mut late: Pin<&mut impl Future<Output = ()>>,
) -> Ended {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = &mut driver => {
                // It may have been the last thing that it did.
                if !looking.is_over {
                    looking.look(screen).await;
                }
                return Ended::Driver(ended);
            }
            () = &mut late => break,
            _ = ticks.tick() => {
                // A server that hangs does not answer this either.
                tokio::select! {
                    () = looking.look(screen) => {}
                    () = &mut late => break,
                }
                if looking.is_over || looking.has_waited_enough() {
                    end.cancel();
                }
            }
        }
    }
    driver.abort();
    Ended::Late
}

/// Another session, from a server that may be starting just now.
async fn again(job: &Job<'_>) -> Result<Session, CliError> {
    let began = Instant::now();
    loop {
        match Session::open(job.global).await {
            Err(_) if began.elapsed() < job.wait_for_server => tokio::time::sleep(LOOK).await,
            answer => return answer,
        }
    }
}

/// What is under way is left as a crash would leave it.
async fn unfinished(job: &Job<'_>, is_alone: bool) -> Result<(), CliError> {
    log::tell(&format!(
        "the server did not let the change end in order within {} s; is its disk full, or the server stopped? What is under way \
         is left as it is",
        ENDING.as_secs()
    ));
    let telling = async {
        let Ok(mut session) = Session::open(job.global).await else {
            return Err(in_an_unknown_state(job));
        };
        outcome::tell(job, &mut session, is_alone).await
    };
    in_time(job, telling).await
}

/// Whoever has interrupted it is not kept waiting.
async fn in_time(
    job: &Job<'_>,
    telling: impl Future<Output = Result<(), CliError>>,
) -> Result<(), CliError> {
    let told = tokio::time::timeout(PATIENCE, telling).await;
    told.unwrap_or_else(|_| Err(in_an_unknown_state(job)))
}

fn in_an_unknown_state(job: &Job<'_>) -> CliError {
    CliError::interrupted(format!(
        "apply {} is interrupted, and the server does not say in which state; once it answers, the same command resumes it",
        job.apply
    ))
}

fn lock_of(session: &Session, apply: u64) -> String {
    let schema = hex::encode(Sha256::digest(session.schema()));
    format!("lockkeeper:alter:{}:{apply}", &schema[..16])
}

/// Whether another `alter` works on this apply still.
pub(super) async fn looks_on(session: &mut Session, apply: u64) -> Result<bool, CliError> {
    let lock = lock_of(session, apply);
    let answer = session
        .read(format!(
            "SELECT COALESCE(IS_USED_LOCK('{lock}') <> CONNECTION_ID(), 0) AS of_another"
        ))
        .await?;
    Ok(answer.is(0, "of_another"))
}

/// Whether no other `alter` works on this apply: a lock of this session, which goes with it. Asked for at each look: a session may
/// have been lost, and another `alter` may have ended.
async fn is_alone(session: &mut Session, apply: u64, wait_seconds: u64) -> Result<bool, CliError> {
    let lock = lock_of(session, apply);
    // Who has it already would get it once more, and hold it as often.
    let answer = session
        .read(format!(
            "SELECT IF(IS_USED_LOCK('{lock}') <=> CONNECTION_ID(), 1, GET_LOCK('{lock}', {wait_seconds})) AS got"
        ))
        .await?;
    Ok(answer.is(0, "got"))
}

/// Takes away what a dead `alter` of this apply holds; otherwise it would have to run out. The deployment's fence keeps
/// even one that is alive after all from doing harm.
async fn free(session: &mut Session, apply: u64) -> Result<(), CliError> {
    let prefix = prefix(apply);
    let held = session
        .read(format!(
            "SELECT l.operation_id
               FROM lease_status AS l
              WHERE l.apply_id = {apply}
                AND l.driver LIKE '{prefix}%'"
        ))
        .await?;
    for row in 0..held.rows.len() {
        let operation = held.whole(row, "operation_id")?;
        let reason = "its `lockkeeper alter` has ended";
        let parameters = [Parameter::Number(operation), Parameter::Text(Some(reason))];
        if let Err(error) = session.call("operation_release_lease", &parameters).await {
            tracing::warn!(%error, "the lease of the former `lockkeeper alter` runs out by itself");
        }
    }
    Ok(())
}

/// What else is under way on the server, and finds a driver in this process.
async fn others(session: &mut Session, job: &Job<'_>) -> Result<Option<String>, CliError> {
    let others = session
        .read(format!(
            "SELECT DISTINCT o.apply_id
               FROM operation_status AS o
              WHERE o.deployment   = {}
                AND o.apply_id    <> {}
                AND o.completed_at IS NULL
              ORDER BY o.apply_id",
            hex_literal(job.deployment),
            job.apply
        ))
        .await?;
    let others: Vec<String> = (0..others.rows.len())
        .map(|row| others.text(row, "apply_id"))
        .collect();
    Ok((!others.is_empty()).then(|| format!("Apply {}", others.join(", "))))
}

/// What was seen so far.
struct Looking<'a> {
    job: &'a Job<'a>,
    session: Option<Session>,
    state: String,
    /// The apply is settled.
    is_over: bool,
    /// No other `alter` works on it, or none since the other one has ended.
    is_alone: bool,
    silent_since: Option<Instant>,
}

impl Looking<'_> {
    /// Shows how far it is.
    async fn look(&mut self, screen: &mut Screen) {
        // A server that hangs keeps the connection, and answers nothing.
        let read = tokio::time::timeout(ANSWER_LIMIT, self.read()).await;
        let silent = || CliError::failed("the server does not answer");
        match read.unwrap_or_else(|_| Err(silent())) {
            Ok((operation, is_settled, has_lock)) => {
                self.silent_since = None;
                // Its lease runs out by itself: it may have lost its session only.
                if has_lock && !self.is_alone {
                    self.is_alone = true;
                    screen
                        .note("The other `lockkeeper alter` has ended; this one goes on with it.");
                }
                screen.show(&operation);
                if operation.state != self.state {
                    if let Some(hint) = hint(&operation.state, self.job.apply) {
                        screen.note(&hint);
                    }
                    self.state = operation.state;
                }
                self.is_over = is_settled;
            }
            // The driver rides through a failover too.
            Err(error) => {
                self.session = None;
                if self.silent_since.is_none() {
                    self.silent_since = Some(Instant::now());
                    screen.note(&format!(
                        "not up to date: {error}; it is waited for, for up to {} s (--wait-for-server)",
                        self.job.wait_for_server.as_secs()
                    ));
                }
            }
        }
    }

    fn has_waited_enough(&self) -> bool {
        let waited = self.silent_since.map(|since| since.elapsed());
        waited.is_some_and(|waited| waited >= self.job.wait_for_server)
    }

    /// A session that answers: the one of the looks may have been ended meanwhile, and how the change went is not to hang on that.
    async fn answering(self) -> Result<Session, CliError> {
        if let Some(mut session) = self.session
            && session.read("SELECT 1 AS one".to_owned()).await.is_ok()
        {
            return Ok(session);
        }
        if self.is_over {
            return again(self.job).await;
        }
        Session::open(self.job.global).await
    }

    /// The operation, whether the apply is settled, and whether this is the `alter` that works on it.
    async fn read(&mut self) -> Result<(Operation, bool, bool), CliError> {
        let session = match &mut self.session {
            Some(session) => session,
            None => self.session.insert(Session::open(self.job.global).await?),
        };
        let operations = session.operations(self.job.apply).await?;
        let stand = session.stand(self.job.apply).await?;
        let (Some(operation), Some(stand)) = (operations.into_iter().next(), stand) else {
            return Err(no_apply(self.job.apply));
        };
        let is_settled = stand.is_over;
        // Where all is done, nobody takes over.
        let has_lock = !is_settled && is_alone(session, self.job.apply, 0).await?;
        Ok((operation, is_settled, has_lock))
    }
}

/// What can be done in this state, from another terminal.
fn hint(state: &str, apply: u64) -> Option<String> {
    match state {
        "waiting_for_cutover" => Some(format!(
            "Copied and verified; writes are carried over until `lockkeeper cutover {apply}` asks for the swap."
        )),
        "revert_window" => Some(format!(
            "Swapped. Until the window closes, `lockkeeper revert {apply}` swaps back and loses no write; \
             `lockkeeper skip-revert {apply}` keeps the change at once."
        )),
        "stopped" => Some(format!(
            "Stopped; `lockkeeper start {apply}` goes on, `lockkeeper cancel {apply}` gives it up."
        )),
        _ => None,
    }
}
