//! One change of one server: the control schema is installed beside the data, and the driver is this process.
//!
//! Everything that happens is what `install`, `deployment add`, `submit` and `drive` do; here is only their order.

mod follow;
mod outcome;
mod place;
mod request;
mod screen;

use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::connect::{Parameter, Session};
use super::pace::Pace;
use super::statements::{check, split};
use super::{CliError, Global, ask, output, plan, rest, status};
use crate::config::{Access, ConnectionSettings, Layer, Secret};
use crate::drive;
use crate::preflight::{Change, Examination};
use place::Server;
use request::{Begun, Request};

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
    #[command(flatten)]
    pace: Pace,
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

pub(super) async fn run(global: &Global, args: Args) -> Result<(), CliError> {
    let asks = !args.yes && !args.dry_run;
    if asks {
        ask::need_terminal()?;
    }
    let change = wanted(&args)?;
    let mut request = Request::new(&change, args.pace.options()?);
    let settings = global.settings()?;
    let access =
        Access::to_control(&global.load(Layer::default())?, &settings).map_err(CliError::usage)?;

    // Nothing is written before the answer to the question.
    let mut server = Server::look(&settings).await?;
    let begun = match &mut server.session {
        Some(session) => request.begun(session).await?,
        None => None,
    };
    match &begun {
        Some(begun) => tell_begun(global, &args, &mut server, begun).await?,
        None => look(global, &args, &access, &change, &mut server).await?,
    }
    if args.dry_run {
        return Ok(());
    }
    // What somebody has stopped is not started unasked.
    let is_stopped = begun.as_ref().is_some_and(|begun| begun.state == "stopped");
    if asks && (begun.is_none() || is_stopped) {
        let question = question(&settings, &server, is_stopped);
        ask::confirm(&question, "nothing was changed").await?;
    }

    let end = CancellationToken::new();
    tokio::spawn(super::drive::end_on_signal(end.clone(), follow::ENDING));
    let (deployment, session, apply) = tokio::select! {
        submitted = submit(global, &args, &request, server, is_stopped, &end) => submitted?,
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

/// The change that the arguments ask for.
fn wanted(args: &Args) -> Result<Change, CliError> {
    let texts = args.statements.iter();
    let statements: Vec<String> = texts.flat_map(|text| split(text)).collect();
    if statements.is_empty() {
        return Err(CliError::usage(
            "there is no statement to apply; pass one, as 'ALTER TABLE orders ADD COLUMN note TEXT'",
        ));
    }
    check(&statements)?;
    Ok(Change {
        schema: args.schema.clone(),
        engine: args.pace.engine()?.unwrap_or_default(),
        statements,
    })
}

/// Says that the change is under way.
async fn tell_begun(
    global: &Global,
    args: &Args,
    server: &mut Server,
    begun: &Begun,
) -> Result<(), CliError> {
    output::note(&format!(
        "Apply {} makes this change already, in state {}.",
        begun.apply_id, begun.state
    ));
    if args.dry_run {
        if let (true, Some(session)) = (global.json, &mut server.session) {
            output::json(&status::object(session, begun.apply_id).await?);
        }
        output::note("Without --dry-run this command resumes it.");
    }
    Ok(())
}

/// Looks at a change that has not begun, and shows it.
async fn look(
    global: &Global,
    args: &Args,
    access: &Access,
    change: &Change,
    server: &mut Server,
) -> Result<(), CliError> {
    if let Some(session) = &mut server.session
        && let Some(made) = rest::made_lately(session, change).await?
    {
        output::fold_beside(&made);
    }
    let examination = examine(global, args, access, change, server).await?;
    if args.dry_run {
        if global.json {
            output::json(&json!(examination));
        }
        output::note("Nothing was changed.");
    }
    Ok(())
}

fn question(settings: &ConnectionSettings, server: &Server, is_stopped: bool) -> String {
    match (is_stopped, server.session.is_some()) {
        (true, _) => "Start it again?".to_owned(),
        (false, true) => "Begin?".to_owned(),
        (false, false) => format!(
            "Lockkeeper is not installed on {}:{} yet. Install it into schema {} and begin?",
            settings.host,
            settings.port,
            settings.schema()
        ),
    }
}

/// The deployment, a session to the control schema, and the apply.
async fn submit(
    global: &Global,
    args: &Args,
    request: &Request,
    mut server: Server,
    is_stopped: bool,
    end: &CancellationToken,
) -> Result<(String, Session, u64), CliError> {
    let deployment = server.prepare().await?;
    let mut session = match server.session {
        Some(session) => session,
        None => Session::open(global).await?,
    };
    if end.is_cancelled() {
        return Err(CliError::interrupted("nothing was submitted"));
    }
    let apply = request.submit(&mut session, &deployment).await?;
    let command = "lockkeeper alter";
    args.pace.throttle(&mut session, apply, command).await?;
    if is_stopped {
        let reason = Parameter::Text(Some(command));
        let parameters = [Parameter::Number(apply), reason];
        session.call("apply_start", &parameters).await?;
    }
    Ok((deployment, session, apply))
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
    let has_revert_window = args.pace.has_revert_window();
    to.write(&plan::notes(looked, has_revert_window, to.width()));
    Ok(examination)
}
