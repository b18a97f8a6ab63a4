//! The commands on an apply: each is stored by one CALL, which answers what becomes of it.

use super::answer::Table;
use super::connect::{Parameter, Session};
use super::{CliError, Global, output};

#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// The apply: its id or its name
    apply: String,
    /// Why, for those who read the log
    #[arg(long, short = 'm')]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Cutover {
    #[command(flatten)]
    target: Target,
    /// For every deployment in its turn, not only for the next one
    #[arg(long)]
    all: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Revert {
    #[command(flatten)]
    target: Target,
    /// Only this one; may be repeated [default: all with an open window]
    #[arg(long = "deployment", value_name = "NAME")]
    deployments: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Throttle {
    #[command(flatten)]
    target: Target,
    /// 0 full speed … 10 paused
    #[arg(value_parser = clap::value_parser!(u8).range(0..=10))]
    level: u8,
}

pub(super) async fn plain(
    global: &Global,
    procedure: &'static str,
    target: Target,
) -> Result<(), CliError> {
    ask(global, procedure, &target, &[]).await
}

pub(super) async fn cutover(global: &Global, args: Cutover) -> Result<(), CliError> {
    let options = args.all.then_some(r#"{"all": true}"#);
    ask(
        global,
        "apply_cutover",
        &args.target,
        &[Parameter::Text(options)],
    )
    .await
}

pub(super) async fn revert(global: &Global, args: Revert) -> Result<(), CliError> {
    let options = (!args.deployments.is_empty())
        .then(|| serde_json::json!({ "deployments": args.deployments }).to_string());
    let options = [Parameter::Text(options.as_deref())];
    ask(global, "apply_revert", &args.target, &options).await
}

pub(super) async fn throttle(global: &Global, args: Throttle) -> Result<(), CliError> {
    let level = [Parameter::Number(u64::from(args.level))];
    ask(global, "apply_throttle", &args.target, &level).await
}

async fn ask(
    global: &Global,
    procedure: &'static str,
    target: &Target,
    between: &[Parameter<'_>],
) -> Result<(), CliError> {
    let mut session = Session::open(global).await?;
    let apply = session.apply_id(&target.apply).await?;
    let mut parameters = vec![Parameter::Number(apply)];
    parameters.extend_from_slice(between);
    parameters.push(Parameter::Text(target.reason.as_deref()));
    let answer = session.call(procedure, &parameters).await?;
    show(global, &answer);
    if !global.json && answer.first_text("status") == "pending" {
        session.tell_if_no_driver().await?;
    }
    Ok(())
}

fn show(global: &Global, answer: &Table) {
    if global.json {
        output::json(&answer.first_json());
        return;
    }
    output::fold(
        "",
        "",
        &format!(
            "{} (request {}): {}. {}",
            answer.first_text("command"),
            answer.first_text("request_id"),
            answer.first_text("status"),
            answer.first_text("message"),
        ),
    );
}
