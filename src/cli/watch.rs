//! A live screen of the fleet. It reads views; its keys are the calls of `stop`, `start`, `cutover`, `release` and `revert`.

mod fleet;
mod keys;
mod screen;
mod terminal;

use std::time::Duration;

use super::connect::{PATIENCE, Parameter, Session};
use super::{CliError, Global, output};
use crate::text;
use fleet::Fleet;
use keys::{Call, Keys, Wish};
use screen::View;
use terminal::{Input, Terminal};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this apply: its id or its name [default: all that are not settled, or were until ten minutes ago]
    apply: Option<String>,
    /// Print what there is now, once, as plain text
    #[arg(long)]
    once: bool,
    /// How wide the plain text is [default: the terminal, or 80]
    #[arg(long, value_name = "COLUMNS", requires = "once", value_parser = clap::value_parser!(u16).range(20..=500))]
    width: Option<u16>,
}

const REFRESH: Duration = Duration::from_secs(1);

pub(super) async fn run(global: &Global, args: Args) -> Result<(), CliError> {
    let mut session = Session::open(global).await?;
    let only = match &args.apply {
        Some(apply) => Some(session.existing_apply(apply).await?),
        None => None,
    };
    if args.once || global.json {
        let fleet = fleet::read(&mut session, only).await?;
        once(global, &args, &fleet);
        return Ok(());
    }
    let mut terminal = Terminal::open()?;
    let ended = live(global, session, only, &mut terminal).await;
    drop(terminal);
    ended?;
    output::line("The changes go on without this screen; `lockkeeper watch` shows them again.");
    Ok(())
}

fn once(global: &Global, args: &Args, fleet: &Fleet) {
    if global.json {
        output::json(&serde_json::json!(fleet));
        return;
    }
    let view = View {
        fleet,
        selected: None,
        message: "",
        width: args.width.map_or_else(terminal::width, usize::from),
        height: None,
        scroll: 0,
        has_keys: false,
    };
    for line in screen::lines(&view) {
        output::line(&line.plain());
    }
}

async fn live(
    global: &Global,
    session: Session,
    only: Option<u64>,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    let mut session = Some(session);
    let mut fleet = Fleet::default();
    let mut keys = Keys::default();
    let mut refresh = tokio::time::interval(REFRESH);
    refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let wish = tokio::select! {
            _ = refresh.tick() => Wish::Look,
            input = terminal.input() => match input {
                Some(Input::Key(key)) => keys.press(key),
                Some(Input::Resized) => Wish::Nothing,
                None => Wish::Quit,
            },
        };
        match wish {
            Wish::Nothing => {}
            Wish::Quit => return Ok(()),
            Wish::Look => match terminal
                .unless_interrupted(look(global, &mut session, only))
                .await
            {
                None => return Ok(()),
                Some(Ok(seen)) => {
                    keys.see(
                        seen.applies
                            .iter()
                            .map(|apply| (apply.apply_id, apply.name.clone())),
                    );
                    fleet = seen;
                }
                // The screen stays, with what it knew: a failover is over soon.
                Some(Err(error)) => {
                    session = None;
                    keys.say_not_up_to_date(&error);
                }
            },
            Wish::Call(asked, apply) => {
                let called = call(global, &mut session, asked, apply);
                let Some(answer) = terminal.unless_interrupted(called).await else {
                    return Err(CliError::failed(format!(
                        "the answer to {} was not waited for; `lockkeeper events {apply}` shows whether it was taken",
                        asked.procedure()
                    )));
                };
                keys.say(answer.unwrap_or_else(|error| error.to_string()));
                refresh.reset_immediately();
            }
        }
        let (width, height) = text::size();
        let message = keys.message();
        let view = View {
            fleet: &fleet,
            selected: keys.selected(),
            message: &message,
            width,
            height: Some(height),
            scroll: keys.scroll(),
            has_keys: true,
        };
        keys.scroll_at_most(screen::most_scroll(&view));
        terminal.draw(&screen::lines(&view))?;
    }
}

async fn open<'s>(
    global: &Global,
    session: &'s mut Option<Session>,
) -> Result<&'s mut Session, CliError> {
    match session {
        Some(session) => Ok(session),
        None => Ok(session.insert(Session::open(global).await?)),
    }
}

async fn look(
    global: &Global,
    session: &mut Option<Session>,
    only: Option<u64>,
) -> Result<Fleet, CliError> {
    let read = async { fleet::read(open(global, session).await?, only).await };
    // What is shown grows old without a sign of it.
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(seen) => seen,
        Err(_) => Err(CliError::silent(&global.settings()?, PATIENCE)),
    }
}

async fn call(
    global: &Global,
    session: &mut Option<Session>,
    call: Call,
    apply: u64,
) -> Result<String, CliError> {
    let session = open(global, session).await?;
    let mut parameters = vec![Parameter::Number(apply)];
    if call.has_options() {
        parameters.push(Parameter::Text(None));
    }
    parameters.push(Parameter::Text(Some("lockkeeper watch")));
    let answer = session.call(call.procedure(), &parameters).await?;
    Ok(format!(
        "{}: {}. {}",
        answer.first_text("command"),
        answer.first_text("status"),
        answer.first_text("message")
    ))
}
