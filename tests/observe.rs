//! A driver as Prometheus and a log collector see it.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::TestDatabase;

/// Ends with the test, however that ends.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

/// The exposition, once somebody answers.
fn scrape(at: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.starts_with("HTTP/1.1 200").then_some(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_shows_in_the_metrics_and_the_log_is_json_without_a_secret() {
    let database = TestDatabase::fresh().await;
    let schema = database.submit_a_small_change().await;
    let at = free_address();
    let mut driver = Driver(
        Command::new(env!("CARGO_BIN_EXE_lockkeeper"))
            .args([
                "drive",
                "--log-format",
                "json",
                "--metrics-listen",
                &at.to_string(),
            ])
            .env("LOCKKEEPER_URL", database.url())
            .env("LOCKKEEPER_LOG", "info")
            .env_remove("LOCKKEEPER_CONFIG")
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs"),
    );
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
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect();
    assert!(
        lines.iter().any(|line| line["message"] == "swapped"),
        "{log}"
    );
    let password = database.settings().credentials.password.expose();
    assert!(password.is_empty() || !log.contains(password), "{log}");
    database.drop_schema(&schema).await;
}
