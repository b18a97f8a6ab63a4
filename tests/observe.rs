//! A driver as Prometheus and a log collector see it.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use support::{Running, TestDatabase};

fn driver(database: &TestDatabase, metrics: SocketAddr) -> Running {
    let child = support::program()
        .args(["drive", "--log-format", "json", "--metrics-listen"])
        .arg(metrics.to_string())
        .env("LOCKKEEPER_URL", database.url())
        .env("LOCKKEEPER_LOG", "info")
        .stderr(Stdio::piped())
        .spawn();
    Running(child.expect("the program runs"))
}

/// Below the ports that the system hands out: nobody takes it in between.
fn free_address() -> SocketAddr {
    loop {
        let port = rand::random_range(15_000..32_000);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().expect("its address");
        }
    }
}

/// What is answered, once somebody does. HTTP 1.0: nothing comes in chunks.
fn get(at: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes())
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?;
    (status == "200").then(|| body.to_owned())
}

fn scrape(at: SocketAddr) -> Option<String> {
    get(at, "/metrics")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_shows_in_the_metrics_and_the_log_is_json_without_a_secret() {
    let database = TestDatabase::fresh().await;
    let schema = database.submit_a_small_change().await;
    let at = free_address();
    let mut driver = driver(&database, at);
    let mut text = String::new();
    support::eventually(
        "a swap in the metrics",
        Duration::from_secs(90),
        async || {
            let scraped = tokio::task::spawn_blocking(move || scrape(at)).await;
            text = scraped.expect("ran").unwrap_or_default();
            text.contains("lockkeeper_cutovers_total{deployment=\"d0\"} 1")
        },
    )
    .await;
    assert!(
        text.contains("lockkeeper_cutover_locked_seconds_count{deployment=\"d0\"} 1"),
        "{text}"
    );
    assert!(
        text.contains("lockkeeper_copy_rows{deployment=\"d0\",operation=\"1\"} 3"),
        "{text}"
    );
    assert!(
        text.contains("lockkeeper_claims_total{claim=\"copy\"} 1"),
        "{text}"
    );
    assert!(
        text.contains("lockkeeper_heartbeats_total{outcome=\"answered\"}"),
        "{text}"
    );

    let pid = i32::try_from(driver.0.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told to end");
    let mut log = String::new();
    let mut stderr = driver.0.stderr.take().expect("its log");
    stderr.read_to_string(&mut log).expect("UTF-8");
    assert!(driver.0.wait().expect("its end").success(), "{log}");
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect();
    let says = |text: &str| {
        let mut messages = lines.iter().filter_map(|line| line["message"].as_str());
        messages.any(|message| message.starts_with(text))
    };
    assert!(says("swapped"), "{log}");
    assert!(says("writing checkpoints and giving leases back"), "{log}");
    let password = database.settings().credentials.password.expose();
    assert!(password.is_empty() || !log.contains(password), "{log}");
    database.drop_schema(&schema).await;
}

const ALERTS: &str = "docker/alerts.yaml";

/// A Prometheus that asks the driver five times a second, and has our rules for alerts.
fn prometheus(folder: &Path, driver: SocketAddr, at: SocketAddr) -> Option<Running> {
    let config = format!(
        "global: {{scrape_interval: 200ms, evaluation_interval: 1s}}\n\
         rule_files: ['{}/{ALERTS}']\n\
         scrape_configs: [{{job_name: lockkeeper, static_configs: [{{targets: ['{driver}']}}]}}]\n",
        env!("CARGO_MANIFEST_DIR")
    );
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config).expect("written");
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("data").display()
        ))
        .arg(format!("--web.listen-address={at}"))
        .stderr(Stdio::null())
        .spawn();
    child.ok().map(Running)
}

/// The queries of the dashboard's panels.
fn queries() -> Vec<String> {
    let dashboard = include_str!("../docker/grafana/dashboards/lockkeeper.json");
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("its panels");
    let targets = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array();
        targets.unwrap_or_else(|| panic!("{} asks nothing", panel["title"]))
    });
    targets
        .map(|target| target["expr"].as_str().expect("a query").to_owned())
        .collect()
}

/// The values that a panel draws for `query`: what Prometheus has known in the last minutes, second by second.
fn values(at: SocketAddr, query: &str) -> Vec<f64> {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    let path = format!(
        "/api/v1/query_range?query={query}&start={}&end={now}&step=1",
        now - 300
    );
    let Some(answer) = get(at, &path) else {
        return Vec::new();
    };
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let series = answer["data"]["result"].as_array().expect("a matrix");
    let points = series.iter().flat_map(|one| one["values"].as_array());
    let texts = points.flatten().filter_map(|point| point[1].as_str());
    let numbers = texts.map(|text| text.parse::<f64>().expect("a number"));
    // No number is what a quantile of nothing is.
    numbers.filter(|number| !number.is_nan()).collect()
}

/// After one swap each panel has something to show, and what is counted is counted right.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_has_data_for_each_query_of_the_dashboard_and_takes_the_alerts() {
    let (folder, at, asked) = (tempfile::tempdir(), free_address(), free_address());
    let folder = folder.expect("a folder");
    let Some(_prometheus) = prometheus(folder.path(), at, asked) else {
        eprintln!("no prometheus on PATH: the dashboard's queries are not run");
        return;
    };
    let database = TestDatabase::fresh().await;
    // Enough rows for a rate, and slow enough to be seen while it is copied.
    let schema = database.submit_a_change(100_000).await;
    let slow = "CALL apply_throttle(1, 9, 'to be watched')";
    sqlx::Executor::execute(&mut database.connect().await, slow)
        .await
        .expect("throttled");
    // It sees a copy from its beginning.
    support::eventually("Prometheus is ready", Duration::from_secs(60), async || {
        let asking = tokio::task::spawn_blocking(move || get(asked, "/-/ready"));
        asking.await.expect("ran").is_some()
    })
    .await;
    let driver = driver(&database, at);
    for query in queries() {
        let swaps = query.starts_with("sum(") && query.contains("lockkeeper_cutovers_total");
        let mut seen = Vec::new();
        support::eventually(&query, Duration::from_secs(90), async || {
            let query = query.clone();
            let asking = tokio::task::spawn_blocking(move || values(asked, &query));
            seen = asking.await.expect("ran");
            // No number is what a quantile of nothing is.
            !seen.is_empty()
                && seen.iter().all(|value| !value.is_nan())
                && (!swaps || seen == [1.0])
        })
        .await;
    }
    // Without its driver the one that asks for it has something to say.
    drop(driver);
    support::eventually(
        "the alert of a driver that is gone",
        Duration::from_secs(90),
        async || {
            let asking = tokio::task::spawn_blocking(move || get(asked, "/api/v1/alerts"));
            let alerts = asking.await.expect("ran").unwrap_or_default();
            alerts.contains("LockkeeperDriverDown")
        },
    )
    .await;
    database.drop_schema(&schema).await;
}
