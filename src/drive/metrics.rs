//! What Prometheus may know of a driver. Names and labels are here only; docker/grafana/, docker/alerts.yaml and the list in
//! docs/operators.md are checked against them.

use std::net::SocketAddr;
use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use metrics_util::MetricKindMask;

use super::DriveError;
use super::operation::Ended;
use crate::engine::Progress;

/// Gauges of an operation that is no longer reported go away after this time.
const FORGET_AFTER: Duration = Duration::from_secs(30);
/// Seconds, from a fast heartbeat to a lock that somebody notices.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Answers `GET /metrics` at the address from now on.
pub fn listen(at: SocketAddr) -> Result<(), DriveError> {
    builder()
        .with_http_listener(at)
        .install()
        .map_err(|error| DriveError::Metrics {
            at,
            reason: error.to_string(),
        })?;
    describe();
    count_from_zero();
    Ok(())
}

/// What an operation's end is counted as.
const ENDS: [Ended; 6] = [
    Ended::Reported,
    Ended::Interrupted,
    Ended::LeaseLost,
    Ended::FailedRetryable,
    Ended::Failed,
    Ended::Unsettled,
];

impl Ended {
    fn label(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Interrupted => "interrupted",
            Self::LeaseLost => "lease_lost",
            Self::FailedRetryable => "failed_retryable",
            Self::Failed => "failed",
            Self::Unsettled => "unsettled",
        }
    }
}

/// What a heartbeat is counted as.
const BEATS: [&str; 3] = ["answered", "refused", "unanswered"];

/// Prometheus sees no increase in a series that begins with 1. Those of a deployment begin with its first swap, and the
/// dashboard's queries know it.
fn count_from_zero() {
    held(0);
    counter!("lockkeeper_control_errors_total").absolute(0);
    for claim in ["copy", "cutover"] {
        counter!("lockkeeper_claims_total", "claim" => claim).absolute(0);
    }
    for ended in ENDS {
        counter!("lockkeeper_ended_total", "outcome" => ended.label()).absolute(0);
    }
    for outcome in BEATS {
        counter!("lockkeeper_heartbeats_total", "outcome" => outcome).absolute(0);
    }
}

fn builder() -> PrometheusBuilder {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)
        .expect("there are buckets")
        .idle_timeout(MetricKindMask::GAUGE, Some(FORGET_AFTER))
}

fn describe() {
    describe_counter!(
        "lockkeeper_claims_total",
        "Operations that this driver has claimed, by claim"
    );
    describe_counter!(
        "lockkeeper_ended_total",
        "Operations that this driver has let go of, by outcome"
    );
    describe_gauge!("lockkeeper_operations", "Operations that this driver holds");
    describe_counter!("lockkeeper_heartbeats_total", "Heartbeats, by outcome");
    describe_histogram!(
        "lockkeeper_heartbeat_seconds",
        Unit::Seconds,
        "How long the control database took to answer one"
    );
    describe_counter!(
        "lockkeeper_control_errors_total",
        "Calls to the control database that had to be repeated"
    );
    describe_gauge!("lockkeeper_copy_rows", "Rows copied so far");
    describe_gauge!(
        "lockkeeper_copy_rows_expected",
        "Rows to copy, an estimate until the copy has ended"
    );
    describe_gauge!(
        "lockkeeper_copy_rows_per_second",
        "Rows copied a second, then rows compared a second"
    );
    describe_gauge!(
        "lockkeeper_copy_left_seconds",
        Unit::Seconds,
        "Until the copy has ended, then until its verification has, an estimate"
    );
    describe_gauge!(
        "lockkeeper_binlog_lag_seconds",
        Unit::Seconds,
        "How far the shadow table is behind the original"
    );
    describe_gauge!(
        "lockkeeper_throttled",
        "1 while the copy waits for something"
    );
    describe_histogram!(
        "lockkeeper_cutover_locked_seconds",
        Unit::Seconds,
        "How long tables were locked in a swap"
    );
    describe_counter!("lockkeeper_cutovers_total", "Swaps");
    describe_counter!(
        "lockkeeper_cutover_yields_total",
        "Attempts to swap that gave way to other sessions"
    );
}

pub(super) fn claimed(claim: &'static str) {
    counter!("lockkeeper_claims_total", "claim" => claim).increment(1);
}

pub(super) fn ended(ended: Ended) {
    counter!("lockkeeper_ended_total", "outcome" => ended.label()).increment(1);
}

pub(super) fn held(operations: usize) {
    gauge!("lockkeeper_operations").set(operations as f64);
}

/// `outcome`: one of [`BEATS`].
pub(super) fn beat(took: Duration, outcome: &'static str) {
    debug_assert!(BEATS.contains(&outcome), "{outcome}");
    counter!("lockkeeper_heartbeats_total", "outcome" => outcome).increment(1);
    histogram!("lockkeeper_heartbeat_seconds").record(took);
}

pub(super) fn control_error() {
    counter!("lockkeeper_control_errors_total").increment(1);
}

pub(super) fn progress(deployment: &str, operation: u64, progress: &Progress) {
    let labels = [
        ("deployment", deployment.to_owned()),
        ("operation", operation.to_string()),
    ];
    gauge!("lockkeeper_copy_rows", &labels).set(progress.rows_copied as f64);
    gauge!("lockkeeper_copy_rows_expected", &labels).set(progress.rows_total as f64);
    gauge!("lockkeeper_copy_rows_per_second", &labels).set(progress.rows_per_second);
    // What is not known is no number: the last one that was known would stay.
    let left = progress.seconds_left.map_or(f64::NAN, |s| s as f64);
    gauge!("lockkeeper_copy_left_seconds", &labels).set(left);
    let lag = progress.binlog_lag_seconds.unwrap_or(f64::NAN);
    gauge!("lockkeeper_binlog_lag_seconds", &labels).set(lag);
    let is_throttled = progress.throttled_by.is_some();
    gauge!("lockkeeper_throttled", &labels).set(f64::from(u8::from(is_throttled)));
}

pub(super) fn swapped(deployment: &str, locked_for: Duration, yields: u32) {
    let labels = [("deployment", deployment.to_owned())];
    histogram!("lockkeeper_cutover_locked_seconds", &labels).record(locked_for);
    counter!("lockkeeper_cutovers_total", &labels).increment(1);
    counter!("lockkeeper_cutover_yields_total", &labels).increment(u64::from(yields));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The exposition of a driver to which everything has happened once.
    fn exposition() -> String {
        let recorder = builder().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            claimed("copy");
            ended(Ended::Reported);
            held(1);
            beat(Duration::from_millis(3), "answered");
            control_error();
            let seen = Progress {
                rows_copied: 10,
                rows_total: 20,
                rows_per_second: 5.0,
                seconds_left: Some(2),
                binlog_lag_seconds: Some(0.2),
                throttled_by: Some("replica".to_owned()),
                ..Progress::default()
            };
            progress("eu-1", 41, &seen);
            swapped("eu-1", Duration::from_millis(12), 1);
        });
        handle.render()
    }

    /// `name` or `name{labels}` of every sample, without its value.
    fn samples(exposition: &str) -> BTreeSet<String> {
        let lines = exposition.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.split(['{', ' ']).next())
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn words(text: &str) -> impl Iterator<Item = &str> {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| !word.is_empty())
    }

    fn queries(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(object) => {
                for (key, value) in object {
                    match value {
                        serde_json::Value::String(text) if key == "expr" || key == "query" => {
                            found.push(text.clone());
                        }
                        other => queries(other, found),
                    }
                }
            }
            serde_json::Value::Array(values) => values.iter().for_each(|one| queries(one, found)),
            _ => {}
        }
    }

    #[test]
    fn every_metric_of_the_dashboard_is_exported_and_every_exported_one_is_on_it() {
        let dashboard = include_str!("../../docker/grafana/dashboards/lockkeeper.json");
        let dashboard: serde_json::Value = serde_json::from_str(dashboard).expect("JSON");
        let mut found = Vec::new();
        queries(&dashboard, &mut found);
        assert!(found.len() >= 8, "{found:?}");
        let exported = samples(&exposition());
        let mut shown = BTreeSet::new();
        for query in &found {
            for word in words(query).filter(|word| word.starts_with("lockkeeper_")) {
                assert!(
                    exported.contains(word),
                    "{word} of `{query}` is not exported: {exported:?}"
                );
                shown.insert(word.to_owned());
            }
        }
        for name in &exported {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(name);
            let is_shown = shown
                .iter()
                .any(|one| one == name || one.starts_with(&format!("{base}_")));
            assert!(is_shown, "{name} is on no panel");
        }
    }

    /// An alert that never comes is missed by nobody.
    #[test]
    fn every_alert_asks_for_metrics_and_outcomes_that_are_exported() {
        let rules = include_str!("../../docker/alerts.yaml");
        let expressions: Vec<&str> = rules
            .lines()
            .filter_map(|line| line.trim().strip_prefix("expr: "))
            .collect();
        assert_eq!(rules.matches("- alert: ").count(), expressions.len());
        assert!(expressions.len() >= 4, "{expressions:?}");
        let exported = samples(&exposition());
        let outcomes: BTreeSet<&str> = ENDS.map(Ended::label).into_iter().chain(BEATS).collect();
        for expression in expressions {
            // `up` is Prometheus's own.
            let asked = words(expression).filter(|word| word.starts_with("lockkeeper_"));
            for word in asked {
                assert!(exported.contains(word), "{word} of `{expression}`");
            }
            let (_, outcome) = expression.split_once("outcome=").unwrap_or_default();
            let quoted = outcome.split('"').nth(1).unwrap_or_default();
            for word in quoted.split('|').filter(|word| !word.is_empty()) {
                assert!(outcomes.contains(word), "{word} of `{expression}`");
            }
        }
        let prometheus = include_str!("../../docker/prometheus.yaml");
        let compose = include_str!("../../docker/compose.yaml");
        assert!(prometheus.contains("rule_files: [alerts.yml]"));
        assert!(compose.contains("./alerts.yaml:/etc/prometheus/alerts.yml"));
        assert!(
            prometheus.contains("job_name: lockkeeper"),
            "as the alert of `up` says"
        );
    }

    #[test]
    fn the_operators_guide_lists_every_metric_and_every_outcome() {
        let guide = include_str!("../../docs/operators.md");
        let (_, list) = guide
            .split_once("| metric | labels | is |")
            .expect("its list");
        let (list, _) = list.split_once("\n\n").expect("its end");
        let exported = samples(&exposition());
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for name in &exported {
            let base = ["_bucket", "_sum", "_count"].iter();
            let mut base = base.filter_map(|suffix| name.strip_suffix(suffix));
            names.insert(base.next().unwrap_or(name));
        }
        let listed: BTreeSet<&str> = words(list)
            .filter(|word| word.starts_with("lockkeeper_"))
            .collect();
        assert_eq!(listed, names);
        for outcome in ENDS.map(Ended::label).into_iter().chain(BEATS) {
            assert!(list.contains(&format!("`{outcome}`")), "{outcome}");
        }
    }

    #[test]
    fn every_metric_has_a_help_text() {
        let text = exposition();
        for name in samples(&text) {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(&name);
            assert!(text.contains(&format!("# HELP {base} ")), "{base}");
        }
    }
}
