//! `deployment`: registers servers, lists and forgets them; what an address and a label look like.

use serde_json::Value;

use super::answer::Table;
use super::connect::{Parameter, Session};
use super::{CliError, Global, output, registration};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Register a deployment, or change one
    Add(Add),
    /// All deployments, in the order of changes
    List,
    /// Forget a deployment that no unsettled apply uses
    Remove {
        /// Its name
        name: String,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// Its name, new or registered already
    name: String,
    /// Its address: HOST or HOST:PORT
    address: String,
    /// Its place in the order of changes [default: after the last]
    #[arg(long)]
    position: Option<u32>,
    /// For drivers that serve only some deployments; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
}

pub(super) async fn run(global: &Global, command: Command) -> Result<(), CliError> {
    match command {
        Command::Add(args) => add(global, args).await,
        Command::List => list(global).await,
        Command::Remove { name } => {
            let mut session = Session::open(global).await?;
            let answer = session
                .call("deployment_remove", &[Parameter::Text(Some(&name))])
                .await?;
            if global.json {
                output::json(&answer.first_json());
            } else {
                output::line(&format!("Deployment {name} is removed."));
            }
            Ok(())
        }
    }
}

async fn add(global: &Global, args: Add) -> Result<(), CliError> {
    let (host, port) = address(&args.address)?;
    let labels = labels(&args.labels)?.to_string();
    let mut session = Session::open(global).await?;
    let before = session
        .read(format!(
            "SELECT d.host, d.port, d.labels FROM deployment_status AS d WHERE d.deployment = {}",
            super::connect::hex_literal(&args.name)
        ))
        .await?;
    // As its place: what isn't said stays as it was.
    let known = before.first("labels").filter(|known| !known.is_null());
    let kept = match args.labels.is_empty() {
        false => Some(labels),
        true => known.map(ToString::to_string),
    };
    let answer = register(
        &mut session,
        &args.name,
        args.position,
        (&host, port),
        kept.as_deref(),
    )
    .await?;
    let mut remarks = Vec::new();
    remarks.extend(registration::look_at(&mut session, &args.name, &host, port).await?);
    let was = match before.rows.is_empty() {
        true => None,
        false => Some((before.first_text("host"), before.whole(0, "port")?)),
    };
    let moved_from = was.filter(|was| *was != (host.clone(), port));
    if let Some((host, port)) = &moved_from {
        let was = (host.as_str(), *port);
        remarks.extend(registration::unfinished(&mut session, &args.name, was).await?);
    }
    if global.json {
        let mut object = answer.first_json();
        object["warnings"] = remarks.iter().map(|one| one.problem.as_str()).collect();
        output::json(&object);
    } else {
        for one in &remarks {
            output::note(&format!(
                "lockkeeper: warning: {}: {}; {}",
                one.deployment, one.problem, one.remedy
            ));
        }
        // A second `add` of a name is how one moves, and how two are mixed up.
        let moved = moved_from.map_or_else(String::new, |(host, port)| {
            format!(", and no longer {}", address_text(&host, port))
        });
        output::line(&format!(
            "Deployment {} is {}{moved}, at position {}.",
            answer.first_text("deployment"),
            address_text(&host, port),
            answer.first_text("position")
        ));
    }
    Ok(())
}

/// Registers a deployment, or changes one: at its place, the one that it has, or the one after the last.
pub(super) async fn register(
    session: &mut Session,
    name: &str,
    position: Option<u32>,
    (host, port): (&str, u16),
    labels: Option<&str>,
) -> Result<Table, CliError> {
    let position = match position {
        Some(position) => u64::from(position),
        // The server holds a position for one deployment: two adds at once cannot both get it.
        None => {
            let name = super::connect::hex_literal(name);
            session
                .read(format!(
                    "SELECT COALESCE(MAX(CASE WHEN d.deployment = {name} THEN d.position END),
                                     MAX(d.position) + 1, 0) AS position
                       FROM deployment_status AS d"
                ))
                .await?
                .first("position")
                .and_then(|value| value.to_string().parse().ok())
                .unwrap_or_default()
        }
    };
    session
        .call(
            "deployment_register",
            &[
                Parameter::Text(Some(name)),
                Parameter::Number(position),
                Parameter::Text(Some(host)),
                Parameter::Number(u64::from(port)),
                Parameter::Text(labels),
            ],
        )
        .await
}

async fn list(global: &Global) -> Result<(), CliError> {
    let table = Session::open(global)
        .await?
        .read(
            "SELECT d.deployment, d.position, d.host, d.port, d.labels, d.state, d.running_operations,
                    d.last_completed_at
               FROM deployment_status AS d
              ORDER BY d.position, d.deployment"
                .to_owned(),
        )
        .await?;
    let shown = [
        ("position", "#"),
        ("deployment", "deployment"),
        ("host", "host"),
        ("port", "port"),
        ("labels", "labels"),
        ("state", "state"),
        ("running_operations", "running"),
        ("last_completed_at", "last settled (UTC)"),
    ];
    let empty =
        "No deployment is registered; `lockkeeper deployment add NAME HOST:PORT` registers one.";
    output::rows(global, &table, &shown, empty);
    Ok(())
}

/// `host`, `host:port`, `[::1]:port`.
fn address(text: &str) -> Result<(String, u16), CliError> {
    let refused = || {
        CliError::usage(format!(
            "address '{text}' is refused; write HOST or HOST:PORT, an IPv6 address in brackets"
        ))
    };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(refused)?;
            (host, rest.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().map_err(|_| refused())?,
        None => 3306,
    };
    let is_odd = |c: char| c == '@' || c == '/' || c.is_whitespace() || c.is_control();
    if host.is_empty() || host.contains(is_odd) {
        return Err(refused());
    }
    Ok((host.to_owned(), port))
}

/// An address as [`address`] takes it.
pub(super) fn address_text(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Labels as they are written, an object of what they say.
pub(super) fn labels(pairs: &[String]) -> Result<Value, CliError> {
    let pairs = pairs.iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.into())),
        None => Err(CliError::usage(format!(
            "label '{pair}' is refused; write NAME=VALUE, as region=eu"
        ))),
    });
    pairs.collect::<Result<_, _>>().map(Value::Object)
}

#[cfg(test)]
mod tests {
    use super::{address, address_text};

    #[test]
    fn an_address_is_a_host_with_or_without_port() {
        let good = |text| address(text).expect("a good address");
        assert_eq!(good("db1"), ("db1".to_owned(), 3306));
        assert_eq!(good("db1:3307"), ("db1".to_owned(), 3307));
        assert_eq!(good("[::1]:3307"), ("::1".to_owned(), 3307));
        for text in ["db1:3307", "[::1]:3307"] {
            let (host, port) = good(text);
            assert_eq!(address_text(&host, port), text, "said as it is taken");
        }
        assert!(
            [
                "db1:x",
                ":1",
                "root@db1",
                "db 1",
                "mysql://db1",
                "db1:3306/shop"
            ]
            .into_iter()
            .all(|text| address(text).is_err())
        );
    }
}
