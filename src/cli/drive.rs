//! `drive`: a driver, from its flags to its last signal.

use std::io::IsTerminal as _;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::access::AccessFlags;
use super::deployment::labels;
use super::{CliError, Global, log};
use crate::config::{Access, Layer};
use crate::control::{DriverName, Scope};
use crate::drive::{self, DriveOptions};
use crate::install;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The driver's name, unique among those that run [default: host, process, random]
    #[arg(long)]
    name: Option<String>,
    /// How many operations at once [default: 4]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: Option<u16>,
    /// Only these deployments
    #[arg(
        long,
        visible_alias = "deployment",
        value_delimiter = ',',
        value_name = "NAME",
        conflicts_with = "labels"
    )]
    deployments: Vec<String>,
    /// Only deployments with all of these labels
    #[arg(
        long,
        visible_alias = "label",
        value_delimiter = ',',
        value_name = "NAME=VALUE"
    )]
    labels: Vec<String>,
    #[command(flatten)]
    access: AccessFlags,
    /// Prometheus reads the driver's metrics here, for example 127.0.0.1:9187
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_listen: Option<String>,
    /// A collector gets a trace of each operation here, by OTLP over gRPC, for example http://127.0.0.1:4317
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// How long it may take to give its leases back once it is told to end; then it ends without that, and they run out by
    /// themselves [default: 45]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=3600))]
    end_seconds: Option<u16>,
    /// End when nothing is left to claim, and it holds nothing: no swap that waits for a word, no open revert window
    #[arg(long)]
    until_idle: bool,
    /// End at once when standard input is closed: for a parent that must not leave a driver behind
    #[arg(long, hide = true)]
    end_with_input: bool,
}

/// What else waits is not held up by a long copy.
pub(super) const CONCURRENCY: u16 = 4;

impl Args {
    /// Where traces go, as the flags say.
    pub(super) fn traces(&self) -> Layer {
        Layer::default().with("otlp_endpoint", self.otlp_endpoint.clone())
    }
}

pub(super) async fn run(global: &Global, args: Args) -> Result<(), CliError> {
    let flags = args
        .access
        .layer()
        .with("driver", args.name.clone())
        .with("concurrency", args.concurrency)
        .with("end_seconds", args.end_seconds)
        .with("metrics_listen", args.metrics_listen.clone());
    let given = global.load(flags)?;
    let settings = global.settings()?;
    let options = DriveOptions {
        name: given
            .driver
            .clone()
            .map_or_else(|| drive::unique_name(""), DriverName),
        scope: scope(&args)?,
        concurrency: given.concurrency.unwrap_or(CONCURRENCY).into(),
        access: Access::new(&given, &settings.credentials).map_err(CliError::usage)?,
        until_idle: args.until_idle,
        end_within: given.end_seconds.map_or(drive::END_WITHIN, |seconds| {
            Duration::from_secs(seconds.into())
        }),
    };
    let mut session = settings
        .connect()
        .await
        .map_err(|error| CliError::database(&settings, &error))?;
    install::check_for_drive(&mut session, settings.schema())
        .await
        .map_err(|error| CliError::install(&settings, error))?;
    drop(session);

    if let Some(at) = given.metrics_listen {
        drive::metrics::listen(at).map_err(CliError::failed)?;
    }
    // Who has started it by hand would see nothing at all.
    if given.log.is_none() && std::io::stderr().is_terminal() && !args.end_with_input {
        let name = &options.name.0;
        let runs = format!("driver {name} runs; LOCKKEEPER_LOG=info shows what it does");
        log::tell(&runs);
    }
    let end = CancellationToken::new();
    tokio::spawn(end_on_signal(end.clone(), options.end_within));
    if args.end_with_input {
        std::thread::spawn(end_with_input);
    }
    drive::drive(&settings, options, end)
        .await
        .map_err(|error| CliError::drive(&settings, error))
}

fn scope(args: &Args) -> Result<Scope, CliError> {
    if !args.deployments.is_empty() {
        return Ok(Some(serde_json::json!({"deployments": args.deployments})));
    }
    if args.labels.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::json!({"labels": labels(&args.labels)?})))
}

/// The kernel closes it when the parent dies, whatever it died of. What is unfinished then, others resume.
fn end_with_input() {
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    std::process::exit(1);
}

/// The terminal was closed. Not under `nohup`, which has the signal ignored: to listen to it would undo that.
fn signal_of_hangup() -> Option<Signal> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    let ignored = u64::from_str_radix(ignored.trim(), 16).ok()?;
    let hangup = SignalKind::hangup();
    let is_ignored = ignored & 1 << (hangup.as_raw_value() - 1) != 0;
    if is_ignored {
        return None;
    }
    signal(hangup).ok()
}

/// The first signal lets every operation write its checkpoint and give its lease back, for which `limit` is given; the second
/// ends at once.
pub(super) async fn end_on_signal(end: CancellationToken, limit: Duration) {
    let mut terminated = match signal(SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(error) => {
            tracing::error!(%error, "no signal is listened to: kill -9 ends this process, as a crash would");
            return;
        }
    };
    let mut hung_up = signal_of_hangup();
    let mut hangup = async || match &mut hung_up {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    };
    for signals in 1_u32.. {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
            _ = hangup() => {}
        }
        if signals > 1 {
            std::process::exit(130);
        }
        if end.is_cancelled() {
            // It ends already, of itself.
            continue;
        }
        end.cancel();
        log::tell(&format!(
            "writing checkpoints and giving leases back, for {} s at the most; Ctrl-C again ends it at once",
            limit.as_secs()
        ));
    }
}
