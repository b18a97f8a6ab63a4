//! The live screen as its users meet it: through a terminal, with keys, resizes and signals.

mod support;

use std::os::unix::process::ExitStatusExt as _;

use support::terminal::{Terminal, resize};
use support::{PATIENCE, TestDatabase, eventually, one};

async fn database_with_an_apply() -> TestDatabase {
    let database = TestDatabase::fresh().await;
    database.register_deployments(3).await;
    let submit = "CALL apply_submit('shop', 'ALTER TABLE orders ADD note INT',
                                    '{\"name\": \"orders-note\", \"cutover_policy\": \"barrier\"}')";
    sqlx::raw_sql(submit)
        .execute(&mut database.connect().await)
        .await
        .expect("apply_submit");
    database
}

async fn is_in(database: &TestDatabase, state: &str) {
    eventually(state, PATIENCE, || async {
        let now = "SELECT a.state FROM apply_status AS a";
        let now: String = one(&mut database.connect().await, now).await;
        now == state
    })
    .await;
}

#[tokio::test]
async fn keys_stop_and_start_an_apply_after_a_yes_and_quit_leaves_the_terminal_clean() {
    let database = database_with_an_apply().await;
    let mut watch = Terminal::start(&database, &["watch"], 80, 24);
    watch.shows("▶ 1 orders-note  pending").await;
    watch.press("s");
    watch.shows("Stop apply 1 (orders-note)?").await;
    watch.press("n");
    watch.press("s");
    watch.press("y");
    is_in(&database, "stopped").await;
    watch.shows("orders-note  stopped").await;
    watch.press("Sy");
    is_in(&database, "pending").await;
    watch.shows("orders-note  pending").await;
    let stops = "SELECT COUNT(*) FROM control_request_log AS r WHERE r.command = 'stop'";
    let stops: i64 = one(&mut database.connect().await, stops).await;
    assert_eq!(stops, 1, "a no asks for nothing");
    watch.press("q");
    watch.shows("Quit? The changes go on").await;
    watch.press("y");
    assert!(watch.end().await.success());
    watch.is_left_clean("The changes go on without").await;
}

#[tokio::test]
async fn each_key_reaches_its_procedure_and_what_that_says_is_shown() {
    let database = database_with_an_apply().await;
    let mut watch = Terminal::start(&database, &["watch"], 80, 24);
    watch.shows("▶ 1 orders-note  pending").await;
    for (keys, answer) in [
        ("cy", "does not defer its cutover"),
        ("ry", "has nothing to release"),
        ("Ry", "has no open revert window"),
    ] {
        watch.press(keys);
        watch.shows(answer).await;
    }
    watch.press("qy");
    assert!(watch.end().await.success());
}

#[tokio::test]
async fn the_screen_follows_the_size_of_the_terminal_and_uses_its_last_column() {
    let database = database_with_an_apply().await;
    let watch = Terminal::start(&database, &["watch"], 80, 24);
    for (columns, rows) in [(80, 24), (80, 40), (200, 50), (40, 10)] {
        resize(&watch.keyboard, columns, rows);
        let size = (usize::from(columns), usize::from(rows));
        eventually("a frame of the new size", PATIENCE, || async {
            let frame = watch.frame();
            let longest = frame.iter().map(|line| line.chars().count()).max();
            // The first line reaches from end to end, at every size.
            (longest, frame.len()) == (Some(size.0), size.1)
        })
        .await;
        let frame = watch.frame();
        assert!(frame.iter().any(|line| line.contains("q quit")) || columns < 60);
        assert!(
            frame.iter().any(|line| line.contains("orders-note")),
            "{frame:?}"
        );
    }
}

#[tokio::test]
async fn ctrl_c_and_a_signal_to_end_leave_the_terminal_clean() {
    let database = database_with_an_apply().await;
    let mut watch = Terminal::start(&database, &["watch"], 80, 24);
    watch.shows("orders-note").await;
    watch.press("\u{3}");
    assert!(watch.end().await.success());
    watch.is_left_clean("The changes go on without").await;

    let mut watch = Terminal::start(&database, &["watch"], 80, 24);
    watch.shows("orders-note").await;
    let pid = rustix::process::Pid::from_child(&watch.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told to end");
    let status = watch.end().await;
    assert!(status.signal().is_none(), "it ends by itself: {status}");
    watch.is_left_clean("The changes go on without").await;
}
