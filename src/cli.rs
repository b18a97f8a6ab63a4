//! The command line. A command reads its arguments, calls procedures and reads views, or starts what is elsewhere: a driver, an
//! installation, servers, measurements. Nothing about order is decided here.

mod access;
mod alter;
mod answer;
mod ask;
mod bench;
mod checkup;
mod commands;
mod connect;
mod demo;
mod deployment;
mod docs;
mod doctor;
mod drive;
mod error;
mod events;
mod install;
mod log;
mod output;
mod pace;
mod plan;
mod registration;
mod rest;
mod sandbox;
mod statements;
mod status;
mod submit;
mod wait;
mod watch;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::{ConfigError, ConnectionSettings, Layer, Secret, Settings};
use crate::install::{API_VERSION, PROGRAM_VERSION};

pub use error::CliError;

/// Below a command's own options.
const GLOBAL: &str = "Global options";

/// What every command may be told.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// The control database: mysql://user:password@host:port/schema (better as LOCKKEEPER_URL or in the file: a
    /// command line shows in the process list)
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "URL")]
    url: Option<Secret>,
    /// Settings in TOML [default: lockkeeper/config.toml in the user's configuration folder]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How logs are written to standard error
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FORMAT", value_parser = ["text", "json"])]
    log_format: Option<String>,
    /// Answers as JSON
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
}

impl Global {
    /// Whether a flag names the control database.
    fn names_control(&self) -> bool {
        self.url.is_some()
    }

    /// The control database; a command that needs one cannot do without.
    fn settings(&self) -> Result<ConnectionSettings, CliError> {
        self.settings_if_any()?.ok_or_else(|| {
            CliError::usage(
                "no control database; name it with LOCKKEEPER_URL, url in the configuration file, or --url, as \
                 mysql://user:password@host:port/schema",
            )
        })
    }

    // Parsed here, not by clap: its message would repeat the text, password included.
    fn settings_if_any(&self) -> Result<Option<ConnectionSettings>, CliError> {
        match self
            .load(Layer::default())?
            .url
            .as_ref()
            .map(Secret::expose)
        {
            None | Some("") => Ok(None),
            Some(url) => control(url).map(Some).map_err(CliError::usage),
        }
    }

    /// Flags of one command and of all, over the environment, over the file.
    fn load(&self, flags: Layer) -> Result<Settings, CliError> {
        let flags = flags
            .or_named("the command line")
            .with("url", self.url.as_ref().map(Secret::expose))
            .with("log_format", self.log_format.clone());
        Settings::load(flags, self.config.as_deref()).map_err(CliError::usage)
    }
}

fn control(url: &str) -> Result<ConnectionSettings, ConfigError> {
    let settings: ConnectionSettings = url.parse()?;
    let tls = settings.tls.with_readable_authority();
    let tls = tls.map_err(|error| error.at("the address of the control database"))?;
    Ok(ConnectionSettings { tls, ..settings })
}

/// Ordered online schema changes for fleets of MySQL servers.
#[derive(Debug, Parser)]
#[command(name = "lockkeeper", version = version(), propagate_version = false, max_term_width = 110)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 not understood, 130 interrupted before it was done.\n\
                  With --json an error is an object, too, on standard error."
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Change tables of one server: install, register, submit and drive in one command
    Alter(Box<alter::Args>),
    /// Install into the control database, or bring what is there up to date
    Install(install::Args),
    /// Claim operations and execute them, until told to stop
    Drive(drive::Args),
    /// The servers that changes are applied to
    #[command(subcommand)]
    Deployment(deployment::Command),
    /// Ask for a schema change on all deployments, in their order
    Submit(Box<submit::Args>),
    /// What is going on, how far, and why something waits
    Status(status::Args),
    /// A live screen of the fleet, with keys to stop, start, cut over, release and revert
    Watch(watch::Args),
    /// Wait until an apply is over, or nothing of it moves until somebody acts: for scripts
    Wait(wait::Args),
    /// Why an apply doesn't move, deployment by deployment
    Why(why::Args),
    /// Stop an apply; `start` resumes it
    Stop(commands::Target),
    /// Resume a stopped apply
    Start(commands::Target),
    /// Give an apply up and remove what it left behind
    Cancel(commands::Target),
    /// Let a deferred swap go ahead
    Cutover(commands::Cutover),
    /// Let the siblings of a failed operation go on
    Release(commands::Target),
    /// Swap back while the revert window is open
    Revert(commands::Revert),
    /// End the revert window early and keep the change
    SkipRevert(commands::Target),
    /// Slow an apply down
    Throttle(commands::Throttle),
    /// What happened, in order
    Events(events::Args),
    /// What is wrong and what to do about it
    Doctor(doctor::Args),
    /// A throw-away fleet to play with
    Sandbox(sandbox::Args),
    /// A whole rollout on servers of its own, with live traffic and an independent check
    Demo(demo::Args),
    /// Pages that are made from the program itself
    #[command(subcommand, hide = true)]
    Docs(docs::Command),
    /// What things cost, measured on a server of its own or the one that LOCKKEEPER_TEST_URL names
    #[command(subcommand)]
    Bench(bench::Command),
    /// A completion script for a shell
    Completions { shell: clap_complete::Shell },
}

fn version() -> &'static str {
    use std::sync::LazyLock;
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let commit = env!("LOCKKEEPER_COMMIT");
        format!("{PROGRAM_VERSION} (commit {commit}, API version {API_VERSION})")
    });
    &VERSION
}

/// What still runs in threads at the end, such as the look-up of a name, is waited for no longer.
const LONGEST_REST: Duration = Duration::from_secs(20);

/// Runs the program to its end: 0 done, 1 failed, 2 not understood, 130 interrupted.
///
/// Not asynchronous itself: the program's own crate would compile all of it once more.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    let is_json = cli.global.json;
    let is_driver = matches!(cli.command, Command::Drive(_));
    let runtime = tokio::runtime::Runtime::new();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(cli));
            runtime.shutdown_timeout(LONGEST_REST);
            outcome
        }
        Err(error) => Err(CliError::failed(format!("no threads to run on: {error}"))),
    };
    match outcome {
        Ok(()) if output::is_whole() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        // A service's log is read line by line, to its last one.
        Err(error) if is_driver && !is_json && log::complain(&error) => {
            ExitCode::from(error.exit_code())
        }
        Err(error) => complain(&error, is_json),
    }
}

fn complain(error: &CliError, is_json: bool) -> ExitCode {
    if is_json {
        output::note(&format!("{:#}", error.json()));
    } else {
        // A sentence; what follows it may be commands to copy.
        let error = error.to_string();
        let (sentence, rest) = error.split_once('\n').unwrap_or((&error, ""));
        output::fold_beside(&format!("lockkeeper: {sentence}"));
        if !rest.is_empty() {
            output::note(rest);
        }
    }
    ExitCode::from(error.exit_code())
}

/// Help and version are answers, all else is a complaint.
fn not_understood(error: &clap::Error) -> ExitCode {
    let is_json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && is_json {
        let text = error.render().to_string();
        let text = text.trim_start_matches("error: ").trim_end();
        return complain(&CliError::usage(text), true);
    }
    // A reader that has left is no failure.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

async fn run(cli: Cli) -> Result<(), CliError> {
    let global = &cli.global;
    // A driver alone makes traces; where they go may be one of its flags.
    let flags = match &cli.command {
        Command::Drive(args) => args.traces(),
        _ => Layer::default().with("otlp_endpoint", Some("")),
    };
    // These two need no settings: a shell that begins reads its completions, however its user's file is.
    let settings = match &cli.command {
        Command::Docs(_) | Command::Completions { .. } => Settings::default(),
        _ => global.load(flags)?,
    };
    let _log = log::Log::start(&settings)?;
    match cli.command {
        Command::Alter(args) => alter::run(global, *args).await,
        Command::Install(args) => install::run(global, args).await,
        Command::Drive(args) => drive::run(global, args).await,
        Command::Deployment(command) => deployment::run(global, command).await,
        Command::Submit(args) => submit::run(global, *args).await,
        Command::Status(args) => status::run(global, args).await,
        Command::Watch(args) => watch::run(global, args).await,
        Command::Wait(args) => wait::run(global, args).await,
        Command::Why(args) => why::run(global, args).await,
        Command::Stop(args) => commands::plain(global, "apply_stop", args).await,
        Command::Start(args) => commands::plain(global, "apply_start", args).await,
        Command::Cancel(args) => commands::plain(global, "apply_cancel", args).await,
        Command::Release(args) => commands::plain(global, "apply_release", args).await,
        Command::SkipRevert(args) => commands::plain(global, "apply_skip_revert", args).await,
        Command::Cutover(args) => commands::cutover(global, args).await,
        Command::Revert(args) => commands::revert(global, args).await,
        Command::Throttle(args) => commands::throttle(global, args).await,
        Command::Events(args) => events::run(global, args).await,
        Command::Doctor(args) => doctor::run(global, args).await,
        Command::Sandbox(args) => sandbox::run(global, args).await,
        Command::Demo(args) => demo::run(global, args).await,
        Command::Docs(command) => docs::run(command),
        Command::Bench(command) => bench::run(global, command).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lockkeeper", &mut script);
            output::write(&String::from_utf8_lossy(&script));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::Cli;

    /// `alter` has a text of its own for it.
    #[test]
    fn the_address_is_the_same_for_alter_wherever_it_stands() {
        let before = [
            "lockkeeper",
            "--url",
            "mysql://a@b",
            "alter",
            "--schema",
            "s",
            "x",
        ];
        let after = [
            "lockkeeper",
            "alter",
            "--schema",
            "s",
            "x",
            "--url",
            "mysql://a@b",
        ];
        for words in [before, after] {
            let cli = Cli::try_parse_from(words).expect("understood");
            let url = cli.global.url.expect("an address");
            assert_eq!(url.expose(), "mysql://a@b", "{words:?}");
        }
    }
}
