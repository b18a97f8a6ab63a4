//! Logs on standard error, and traces of a driver's operations for a collector.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::{CliError, output};
use crate::config::{LogFormat, Settings};
use crate::install::PROGRAM_VERSION;

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// A sentence to standard error, as a line of the log where that is JSON: whatever reads it reads objects.
pub(super) fn tell(text: &str) {
    if IS_JSON.load(Ordering::Relaxed) && tracing::enabled!(tracing::Level::WARN) {
        tracing::warn!("{text}");
    } else {
        // What is above the bars stays; a reader that has left is no failure.
        // In one piece: the bars are drawn anew after each.
        let line = format!("lockkeeper: {text}\n");
        let _ = crate::progress::AboveBars.write_all(line.as_bytes());
    }
}

/// How a driver ends that could not go on; false where the log would not have it.
pub(super) fn complain(error: &CliError) -> bool {
    let is_told = IS_JSON.load(Ordering::Relaxed) && tracing::enabled!(tracing::Level::ERROR);
    if is_told {
        tracing::error!(exit_code = error.exit_code(), "{error}");
    }
    is_told
}

/// Sends what is left when it is dropped.
pub(super) struct Log {
    traces: Option<SdkTracerProvider>,
}

impl Log {
    /// Starts both. A collector that does not answer is a line in the log, and holds nothing up.
    pub(super) fn start(settings: &Settings) -> Result<Self, CliError> {
        let filter = filter(settings.log.as_deref().unwrap_or("warn"))?;
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(|| crate::progress::AboveBars)
            .with_ansi(std::io::stderr().is_terminal() && output::wants_colours());
        let lines = match settings.log_format {
            LogFormat::Text => lines.boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        let endpoint = settings.otlp_endpoint.as_deref();
        let endpoint = endpoint.filter(|endpoint| !endpoint.is_empty());
        let traces = endpoint.map(provider).transpose()?;
        // Ours only: the exporter's own calls would make spans without end.
        let ours = Targets::new().with_target("lockkeeper", LevelFilter::INFO);
        let spans = traces.as_ref().map(|traces| {
            tracing_opentelemetry::layer()
                .with_tracer(traces.tracer("lockkeeper"))
                .with_filter(ours)
        });
        tracing_subscriber::registry()
            .with(lines.with_filter(filter))
            .with(spans)
            .init();
        let is_json = settings.log_format == LogFormat::Json;
        IS_JSON.store(is_json, Ordering::Relaxed);
        Ok(Self { traces })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(traces) = &self.traces
            && let Err(error) = traces.shutdown()
        {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}

/// A word alone is a level or a part of ours: of anything else it would be the name, and all that matters would be silenced.
fn filter(text: &str) -> Result<EnvFilter, CliError> {
    let refused = |why: String| {
        CliError::usage(format!(
            "log '{text}' is refused ({why}); write warn, info or lockkeeper=debug, and a level for another library, as in \
             info,sqlx=debug"
        ))
    };
    let is_known =
        |word: &str| word.starts_with("lockkeeper") || word.parse::<LevelFilter>().is_ok();
    let is_word = |part: &&str| {
        let mut characters = part.chars();
        !part.is_empty() && characters.all(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '-'))
    };
    let mut words = text.split(',').map(str::trim).filter(is_word);
    if let Some(word) = words.find(|word| !is_known(word)) {
        return Err(refused(format!(
            "'{word}' is none of off, error, warn, info, debug and trace"
        )));
    }
    EnvFilter::try_new(text).map_err(|error| refused(error.to_string()))
}

fn provider(endpoint: &str) -> Result<SdkTracerProvider, CliError> {
    let refused = |why: String| {
        CliError::usage(format!(
            "otlp_endpoint '{endpoint}' is refused ({why}); write http://HOST:4317, the collector's gRPC address"
        ))
    };
    let url = url::Url::parse(endpoint).map_err(|error| refused(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused("it is neither http nor https".into()));
    }
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| refused(error.to_string()))?;
    let resource = Resource::builder()
        .with_service_name("lockkeeper")
        .with_attribute(KeyValue::new("service.version", PROGRAM_VERSION))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build())
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn levels_our_own_parts_and_named_libraries_are_filters() {
        for text in [
            "warn",
            "INFO",
            "off",
            "warn,sqlx::query=error",
            "lockkeeper=debug",
            "lockkeeper::engine",
            "info,lockkeeper[operation{deployment=eu-1}]=trace",
            "info,sqlx=debug",
        ] {
            assert!(filter(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_mistyped_level_is_refused_and_silences_nothing() {
        for (text, word) in [
            ("warning", "'warning'"),
            ("verbose", "'verbose'"),
            ("info, sqlx", "'sqlx'"),
            ("lockkeeper=verbose", "lockkeeper=verbose"),
        ] {
            let refused = filter(text).expect_err(text).to_string();
            assert!(
                refused.contains(word) && refused.contains("write warn, info"),
                "{refused}"
            );
        }
    }
}
