//! What the benchmarks find out besides times.

mod support;

use lockkeeper::server::TEST_URL_VARIABLE;

#[tokio::test]
async fn a_change_under_the_load_of_the_benchmark_loses_no_write() {
    let server = support::server().await;
    let output = support::program()
        .args(["bench", "engine", "--quick", "--tables", "A"])
        .args(["--ways", "lockkeeper", "--rows", "2000", "--swaps", "1"])
        .env(TEST_URL_VARIABLE, server.administrator().url().expose())
        .output()
        .expect("the program runs");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    // A test machine may miss any target of time.
    assert!(
        output.status.success() || err.contains("miss their target"),
        "{out}{err}"
    );
    let lost: Vec<&str> = out
        .lines()
        .filter(|line| line.contains("rows that lost a write"))
        .collect();
    assert_eq!(lost.len(), 2, "under load, and over swaps: {out}");
    for line in lost {
        assert!(line.ends_with("at most 0: yes"), "{line}");
    }
    let writes = out.lines().find(|line| line.contains("writes a second"));
    let rate = writes.and_then(|line| line.split_whitespace().last()?.parse::<f64>().ok());
    assert!(rate.is_some_and(|rate| rate > 0.0), "{out}");
}
