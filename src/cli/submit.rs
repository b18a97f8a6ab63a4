//! `submit`: asks for a change, once it was looked at and agreed to.

use std::io::Read as _;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::access::AccessFlags;
use super::answer::Table;
use super::connect::{Parameter, Session, hex_literal};
use super::pace::Pace;
use super::statements::{check, split};
use super::{CliError, Global, ask, output, plan};
use crate::preflight::{Change, Examination, Place};
use crate::text::width_of;

/// As [`LONGEST_SECONDS`](super::pace::LONGEST_SECONDS).
const MOST_COPIES: i64 = 1_000_000;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(false))]
pub(super) struct Args {
    /// The schema of the tables on each deployment
    #[arg(long)]
    schema: String,
    /// A DDL statement; may be repeated
    #[arg(long, short = 'e', value_name = "SQL", group = "change")]
    statement: Vec<String>,
    /// A file of DDL statements; - is standard input
    #[arg(long, short = 'f', group = "change")]
    file: Option<PathBuf>,
    /// An idempotency key: the same request again is the same apply
    #[arg(long)]
    name: Option<String>,
    /// Only this deployment; may be repeated [default: all]
    #[arg(long = "deployment", value_name = "NAME")]
    deployments: Vec<String>,
    /// When the next copy may start [default: rolling]
    #[arg(long, value_name = "POLICY", value_parser = ["rolling", "barrier", "parallel"])]
    cutover_policy: Option<String>,
    /// When the first swap may happen [default: in_order]
    #[arg(long, value_name = "GATE", value_parser = ["in_order", "all_parked"])]
    cutover_gate: Option<String>,
    /// What a failure does to later deployments [default: halt]
    #[arg(long, value_name = "WHAT", value_parser = ["halt", "continue", "pause"])]
    on_failure: Option<String>,
    /// How many copies may run at once, at most
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=MOST_COPIES))]
    max_copies: Option<u32>,
    /// What a revert takes back [default: operation]
    #[arg(long, value_name = "SCOPE", value_parser = ["operation", "apply"])]
    revert_scope: Option<String>,
    #[command(flatten)]
    pace: Pace,
    /// For those who read the status
    #[arg(long)]
    note: Option<String>,
    /// Submit although this deployment's table differs from the others'; may be repeated
    #[arg(long, value_name = "DEPLOYMENT")]
    accept_drift: Vec<String>,
    /// Submit without a look at the deployments
    #[arg(long, conflicts_with = "accept_drift")]
    no_preflight: bool,
    /// Look and say what would be done; submit nothing
    #[arg(long, conflicts_with = "no_preflight")]
    dry_run: bool,
    #[command(flatten)]
    access: AccessFlags,
    /// Don't ask
    #[arg(long, short = 'y')]
    yes: bool,
}

impl Args {
    fn asks(&self) -> bool {
        !self.yes && !self.dry_run
    }
}

pub(super) async fn run(global: &Global, args: Args) -> Result<(), CliError> {
    // The last of these is asked first: nothing is read or connected to in vain.
    let asks = args.asks();
    if asks {
        ask::need_terminal()?;
    }
    let statements = statements(&args)?;
    let options = options(&args)?;
    let mut session = Session::open(global).await?;
    let places = places(&mut session, &args).await?;
    // The same request again is the same apply: the servers, which may have the change by now, are not looked at anew.
    let is_repeated = !args.dry_run && is_known(&mut session, args.name.as_deref()).await?;
    let mut looked = None;
    if !args.no_preflight && !is_repeated {
        looked = Some(look(global, &mut session, &args, &statements, &places).await?);
    }
    if args.dry_run {
        if global.json {
            output::json(&json!(looked));
        }
        output::note("Nothing was submitted.");
        return Ok(());
    }
    if asks && !is_repeated {
        confirm(&args, &statements, &places, &options).await?;
    }
    let submitted = ask::unless_interrupted(
        submit(&mut session, &args, statements, options),
        "it is not known whether it was submitted; `lockkeeper status` shows it",
    )
    .await?;
    let apply = submitted.apply;
    ask::unless_interrupted(
        tell(global, &mut session, &submitted, looked.as_deref()),
        &format!("apply {apply} is submitted; `lockkeeper status {apply}` shows how far it is"),
    )
    .await
}

/// Where the change goes, in the order that was asked for.
async fn places(session: &mut Session, args: &Args) -> Result<Vec<Place>, CliError> {
    let mut places = plan::places(session, &args.deployments).await?;
    if !args.deployments.is_empty() {
        let asked = |place: &Place| {
            args.deployments
                .iter()
                .position(|name| *name == place.deployment)
        };
        places.sort_by_key(asked);
    }
    let names: Vec<&str> = places.iter().map(|p| p.deployment.as_str()).collect();
    let mut accepted = args.accept_drift.iter();
    if let Some(unknown) = accepted.find(|name| !names.contains(&name.as_str())) {
        return Err(CliError::usage(format!(
            "--accept-drift names '{unknown}', and the change goes to {}; nothing was submitted",
            names.join(", ")
        )));
    }
    Ok(places)
}

/// Looks at the deployments and says what it saw.
///
/// # Errors
///
/// What stands in the way of the change.
async fn look(
    global: &Global,
    session: &mut Session,
    args: &Args,
    statements: &[String],
    places: &[Place],
) -> Result<Vec<Examination>, CliError> {
    let access = plan::access(global, session, &args.access)?;
    let change = Change {
        schema: args.schema.clone(),
        statements: statements.to_vec(),
        engine: args.pace.engine()?.unwrap_or_default(),
    };
    // With --json, whoever isn't asked has it in the answer.
    let is_shown = args.asks() || !global.json;
    let to = is_shown.then_some(output::To::of_plan(args.dry_run, global));
    let accepted = &args.accept_drift;
    let looked = plan::show(session, places, &access, &change, accepted, to).await?;
    if let Some(to) = to {
        let has_revert_window = args.pace.has_revert_window();
        to.write(&plan::notes(&looked, has_revert_window, to.width()));
    }
    Ok(looked)
}

/// What has become of it.
struct Submitted {
    apply: u64,
    /// The row of the call.
    answer: Table,
    state: String,
    /// The same request had been submitted before.
    was_there: bool,
}

async fn submit(
    session: &mut Session,
    args: &Args,
    statements: Vec<String>,
    options: Map<String, Value>,
) -> Result<Submitted, CliError> {
    let options = (!options.is_empty()).then(|| Value::Object(options).to_string());
    let statements = Value::from(statements).to_string();
    let latest = session.latest_apply().await?.unwrap_or_default();
    let answer = session
        .call(
            "apply_submit",
            &[
                Parameter::Text(Some(&args.schema)),
                Parameter::Text(Some(&statements)),
                Parameter::Text(options.as_deref()),
            ],
        )
        .await?;
    let apply: u64 = answer.whole(0, "apply_id")?;
    let now = session
        .read(format!(
            "SELECT a.state, a.finished_at IS NOT NULL AS is_over FROM apply_status AS a WHERE a.apply_id = {apply}"
        ))
        .await?;
    let was_there = apply <= latest;
    let state = now.first_text("state");
    if was_there && now.is(0, "is_over") && state != "completed" {
        return Err(CliError::failed(format!(
            "'{}' is apply {apply} already, the same change, and it is {state}; nothing was submitted; choose another name",
            answer.first_text("apply_name")
        )));
    }
    if !was_there {
        args.pace
            .throttle(session, apply, "lockkeeper submit")
            .await?;
    }
    Ok(Submitted {
        apply,
        answer,
        state,
        was_there,
    })
}

/// `looked`: what was seen of the deployments, if they were looked at.
async fn tell(
    global: &Global,
    session: &mut Session,
    submitted: &Submitted,
    looked: Option<&[Examination]>,
) -> Result<(), CliError> {
    let Submitted {
        apply,
        answer,
        state,
        was_there,
    } = submitted;
    if global.json {
        let mut object = answer.first_json();
        object["state"] = state.as_str().into();
        object["was_there"] = (*was_there).into();
        if let Some(looked) = looked {
            object["not_looked_at"] = plan::not_looked_at(looked);
            object["without_room"] = plan::without_room(looked);
        }
        output::json(&object);
        return Ok(());
    }
    let count = answer.first_text("operations");
    let deployments = match count.as_str() {
        "1" => "deployment",
        _ => "deployments",
    };
    let how = match was_there {
        true => format!("was submitted before, and is {state}"),
        false => "is submitted".to_owned(),
    };
    let said = format!(
        "Apply {apply} ({}) {how}, for {count} {deployments}; `lockkeeper status {apply}` shows how far it is.",
        answer.first_text("apply_name"),
    );
    output::fold("", "", &said);
    session.tell_if_no_driver().await
}

/// Whether an apply has that name.
async fn is_known(session: &mut Session, name: Option<&str>) -> Result<bool, CliError> {
    let Some(name) = name else {
        return Ok(false);
    };
    let known = session
        .read(format!(
            "SELECT a.apply_id FROM apply_status AS a WHERE a.apply_name = {}",
            hex_literal(name)
        ))
        .await?;
    Ok(!known.rows.is_empty())
}

fn statements(args: &Args) -> Result<Vec<String>, CliError> {
    let statements: Vec<String> = match &args.file {
        None => args.statement.iter().flat_map(|text| split(text)).collect(),
        Some(path) if path.as_os_str() == "-" => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| CliError::failed(format!("standard input: {error}")))?;
            split(&text)
        }
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                let next = match error.kind() {
                    std::io::ErrorKind::InvalidData => "save it as text in UTF-8",
                    _ => "correct --file",
                };
                CliError::usage(format!("{}: {error}; {next}", path.display()))
            })?;
            split(&text)
        }
    };
    if statements.is_empty() {
        return Err(CliError::usage(
            "there is no statement to apply; pass one with --statement or --file",
        ));
    }
    check(&statements)?;
    Ok(statements)
}

/// Values are checked by the server: only what was said is passed on.
fn options(args: &Args) -> Result<Map<String, Value>, CliError> {
    if let Some(name) = &args.name
        && name.parse::<u64>().is_ok()
    {
        return Err(CliError::usage(format!(
            "--name {name} is refused: commands would take it for an id; write a letter into it, as in ticket-{name}"
        )));
    }
    let mut options = args.pace.options()?;
    let mut add = |name: &str, value: Option<Value>| {
        options.extend(value.map(|value| (name.to_owned(), value)));
    };
    let text = |value: &Option<String>| value.clone().map(Value::from);
    add("name", text(&args.name));
    add(
        "deployments",
        (!args.deployments.is_empty()).then(|| json!(args.deployments)),
    );
    add("cutover_policy", text(&args.cutover_policy));
    add("cutover_gate", text(&args.cutover_gate));
    add("on_failure", text(&args.on_failure));
    add("max_copies", args.max_copies.map(Value::from));
    add("revert_scope", text(&args.revert_scope));
    add("note", text(&args.note));
    Ok(options)
}

async fn confirm(
    args: &Args,
    statements: &[String],
    places: &[Place],
    options: &Map<String, Value>,
) -> Result<(), CliError> {
    let width = width_of(&std::io::stderr());
    let mut options = options.clone();
    // They are listed in their order.
    options.remove("deployments");
    let options = output::detail(Value::Object(options).to_string());
    output::beside(&plan::question(
        &args.schema,
        statements,
        places,
        &options,
        width,
    ));
    ask::confirm("Submit?", "nothing was submitted").await
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use crate::cli::pace::LONGEST_SECONDS;

    #[test]
    fn bounds_are_those_of_the_server() {
        let shapes = include_str!("../../sql/functions/_json_shape.sql");
        for (option, least, most) in [
            ("max_copies", 1, super::MOST_COPIES),
            ("defer_timeout_seconds", 1, LONGEST_SECONDS),
            ("revert_window_seconds", 0, LONGEST_SECONDS),
        ] {
            let mut lines = shapes.lines();
            let line = lines
                .find(|line| line.contains(&format!("\"{option}\":")))
                .expect(option);
            let bounds = format!("\"minimum\": {least}, \"maximum\": {most}}}");
            assert!(line.contains(&bounds), "{line}: {bounds}");
        }
    }

    /// What --help lists and shells complete is what the table takes.
    #[test]
    fn policies_are_those_of_the_apply_table() {
        let table = include_str!("../../migrations/V0007__create_apply.sql");
        let command = super::Args::augment_args(clap::Command::new("submit"));
        for name in [
            "cutover_policy",
            "cutover_gate",
            "on_failure",
            "revert_scope",
        ] {
            let mut arguments = command.get_arguments();
            let argument = arguments.find(|one| one.get_id() == name).expect(name);
            let values: Vec<String> = argument
                .get_possible_values()
                .iter()
                .map(|value| format!("'{}'", value.get_name()))
                .collect();
            let line = table
                .lines()
                .find(|line| line.trim_start().starts_with(&format!("{name} ")))
                .expect(name);
            let listed = format!("ENUM({})", values.join(", "));
            assert!(line.contains(&listed), "{line}: {listed}");
        }
    }
}
