//! One change of one server: the control schema is installed beside the data, and the driver is this process.
//!
//! Everything that happens is what `install`, `deployment add`, `submit` and `drive` do; here is only their order.

mod follow;
mod outcome;
mod place;
mod request;
mod screen;

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::connect::{Parameter, Session};
use super::statements::{check, split};
use super::{CliError, Global, ask, output, plan, rest, status, submit};
use crate::config::{Access, Layer, Secret};
use crate::drive;
use crate::preflight::{Change, Examination};
use place::Server;
use request::Request;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The url names the server; its path names the control schema [default: lockkeeper].\n\
                  Run again, the same command resumes an apply that is not settled, from its checkpoint.\n\
                  Exit codes: 0 completed, 1 anything else, 2 not understood, 130 interrupted before it was completed."
)]
pub(super) struct Args {
    /// A DDL statement; the tables of several swap together
    #[arg(required = true, value_name = "STATEMENT")]
    statements: Vec<String>,
    /// The schema of the tables
    #[arg(long)]
    schema: String,
    /// Look and say what would be done; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Swap only after `lockkeeper cutover`
    #[arg(long)]
    defer_cutover: bool,
    /// Give up if nobody asks for the swap within this time
    #[arg(long, value_name = "SECONDS", requires = "defer_cutover", value_parser = clap::value_parser!(u32).range(1..=submit::LONGEST_SECONDS))]
    defer_timeout: Option<u32>,
    /// Keep the old table current for this long after the swap, so that it can be reverted
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=submit::LONGEST_SECONDS))]
    revert_window: Option<u32>,
    /// 0 full speed … 10 paused; `lockkeeper throttle` changes it meanwhile
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=10))]
    throttle: Option<u8>,
    /// Options of the copy engine, a JSON object
    #[arg(long, value_name = "JSON")]
    engine: Option<String>,
    /// End, to be resumed later, when the server has not answered for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    wait_for_server: u32,
    /// Don't ask
    #[arg(long, short = 'y')]
    yes: bool,
    /// The server, and the control schema on it: mysql://user:password@host:port/schema [default schema: lockkeeper] (better as
    /// LOCKKEEPER_URL or in the file: a command line shows in the process list)
    // In place of the text for all commands; the value comes to `Global`.
    #[arg(long, global = true, help_heading = super::GLOBAL, value_name = "URL")]
    url: Option<Secret>,
}

impl Args {
    /// Names and values are checked by the server: only what was said is passed on.
    fn options(&self) -> Result<Map<String, Value>, CliError> {
        let mut options = Map::new();
        if self.defer_cutover {
            options.insert("defer_cutover".to_owned(), true.into());
        }
        if let Some(seconds) = self.defer_timeout {
            options.insert("defer_timeout_seconds".to_owned(), seconds.into());
        }
        if let Some(seconds) = self.revert_window {
            options.insert("revert_window_seconds".to_owned(), seconds.into());
        }
        if let Some(engine) = submit::engine(self.engine.as_deref())? {
            options.insert("engine".to_owned(), engine);
        }
        Ok(options)
    }
}

pub(super) async fn run(global: &Global, args: Args) -> Result<(), CliError> {
    let asks = !args.yes && !args.dry_run;
    if asks {
        ask::need_terminal()?;
    }
    let statements: Vec<String> = args
        .statements
        .iter()
        .flat_map(|text| split(text))
        .collect();
    if statements.is_empty() {
        return Err(CliError::usage(
            "there is no statement to apply; pass one, as 'ALTER TABLE orders ADD COLUMN note TEXT'",
        ));
    }
    check(&statements)?;
    let change = Change {
        schema: args.schema.clone(),
        engine: submit::engine(args.engine.as_deref())?.unwrap_or_default(),
        statements,
    };
    let mut request = Request::new(&change, args.options()?);
    let settings = global.settings()?;
    let access =
        Access::to_control(&global.load(Layer::default())?, &settings).map_err(CliError::usage)?;

    // Nothing is written before the answer to the question.
    let mut server = Server::look(&settings).await?;
    let begun = match &mut server.session {
        Some(session) => request.begun(session).await?,
        None => None,
    };
    if let Some(begun) = &begun {
        output::note(&format!(
            "Apply {} makes this change already, in state {}.",
            begun.apply_id, begun.state
        ));
        if args.dry_run {
            if let (true, Some(session)) = (global.json, &mut server.session) {
                output::json(&status::object(session, begun.apply_id).await?);
            }
            output::note("Without --dry-run this command resumes it.");
            return Ok(());
        }
    } else {
        if let Some(session) = &mut server.session
            && let Some(made) = rest::made_lately(session, &change).await?
        {
            output::fold_beside(&made);
        }
        let examination = examine(global, &args, &access, &change, &mut server).await?;
        if args.dry_run {
            if global.json {
                output::json(&json!(examination));
            }
            output::note("Nothing was changed.");
            return Ok(());
        }
    }
    // What somebody has stopped is not started unasked.
    let is_stopped = begun.as_ref().is_some_and(|begun| begun.state == "stopped");
    if asks && (begun.is_none() || is_stopped) {
        let question = match (is_stopped, server.session.is_some()) {
            (true, _) => "Start it again?".to_owned(),
            (false, true) => "Begin?".to_owned(),
            (false, false) => format!(
                "Lockkeeper is not installed on {}:{} yet. Install it into schema {} and begin?",
                settings.host,
                settings.port,
                settings.schema()
            ),
        };
        ask::confirm(&question, "nothing was changed").await?;
    }

    let end = CancellationToken::new();
    tokio::spawn(super::drive::end_on_signal(end.clone(), follow::ENDING));
    let beginning = async {
        let deployment = server.prepare().await?;
        let mut session = match server.session {
            Some(session) => session,
            None => Session::open(global).await?,
        };
        if end.is_cancelled() {
            return Err(CliError::interrupted("nothing was submitted"));
        }
        let apply = request.submit(&mut session, &deployment).await?;
        settle(&mut session, &args, apply, is_stopped).await?;
        Ok((deployment, session, apply))
    };
    let (deployment, session, apply) = tokio::select! {
        begun = beginning => begun?,
        () = drive::is_late(end.clone(), follow::ENDING) => {
            return Err(CliError::interrupted(
                "the server does not say whether the apply was submitted; is its disk full? Once it answers, the same command \
                 begins or resumes it",
            ));
        }
    };
    let job = follow::Job {
        global,
        access: &access,
        apply,
        deployment: &deployment,
        is_resumed: begun.is_some(),
        wait_for_server: Duration::from_secs(args.wait_for_server.into()),
    };
    follow::run(&job, session, end).await
}

/// Shows how it would go.
///
/// # Errors
///
/// What stands in the way of the change. A server that can't be looked at is in the way too: this process is the driver.
async fn examine(
    global: &Global,
    args: &Args,
    access: &Access,
    change: &Change,
    server: &mut Server,
) -> Result<Examination, CliError> {
    let place = server.place().await?;
    let examinations = plan::look(std::slice::from_ref(&place), access, change).await?;
    let Some(examination) = examinations.into_iter().next() else {
        return Err(CliError::failed("the server was not looked at"));
    };
    let refusal = examination.refusal.as_ref();
    if let Some(why) = refusal.or(examination.unreachable.as_ref()) {
        if args.dry_run && global.json {
            output::json(&json!(examination));
        }
        return Err(CliError::failed(format!("{why}; nothing was changed")));
    }
    let looked = std::slice::from_ref(&examination);
    let to = output::To::of_plan(args.dry_run, global);
    to.write(&plan::text(looked, to.width()));
    let has_revert_window = args.revert_window.is_some_and(|seconds| seconds > 0);
    to.write(&plan::notes(looked, has_revert_window, to.width()));
    Ok(examination)
}

/// What was asked for besides the change itself.
async fn settle(
    session: &mut Session,
    args: &Args,
    apply: u64,
    is_stopped: bool,
) -> Result<(), CliError> {
    let reason = Parameter::Text(Some("lockkeeper alter"));
    if let Some(level) = args.throttle {
        let level = Parameter::Number(level.into());
        let parameters = [Parameter::Number(apply), level, reason];
        session.call("apply_throttle", &parameters).await?;
    }
    if is_stopped {
        let reason = Parameter::Text(Some("lockkeeper alter"));
        let parameters = [Parameter::Number(apply), reason];
        session.call("apply_start", &parameters).await?;
    }
    Ok(())
}
